"""PREPARE and EXECUTE: taken apart here. What is prepared is kept, and planned, by the session."""

from __future__ import annotations

from collections.abc import Iterator

from pglast import ast

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.functions import acting_functions
from pgproxy.planner.on_node import verbatim_text
from pgproxy.planner.plan import Execute, PlainValue, Prepare, ValueKind
from pgproxy.planner.text import BRACKETS, SourceText
from pgproxy.planner.tree import items_of

_OPENING = "ASCII_40"
_COMMA = "ASCII_44"
_SEQUENCES = frozenset({"nextval", "setval"})
_NAME = 1  # the token behind PREPARE or EXECUTE


def plan_prepare(statement: ast.PrepareStmt, source: SourceText, context: PlanningContext) -> Prepare:
    verbatim_text(source, context)
    at = _NAME + 1
    types: tuple[tuple[str, int], ...] = ()
    if statement.argtypes:
        closing = source.closing(at)
        types = tuple(_parts(source, at, closing))
        at = closing + 1
    start = source.tokens[at + 1].start  # behind AS
    return Prepare(statement.name or "", types, source.sql[start:], start)


def plan_execute(statement: ast.ExecuteStmt, source: SourceText, context: PlanningContext) -> Execute:
    verbatim_text(source, context)
    arguments, offset = "", 0
    if statement.params:
        opening, closing = _NAME + 1, source.closing(_NAME + 1)
        offset = source.tokens[opening].end
        arguments = source.sql[offset : source.tokens[closing].start]
    values = tuple(_plain(value) for value in items_of(statement.params))
    node = _check_acting(statement, context)
    return Execute(statement.name or "", values, arguments, offset, node)


def _check_acting(statement: ast.ExecuteStmt, context: PlanningContext) -> str | None:
    """The node that the arguments need. They are computed before the statement and apart from it, so that they may
    only do what no transaction can undo."""
    acting = acting_functions(statement, context)
    if not acting:
        return None
    if acting - _SEQUENCES:
        raise Refused(
            f"function {min(acting - _SEQUENCES)}() among the arguments of EXECUTE is not supported",
            "Call it in a statement of its own and use the value that it gives.",
        )
    return context.shard_map.home_of_unmapped


def _parts(source: SourceText, opening: int, closing: int) -> Iterator[tuple[str, int]]:
    """What stands between two brackets, cut at the commas between them; with offsets."""
    depth, first = 0, opening + 1
    for at in range(opening + 1, closing + 1):
        name = source.tokens[at].name
        if at == closing or (name == _COMMA and depth == 0):
            start = source.tokens[first].start
            yield source.sql[start : source.tokens[at - 1].end], start
            first = at + 1
        depth += BRACKETS.get(name, 0)


def _plain(value: ast.Node) -> PlainValue | None:
    if not isinstance(value, ast.A_Const):
        return None
    if value.isnull:
        return PlainValue(ValueKind.NULL, None)
    match value.val:
        case ast.String(sval=text):
            return PlainValue(ValueKind.STRING, text or "")
        case ast.Integer(ival=number):
            return PlainValue(ValueKind.INTEGER, str(number or 0))
        case ast.Boolean(boolval=truth):
            return PlainValue(ValueKind.BOOLEAN, "true" if truth else "false")
    return None
