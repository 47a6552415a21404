"""One SELECT over one logical table: what its names mean and which text stands for the table on a shard.

Finds out whether a SELECT has that shape at all. What its other clauses ask is left to `select` and `aggregates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.clauses import SelectClauses
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.plan import ShardName, SqlTemplate
from pgproxy.planner.relations import Kind, classify
from pgproxy.planner.text import Edit, SourceText, Span, composed
from pgproxy.planner.tree import column_name, items_of, names_of, walk
from pgproxy.shardmap.facts import ColumnFacts
from pgproxy.shardmap.model import Table

_SYSTEM_COLUMNS = frozenset({"ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"})
_BYTEWISE_COLLATIONS = frozenset({("C",), ("POSIX",), ("pg_catalog", "C"), ("pg_catalog", "POSIX")})
NOTHING_REPLACED: Mapping[int, ast.Node] = {}
_PLACES = frozenset({"location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"})
_ROUTE_HINT = "Name each logical table once, in the outermost FROM, and ask for the rest in statements of their own."


@dataclass(frozen=True, slots=True)
class Scope:
    """`edits` put the shard's name where the logical table's stands. `lone`: FROM holds nothing else.

    `qualifiers` are the prefixes that may stand before the table's columns: an alias, or its own name.
    `references` are the columns of the reference tables in FROM by the name that the statement gives each.
    """

    context: PlanningContext
    source: SourceText
    select: ast.SelectStmt
    clauses: SelectClauses
    table: Table
    relation: str
    qualifiers: frozenset[tuple[str, ...]]
    lone: bool
    edits: tuple[Edit, ...]
    references: Mapping[str, Mapping[str, ColumnFacts]]

    def column(self, node: object) -> ColumnFacts | None:
        """The logical table's column that a reference names; None for every other node."""
        name = column_name(node)
        if not name or (len(name) > 1 and name[:-1] not in self.qualifiers):
            return None
        return self.context.table_facts(self.table).columns.get(name[-1])

    def any_column(self, node: object) -> ColumnFacts | None:
        """The column of the logical table or of a reference table that a reference names."""
        name = column_name(node)
        if not name or self.column(node) is not None:
            return self.column(node)
        tables = self.references.values() if len(name) == 1 else [self.references.get(".".join(name[:-1]), {})]
        found = [columns[name[-1]] for columns in tables if name[-1] in columns]
        return found[0] if len(found) == 1 else None

    def cut(self, span: Span) -> SqlTemplate:
        """A piece of the statement as a shard must be given it."""
        return self.source.edit(self.edits_within(span), span)

    def edits_within(self, span: Span, beside: Sequence[Edit] = ()) -> list[Edit]:
        """The edits of a piece of the statement that are not inside what other edits replace anyway."""
        return [
            edit
            for edit in self.edits
            if span[0] <= edit.start
            and edit.end <= span[1]
            and not any(other.start <= edit.start and edit.end <= other.end > other.start for other in beside)
        ]

    def bytewise(self, node: object) -> bool:
        """Whether text that an expression gives is known to compare by bytes.

        False leaves it to the operator, who knows the type and the database's default collation. Raises Refused
        where some other collation than the default one may be in force and does not compare by bytes.
        """
        if isinstance(node, ast.CollateClause):
            if names_of(node.collname) in _BYTEWISE_COLLATIONS:
                return True
            raise _collation_refused()
        for part in walk(node):
            if isinstance(part, ast.CollateClause):
                raise _collation_refused()
            if isinstance(part, ast.ColumnRef):
                column = self.any_column(part)
                if column is None and not self.lone:
                    raise Refused(
                        "sorting or grouping by a column of unknown origin across shards is not supported",
                        "Qualify the column with its table's name, or pin the shard key to one value.",
                    )
                if column is not None and not (column.bytewise and column.deterministic):
                    raise _collation_refused()
        return self.any_column(node) is not None

    def has_default_collation(self, node: object) -> bool:
        """Whether text that an expression gives surely has the database's default collation: it comes from columns
        that have it and from constants, and nothing says COLLATE."""
        for part in walk(node):
            if isinstance(part, ast.CollateClause):
                return False
            if isinstance(part, ast.ColumnRef):
                column = self.any_column(part)
                if column is None or column.own_collation:
                    return False
        return True

    def fingerprint(self, node: object, replaced: Mapping[int, ast.Node] = NOTHING_REPLACED) -> object:
        """What makes two expressions the same: their trees without places, `books.price` like `price`.

        `replaced` has, by the id of a node, what stands in its place.
        """
        node = replaced.get(id(node), node)
        if self.lone and self.column(node) is not None:
            name = column_name(node)
            return ("column", name[-1] if name else None)
        if isinstance(node, tuple):
            return tuple(self.fingerprint(item, replaced) for item in node)
        if not isinstance(node, ast.Node):
            return node
        fields = (field for field in node if field not in _PLACES)
        return (type(node).__name__, *((field, self.fingerprint(getattr(node, field), replaced)) for field in fields))

    def literals_in(self, node: object) -> tuple[int | None, ...]:
        """The constants of an expression; None for one that is not the template's to vary."""
        return tuple(self.source.literal_of(part) for part in walk(node) if isinstance(part, ast.A_Const))

    def pin_literals(self, *nodes: object) -> None:
        """The plan takes these expressions for equal, which holds for their present constants only."""
        for node in nodes:
            for literal in self.literals_in(node):
                self.context.pin(literal)


