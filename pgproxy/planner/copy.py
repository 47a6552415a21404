"""COPY: into and out of logical tables, of queries over them, and of everything else on one node.

Why COPY FROM is exact: each row is stored where an INSERT of it would be. Why COPY TO is: without ORDER BY the rows
have no promised order, and a query's rows are those that the query itself gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pglast import ast

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.concat import Concat
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.copy_keys import ShardOfKey, needs_key
from pgproxy.planner.functions import check_scatter_functions, clock_edits
from pgproxy.planner.on_node import plan_on_node, verbatim_text, whole_text
from pgproxy.planner.plan import (
    Choice,
    CopyIn,
    CopyOnNode,
    CopyOut,
    Effect,
    Plan,
    Sharded,
    ShardName,
    Split,
    SqlTemplate,
    ToNode,
    moved_plan,
)
from pgproxy.planner.relations import Kind, classify
from pgproxy.planner.scope import name_span
from pgproxy.planner.text import Edit, SourceText, composed, join
from pgproxy.planner.tree import column_name, items_of, names_of, walk
from pgproxy.shardmap.model import Table
from pgproxy.wire.copy import CopyFormat, CopyKind

_DOT_IS_DATA = 180_000  # the PostgreSQL from which on `\.` is data in CSV
_ALL: None = None
_PlanStatement = Callable[[SourceText, PlanningContext], Plan]


def plan_copy(
    statement: ast.CopyStmt, source: SourceText, context: PlanningContext, plan_statement: _PlanStatement
) -> Plan:
    if statement.is_program or statement.filename:
        what = "COPY to or from a program" if statement.is_program else "COPY to or from a file of the server"
        raise Refused(f"{what} is not supported through the proxy", "Use STDIN or STDOUT (psql: \\copy).")
    verbatim_text(source, context)
    if statement.query is not None:
        return _plan_query(statement, source, context, plan_statement)
    assert statement.relation is not None
    relation = classify(statement.relation, context)
    if relation.kind is not Kind.LOGICAL:
        return _plan_on_node(statement, source, context)
    if relation.name not in context.placements:
        raise ProxyError("42P01", f'relation "{relation.name}" does not exist')
    table = context.shard_map.tables[relation.name]
    return (_plan_in if statement.is_from else _plan_table)(statement, table, source, context)


# --- not sharded ----------------------------------------------------------------------------------------------


def _plan_on_node(statement: ast.CopyStmt, source: SourceText, context: PlanningContext) -> Plan:
    assert statement.relation is not None
    plan = plan_on_node(statement, source, context)
    if not statement.is_from:
        return plan
    if classify(statement.relation, context).kind is Kind.REFERENCE:
        raise Refused("writing to a reference table is not supported yet", "Write the same rows on every node.")
    return CopyOnNode(plan.text, plan.node or context.shard_map.home_of_unmapped)


# --- options --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Options:
    """`forced`: which columns FORCE_QUOTE names, None for all; `force_null` and `force_not_null` likewise."""

    form: CopyFormat
    forced: frozenset[str] | None = frozenset()
    force_null: frozenset[str] | None = frozenset()
    force_not_null: frozenset[str] | None = frozenset()
    skips_errors: bool = False


_KINDS = {"text": CopyKind.TEXT, "csv": CopyKind.CSV, "binary": CopyKind.BINARY}
_COLUMN_LISTS = ("force_quote", "force_null", "force_not_null")
_OPTIONS = frozenset(
    (
        *("format", "freeze", "delimiter", "null", "header", "quote", "escape", "encoding", "default"),
        *("on_error", "log_verbosity", "reject_limit"),
        *_COLUMN_LISTS,
    )
)
_UTF8 = frozenset({"utf8", "unicode"})
_TRUE = frozenset({"true", "on", "1", ""})


@dataclass(slots=True)
class _Said:
    """The options as they stand in the statement. What is wrong with their values the nodes will say."""

    texts: dict[str, str] = field(default_factory=dict)
    columns: dict[str, frozenset[str] | None] = field(default_factory=dict)


def _options(statement: ast.CopyStmt, context: PlanningContext) -> _Options:
    said = _said(statement)
    encoding = said.texts.get("encoding", "utf8")
    if "".join(filter(str.isalnum, encoding.lower())) not in _UTF8:
        raise Refused(f'COPY in encoding "{encoding}" is not supported', "Convert the data to UTF8.")
    kind = _KINDS.get(said.texts.get("format", "text"), CopyKind.TEXT)
    csv = kind is CopyKind.CSV
    quote = _byte(said, "quote", '"')
    form = CopyFormat(
        kind=kind,
        delimiter=_byte(said, "delimiter", "," if csv else "\t"),
        null=said.texts.get("null", "" if csv else "\\N").encode(),
        default=said.texts["default"].encode() if "default" in said.texts else None,
        quote=quote,
        escape=_byte(said, "escape", quote.decode()),
        header_lines=_header_lines(said.texts.get("header", "false")),
        dot_ends_csv=context.facts.server_version_num < _DOT_IS_DATA,
    )
    return _Options(
        form,
        forced=said.columns.get("force_quote", frozenset()),
        force_null=said.columns.get("force_null", frozenset()),
        force_not_null=said.columns.get("force_not_null", frozenset()),
        skips_errors=said.texts.get("on_error", "stop") != "stop" or "reject_limit" in said.texts,
    )


def _said(statement: ast.CopyStmt) -> _Said:
    said = _Said()
    for option in items_of(statement.options):
        assert isinstance(option, ast.DefElem)
        name, value = option.defname or "", option.arg
        if name not in _OPTIONS:
            raise ProxyError("42601", f'option "{name}" not recognized', position=(option.location or 0) + 1)
        if name in said.texts or name in said.columns:
            raise ProxyError("42601", "conflicting or redundant options", position=(option.location or 0) + 1)
        if name in _COLUMN_LISTS:
            said.columns[name] = _ALL if isinstance(value, ast.A_Star) else frozenset(names_of(value))
        else:
            said.texts[name] = _text_of(value)
    return said


def _text_of(value: object) -> str:
    if isinstance(value, ast.String):
        return value.sval or ""
    if isinstance(value, ast.Boolean):
        return "true" if value.boolval else "false"
    return str(value.ival or 0) if isinstance(value, ast.Integer) else ""


def _byte(said: _Said, name: str, default: str) -> bytes:
    """A one-byte option; another value is an error of the nodes', so it does not matter what stands for it."""
    text = said.texts.get(name, default)
    return text.encode() if len(text.encode()) == 1 and text not in "\r\n" else default.encode()


