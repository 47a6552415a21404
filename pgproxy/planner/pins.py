"""What a statement leaves behind in its connection: temporary tables, LISTEN, advisory locks of the session.

Keeping the connection for the session is the session's.
"""

from __future__ import annotations

import re

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.functions import calls_of
from pgproxy.planner.plan import Effect, Pin, ToNode
from pgproxy.planner.relations import Kind, classify_name
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import walk

_SESSION_LOCK = re.compile(r"pg_(try_)?advisory_lock(_shared)?")
_UNLOCK_ALL = "pg_advisory_unlock_all"
# A DO block that says one of these may leave something behind; what it calls is not seen.
_TELLTALE = re.compile(r"\b(temp|temporary|pg_temp\w*|listen|pg_(try_)?advisory_lock(_shared)?)\b", re.IGNORECASE)
_SHADOWABLE = (Kind.LOGICAL, Kind.SHARD, Kind.REFERENCE, Kind.UNSAFE, Kind.CATALOG)


def pin_of(statement: ast.Node, context: PlanningContext) -> Pin | None:
    """What the statement leaves behind in its connection. Raises Refused for a temporary table whose name means
    another one to the proxy."""
    temporary = [node for node in walk(statement) if isinstance(node, ast.RangeVar) and node.relpersistence == "t"]
    temporary += [target for target in _made(statement) if is_temporary_schema(target.schemaname or "")]
    for name in temporary:
        check_temporary_name(name.relname or "", context)
    if temporary and not _is_dropped_on_commit(statement):
        return Pin.TEMPORARY
    if any(_SESSION_LOCK.fullmatch(call.name) for call in calls_of(statement, context)):
        return Pin.ADVISORY_LOCK
    return None


def unpin_of(statement: ast.Node, context: PlanningContext) -> Pin | None:
    """What the statement gives up for good."""
    return Pin.ADVISORY_LOCK if any(call.name == _UNLOCK_ALL for call in calls_of(statement, context)) else None


def check_temporary_name(name: str, context: PlanningContext) -> None:
    """Raise Refused for a name that the proxy would go on taking for the shard map's or the catalog's table: in
    PostgreSQL a temporary table comes first."""
    if classify_name(None, name, context).kind in _SHADOWABLE:
        raise Refused(
            f'a temporary table with the name of "{name}" would hide it, which the proxy does not see',
            "Give it a name of its own.",
        )


def block_pin(body: str) -> Pin | None:
    """What a DO block may leave behind, by the words in it."""
    return Pin.BLOCK if _TELLTALE.search(body) else None


def plan_listen(_statement: ast.ListenStmt, source: SourceText, context: PlanningContext) -> ToNode:
    """On the node that every NOTIFY goes to, whoever says it."""
    home = context.shard_map.home_of_unmapped
    return ToNode(source.slice((0, len(source.sql))), Effect.READ, home, pins=Pin.LISTEN)


def plan_unlisten(statement: ast.UnlistenStmt, source: SourceText, _context: PlanningContext) -> ToNode:
    """A session that listens has its connection for it; for any other nothing changes on whatever node."""
    everything = statement.conditionname is None
    text = source.slice((0, len(source.sql)))
    return ToNode(text, Effect.READ, unpins=Pin.LISTEN if everything else None)


def plan_notify(_statement: ast.NotifyStmt, source: SourceText, context: PlanningContext) -> ToNode:
    """It becomes true with its transaction, so it counts as a write."""
    return ToNode(source.slice((0, len(source.sql))), Effect.WRITE, context.shard_map.home_of_unmapped)


def is_temporary_schema(name: str) -> bool:
    """pg_temp, or the name that it has for one session."""
    return name.startswith("pg_temp")


def _made(statement: ast.Node) -> list[ast.RangeVar]:
    """What a statement may make, by name: of a query only what stands behind INTO."""
    whole = [statement] if not isinstance(statement, _QUERIES) else []
    makers = whole or [node for node in walk(statement) if isinstance(node, ast.IntoClause)]
    return [name for maker in makers for name in walk(maker) if isinstance(name, ast.RangeVar)]


_QUERIES = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def _is_dropped_on_commit(statement: ast.Node) -> bool:
    """It ends with the transaction, which keeps its connection anyway."""
    clauses = [statement, *(node for node in walk(statement) if isinstance(node, ast.IntoClause))]
    options = (getattr(clause, "oncommit", None) or getattr(clause, "onCommit", None) for clause in clauses)
    return any(option == enums.OnCommitAction.ONCOMMIT_DROP for option in options)
