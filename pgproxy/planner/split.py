"""INSERT, UPDATE and DELETE on several shards: what each of them is to run.

Which shards these are, and what not even one shard may be told, is `writes`'. That all of it happens or nothing, and in
which order rows come back, is the session's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.clock_words import TIMELESS, ClockWords, clock_words
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.date_casts import check_date_casts
from pgproxy.planner.functions import calls_of, check_scatter_functions, clock_edits
from pgproxy.planner.plan import NewRows, Split, SqlTemplate
from pgproxy.planner.scope import name_edits, reference_columns
from pgproxy.planner.text import PARAMETER, Edit, SourceText, Span, join, join_with
from pgproxy.planner.tree import column_name, items_of, walk
from pgproxy.shardmap.facts import ColumnFacts
from pgproxy.shardmap.model import Table

Write = ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt
Homes = Callable[[Arguments], tuple[int, ...]]

_ONE_SHARD = "Pin the shard key, so that one shard does it, or read the value first."
_PLAIN = (ast.A_Const, ast.ParamRef)
_NONE: frozenset[int] = frozenset()
# Their result does not depend on the order in which a node finds the rows.
_ORDERLESS = frozenset(
    ["avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "every", "max", "min", "sum"]
)


def split_rows(statement: ast.InsertStmt, table: Table, homes: Homes, source: SourceText) -> Split:
    """INSERT … VALUES. Why this is exact: PostgreSQL makes each row by itself, of the columns' types and not of those
    of other rows, and looks at no other new row while it does so. Unique and other constraints hold within a shard, as
    they do for one row at a time. Raises Refused."""
    spans = _row_spans(statement, source)
    edits = _edits(statement, table, source)
    starts = [edit.start for edit in edits]

    def cut(span: Span) -> SqlTemplate:
        return source.edit(edits[bisect_left(starts, span[0]) : bisect_left(starts, span[1])], span)

    texts = tuple(cut(span) for span in spans)
    before, behind = (0, spans[0][0]), (spans[-1][1], len(source.sql))
    parameters = tuple(_parameters(span, source) for span in spans)
    others = _parameters(before, source) | _parameters(behind, source)
    rows = NewRows(cut(before), texts, cut(behind), homes, parameters, others)
    whole = join(rows.before, join_with(", ", texts), rows.behind)
    return Split(whole, _returns(statement), rows, in_order=statement.onConflictClause is not None)


def _parameters(span: Span, source: SourceText) -> frozenset[int]:
    if not source.parameters:
        return _NONE
    return frozenset(int(token.text[1:]) for token in source.tokens_within(span) if token.name == PARAMETER)


def split_whole(statement: ast.UpdateStmt | ast.DeleteStmt, table: Table, source: SourceText) -> Split:
    """UPDATE and DELETE. Why this is exact: which rows are changed and how is judged for each row by itself, from its
    own columns, from reference tables, which are the same everywhere, and from what `check_split` leaves. The rows
    of RETURNING come in no promised order."""
    return Split(source.edit(_edits(statement, table, source)), _returns(statement))


def parts_of(split: Split, shards: Sequence[int], arguments: Arguments) -> list[tuple[int, Sequence[int]]]:
    """The shards concerned, each with the places of its new rows, in the order of their first ones."""
    if split.rows is None:
        return [(shard, ()) for shard in shards]
    places: dict[int, list[int]] = {}
    for place, home in enumerate(split.rows.homes(arguments)):
        places.setdefault(home, []).append(place)
    return list(places.items())


def part_of(split: Split, places: Sequence[int]) -> SqlTemplate:
    """What a shard runs that has these of the new rows."""
    rows = split.rows
    if rows is None:
        return split.text
    return join(rows.before, join_with(", ", [rows.texts[place] for place in places]), rows.behind)


def used_parameters(split: Split, places: Sequence[int]) -> frozenset[int] | None:
    """The numbers of those in such a part; None where it has all of the statement's."""
    rows = split.rows
    return None if rows is None else rows.others.union(*(rows.parameters[place] for place in places))


