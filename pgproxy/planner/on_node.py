"""Statements without a logical table: on which node they run, and whether they write.

Definitions and maintenance are `definitions`; settings and transactions are `settings`.
"""

from __future__ import annotations

from pglast import ast

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.functions import node_needs
from pgproxy.planner.pins import pin_of, unpin_of
from pgproxy.planner.plan import Effect, SqlTemplate, ToNode
from pgproxy.planner.relations import Kind, Relation, classify_name, relations_of
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import walk
from pgproxy.shardmap.model import Engine

DATA_MODIFYING = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def plan_on_node(statement: ast.Node, source: SourceText, context: PlanningContext) -> ToNode:
    """A statement without a logical table: where its relations are, or anywhere."""
    relations = relations_of(statement, context)
    _refuse_unsafe(relations)
    if _writes_reference_table(statement, context):
        raise Refused("writing to a reference table is not supported yet", "Write the same rows on every node.")
    pin = pin_of(statement, context)
    needs = node_needs(statement, context)
    homes = [relation.node for relation in relations if relation.node is not None]
    if needs.home:
        homes.append(context.shard_map.home_of_unmapped)
    if len(set(homes)) > 1 and context.engine is Engine.POSTGRESQL:
        raise Refused(
            "a statement cannot use tables of several nodes",
            f"They are on {', '.join(sorted(set(homes)))}; use one statement for each.",
        )
    effect = Effect.WRITE if _writes(statement) else needs.effect
    unpins = None if pin is not None else unpin_of(statement, context)
    return ToNode(whole_text(source), effect, homes[0] if homes else None, pins=pin, unpins=unpins)


def _writes(statement: ast.Node) -> bool:
    """Whether a query writes, locks rows or makes a table."""
    return any(isinstance(node, (*DATA_MODIFYING, ast.LockingClause, ast.IntoClause)) for node in walk(statement))


def _writes_reference_table(statement: ast.Node, context: PlanningContext) -> bool:
    if isinstance(statement, ast.SelectStmt) and statement.lockingClause:
        return any(relation.kind is Kind.REFERENCE for relation in relations_of(statement, context))
    targets = (node.relation for node in walk(statement) if isinstance(node, DATA_MODIFYING))
    return any(
        target is not None and classify_name(target.schemaname, target.relname or "", context).kind is Kind.REFERENCE
        for target in targets
    )


def _refuse_unsafe(relations: tuple[Relation, ...]) -> None:
    for relation in relations:
        if relation.kind is Kind.UNSAFE:
            raise Refused(
                f'view "{relation.name}" reads a sharded table, and on a node it sees only part of it',
                "Write the view's query into the statement.",
            )


def whole_text(source: SourceText) -> SqlTemplate:
    return source.slice((0, len(source.sql)))


def verbatim_text(source: SourceText, context: PlanningContext) -> str:
    """The text itself, for plans that keep it as it stands: they hold for these constants only."""
    for literal in range(len(source.literals)):
        context.pin(literal)
    return source.sql
