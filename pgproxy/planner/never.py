"""Conditions that no row can fulfil, as clients write them for empty lists: `false`, `1 != 1`, sub-queries of no rows.

Whether they hold depends on constants, so that each is a function of them. What is not understood may be fulfilled.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pglast import ast, enums

from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import items_of, names_of, walk

Never = Callable[[tuple[str, ...]], bool]
"""Whether no row can fulfil a condition, given the statement's constants."""

_NOT_TRUE = frozenset({"false", "null", "'f'", "'false'"})
_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII).fullmatch


def never_of(node: object, source: SourceText) -> Never | None:
    """None for a condition of another kind."""
    if isinstance(node, (ast.A_Const, ast.ParamRef)):
        return _never_constant(node, source)
    if isinstance(node, ast.A_Expr):
        return _never_equal(node, source)
    if isinstance(node, ast.SubLink):
        return _never_found(node, source)
    return None


def _never_constant(node: ast.A_Const | ast.ParamRef, source: SourceText) -> Never | None:
    """FALSE or NULL, also bound."""
    value = source.value_of(node)
    return None if value is None else lambda literals: literals[value].lower() in _NOT_TRUE


def _never_equal(node: ast.A_Expr, source: SourceText) -> Never | None:
    """`1 = 0`, `1 <> 1`: whole numbers, which operators of PostgreSQL's own compare."""
    *schema, operator = names_of(node.name)
    if node.kind != enums.A_Expr_Kind.AEXPR_OP or schema not in ([], ["pg_catalog"]) or operator not in ("=", "<>"):
        return None
    if not isinstance(node.lexpr, ast.A_Const) or not isinstance(node.rexpr, ast.A_Const):
        return None
    left, right = source.literal_of(node.lexpr), source.literal_of(node.rexpr)
    if left is None or right is None:
        return None
    wanted = operator == "="

    def never(literals: tuple[str, ...]) -> bool:
        one, other = literals[left], literals[right]
        return bool(_INTEGER(one) and _INTEGER(other)) and (one == other) is not wanted

    return never


def _never_found(node: ast.SubLink, source: SourceText) -> Never | None:
    """`x IN (SELECT …)` or `EXISTS (SELECT …)` whose own WHERE no row can fulfil. Nothing in it may make a row out of
    none, as an aggregate, HAVING or UNION does: of its select list only constants and columns are known not to."""
    select = node.subselect
    kinds = (enums.SubLinkType.ANY_SUBLINK, enums.SubLinkType.EXISTS_SUBLINK)
    if node.subLinkType not in kinds or not isinstance(select, ast.SelectStmt) or select.whereClause is None:
        return None
    if select.op != enums.SetOperation.SETOP_NONE or select.groupClause or select.havingClause or select.withClause:
        return None
    if not all(isinstance(part, _PLAIN) for target in items_of(select.targetList) for part in walk(target)):
        return None
    return never_of(select.whereClause, source)


_PLAIN = (ast.ResTarget, ast.A_Const, ast.ColumnRef, ast.A_Star, ast.TypeCast, ast.TypeName, ast.String, ast.ParamRef)