def find_scope(source: SourceText, select: ast.SelectStmt, clauses: SelectClauses, context: PlanningContext) -> Scope:
    """The scope of a SELECT that names a logical table. Raises Refused for shapes that are not understood."""
    named_again = {id(name) for name in walk(select.lockingClause)}  # FOR UPDATE OF books
    names = [node for node in walk(select) if isinstance(node, ast.RangeVar) and id(node) not in named_again]
    logical = [name for name in names if classify(name, context).kind is Kind.LOGICAL]
    for name in names:
        if name not in logical and classify(name, context).kind is not Kind.REFERENCE:
            raise Refused(
                f'a sharded table together with "{name.relname}", which is not a reference table, is not supported',
                "Declare it under reference_tables if it is kept whole on every node.",
            )
    if len(logical) > 1:
        raise Refused("joins and subqueries over several sharded tables are not supported", _ROUTE_HINT)
    (range_var,) = logical
    for item in items_of(select.fromClause):
        _check_from(item)
    if not any(_has_on_preserved_side(item, range_var) for item in items_of(select.fromClause)):
        raise Refused("a sharded table in a subquery or on the nullable side of a join is not supported", _ROUTE_HINT)
    table = context.shard_map.tables[range_var.relname or ""]
    alias = range_var.alias
    if alias is not None and alias.colnames:
        raise Refused("column aliases in FROM are not supported", "Give the columns their aliases in the select list.")
    relation = (alias.aliasname if alias else range_var.relname) or ""
    qualifiers: set[tuple[str, ...]] = {(relation,)}
    if alias is None:
        qualifiers |= {(table.schema, relation), (context.shard_map.cluster.database, table.schema, relation)}
    scope = Scope(
        context,
        source,
        select,
        clauses,
        table,
        relation,
        frozenset(qualifiers),
        lone=len(names) == 1 and len(items_of(select.fromClause)) == 1,
        edits=tuple(name_edits(source, select, range_var, table)),
        references=dict(reference_columns(name, context) for name in names if name is not range_var),
    )
    _check_references(scope)
    return scope


def reference_columns(name: ast.RangeVar, context: PlanningContext) -> tuple[str, Mapping[str, ColumnFacts]]:
    """A reference table's name in the statement, and its columns; none where they are not known or renamed."""
    known = context.facts.reference_tables
    facts = known.get(name.relname or "") or known.get(f"{name.schemaname}.{name.relname}")
    alias = name.alias
    relation = (alias.aliasname if alias else name.relname) or ""
    return relation, facts.columns if facts and not (alias and alias.colnames) else {}


