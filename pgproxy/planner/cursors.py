"""DECLARE, FETCH, MOVE and CLOSE: what they say. Where a cursor lives and what it gives is the session's to know."""

from __future__ import annotations

from collections.abc import Callable

from pglast import ast, enums

from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.on_node import DATA_MODIFYING, whole_text
from pgproxy.planner.plan import CloseCursor, Declare, Direction, Fetch, Plan, Sharded, ToNode, moved, moved_plan
from pgproxy.planner.text import SourceText, join
from pgproxy.planner.tree import walk

_BINARY, _SCROLL, _NO_SCROLL, _INSENSITIVE, _ASENSITIVE, _HOLD = 1, 2, 4, 8, 16, 32  # parsenodes.h
_CONTRADICTIONS = (
    (_SCROLL, _NO_SCROLL, "SCROLL and NO SCROLL"),
    (_ASENSITIVE, _INSENSITIVE, "ASENSITIVE and INSENSITIVE"),
)
_LOCKS_WITH = ((_HOLD, "WITH HOLD", "Holdable cursors"), (_SCROLL, "SCROLL", "Scrollable cursors"))
_LOCKS_INSENSITIVE = (_INSENSITIVE, "INSENSITIVE", "Insensitive cursors")
_DIRECTIONS = {
    enums.FetchDirection.FETCH_FORWARD: Direction.FORWARD,
    enums.FetchDirection.FETCH_BACKWARD: Direction.BACKWARD,
    enums.FetchDirection.FETCH_ABSOLUTE: Direction.ABSOLUTE,
    enums.FetchDirection.FETCH_RELATIVE: Direction.RELATIVE,
}


def plan_declare(
    statement: ast.DeclareCursorStmt,
    source: SourceText,
    inner: Callable[[int], Plan],
) -> Declare:
    """`inner` plans the query that begins at an offset of the text. Whatever it may be by itself, a cursor may be
    over: its rows are the same, only fetched in parts."""
    options = int(statement.options or 0)
    query = statement.query
    assert query is not None
    _check_options(options, query)
    start = _query_start(source)
    plan = inner(start)
    if isinstance(plan, Sharded):
        plan = moved_plan(plan, start)
        text = join(source.slice((0, start)), plan.route)
    else:
        if not isinstance(plan, ToNode) or plan.unsettles:
            raise Refused("a cursor over this query is not supported", "Run the query itself.")
        plan = ToNode(moved(plan.text, start), plan.effect, plan.node)
        text = whole_text(source)
    scroll = bool(options & _SCROLL) or (False if options & _NO_SCROLL else None)
    return Declare(
        statement.portalname or "", plan, text, scroll, hold=bool(options & _HOLD), binary=bool(options & _BINARY)
    )


def _check_options(options: int, query: ast.Node) -> None:
    """What transformDeclareCursorStmt refuses, for cursors that no node declares."""
    for one, other, names in _CONTRADICTIONS:
        if options & one and options & other:
            raise ProxyError("42P11", f"cannot specify both {names}")
    nodes = [node for node in walk(query) if isinstance(node, (*DATA_MODIFYING, ast.IntoClause, ast.LockingClause))]
    if any(isinstance(node, DATA_MODIFYING) for node in nodes):
        raise ProxyError("0A000", "DECLARE CURSOR must not contain data-modifying statements in WITH")
    if any(isinstance(node, ast.IntoClause) for node in nodes):
        raise Refused("a cursor over SELECT INTO is not supported", "Make the table first.")
    if not nodes:
        return
    for option, name, kind in (*_LOCKS_WITH, _LOCKS_INSENSITIVE):
        if options & option:
            raise ProxyError(
                "0A000",
                f"DECLARE {name + ' ' if option == _SCROLL else ''}CURSOR{' WITH HOLD' if option == _HOLD else ''} "
                "... FOR UPDATE is not supported",
                detail=f"{kind} must be READ ONLY.",
            )


def _query_start(source: SourceText) -> int:
    """The offset behind the FOR that comes first: no option is spelt so."""
    tokens = source.tokens
    index = next(at for at in range(2, len(tokens)) if tokens[at].name == "FOR")
    return tokens[index + 1].start


def plan_fetch(statement: ast.FetchStmt, source: SourceText, _context: PlanningContext) -> Fetch:
    direction = _DIRECTIONS[enums.FetchDirection(statement.direction or 0)]
    count = int(statement.howMany or 0)
    return Fetch(statement.portalname or "", direction, count, whole_text(source), move=bool(statement.ismove))


def plan_close(statement: ast.ClosePortalStmt, source: SourceText, _context: PlanningContext) -> CloseCursor:
    return CloseCursor(statement.portalname, whole_text(source))
