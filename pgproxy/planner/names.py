"""The name that PostgreSQL gives an output column without AS: the rules of its FigureColname (parse_target.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pglast import ast, enums

from pgproxy.planner.tree import names_of

_NAMELESS = "?column?"
_Figured = tuple[str | None, int]
"""A name and how strongly it is meant: 2 for good, 1 when a cast or CASE around it may offer a better one."""

_VALUE_FUNCTIONS = {
    enums.SQLValueFunctionOp.SVFOP_CURRENT_DATE: "current_date",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_TIME: "current_time",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_TIME_N: "current_time",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_TIMESTAMP: "current_timestamp",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_TIMESTAMP_N: "current_timestamp",
    enums.SQLValueFunctionOp.SVFOP_LOCALTIME: "localtime",
    enums.SQLValueFunctionOp.SVFOP_LOCALTIME_N: "localtime",
    enums.SQLValueFunctionOp.SVFOP_LOCALTIMESTAMP: "localtimestamp",
    enums.SQLValueFunctionOp.SVFOP_LOCALTIMESTAMP_N: "localtimestamp",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_ROLE: "current_role",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_USER: "current_user",
    enums.SQLValueFunctionOp.SVFOP_USER: "user",
    enums.SQLValueFunctionOp.SVFOP_SESSION_USER: "session_user",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_CATALOG: "current_catalog",
    enums.SQLValueFunctionOp.SVFOP_CURRENT_SCHEMA: "current_schema",
}


def output_name(target: ast.ResTarget) -> str:
    """The name of an output column that is not a star."""
    if target.name is not None:
        return target.name
    return _figure(target.val)[0] or _NAMELESS


def _figure(node: object) -> _Figured:
    figure = _FIGURES.get(type(node))
    return (None, 0) if figure is None else figure(node)


def _column(node: ast.ColumnRef) -> _Figured:
    names = names_of(node.fields)
    return (names[-1], 2) if names else (None, 0)


def _indirection(node: ast.A_Indirection) -> _Figured:
    names = names_of(node.indirection)
    return (names[-1], 2) if names else _figure(node.arg)


def _function(node: ast.FuncCall) -> _Figured:
    return names_of(node.funcname)[-1], 2


def _expression(node: ast.A_Expr) -> _Figured:
    return ("nullif", 2) if node.kind == enums.A_Expr_Kind.AEXPR_NULLIF else (None, 0)


def _cast(node: ast.TypeCast) -> _Figured:
    name, strength = _figure(node.arg)
    if strength <= 1 and node.typeName is not None:
        return names_of(node.typeName.names)[-1], 1
    return name, strength


def _case(node: ast.CaseExpr) -> _Figured:
    name, strength = _figure(node.defresult)
    return ("case", 1) if strength <= 1 else (name, strength)


def _extreme(node: ast.MinMaxExpr) -> _Figured:
    return ("greatest" if node.op == enums.MinMaxOp.IS_GREATEST else "least"), 2


def _value_function(node: ast.SQLValueFunction) -> _Figured:
    return (None, 0) if node.op is None else (_VALUE_FUNCTIONS[node.op], 2)


_FIGURES: dict[type, Callable[[Any], _Figured]] = {
    ast.ColumnRef: _column,
    ast.A_Indirection: _indirection,
    ast.FuncCall: _function,
    ast.A_Expr: _expression,
    ast.TypeCast: _cast,
    ast.CollateClause: lambda node: _figure(node.arg),
    ast.CaseExpr: _case,
    ast.A_ArrayExpr: lambda _: ("array", 2),
    ast.RowExpr: lambda _: ("row", 2),
    ast.CoalesceExpr: lambda _: ("coalesce", 2),
    ast.MinMaxExpr: _extreme,
    ast.SQLValueFunction: _value_function,
}


def names_surely(target: ast.ResTarget) -> bool:
    """Whether `output_name` knows the rule for this expression (not for SQL/XML, SQL/JSON and subqueries)."""
    return target.name is not None or _is_known(target.val)


def _is_known(node: object) -> bool:
    if isinstance(node, ast.TypeCast | ast.CollateClause | ast.A_Indirection):
        return _is_known(node.arg)
    if isinstance(node, ast.CaseExpr):
        return node.defresult is None or _is_known(node.defresult)
    return isinstance(node, (*_FIGURES, *_SURELY_NAMELESS))


_SURELY_NAMELESS = (ast.A_Const, ast.BoolExpr, ast.NullTest, ast.BooleanTest, ast.ParamRef)