def _header_lines(text: str) -> int:
    if text.lower() == "match":
        return 1
    return int(text) if text.isdigit() else int(text.lower() in _TRUE)


# --- COPY FROM ------------------------------------------------------------------------------------------------


def _plan_in(statement: ast.CopyStmt, table: Table, source: SourceText, context: PlanningContext) -> CopyIn:
    """WHERE is about one row at a time, so each shard may judge its own."""
    options = _options(statement, context)
    if options.skips_errors and len(table.shards) > 1:
        raise Refused("COPY with ON_ERROR into several shards is not supported", "Leave ON_ERROR out.")
    _check_where(statement, source, context)
    facts = context.table_facts(table)
    key = facts.columns[table.key]
    columns = names_of(statement.attlist) or tuple(facts.columns)
    if table.key not in columns:
        if key.has_default:
            raise needs_key(table.name, key)
        if not key.not_null:
            raise Refused(f'the shard key "{key.name}" of a new row cannot be NULL', "Say the key's value.")
    shard_of = ShardOfKey(
        context.placements[table.name],
        key,
        options.form,
        force_null=options.force_null is _ALL or table.key in options.force_null,
        force_not_null=options.force_not_null is _ALL or table.key in options.force_not_null,
    )
    return CopyIn(
        table=table,
        text=source.edit((_name_edit(statement, source, table),)),
        form=options.form,
        columns=len(columns),
        key=columns.index(table.key) if table.key in columns else None,
        shards_of=shard_of.shards,
        why_not=shard_of.why_not,
    )


