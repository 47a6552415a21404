"""INSERT, UPDATE and DELETE on a logical table: the shards are chosen by the key of the rows.

Which shards a WHERE concerns is `choice`'s, what each of several runs is `split`'s. That nothing unsharded is mixed in,
`statements` has checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from pglast import ast

from pgproxy.errors import Refused
from pgproxy.hashing import NULL, UNKNOWN
from pgproxy.operators.arguments import UNKNOWN_PARAMETER, Arguments
from pgproxy.planner.choice import KeyReference, is_own_cast, key_choice
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.plan import Choice, Effect, Sharded, Split
from pgproxy.planner.relations import Kind, classify
from pgproxy.planner.scope import name_edits
from pgproxy.planner.split import check_returning, check_split, split_rows, split_whole
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import column_name, items_of, walk
from pgproxy.shardmap.facts import ColumnFacts
from pgproxy.shardmap.model import Table
from pgproxy.shardmap.placement import Placement

Shards = tuple[int, ...]
_NewShard = Callable[[Arguments], int | None]
"""The shard of a new row, None where no shard takes it. Raises Refused when that cannot be told."""

_ANY_SHARD = 0  # where a row that cannot be stored at all gets its error


# --- INSERT ---------------------------------------------------------------------------------------------------


def plan_insert(statement: ast.InsertStmt, source: SourceText, context: PlanningContext) -> Sharded:
    """Every row goes to the shard of its key."""
    table = _target(statement, context)
    key = context.table_facts(table).columns[table.key]
    rows = [_KeyOfRow(value, key, table, source, context).reader() for value in _key_values(statement, table, context)]
    _check_on_conflict(statement, table)

    def shards(arguments: Arguments) -> Shards:
        chosen = {row(arguments) for row in rows}
        return () if None in chosen else tuple(sorted(shard for shard in chosen if shard is not None))

    def homes(arguments: Arguments) -> Shards:
        return tuple(row(arguments) or 0 for row in rows)  # each has one, or `shards` gives none

    def split() -> Split:
        check_returning(statement)
        return split_rows(statement, table, homes, source)

    choice = Choice(shards, f"{table.key} of {len(rows)} new row{'s'[: len(rows) > 1]}")
    if _have_unequal_lengths(statement):
        choice = Choice(lambda _: (_ANY_SHARD,), "rows of unequal lengths")  # whose node says so
    return _sharded(statement, table, choice, source, context, split if len(rows) > 1 else None)


def _have_unequal_lengths(statement: ast.InsertStmt) -> bool:
    values = statement.selectStmt
    rows = items_of(values.valuesLists) if isinstance(values, ast.SelectStmt) else ()
    return len({len(items_of(row)) for row in rows}) > 1


def _key_values(statement: ast.InsertStmt, table: Table, context: PlanningContext) -> list[ast.Node | None]:
    """The expression for the key in each row, None where the row has none."""
    values = statement.selectStmt
    if values is None:  # DEFAULT VALUES
        return [None]
    assert isinstance(values, ast.SelectStmt)
    rows = values.valuesLists
    if not rows or values.sortClause or values.limitCount or values.limitOffset or values.withClause:
        raise Refused(
            "INSERT … SELECT into a sharded table is not supported yet",
            "Read the rows first, then INSERT … VALUES.",
        )
    named = [target.name or "" for target in items_of(statement.cols) if isinstance(target, ast.ResTarget)]
    columns = named or list(context.table_facts(table).columns)
    if table.key not in columns:
        return [None] * len(rows)
    place = columns.index(table.key)
    return [row[place] if place < len(row) else None for row in map(items_of, rows)]


class _KeyOfRow:
    """How to find the shard of one new row from the expression for its key."""

    def __init__(
        self, value: ast.Node | None, key: ColumnFacts, table: Table, source: SourceText, context: PlanningContext
    ) -> None:
        self._value = value
        self._key = key
        self._table = table
        self._source = source
        self._placement = context.placements[table.name]

    def reader(self) -> _NewShard:
        if self._value is None or isinstance(self._value, ast.SetToDefault):
            return self._without_value()
        literal = key_literal(self._value, self._placement, self._source)
        if literal is None:
            raise Refused(
                f'the shard key "{self._key.name}" of a new row must be a constant', "Compute its value first."
            )
        return self._of_literal(literal)

    def _without_value(self) -> _NewShard:
        if self._key.has_default:
            raise Refused(
                f'a new row of "{self._table.name}" needs its shard key "{self._key.name}"', "Say the key's value."
            )
        shard = self._of_null()
        return lambda _: shard

    def _of_null(self) -> int:
        if not self._key.not_null:
            raise Refused(f'the shard key "{self._key.name}" of a new row cannot be NULL', "Say the key's value.")
        return _ANY_SHARD

    def _of_literal(self, literal: int) -> _NewShard:
        parse, shard_of_new = self._placement.key_type.parse_literal, self._placement.shard_of_new

        def shard(arguments: Arguments) -> int | None:
            value = parse(arguments.literals[literal])
            if value is NULL:
                return self._of_null()
            found = shard_of_new(value)
            if found is UNKNOWN:
                raise _key_not_read(self._key, arguments.literals[literal])
            assert found is None or isinstance(found, int)
            return found

        return shard


def key_literal(node: object, placement: Placement, source: SourceText) -> int | None:
    """The constant or parameter that a node is, perhaps cast to the key's own type without a type modifier."""
    if isinstance(node, ast.TypeCast) and is_own_cast(node.typeName, placement.key_type.oid):
        node = node.arg
    return source.value_of(node)


