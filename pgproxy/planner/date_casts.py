"""Casts of text to a date or time over several shards: the text may say 'now', which each shard reads for itself.

A single PostgreSQL takes the beginning of its one transaction for it; the shards' transactions begin at different
moments, and by different clocks. Constants are `clock_words`' business, who knows what they say.
"""

from __future__ import annotations

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.clock_words import ColumnOf
from pgproxy.planner.tree import items_of, names_of, walk

_DATES = frozenset(
    [
        "date",
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "daterange",
        "tsrange",
        "tstzrange",
        "datemultirange",
        "tsmultirange",
        "tstzmultirange",
    ]
)
_STRINGS = frozenset({18, 19, 25, 705, 1042, 1043})  # "char", name, text, unknown, bpchar, varchar
_FIRST_OF_USERS = 16_384  # oids of types that an extension or a user made: citext, say
_GIVE_DATES = frozenset(
    [
        "now",
        "transaction_timestamp",
        "clock_timestamp",
        "date_trunc",
        "date_bin",
        "date_add",
        "date_subtract",
        "to_date",
        "to_timestamp",
        "make_date",
        "make_time",
        "make_timestamp",
        "make_timestamptz",
        "timezone",
        "age",
    ]
)
_PASS_ON = frozenset(["min", "max", "any_value"])
_ARITHMETIC = frozenset({("+",), ("-",)})
_CLOCK = range(enums.SQLValueFunctionOp.SVFOP_CURRENT_DATE, enums.SQLValueFunctionOp.SVFOP_LOCALTIMESTAMP_N + 1)


def check_date_casts(statement: ast.Node, column_of: ColumnOf) -> None:
    """Raise Refused for a cast whose text could be a word that means the present moment."""
    for node in walk(statement):
        if _may_read_clock(node, column_of):
            raise Refused(
                "a cast of text to a date or time is not supported across shards: each would read 'now' for itself",
                "Use to_date() or to_timestamp(), which know no such words, or pin the shard key to one value.",
            )


def _may_read_clock(node: ast.Node, column_of: ColumnOf) -> bool:
    """`text::date`, `date(text)`."""
    if isinstance(node, ast.TypeCast):
        return _type_of(node) in _DATES and _may_be_text(node.arg, column_of)
    if isinstance(node, ast.FuncCall) and names_of(node.funcname)[-1] in _DATES:
        return any(_may_be_text(argument, column_of) for argument in items_of(node.args))
    return False


def _type_of(cast: ast.TypeCast) -> str:
    names = names_of(cast.typeName.names) if isinstance(cast.typeName, ast.TypeName) else ()
    return names[-1] if names else ""


def _may_be_text(node: object, column_of: ColumnOf) -> bool:
    """Whether an expression may give a text that is not one constant. When in doubt, it may."""
    match node:
        case ast.A_Const() | ast.ParamRef():
            return False
        case ast.ColumnRef():
            column = column_of(node)
            return column is None or column.type_oid in _STRINGS or column.type_oid >= _FIRST_OF_USERS
        case ast.TypeCast():
            # text(…) changes nothing; varchar(3) may make 'now' of 'nowhere'.
            return _type_of(node) not in _DATES and (_type_of(node) != "text" or _may_be_text(node.arg, column_of))
        case ast.FuncCall():
            name = names_of(node.funcname)[-1]
            passed_on = name not in _PASS_ON or any(
                _may_be_text(argument, column_of) for argument in items_of(node.args)
            )
            return name not in _GIVE_DATES | _DATES and passed_on
        case ast.SQLValueFunction():
            return node.op not in _CLOCK
        case ast.CoalesceExpr() | ast.MinMaxExpr():
            return any(_may_be_text(argument, column_of) for argument in items_of(node.args))
        case ast.CaseExpr():
            results = [when.result for when in items_of(node.args) if isinstance(when, ast.CaseWhen)]
            return any(_may_be_text(result, column_of) for result in (*results, node.defresult) if result is not None)
        case ast.A_Expr():
            if node.kind == enums.A_Expr_Kind.AEXPR_NULLIF:
                return _may_be_text(node.lexpr, column_of)
            return names_of(node.name) not in _ARITHMETIC
    return True
