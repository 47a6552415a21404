"""Limit: skips OFFSET rows, passes LIMIT rows, and then closes its inputs at once.

Also what LIMIT's and OFFSET's texts mean (`row_count`), which Sort shares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.arguments import UNKNOWN_PARAMETER, Arguments, LiteralRef
from pgproxy.operators.batches import first_rows, without_first_rows
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.wire.rows import Column

Bound = LiteralRef | int | None


@dataclass(frozen=True, slots=True)
class Limit:
    """The plan of LIMIT and OFFSET, each a number, a value known at execution, or None for none."""

    limit: Bound
    offset: Bound = None

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        limit, offset = bounds(self.limit, self.offset, arguments, inputs)
        return LimitOperator(inputs, limit, offset)

    def explain(self) -> str:
        return "Limit"


class LimitOperator(Operator):
    """Over one input. `limit` None passes everything behind `offset`."""

    def __init__(self, inputs: Sequence[RowSource], limit: int | None, offset: int) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self._wanted = limit
        self._to_skip = offset

    @property
    def ready(self) -> bool:
        return self._wanted == 0 or self._input.ready

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if self._wanted == 0:
            self.close()
        return columns

    async def _next(self) -> Batch | None:
        if self._wanted == 0:
            return None
        batch = await self._skip()
        if batch is None or self._wanted is None:
            return batch
        if batch.count > self._wanted:
            batch = first_rows(batch, self._wanted)
        self._wanted -= batch.count
        if self._wanted == 0:
            self.close()
        return batch

    async def _skip(self) -> Batch | None:
        """The first batch that reaches beyond OFFSET, without the rows before it."""
        while (batch := await self._input.next_batch()) is not None:
            if batch.count > self._to_skip:
                if self._to_skip:
                    batch = without_first_rows(batch, self._to_skip)
                    self._to_skip = 0
                return batch
            self._to_skip -= batch.count
        return None


def bounds(
    limit: Bound, offset: Bound, arguments: Arguments, inputs: Sequence[RowSource] = ()
) -> tuple[int | None, int]:
    """LIMIT (None: all) and OFFSET as numbers. Closes the inputs if they are in error, as PostgreSQL words it."""
    try:
        # PostgreSQL looks at OFFSET first, and at what it is worth only when both are bigints.
        skipped, wanted = row_count(offset, arguments), row_count(limit, arguments)
        if skipped is not None and skipped < 0:
            raise ProxyError("2201X", "OFFSET must not be negative")
        if wanted is not None and wanted < 0:
            raise ProxyError("2201W", "LIMIT must not be negative")
    except ProxyError:
        for source in inputs:
            source.close()
        raise
    return wanted, skipped or 0


def row_count(bound: Bound, arguments: Arguments) -> int | None:
    """The bigint that a LIMIT or OFFSET stands for, None for NULL.

    Raises ProxyError as PostgreSQL's cast to bigint would: 22P02, 22003.
    """
    if bound is None or isinstance(bound, int):
        return bound
    text = arguments.literals[bound.index].strip()
    if text.isdecimal() and text.isascii() and len(text) < _SURELY_BIGINT:  # nearly always
        return int(text)
    if text.upper() in ("NULL", "ALL"):
        return None
    return _number(text)


_SURELY_BIGINT = 19  # digits that bigint may not have room for
_DIGITS = r"\d+(?:_\d+)*"
_INTEGER = re.compile(rf"([+-]?)\s*({_DIGITS}|0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+)")
_DECIMAL = re.compile(rf"[+-]?\s*(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?")
_STRING = re.compile(r"'((?:[^']|'')*)'")
_MAX_EXPONENT = 30


def _number(text: str) -> int:
    if integer := _INTEGER.fullmatch(text):
        return _in_range(_integer(*integer.groups()), "bigint out of range")
    if _DECIMAL.fullmatch(text):
        return _in_range(_rounded(Decimal(text.replace(" ", ""))), "bigint out of range")
    if string := _STRING.fullmatch(text):
        return _from_string(string[1].replace("''", "'"))
    if text == UNKNOWN_PARAMETER:
        raise Refused(
            "the value of this parameter in LIMIT or OFFSET is not one that the proxy reads",
            "Bind an integer, or write the number into the statement.",
        )
    raise Refused("this form of LIMIT or OFFSET is not supported across shards", "Write it as a plain number.")


def _from_string(value: str) -> int:
    """As PostgreSQL's int8in: no fraction, no space after the sign."""
    integer = _INTEGER.fullmatch(value.strip(" \t\n\v\f\r"))
    if integer is None or re.search(r"[+-]\s", value):
        raise ProxyError("22P02", f'invalid input syntax for type bigint: "{value}"')
    return _in_range(_integer(*integer.groups()), f'value "{value}" is out of range for type bigint')


def _in_range(number: int, message: str) -> int:
    if not -(1 << 63) <= number < 1 << 63:
        raise ProxyError("22003", message)
    return number


def _integer(sign: str, digits: str) -> int:
    magnitude = int(digits, 0) if digits[1:2].isalpha() else int(digits)
    return -magnitude if sign == "-" else magnitude


def _rounded(value: Decimal) -> int:
    """As the cast from numeric to bigint: half away from zero."""
    if value.adjusted() > _MAX_EXPONENT:
        raise ProxyError("22003", "bigint out of range")
    return int(value.to_integral_value(ROUND_HALF_UP))