def _key_not_read(key: ColumnFacts, text: str) -> Refused:
    if text == UNKNOWN_PARAMETER:
        return Refused(
            f'the parameter for shard key "{key.name}" has a value or a type that the proxy does not read',
            "Bind it as a value of the key's own type.",
        )
    return Refused(
        f'the value {text[:80]} of shard key "{key.name}" is in a form that the proxy does not read',
        "Write it in its plain form, such as 'west', 42 or '2024-05-01'.",
    )


def _check_on_conflict(statement: ast.InsertStmt, table: Table) -> None:
    clause = statement.onConflictClause
    if clause is None:
        return
    if clause.infer is not None and clause.infer.conname:
        raise Refused(
            "ON CONFLICT ON CONSTRAINT is not supported: each shard names its constraints in its own way",
            "Name the columns: ON CONFLICT (…).",
        )
    if any(isinstance(target, ast.ResTarget) and target.name == table.key for target in items_of(clause.targetList)):
        raise Refused(f'ON CONFLICT cannot set the shard key "{table.key}"', "Delete the row and insert it anew.")


# --- UPDATE and DELETE ----------------------------------------------------------------------------------------


def plan_update(statement: ast.UpdateStmt, source: SourceText, context: PlanningContext) -> Sharded:
    table = _target(statement, context)
    key = _key_reference(statement, table, context)
    choice = _where_choice(statement, key, table, source, context)
    for target in items_of(statement.targetList):
        assert isinstance(target, ast.ResTarget)
        # SET branch = branch, as some ORMs write it, moves nothing.
        if target.name == table.key and not key.matches(target.val):
            choice = _keeping_shard(target, choice, table, source, context)
    return _sharded(statement, table, choice, source, context, lambda: split_whole(statement, table, source))


def plan_delete(statement: ast.DeleteStmt, source: SourceText, context: PlanningContext) -> Sharded:
    table = _target(statement, context)
    key = _key_reference(statement, table, context)
    choice = _where_choice(statement, key, table, source, context)
    return _sharded(statement, table, choice, source, context, lambda: split_whole(statement, table, source))


def _where_choice(
    statement: ast.UpdateStmt | ast.DeleteStmt,
    key: KeyReference,
    table: Table,
    source: SourceText,
    context: PlanningContext,
) -> Choice:
    if isinstance(statement.whereClause, ast.CurrentOfExpr):
        every = tuple(range(len(table.shards)))
        return Choice(lambda _arguments: every, "the shard of the cursor")
    return key_choice(statement.whereClause, key, context.placements[table.name], source)


def _key_reference(statement: ast.UpdateStmt | ast.DeleteStmt, table: Table, context: PlanningContext) -> KeyReference:
    assert statement.relation is not None
    alias = statement.relation.alias
    relation = (alias.aliasname if alias else statement.relation.relname) or ""
    qualifiers = {(relation,)} if alias else {(relation,), (table.schema, relation)}
    return KeyReference(context.table_facts(table).columns[table.key], frozenset(qualifiers))