def _check_where(statement: ast.CopyStmt, source: SourceText, context: PlanningContext) -> None:
    where = statement.whereClause
    if where is None:
        return
    check_scatter_functions(where, context)
    if clock_edits(where, source):
        raise Refused("COPY with a WHERE that asks for the time is not supported", "Write the time as a constant.")
    for node in walk(where):
        if isinstance(node, ast.SubLink):
            raise ProxyError(
                "0A000", "cannot use subquery in COPY FROM WHERE condition", position=(node.location or 0) + 1
            )
        if isinstance(node, ast.ColumnRef) and len(column_name(node) or ("", "")) > 1:
            raise Refused("a qualified column in COPY's WHERE is not supported", "Write the column's name alone.")


def _name_edit(statement: ast.CopyStmt, source: SourceText, table: Table) -> Edit:
    relation = statement.relation
    assert relation is not None
    start, end = name_span(source, relation.location or 0)
    name = ShardName(table, aliased=False, qualified=relation.schemaname is not None)
    return Edit(start, end, composed(name))


# --- COPY TO --------------------------------------------------------------------------------------------------


def _plan_table(statement: ast.CopyStmt, table: Table, source: SourceText, context: PlanningContext) -> CopyOut:
    text = source.edit((_name_edit(statement, source, table),))
    every = tuple(shard.index for shard in table.shards)
    options = _options(statement, context)
    return CopyOut(
        table, Choice(lambda _: every), text, text, None, options.form, ("", ""), 0, Effect.READ, forced=options.forced
    )


def _plan_query(
    statement: ast.CopyStmt, source: SourceText, context: PlanningContext, plan_statement: _PlanStatement
) -> Plan:
    if source.parameters:
        raise ProxyError("42P02", "there is no parameter $1")
    start, end = _query_span(source)
    plan = plan_statement(_inner(source, start, end), context)
    if isinstance(plan, ToNode):
        return ToNode(whole_text(source), plan.effect, plan.node)
    if not isinstance(plan, Sharded):
        raise Refused("COPY of this kind of statement is not supported", "COPY a SELECT.")
    options = _options(statement, context)
    head, tail = source.slice((0, start)), source.slice((end, len(source.sql)))
    plan = moved_plan(plan, start)
    return CopyOut(
        table=plan.table,
        choice=plan.choice,
        route=join(head, plan.route, tail),
        text=_scatter_text(plan, head, tail),
        query=plan,
        form=options.form,
        probe=(source.sql[:start], source.sql[end:]),
        length=len(source.sql),
        effect=plan.effect,
        forced=options.forced,
    )


def _inner(source: SourceText, start: int, end: int) -> SourceText:
    """The query, with the same constants as the whole; if they cannot be told, with none left open."""
    inner = SourceText(source.sql[start:end])
    if tuple((first + start, last + start) for first, last in inner.literals) == source.literals:
        return inner
    return SourceText(inner.sql, template="", constants=len(source.literals))


def _scatter_text(plan: Sharded, head: SqlTemplate, tail: SqlTemplate) -> SqlTemplate | Refused | None:
    """What each shard is asked where its answers need no more than to be put together."""
    scatter = plan.scatter
    if isinstance(scatter, Refused):
        return scatter
    if isinstance(scatter, Split):
        return Refused("COPY of a write on several shards is not supported", "Run the statement itself.")
    plain = len(scatter.pipeline.steps) == 1 and isinstance(scatter.pipeline.steps[0], Concat)
    if not plain or scatter.pipeline.steps[0].visible is not None or scatter.text.asks_time:  # type: ignore[attr-defined]
        return None
    return join(head, scatter.text, tail)


def _query_span(source: SourceText) -> tuple[int, int]:
    """Where the query stands between its brackets."""
    opening = next(at for at, token in enumerate(source.tokens) if token.name == "ASCII_40")
    return source.tokens[opening].end, source.tokens[source.closing(opening)].start