def _edits(statement: Write, table: Table, source: SourceText) -> list[Edit]:
    assert statement.relation is not None
    lean = _without(statement, lambda _: True)
    edits = [*name_edits(source, lean, statement.relation, table), *clock_edits(lean, source)]
    return sorted(edits, key=lambda edit: edit.start)


def _returns(statement: Write) -> bool:
    return statement.returningClause is not None


# --- the rows of VALUES ---------------------------------------------------------------------------------------


def _row_spans(statement: ast.InsertStmt, source: SourceText) -> list[Span]:
    """Where the rows stand, each with its brackets."""
    assert statement.relation is not None
    assert isinstance(statement.selectStmt, ast.SelectStmt)
    at = _values_keyword(source, source.token_index(statement.relation.location or 0)) + 1
    spans = []
    for _ in items_of(statement.selectStmt.valuesLists):
        closing = source.closing(at)
        spans.append((source.tokens[at].start, source.tokens[closing].end))
        at = closing + 2
    return spans


def _values_keyword(source: SourceText, at: int) -> int:
    """The index of VALUES, which may be the name of an alias or of a column as well."""
    tokens, at = source.tokens, at + 1
    while at < len(tokens):
        if tokens[at].name == "ASCII_40":
            at = source.closing(at)
        elif tokens[at].name == "VALUES" and tokens[at - 1].name != "AS":
            return at
        at += 1
    raise Refused("VALUES in brackets for several shards is not supported", "Leave the brackets out.")


def check_returning(statement: ast.InsertStmt) -> None:
    """Raise Refused where a row that is given may be missing among those that RETURNING gives: then nothing says which
    place a row has among those of other shards."""
    clause = statement.onConflictClause
    if clause is None or not _returns(statement):
        return
    if clause.action == enums.OnConflictAction.ONCONFLICT_NOTHING or clause.whereClause is not None:
        raise Refused(
            "RETURNING together with ON CONFLICT that leaves rows out is not supported over several shards",
            "Leave RETURNING out, or write each shard's rows by a statement of their own.",
        )


# --- what must be the same everywhere -------------------------------------------------------------------------


def check_split(statement: Write, table: Table, source: SourceText, context: PlanningContext) -> ClockWords:
    """Raise Refused for what would not be the same on every shard. The constants that may mean the present moment are
    to be guarded against."""
    timeless = _timeless(statement, table, context)
    statement = _without(statement, lambda value: id(value) in timeless)
    check_scatter_functions(statement, context)
    inner = list(_inner_queries(statement))
    for query, limited in inner:
        _check_inner(query, context, may_be_limited=limited)
    columns = _Columns(statement, table, context, inside={id(node) for query, _ in inner for node in walk(query)})
    check_date_casts(statement, columns.column_of)
    return clock_words(statement, source, columns.column_of, timeless)


def _without(statement: Write, passed_over: Callable[[ast.Node], bool]) -> Write:
    """An INSERT without those of its plain values that need no looking at: there may be thousands."""
    if not isinstance(statement, ast.InsertStmt) or not isinstance(statement.selectStmt, ast.SelectStmt):
        return statement
    values = (value for row in items_of(statement.selectStmt.valuesLists) for value in items_of(row))
    kept = tuple(value for value in values if not (isinstance(value, _PLAIN) and passed_over(value)))
    return ast.InsertStmt(
        relation=statement.relation,
        cols=statement.cols,
        selectStmt=ast.SelectStmt(valuesLists=(kept,)),
        onConflictClause=statement.onConflictClause,
        returningClause=statement.returningClause,
        withClause=statement.withClause,
    )


def _inner_queries(statement: Write) -> Iterator[tuple[ast.Node, bool]]:
    """What is computed once for the whole statement, or may be; and whether it matters how many rows it gives only."""
    for node in walk(statement):
        match node:
            case ast.SubLink():
                assert isinstance(node.subselect, ast.Node)
                yield node.subselect, node.subLinkType == enums.SubLinkType.EXISTS_SUBLINK
            case ast.CommonTableExpr():
                assert isinstance(node.ctequery, ast.Node)
                yield node.ctequery, False
            case ast.RangeSubselect() | ast.RangeFunction() | ast.RangeTableSample():
                yield node, False