def _keeping_shard(
    target: ast.ResTarget, choice: Choice, table: Table, source: SourceText, context: PlanningContext
) -> Choice:
    """SET of the key is allowed where the row provably stays on its shard: a constant, and one shard pinned."""
    refusal = Refused(
        f'UPDATE cannot move rows of "{table.name}" to another shard by setting "{table.key}"',
        "Delete the row and insert it anew.",
    )
    literal = key_literal(target.val, context.placements[table.name], source)
    if literal is None or target.indirection:
        raise refusal
    key = context.table_facts(table).columns[table.key]
    new_shard = _KeyOfRow(target.val, key, table, source, context).reader()

    def shards(arguments: Arguments) -> Shards:
        found = choice.shards(arguments)
        if found and found != (new_shard(arguments),):
            raise refusal
        return found

    return Choice(shards, choice.explain)


# --- all three ------------------------------------------------------------------------------------------------


def _target(statement: ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt, context: PlanningContext) -> Table:
    """The logical table that is written, which must be the only one in the statement."""
    target = statement.relation
    assert target is not None
    if classify(target, context).kind is not Kind.LOGICAL:
        raise Refused(
            f'writing to "{target.relname}" from a sharded table is not supported yet',
            "Read the rows first, then write them.",
        )
    others = [
        node
        for node in walk(statement)
        if isinstance(node, ast.RangeVar) and node is not target and classify(node, context).kind is Kind.LOGICAL
    ]
    if others:
        raise Refused(
            f'a write cannot read sharded table "{others[0].relname}" in a subquery or join',
            "Read the rows first, then write by their keys.",
        )
    table = context.shard_map.tables[target.relname or ""]
    relation = (target.alias.aliasname if target.alias else target.relname) or ""
    rows = {(name,) for name in (relation, *_ROW_NAMES) if name not in context.table_facts(table).columns}
    for node in walk(statement):
        _check_shows_no_shard(column_name(node), rows)
    return table


_ROW_NAMES = ("excluded", "old", "new")


def _check_shows_no_shard(name: tuple[str, ...] | None, rows: Collection[tuple[str, ...]]) -> None:
    """Refuse what is the shard's own: its row type, and its oid."""
    if name is not None and name in rows:
        raise Refused(f'a reference to whole rows ("{name[0]}") is not supported', "Name the columns that you need.")
    if name and name[-1] == "tableoid":
        raise Refused('the system column "tableoid" of a sharded table is not supported', "Leave it out.")


def _sharded(
    statement: ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt,
    table: Table,
    choice: Choice,
    source: SourceText,
    context: PlanningContext,
    split: Callable[[], Split] | None,
) -> Sharded:
    """`split` says what each of several shards runs, or raises Refused; None: there are never several."""
    assert statement.relation is not None
    where = None if isinstance(statement, ast.InsertStmt) else statement.whereClause
    scatter: Split | Refused = _NEVER_SEVERAL
    if split is not None and not isinstance(where, ast.CurrentOfExpr):
        try:
            words = check_split(statement, table, source, context)
            scatter = split()
            choice = words.guard(choice)
        except Refused as refused:
            scatter = refused
    return Sharded(
        table=table,
        choice=choice,
        route=source.edit(name_edits(source, statement, statement.relation, table)),
        scatter=scatter,
        effect=Effect.WRITE,
        tag=_TAGS[type(statement)],
        no_shard=_no_shard(statement, table),
        cursor=where.cursor_name if isinstance(where, ast.CurrentOfExpr) else None,
    )


_TAGS: dict[type, str] = {ast.InsertStmt: "INSERT 0 {}", ast.UpdateStmt: "UPDATE {}", ast.DeleteStmt: "DELETE {}"}
_NEVER_SEVERAL = Refused("this statement writes on one shard", "Name the rows by the shard key.")


def _no_shard(statement: ast.Node, table: Table) -> str | None:
    """Rows of no shard: an INSERT fails, an UPDATE or DELETE finds nothing."""
    return f'no partition of relation "{table.name}" found for row' if isinstance(statement, ast.InsertStmt) else None
