"""GROUP BY, HAVING and aggregates over several shards: partial groups on each, merged, then finished by the proxy.

Which aggregates can be split is `aggregates`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pglast import ast, parser

from pgproxy.errors import Refused
from pgproxy.operators.arguments import LiteralRef
from pgproxy.operators.evaluate import Evaluate
from pgproxy.operators.group_merge import Combine, GroupMerge
from pgproxy.operators.project import Project
from pgproxy.operators.sort import Sort
from pgproxy.operators.source import Pipeline, Step
from pgproxy.operators.values import SortKey
from pgproxy.planner.aggregates import Partial, aggregates_in, call_span, is_aggregate, is_surely_aggregate, partial_of
from pgproxy.planner.limits import RowLimits
from pgproxy.planner.ordering import InvalidStatementError, SortItem, nulls_come_first, position_of, sort_items
from pgproxy.planner.outputs import Output
from pgproxy.planner.plan import Scatter, SqlTemplate
from pgproxy.planner.scope import Scope, name_span
from pgproxy.planner.text import Edit, Span, composed, join, join_with
from pgproxy.planner.tree import children_of, column_name, items_of

_TEXT_OIDS = frozenset({25, 1043})
_ROUTE_HINT = "Pin the shard key to one value, so that one shard computes it."


@dataclass(frozen=True, slots=True)
class GroupKey:
    """`collate`: shards must sort it bytewise although its own collation does not."""

    node: ast.Node
    span: Span
    text: SqlTemplate
    bytewise: bool
    collate: bool = False


def plan_groups(scope: Scope, outputs: Sequence[Output], limits: RowLimits) -> Scatter:
    """Why this is exact: the shards' rows are disjoint, so a group over all of them is the union of the shards'
    groups with an equal key, and every aggregate accepted combines over such a union (see `partial_of`). Keys
    come from every shard sorted alike, so Group Merge sees all parts of a group together. HAVING, expressions,
    ORDER BY and LIMIT are applied afterwards, to whole groups only; the shards are given none of them."""
    select = scope.select
    finishing = (select.targetList or (), select.havingClause, select.sortClause or ())
    _refuse_subqueries(finishing)
    groups = _Groups(scope, _group_keys(scope, outputs))
    if any(scope.literals_in(key.node) for key in groups.keys):
        # Whether `price / 10` elsewhere is the key `price / 10` depends on both constants.
        scope.pin_literals(finishing, select.groupClause)
    items = sort_items(scope, outputs)
    finals = [_final(groups, output) for output in outputs]
    sort_keys: list[SortKey] = []
    for item in items:
        column = item.output
        if column is None:
            column = len(finals)
            finals.append(groups.finish(item.node, item.span))
        sort_keys.append(_sort_key(groups, item, column, outputs))
    having = None
    if scope.clauses.having is not None:
        having = groups.expression(scope.select.havingClause, scope.clauses.having.body)
    steps: list[Step] = [groups.merge(), _finish(groups, finals, outputs, having)]
    visible = len(outputs) if len(finals) > len(outputs) else None
    if sort_keys:
        steps.append(Sort(tuple(sort_keys), limits.limit, limits.offset, visible))
    else:
        steps += limits.steps()
    return Scatter(groups.shard_text(), Pipeline(tuple(steps)))


@dataclass(frozen=True, slots=True)
class _Final:
    """One column of the result: column `bare` of the merged groups, or an expression over them."""

    bare: int | None
    text: SqlTemplate


class _Groups:
    """Collects the aggregates that the statement's clauses use, and rewrites expressions over merged groups.

    The merged groups have the keys first, then the aggregates in the order of `partials`.
    """

    def __init__(self, scope: Scope, keys: Sequence[GroupKey]) -> None:
        self.scope = scope
        self.keys = tuple(keys)
        self._key_prints = {repr(scope.fingerprint(key.node)): index for index, key in enumerate(keys)}
        self._surely_one_group = not keys and _is_surely_grouped(scope)
        self._partials: list[Partial] = []
        self._partial_prints: dict[str, int] = {}
        self.parameters: set[int] = set()  # that stand in expressions over merged groups

    def merge(self) -> GroupMerge:
        engine = self.scope.context.engine
        nulls_first = nulls_come_first(engine, descending=False)
        keys = (SortKey(index, False, nulls_first, key.bytewise) for index, key in enumerate(self.keys))
        return GroupMerge(tuple(keys), tuple(self._combines()))

    def _combines(self) -> list[Combine]:
        combines, first = [], len(self.keys)
        for partial in self._partials:
            combines.append(partial.combine(first))
            first += len(partial.items)
        return combines

    def shard_text(self) -> SqlTemplate:
        """What each shard runs: its groups' keys and partial aggregates, sorted by the keys."""
        items = [join(key.text, f" AS k{n}") for n, key in enumerate(self.keys, 1)]
        parts = [item for partial in self._partials for item in partial.items]
        items += [join(part, f" AS p{n}") for n, part in enumerate(parts, 1)]
        clauses = self.scope.clauses
        assert clauses.from_ is not None
        end = clauses.from_.whole[1] if clauses.where is None else clauses.where.whole[1]
        rows = self.scope.cut((clauses.from_.whole[0], end))
        if not self.keys:
            return join("SELECT ", join_with(", ", items or [composed("count(*) AS p1")]), " ", rows)
        places = range(1, len(self.keys) + 1)
        positions = ", ".join(map(str, places))
        order = [
            join(key.text, ' COLLATE "C"') if key.collate else composed(str(place))
            for key, place in zip(self.keys, places, strict=True)
        ]
        return join(
            "SELECT ",
            join_with(", ", items),
            " ",
            rows,
            f" GROUP BY {positions} ORDER BY ",
            join_with(", ", order),
        )

    def finish(self, node: ast.Node, span: Span) -> _Final:
        """An expression of the select list or ORDER BY over the merged groups."""
        bare = self.column_of(node)
        return _Final(bare, composed(f"v.c{bare + 1}") if bare is not None else self.expression(node, span))

    def column_of(self, node: ast.Node) -> int | None:
        """The merged groups' column that a whole expression is: a key, or one aggregate."""
        key = self._key_of(node)
        if key is not None:
            return key
        return self._aggregate_column(node) if is_aggregate(node, self.scope.context) else None

    def expression(self, node: object, span: Span) -> SqlTemplate:
        """The text of an expression with keys and aggregates replaced by the merged groups' columns."""
        places: list[tuple[ast.Node, int]] = []
        self._find_merged(node, places)
        edits = [
            Edit(*place, composed(f"v.c{column + 1}"))
            for column in sorted({column for _, column in places})
            for place in self._spans([found for found, of in places if of == column], column, span)
        ]
        edits += self.scope.edits_within(span, beside=edits)
        text = self.scope.source.edit(edits, span)
        self._verify(text, node, {id(found): _merged_column(column) for found, column in places})
        return text

    def _find_merged(self, node: object, places: list[tuple[ast.Node, int]]) -> None:
        """The parts of an expression that are columns of the merged groups; no other column may be left."""
        column = self.column_of(node) if isinstance(node, ast.Node) and not isinstance(node, ast.A_Const) else None
        if isinstance(node, ast.Node) and column is not None:
            self._check_collation(node, column)
            places.append((node, column))
            return
        if isinstance(node, ast.ColumnRef):
            name = ".".join(column_name(node) or ("*",))
            if self._surely_one_group:
                raise InvalidStatementError(f'column "{name}" must appear in GROUP BY')
            raise Refused(
                f'column "{name}" beside aggregates must appear in GROUP BY as it is written here',
                "Put the column into GROUP BY, or an aggregate around it.",
                position=(node.location or 0) + 1,
            )
        if isinstance(node, ast.ParamRef):
            self.parameters.add(node.number or 0)
        for child in children_of(node):
            self._find_merged(child, places)

    def _spans(self, nodes: Sequence[ast.Node], column: int, within: Span) -> list[Span]:
        """Where these nodes, all the same merged column, stand in the text."""
        spans: list[Span] = []
        for node in nodes:
            if isinstance(node, ast.ColumnRef):
                spans.append(name_span(self.scope.source, node.location or 0))
            elif isinstance(node, ast.FuncCall):
                spans.append(call_span(self.scope, node))
            else:  # its tree does not say where it ends: it reads like the GROUP BY item
                return self.scope.source.occurrences(self.keys[column].span, within)
        return spans

    def _verify(self, text: SqlTemplate, node: object, replaced: Mapping[int, ast.Node]) -> None:
        """Parse the new text: it must be the old tree with just these nodes replaced."""
        literals = self.scope.source.literal_texts
        sql = "".join(part if isinstance(part, str) else literals[part.index] for part in _evaluable(text))
        if self.scope.fingerprint(_parse_expression(sql)) != self.scope.fingerprint(node, replaced):
            raise Refused(
                "this expression over aggregates or GROUP BY keys is not supported across shards", _ROUTE_HINT
            )

    def _check_collation(self, node: ast.Node, column: int) -> None:
        """Evaluate gives text the default collation. That must be the one that it has: even collations that all compare
        by bytes differ in what `upper` and ILIKE do."""
        gives_text = column < len(self.keys) or self._partials[column - len(self.keys)].kind in ("min", "max")
        if gives_text and not self.scope.has_default_collation(node):
            raise Refused(
                "an expression over a GROUP BY key, min() or max() of text with a collation of its own is not "
                "supported across shards",
                _ROUTE_HINT,
            )

    def _key_of(self, node: ast.Node) -> int | None:
        index = self._key_prints.get(repr(self.scope.fingerprint(node)))
        if index is not None:
            self.scope.pin_literals(node, self.keys[index].node)
        return index

    def _aggregate_column(self, call: ast.Node) -> int:
        """The merged column of an aggregate; equal calls share one unless constants could make them differ."""
        shared = repr(self.scope.fingerprint(call))
        known = self._partial_prints.get(shared)
        if known is None:
            known = len(self._partials)
            self._partials.append(partial_of(self.scope, call))
            if not self.scope.literals_in(call):
                self._partial_prints[shared] = known
        return len(self.keys) + known

    def bytewise(self, column: int) -> bool:
        """What a Sort above may take for granted about a merged column's text."""
        if column >= len(self.keys):
            return self._partials[column - len(self.keys)].bytewise
        key = self.keys[column]
        if key.collate:
            self.scope.bytewise(key.node)  # raises: sorting by it would need its own collation
        return key.bytewise