def _check_inner(query: ast.Node, context: PlanningContext, *, may_be_limited: bool) -> None:
    """A single server computes it once, or takes any of several rows: each shard would for itself."""
    for call in calls_of(query, context):
        if call.volatility == "v":
            raise _differs(f"{call.name}() in a sub-query")
        if call.name in context.facts.aggregates and call.name not in _ORDERLESS:
            raise _differs(f"{call.name}() in a sub-query")
    for node in walk(query):
        match node:
            case ast.SelectStmt():
                limited = node.limitCount is not None or node.limitOffset is not None
                if limited and not (may_be_limited and node is query):
                    raise _differs("LIMIT in a sub-query")
                if any(item is not None for item in node.distinctClause or ()):
                    raise _differs("DISTINCT ON in a sub-query")
                if node.lockingClause:
                    raise _differs("FOR UPDATE in a sub-query")
            case ast.RangeTableSample():
                raise _differs("TABLESAMPLE")
            case ast.WindowDef():
                raise _differs("a window function in a sub-query")


def _differs(what: str) -> Refused:
    return Refused(f"{what} may differ between the shards that a write concerns", _ONE_SHARD)


class _Columns:
    """What references mean, as far as that is sure: outside of sub-queries."""

    def __init__(self, statement: Write, table: Table, context: PlanningContext, inside: Collection[int]) -> None:
        assert statement.relation is not None
        alias = statement.relation.alias
        relation = (alias.aliasname if alias else statement.relation.relname) or ""
        self._own = {(), (relation,), ("excluded",), ("old",), ("new",), (table.schema, relation)}
        self._columns = context.table_facts(table).columns
        self._inside = inside
        others = [node for node in walk(_from(statement)) if isinstance(node, ast.RangeVar) and id(node) not in inside]
        self._references = dict(reference_columns(name, context) for name in others)

    def column_of(self, node: object) -> ColumnFacts | None:
        name = column_name(node)
        if not name or id(node) in self._inside:
            return None
        if name[:-1] in self._own and name[-1] in self._columns:
            return self._columns[name[-1]]
        tables = self._references.values() if len(name) == 1 else [self._references.get(".".join(name[:-1]), {})]
        found = [columns[name[-1]] for columns in tables if name[-1] in columns]
        return found[0] if len(found) == 1 else None


def _from(statement: Write) -> object:
    match statement:
        case ast.UpdateStmt():
            return statement.fromClause
        case ast.DeleteStmt():
            return statement.usingClause
    return None


def _timeless(statement: Write, table: Table, context: PlanningContext) -> set[int]:
    """The ids of constants that become values of columns which are no dates."""
    columns = context.table_facts(table).columns
    found: set[int] = set()
    for target, value in _assigned(statement, tuple(columns)):
        column = columns.get(target.name or "") if isinstance(target, ast.ResTarget) else columns[target]
        plain = not (isinstance(target, ast.ResTarget) and target.indirection)
        if column is not None and plain and column.type_oid in TIMELESS:
            found.add(id(value))
    return found


def _assigned(statement: Write, columns: tuple[str, ...]) -> Iterator[tuple[ast.ResTarget | str, object]]:
    """Which column is given which value."""
    targets: Sequence[object] = ()
    if isinstance(statement, ast.InsertStmt):
        values = statement.selectStmt
        named = items_of(statement.cols) or columns
        for row in items_of(values.valuesLists) if isinstance(values, ast.SelectStmt) else ():
            yield from zip(named, items_of(row), strict=False)
        if statement.onConflictClause is not None:
            targets = items_of(statement.onConflictClause.targetList)
    elif isinstance(statement, ast.UpdateStmt):
        targets = items_of(statement.targetList)
    yield from ((target, target.val) for target in targets if isinstance(target, ast.ResTarget))
