"""How partial aggregates of several shards become one: a table from (kind, type of the partial) to a function.

Everything works on text-format values, so a result reads as PostgreSQL would have printed it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial, reduce
from struct import Struct
from typing import Any

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators import floats, numeric, types
from pgproxy.operators.batches import Field
from pgproxy.operators.values import check_collation, order_of, unreadable_value
from pgproxy.wire.rows import Column

_SIZE = Struct("!i").pack
_NULL = _SIZE(-1)


@dataclass(frozen=True, slots=True)
class Combine:
    """One aggregate of the result: its kind, and which input columns hold its partial results.

    `avg` takes two columns, the partial sum and the partial count (for float arguments the sum must be of
    double precision); all others take one. `bytewise` is for min and max of text, as in SortKey.
    """

    kind: str
    columns: tuple[int, ...]
    bytewise: bool = False


# Takes the partial results that are not NULL, at least two of them (one is already the result).
Fold = Callable[[list[bytes]], bytes]


@dataclass(frozen=True, slots=True)
class Combiner:
    """A Combine made ready for its columns' types. `column` describes the result.

    `lone_column` is the input column that a group of one partial row gives unchanged, None if there is none.
    """

    column: Column
    result: Callable[[Sequence[list[Field]]], Field]
    lone_column: int | None = None

    def raw_result(self, partials: Sequence[list[Field]]) -> bytes:
        """The group's value with its length word, from its partial rows."""
        value = self.result(partials)
        return _NULL if value is None else _SIZE(len(value)) + value


def combiner(aggregate: Combine, columns: Sequence[Column], *, bytewise_default: bool) -> Combiner:
    """Raises Refused where values of this type cannot be combined exactly."""
    for index in aggregate.columns:
        if columns[index].format:
            raise Refused("cannot combine aggregates in binary format", "Ask for this result in text format.")
    if aggregate.kind == "avg":
        return _average(aggregate, columns)
    (index,) = aggregate.columns
    column = columns[index]
    if aggregate.kind in ("min", "max"):
        check_collation(column, bytewise=aggregate.bytewise or bytewise_default)
        fold: Fold = partial(_extreme, column, _PICK[aggregate.kind])
    else:
        fold = _fold_for(aggregate.kind, column)
    empty = b"0" if aggregate.kind == "count" else None
    return Combiner(replace(column, table_oid=0, attribute=0), partial(_fold_present, index, fold, empty), index)


def _fold_for(kind: str, column: Column) -> Fold:
    fold = FOLDS.get((kind, column.type_oid))
    if fold is None:
        raise Refused(
            f"cannot combine {kind}() of type {types.type_name(column.type_oid)} from several shards",
            "Cast the argument to numeric or bigint, or restrict the statement to one shard.",
        )
    return fold


def _fold_present(index: int, fold: Fold, empty: Field, partials: Sequence[list[Field]]) -> Field:
    """The aggregates here ignore NULL, which is what a shard without rows gives."""
    present = [value for row in partials if (value := row[index]) is not None]
    if not present:
        return empty
    return present[0] if len(present) == 1 else fold(present)


def _add_integers(values: list[bytes]) -> bytes:
    total = sum(map(int, values))
    if not -(1 << 63) <= total < 1 << 63:
        raise ProxyError("22003", "bigint out of range")
    return b"%d" % total


def _add_numerics(values: list[bytes]) -> bytes:
    return numeric.show(numeric.add(map(_decimal, values)))


def _add_doubles(values: list[bytes]) -> bytes:
    return floats.show_double(floats.add_doubles(map(float, values)))


def _add_singles(values: list[bytes]) -> bytes:
    return floats.show_single(floats.add_singles(map(float, values)))


def _decimal(value: bytes) -> Decimal:
    return Decimal(value.decode())


def _bits(combine: Callable[[int, int], int], values: list[bytes]) -> bytes:
    return b"%d" % reduce(combine, map(int, values))


def _all_true(values: list[bytes]) -> bytes:
    return b"f" if b"f" in values else b"t"


def _any_true(values: list[bytes]) -> bytes:
    return b"t" if b"t" in values else b"f"


_INTEGERS = (types.INT2, types.INT4, types.INT8)
_BITWISE = {"bit_and": operator.and_, "bit_or": operator.or_, "bit_xor": operator.xor}

FOLDS: Mapping[tuple[str, int], Fold] = {
    ("count", types.INT8): _add_integers,
    ("sum", types.INT8): _add_integers,
    ("sum", types.NUMERIC): _add_numerics,
    ("sum", types.FLOAT8): _add_doubles,
    ("sum", types.FLOAT4): _add_singles,
    ("bool_and", types.BOOL): _all_true,
    ("every", types.BOOL): _all_true,
    ("bool_or", types.BOOL): _any_true,
    **{(kind, oid): partial(_bits, combine) for kind, combine in _BITWISE.items() for oid in _INTEGERS},
}

_PICK: Mapping[str, Callable[..., Any]] = {"min": min, "max": max}


def _extreme(column: Column, pick: Callable[..., Any], values: list[bytes]) -> bytes:
    """The winner's own text."""
    ascend = order_of(column).ascend
    try:
        winner: bytes = pick(values, key=ascend)
    except (ValueError, ArithmeticError) as unreadable:
        raise unreadable_value(column) from unreadable
    return winner


# avg


def _average(aggregate: Combine, columns: Sequence[Column]) -> Combiner:
    sum_index, count_index = aggregate.columns
    column, count = columns[sum_index], columns[count_index]
    divide = AVERAGES.get(column.type_oid)
    if divide is None or count.type_oid != types.INT8:
        raise Refused(
            f"cannot combine avg() from sums of type {types.type_name(column.type_oid)} from several shards",
            "Cast the argument to numeric or double precision, or restrict the statement to one shard.",
        )
    oid, size, function = divide
    described = Column(column.name, type_oid=oid, type_size=size)
    return Combiner(described, partial(_average_present, sum_index, count_index, function))


def _average_present(
    sum_index: int, count_index: int, divide: Callable[[list[bytes], int], bytes], partials: Sequence[list[Field]]
) -> Field:
    sums = [value for row in partials if (value := row[sum_index]) is not None]
    if not sums:
        return None
    return divide(sums, sum(int(row[count_index] or 0) for row in partials))


def _average_numerics(sums: list[bytes], count: int) -> bytes:
    return numeric.show(numeric.average(numeric.add(map(_decimal, sums)), count))


def _average_doubles(sums: list[bytes], count: int) -> bytes:
    return floats.show_double(floats.add_doubles(map(float, sums)) / count)


# The type of the partial sum → type, size and function of the average.
AVERAGES: Mapping[int, tuple[int, int, Callable[[list[bytes], int], bytes]]] = {
    types.INT8: (types.NUMERIC, -1, _average_numerics),
    types.NUMERIC: (types.NUMERIC, -1, _average_numerics),
    types.FLOAT8: (types.FLOAT8, 8, _average_doubles),
}