def _is_surely_grouped(scope: Scope) -> bool:
    """Whether the statement has HAVING, or an aggregate that is one beyond doubt."""
    select = scope.select
    aggregates = aggregates_in((select.targetList or (), select.sortClause or ()), scope.context)
    return select.havingClause is not None or any(is_surely_aggregate(call, scope.context) for call in aggregates)


def _group_keys(scope: Scope, outputs: Sequence[Output]) -> list[GroupKey]:
    keys: list[GroupKey] = []
    clause = scope.clauses.group
    if scope.select.groupDistinct:
        raise Refused("GROUP BY DISTINCT is not supported across shards", _ROUTE_HINT)
    prints: set[str] = set()
    for item, span in zip(items_of(scope.select.groupClause), () if clause is None else clause.items, strict=True):
        node, written = _group_item(scope, item, span, outputs)
        if repr(scope.fingerprint(node)) in prints and not scope.literals_in(node):
            continue
        prints.add(repr(scope.fingerprint(node)))
        keys.append(_group_key(scope, node, written))
    return keys


def _group_item(scope: Scope, node: ast.Node, span: Span, outputs: Sequence[Output]) -> tuple[ast.Node, Span]:
    """The expression that a GROUP BY item means: a position, an input column, an output name, or itself."""
    output = None
    if isinstance(node, ast.A_Const):
        output = outputs[position_of(node, len(outputs), "GROUP BY")]
    elif isinstance(node, ast.GroupingSet | ast.RowExpr):
        raise Refused("grouping sets and row values in GROUP BY are not supported across shards", _ROUTE_HINT)
    name = column_name(node)
    if name and len(name) == 1 and scope.any_column(node) is None:
        # Unlike ORDER BY, GROUP BY takes a bare name for an input column first (findTargetlistEntrySQL92).
        named = [output for output in outputs if output.name == name[0]]
        if named and (len(named) > 1 or not scope.lone):
            raise Refused(f'GROUP BY "{name[0]}" may mean several things', "Write the expression itself in GROUP BY.")
        output = named[0] if named else None
    if output is not None:
        if output.span is None:
            raise Refused("GROUP BY of a column that * stands for is not supported across shards", "Name the columns.")
        node, span = output.node, output.span
    if any(is_surely_aggregate(found, scope.context) for found in aggregates_in(node, scope.context)):
        raise InvalidStatementError("aggregate functions are not allowed in GROUP BY")
    if any(aggregates_in(node, scope.context)):
        raise Refused("aggregate functions are not allowed in GROUP BY", "Group by columns or by other expressions.")
    _refuse_subqueries(node)
    return node, span


