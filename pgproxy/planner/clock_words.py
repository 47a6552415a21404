"""Constants such as 'now' and 'today', which every shard would read by its own clock and at its own moment.

Whether a constant is a date at all is PostgreSQL's to know; here it may be one unless it is compared with a column
of another type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pglast import ast, enums, parser

from pgproxy.errors import Refused
from pgproxy.hashing.literals import unquote
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Choice
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import children_of, items_of
from pgproxy.shardmap.facts import ColumnFacts

_WORD = re.compile(r"(?<![^\W\d_])(?:now|today|tomorrow|yesterday)(?![^\W\d_])", re.IGNORECASE)
# bool, bytea, "char", name, int8, int2, int4, text, oid, json, float4, float8, bpchar, varchar, numeric, uuid, jsonb
TIMELESS = frozenset({16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 700, 701, 1042, 1043, 1700, 2950, 3802})
ColumnOf = Callable[[object], ColumnFacts | None]
"""The column that a reference surely names, None for any other node."""

_VALUES = (ast.A_Const, ast.ParamRef)
_KIND = enums.A_Expr_Kind
_COMPARISONS = frozenset(
    {
        _KIND.AEXPR_OP,
        _KIND.AEXPR_OP_ANY,
        _KIND.AEXPR_OP_ALL,
        _KIND.AEXPR_DISTINCT,
        _KIND.AEXPR_NOT_DISTINCT,
        _KIND.AEXPR_IN,
        _KIND.AEXPR_LIKE,
        _KIND.AEXPR_ILIKE,
        _KIND.AEXPR_SIMILAR,
        _KIND.AEXPR_BETWEEN,
        _KIND.AEXPR_NOT_BETWEEN,
    }
)


@dataclass(frozen=True, slots=True)
class ClockWords:
    """Of a statement's constants, those that may be dates: `literals` vary from text to text, `fixed` do not."""

    literals: Sequence[int]
    fixed: bool

    def guard(self, choice: Choice) -> Choice:
        """The choice, refusing to take several shards where a constant means the present moment."""
        if not self.literals and not self.fixed:
            return choice

        def shards(arguments: Arguments) -> tuple[int, ...]:
            found = choice.shards(arguments)
            if len(found) > 1 and (self.fixed or any(is_clock_word(arguments.literals[at]) for at in self.literals)):
                raise Refused(
                    "a constant such as 'now' or 'today' would be read by each shard at its own moment",
                    "Use now() or current_date, or write the date itself.",
                )
            return found

        return Choice(shards, choice.explain, choice.by_value)


def clock_words(
    statement: ast.Node, source: SourceText, column_of: ColumnOf, timeless: Collection[int] = ()
) -> ClockWords:
    """The constants and parameters of a statement that may be dates; those in `timeless`, by their nodes' ids, are
    none."""
    constants = [constant for constant in _maybe_dates(statement, column_of) if id(constant) not in timeless]
    literals = [source.value_of(constant) for constant in constants]
    fixed = any(
        literal is None
        and isinstance(constant, ast.A_Const)
        and isinstance(constant.val, ast.String)
        and _WORD.search(constant.val.sval or "")
        for literal, constant in zip(literals, constants, strict=True)
    )
    return ClockWords(tuple(literal for literal in literals if literal is not None), fixed)


def is_clock_word(literal: str) -> bool:
    """Whether a constant, as it is written, has one of the words in it that mean the present moment."""
    if literal[0] not in "'$eEuU":
        return False
    value = unquote(literal)
    return _WORD.search(_parsed(literal) if value is None else value) is not None


def _parsed(literal: str) -> str:
    """The string of a constant that is no plain one: `E'…'`, `$$…$$`, `'…'` continued on the next line."""
    if literal[0] in "uU":  # UESCAPE, which decides what it means, stands behind it
        return "now"
    select = parser.parse_sql(f"SELECT {literal}")[0].stmt
    assert isinstance(select, ast.SelectStmt)
    (target,) = items_of(select.targetList)
    constant = target.val if isinstance(target, ast.ResTarget) else None
    value = constant.val if isinstance(constant, ast.A_Const) else None
    return value.sval or "" if isinstance(value, ast.String) else ""


def has_clock_word(value: bytes) -> bool:
    """Whether a parameter's text has such a word in it."""
    return _WORD.search(value.decode(errors="replace")) is not None


def _maybe_dates(node: object, column_of: ColumnOf) -> Iterator[ast.A_Const | ast.ParamRef]:
    """The constants below a node, without those that stand beside a column to which no date compares."""
    if isinstance(node, _VALUES):
        yield node
        return
    timeless = isinstance(node, ast.A_Expr) and node.kind in _COMPARISONS and _is_beside_timeless(node, column_of)
    for child in children_of(node):
        if not (timeless and isinstance(child, _VALUES)):
            yield from _maybe_dates(child, column_of)


def _is_beside_timeless(node: ast.A_Expr, column_of: ColumnOf) -> bool:
    columns = (column_of(side) for side in (node.lexpr, node.rexpr))
    return any(column is not None and column.type_oid in TIMELESS for column in columns)