def name_edits(source: SourceText, statement: ast.Node, range_var: ast.RangeVar, table: Table) -> Iterator[Edit]:
    """Cut the shard's name in where a RangeVar names its logical table, and shorten `public.books.title`.

    Without an alias of the user's, the shard gets the logical name as its alias, so `books.title` still means
    something; but an alias has no schema.
    """
    if not range_var.inh:
        raise Refused("ONLY with a sharded table is not supported", "Leave ONLY out: logical tables have no children.")
    start, end = name_span(source, range_var.location or 0)
    behind = source.token_index(end)
    if behind < len(source.tokens) and source.tokens[behind].name == "ASCII_42":  # `books *`: with its children
        end = source.tokens[behind].end
    name = ShardName(table, aliased=range_var.alias is None, qualified=range_var.schemaname is not None)
    yield Edit(start, end, composed(name))
    if range_var.alias is not None:
        return
    for node in walk(statement):
        if isinstance(node, ast.ColumnRef):
            fields = items_of(node.fields)
            schema, relation = names_of(fields[:-2]), names_of(fields[-2:-1])
            if schema and relation == (range_var.relname,):
                at = source.token_index(node.location or 0)
                yield Edit(source.tokens[at].start, source.tokens[at + 2 * len(schema)].start, composed())


def name_span(source: SourceText, start: int) -> Span:
    """The span of a dotted name that begins at an offset."""
    at = source.token_index(start)
    while at + 2 < len(source.tokens) and source.tokens[at + 1].name == "ASCII_46":
        at += 2
    return start, source.tokens[at].end


def _has_on_preserved_side(item: object, range_var: ast.RangeVar) -> bool:
    """Whether each row of the FROM item comes from exactly one row of this table: the table is on the side that
    an outer join keeps. Then the join over all shards is the union of the joins on each."""
    if not isinstance(item, ast.JoinExpr):
        return item is range_var
    sides = {
        enums.JoinType.JOIN_INNER: (item.larg, item.rarg),
        enums.JoinType.JOIN_LEFT: (item.larg,),
        enums.JoinType.JOIN_RIGHT: (item.rarg,),
    }.get(item.jointype or enums.JoinType.JOIN_INNER, ())
    return any(_has_on_preserved_side(side, range_var) for side in sides)


def _check_from(item: object) -> None:
    if isinstance(item, ast.JoinExpr):
        if item.alias is not None or item.join_using_alias is not None:
            raise Refused("an alias for a join is not supported", "Give each table of the join an alias instead.")
        _check_from(item.larg)
        _check_from(item.rarg)
    elif not isinstance(item, ast.RangeVar):
        kind = _FROM_KINDS.get(type(item), "this item in FROM")
        raise Refused(f"{kind} together with a sharded table is not supported", _ROUTE_HINT)


_FROM_KINDS: dict[type, str] = {
    ast.RangeSubselect: "a subquery in FROM",
    ast.RangeFunction: "a function in FROM",
    ast.RangeTableSample: "TABLESAMPLE",
    ast.RangeTableFunc: "XMLTABLE",
    ast.JsonTable: "JSON_TABLE",
}


def _check_references(scope: Scope) -> None:
    """Refuse what would show that the rows come from shards: system columns and values of the row type."""
    stars = {id(target.val) for target in items_of(scope.select.targetList) if isinstance(target, ast.ResTarget)}
    for node in walk(scope.select):
        if not isinstance(node, ast.ColumnRef):
            continue
        names = names_of(node.fields)
        has_star = len(names) < len(items_of(node.fields))
        if names and not has_star and names[-1] in _SYSTEM_COLUMNS:
            raise Refused(
                f'the system column "{names[-1]}" of a sharded table is not supported',
                "Use the primary key to name a row.",
            )
        whole = has_star and names and id(node) not in stars
        bare = not has_star and names == (scope.relation,) and scope.column(node) is None
        if whole or bare:
            raise Refused(
                f'a reference to whole rows of "{scope.relation}" is not supported', "Name the columns that you need."
            )


def _collation_refused() -> Refused:
    return Refused(
        "sorting or grouping text across shards is supported only where it compares by bytes",
        'Write COLLATE "C" behind the column, or pin the shard key to one value.',
    )
