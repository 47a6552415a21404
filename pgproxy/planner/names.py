"""The name that PostgreSQL gives an output column without AS: the rules of its FigureColname (parse_target.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pglast import ast, enums

from pgproxy.planner.tree import items_of, names_of

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


def _sub_query(node: ast.SubLink) -> _Figured:
    """A sub-query that gives a value passes the name of its column on."""
    if node.subLinkType == enums.SubLinkType.EXPR_SUBLINK:
        target = _only_target(node.subselect)
        return (output_name(target) if isinstance(target, ast.ResTarget) else target), 2
    return _SUB_QUERIES.get(node.subLinkType or 0, (None, 0))


_SUB_QUERIES: dict[int, _Figured] = {
    enums.SubLinkType.EXISTS_SUBLINK: ("exists", 2),
    enums.SubLinkType.ARRAY_SUBLINK: ("array", 2),
}


def _only_target(select: object) -> ast.ResTarget | str | None:
    """The column that names a query's first one: its item in the first SELECT of a UNION, or its name. None: a star."""
    while isinstance(select, ast.SelectStmt) and isinstance(select.larg, ast.SelectStmt):
        select = select.larg
    if not isinstance(select, ast.SelectStmt):
        return None
    if select.valuesLists:
        return "column1"
    target = next(iter(items_of(select.targetList)), None)
    is_star = isinstance(target, ast.ResTarget) and _is_star(target.val)
    return target if isinstance(target, ast.ResTarget) and not is_star else None


def _is_star(node: object) -> bool:
    return isinstance(node, ast.ColumnRef | ast.A_Indirection) and any(
        isinstance(part, ast.A_Star)
        for part in items_of(node.fields if isinstance(node, ast.ColumnRef) else node.indirection)
    )


_JSON_FUNCTIONS: dict[int, str] = {
    enums.JsonExprOp.JSON_EXISTS_OP: "json_exists",
    enums.JsonExprOp.JSON_QUERY_OP: "json_query",
    enums.JsonExprOp.JSON_VALUE_OP: "json_value",
}

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
    ast.SubLink: _sub_query,
    ast.JsonFuncExpr: lambda node: (_JSON_FUNCTIONS.get(node.op), 2),
    ast.JsonObjectConstructor: lambda _: ("json_object", 2),
    ast.JsonArrayConstructor: lambda _: ("json_array", 2),
    ast.JsonArrayQueryConstructor: lambda _: ("json_array", 2),
    ast.JsonScalarExpr: lambda _: ("json_scalar", 2),
    ast.JsonSerializeExpr: lambda _: ("json_serialize", 2),
    ast.JsonParseExpr: lambda _: ("json", 2),
}


def names_surely(target: ast.ResTarget) -> bool:
    """Whether `output_name` knows the rule for this expression (not for SQL/XML and a sub-query's star)."""
    return target.name is not None or _is_known(target.val)


def _is_known(node: object) -> bool:
    if isinstance(node, ast.TypeCast | ast.CollateClause | ast.A_Indirection):
        return _is_known(node.arg)
    if isinstance(node, ast.CaseExpr):
        return node.defresult is None or _is_known(node.defresult)
    if isinstance(node, ast.SubLink) and node.subLinkType == enums.SubLinkType.EXPR_SUBLINK:
        target = _only_target(node.subselect)
        return names_surely(target) if isinstance(target, ast.ResTarget) else target is not None
    return isinstance(node, (*_FIGURES, *_SURELY_NAMELESS))


_SURELY_NAMELESS = (ast.A_Const, ast.BoolExpr, ast.NullTest, ast.BooleanTest, ast.ParamRef, ast.JsonIsPredicate)