def _group_key(scope: Scope, node: ast.Node, span: Span) -> GroupKey:
    text = scope.cut(span)
    column = scope.any_column(node)
    if column is not None and column.deterministic and not column.bytewise and column.type_oid in _TEXT_OIDS:
        # Equal under a deterministic collation means equal bytes: the groups are the same in either order.
        return GroupKey(node, span, text, bytewise=True, collate=True)
    return GroupKey(node, span, text, scope.bytewise(node))


def _final(groups: _Groups, output: Output) -> _Final:
    if output.span is None:
        raise Refused("* beside aggregates or GROUP BY is not supported across shards", "Name the columns.")
    return groups.finish(output.node, output.span)


def _sort_key(groups: _Groups, item: SortItem, column: int, outputs: Sequence[Output]) -> SortKey:
    node = item.node if item.output is None else outputs[item.output].node
    merged = groups.column_of(node)
    bytewise = groups.scope.bytewise(node) if merged is None else groups.bytewise(merged)
    return item.key(column, bytewise=bytewise)


def _finish(groups: _Groups, finals: Sequence[_Final], outputs: Sequence[Output], having: SqlTemplate | None) -> Step:
    """Project where each column is a key or an aggregate as it stands, else let a node compute.

    Why parameters are exact there: the node is told their types, which are those that a node has found for the whole
    statement (or the client's own), and they come to it as the client has bound them. In an expression over columns
    of the same types as the aggregates' a parameter of the type that it was given chooses the same operators and
    functions as the one whose type was still open. Every shard reads all values too, so what is wrong with one is
    told whether there are groups or not."""
    names = [output.name for output in outputs] + [None] * (len(finals) - len(outputs))
    bare = [final.bare for final in finals if final.bare is not None]
    for output in outputs:
        if not output.surely_named:
            raise Refused("the name of this output column is not known", "Give the column a name with AS.")
    if having is None and len(bare) == len(finals):
        return Project(tuple(bare), tuple(names))
    items = [
        final.text if name is None else join(final.text, f" AS {_quoted(name)}")
        for final, name in zip(finals, names, strict=True)
    ]
    where = None if having is None else _evaluable(having)
    return Evaluate(
        _evaluable(join_with(", ", items)),
        where,
        tuple(final.bare for final in finals),
        frozenset(groups.parameters),
        groups.scope.source.parameters,
    )


