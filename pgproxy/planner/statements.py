"""Every kind of statement and what plans it: a table by node type. What the table does not name is refused.

Statements over a logical table are planned by `select` and `writes`, those without one by `on_node`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pglast import ast

from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.copy import plan_copy
from pgproxy.planner.cursors import plan_close, plan_declare, plan_fetch
from pgproxy.planner.definitions import (
    ON_EVERY_NODE,
    plan_call,
    plan_definition,
    plan_do,
    plan_drop,
    plan_grant,
    plan_maintenance,
    spoken,
)
from pgproxy.planner.functions import check_any_functions, check_routed_functions
from pgproxy.planner.on_node import DATA_MODIFYING, plan_on_node, verbatim_text, whole_text
from pgproxy.planner.pins import plan_listen, plan_notify, plan_unlisten
from pgproxy.planner.plan import Effect, Explain, Plan, Sharded, ToNode, moved_plan
from pgproxy.planner.prepare import plan_execute, plan_prepare
from pgproxy.planner.relations import Kind, relations_of
from pgproxy.planner.select import plan_select
from pgproxy.planner.settings import (
    OFF,
    options_of,
    plan_deallocate,
    plan_discard,
    plan_set,
    plan_set_config,
    plan_set_constraints,
    plan_show,
    plan_transaction,
)
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import walk
from pgproxy.planner.writes import plan_delete, plan_insert, plan_update

_CONNECT_TO_A_NODE = "Connect to one of the nodes for it."


def plan_statement(source: SourceText, context: PlanningContext) -> Plan:
    """The plan of one parsed statement. Raises ProxyError, mostly Refused."""
    (raw,) = source.tree
    statement = raw.stmt
    assert statement is not None
    setting = plan_set_config(statement, source, context)
    if setting is not None:
        return setting
    check_any_functions(statement, context)
    planner = _PLANNERS.get(type(statement))
    if planner is None:
        raise _refusal(statement)
    return planner(statement, source, context)


def _refusal(statement: ast.Node) -> Refused:
    what, hint = _REFUSED.get(type(statement), (spoken(type(statement)), _CONNECT_TO_A_NODE))
    return Refused(f"{what} is not supported through the proxy", hint)


# --- queries and writes ---------------------------------------------------------------------------------------


def _plan_select(statement: ast.SelectStmt, source: SourceText, context: PlanningContext) -> Plan:
    table = _logical_name(statement, context)
    if table is None:
        return plan_on_node(statement, source, context)
    _refuse_mixture(statement, table, context)
    plan = plan_select(statement, source, context)
    if plan is None:
        raise Refused(f'this use of table "{table}" is not supported yet', "Write it as a plain SELECT FROM one table.")
    return _routed(statement, plan, context)


def _plan_write(
    plan_sharded: Callable[[Any, SourceText, PlanningContext], Sharded],
) -> Callable[[Any, SourceText, PlanningContext], Plan]:
    def plan(statement: Any, source: SourceText, context: PlanningContext) -> Plan:
        table = _logical_name(statement, context)
        if table is None:
            return plan_on_node(statement, source, context)
        _refuse_mixture(statement, table, context)
        return _routed(statement, plan_sharded(statement, source, context), context)

    return plan


def _plan_merge(statement: ast.MergeStmt, source: SourceText, context: PlanningContext) -> Plan:
    if _logical_name(statement, context) is not None:
        raise Refused("MERGE on a sharded table is not supported", "Use INSERT … ON CONFLICT, UPDATE or DELETE.")
    return plan_on_node(statement, source, context)


def _routed(statement: ast.Node, plan: Sharded, context: PlanningContext) -> Sharded:
    check_routed_functions(statement, context)
    return plan


def _logical_name(statement: ast.Node, context: PlanningContext) -> str | None:
    for relation in relations_of(statement, context):
        if relation.kind is Kind.LOGICAL:
            return relation.name
    return None


_MIXTURES = {
    Kind.SHARD: "physical table",
    Kind.UNSAFE: "view",
    Kind.CATALOG: "catalog table",
    Kind.UNMAPPED: "unsharded table",
}


def _refuse_mixture(statement: ast.Node, table: str, context: PlanningContext) -> None:
    """A statement over a logical table may use reference tables beside it, and nothing else."""
    if table not in context.placements:
        raise ProxyError(
            "42P01", f'relation "{table}" does not exist', hint='Create the tables with "pgproxy init", then reconnect.'
        )
    for relation in relations_of(statement, context):
        if relation.kind in _MIXTURES:
            raise Refused(
                f'a statement cannot use sharded table "{table}" together with {_MIXTURES[relation.kind]} '
                f'"{relation.name}"',
                "Make it a reference table, or use two statements.",
            )
    for node in walk(statement):
        if node is not statement and isinstance(node, DATA_MODIFYING):
            raise Refused(
                f'a WITH query that writes is not supported together with sharded table "{table}"',
                "Use two statements in one transaction.",
            )


# --- EXPLAIN --------------------------------------------------------------------------------------------------


def _plan_explain(statement: ast.ExplainStmt, source: SourceText, context: PlanningContext) -> Plan:
    query = statement.query
    planner = _PLANNERS.get(type(query))
    if query is None or planner is None or type(query) not in _EXPLAINABLE:
        raise Refused(f"EXPLAIN of {spoken(type(query))} is not supported", "Explain a query, or connect to a node.")
    options = options_of(statement.options)
    analyze = "analyze" in options and options["analyze"] not in OFF
    start = _explained_from(source, bool(statement.options))
    plan = plan_statement(_explained(source, start, context), context)
    if isinstance(plan, ToNode):
        effect = plan.effect if analyze else Effect.READ
        return ToNode(whole_text(source), effect, plan.node, pins=plan.pins if analyze else None)
    assert isinstance(plan, Sharded)
    if options.get("format", "text") != "text":
        raise Refused("EXPLAIN of a sharded statement has no other format than TEXT", "Leave FORMAT out.")
    head = source.tokens[0].end
    return Explain(source.sql[head:start].strip(), moved_plan(plan, start), analyze)


def _explained(source: SourceText, start: int, context: PlanningContext) -> SourceText:
    """What is behind EXPLAIN or DECLARE, with the same constants as the whole; if that fails, with none left open."""
    inner = SourceText(source.sql[start:])
    if tuple((first + start, end + start) for first, end in inner.literals) == source.literals:
        return inner
    verbatim_text(source, context)
    return SourceText(inner.sql, template="", constants=len(source.literals))


def _plan_declare(statement: ast.DeclareCursorStmt, source: SourceText, context: PlanningContext) -> Plan:
    return plan_declare(statement, source, lambda start: plan_statement(_explained(source, start, context), context))


_EXPLAINABLE = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def _explained_from(source: SourceText, has_options: bool) -> int:
    """The offset of the statement behind EXPLAIN and its options."""
    index = 1
    if has_options and source.tokens[1].name == "ASCII_40":
        index = source.closing(1) + 1
    while has_options and source.tokens[index].name in ("ANALYZE", "VERBOSE"):
        index += 1
    return source.tokens[index].start


# --- the tables -----------------------------------------------------------------------------------------------

_REFUSED: dict[type, tuple[str, str]] = {
    ast.CreateFunctionStmt: ("CREATE FUNCTION", ON_EVERY_NODE),
    ast.CreateExtensionStmt: ("CREATE EXTENSION", ON_EVERY_NODE),
    ast.CreateRoleStmt: ("CREATE ROLE", ON_EVERY_NODE),
    ast.AlterRoleStmt: ("ALTER ROLE", ON_EVERY_NODE),
    ast.DropRoleStmt: ("DROP ROLE", ON_EVERY_NODE),
    ast.CreatedbStmt: ("CREATE DATABASE", ON_EVERY_NODE),
    ast.DropdbStmt: ("DROP DATABASE", ON_EVERY_NODE),
}

_DEFINITIONS: tuple[type, ...] = (
    ast.AlterEnumStmt,
    ast.AlterObjectSchemaStmt,
    ast.AlterSeqStmt,
    ast.AlterTableStmt,
    ast.CommentStmt,
    ast.CompositeTypeStmt,
    ast.CreateDomainStmt,
    ast.CreateEnumStmt,
    ast.CreatePolicyStmt,
    ast.CreateSchemaStmt,
    ast.CreateSeqStmt,
    ast.CreateStatsStmt,
    ast.CreateStmt,
    ast.CreateTableAsStmt,
    ast.CreateTrigStmt,
    ast.IndexStmt,
    ast.LockStmt,
    ast.RefreshMatViewStmt,
    ast.RenameStmt,
    ast.RuleStmt,
    ast.TruncateStmt,
    ast.ViewStmt,
)

_PLANNERS: dict[type, Callable[[Any, SourceText, PlanningContext], Plan]] = {
    **dict.fromkeys(_DEFINITIONS, plan_definition),
    ast.SelectStmt: _plan_select,
    ast.InsertStmt: _plan_write(plan_insert),
    ast.UpdateStmt: _plan_write(plan_update),
    ast.DeleteStmt: _plan_write(plan_delete),
    ast.MergeStmt: _plan_merge,
    ast.TransactionStmt: plan_transaction,
    ast.VariableSetStmt: plan_set,
    ast.ConstraintsSetStmt: plan_set_constraints,
    ast.VariableShowStmt: plan_show,
    ast.DiscardStmt: plan_discard,
    ast.DeallocateStmt: plan_deallocate,
    ast.DeclareCursorStmt: _plan_declare,
    ast.FetchStmt: plan_fetch,
    ast.ClosePortalStmt: plan_close,
    ast.ListenStmt: plan_listen,
    ast.UnlistenStmt: plan_unlisten,
    ast.NotifyStmt: plan_notify,
    ast.PrepareStmt: plan_prepare,
    ast.ExecuteStmt: plan_execute,
    ast.ExplainStmt: _plan_explain,
    ast.CopyStmt: lambda statement, source, context: plan_copy(statement, source, context, plan_statement),
    ast.DropStmt: plan_drop,
    ast.GrantStmt: plan_grant,
    ast.VacuumStmt: plan_maintenance,
    ast.ReindexStmt: plan_maintenance,
    ast.ClusterStmt: plan_maintenance,
    ast.DoStmt: plan_do,
    ast.CallStmt: plan_call,
}