def _parse_expression(sql: str) -> ast.Node | None:
    """The tree of one expression; None when the text is anything else."""
    try:
        select = parser.parse_sql(f"SELECT {sql}")[0].stmt
    except parser.ParseError:
        return None
    targets = items_of(select.targetList) if isinstance(select, ast.SelectStmt) else ()
    if len(targets) != 1 or not isinstance(targets[0], ast.ResTarget) or targets[0].name is not None:
        return None
    return targets[0].val if isinstance(targets[0].val, ast.Node) else None


def _merged_column(column: int) -> ast.ColumnRef:
    return ast.ColumnRef(fields=(ast.String(sval="v"), ast.String(sval=f"c{column + 1}")))


def _quoted(name: str) -> str:
    """Always quoted: a bare label after AS may be any word, but this also keeps `?column?` and capitals."""
    return '"' + name.replace('"', '""') + '"'


def _evaluable(template: SqlTemplate) -> tuple[str | LiteralRef, ...]:
    """Neighbouring texts joined; what only makes sense on a shard is refused."""
    parts: list[str | LiteralRef] = []
    for part in template.parts:
        if not isinstance(part, str | LiteralRef):
            raise Refused("the current time in an expression over aggregates is not supported", "Leave it out.")
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts)


def _refuse_subqueries(node: object) -> None:
    if isinstance(node, ast.SubLink):
        raise Refused("a subquery beside aggregates or GROUP BY is not supported across shards", _ROUTE_HINT)
    for child in children_of(node):
        _refuse_subqueries(child)
