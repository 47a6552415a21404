"""The order of values: for each type a key that compares as PostgreSQL's btree operators compare the values.

Works on whole batches, so that most keys are made by loops in C. Values come in text format; the tables are
keyed by type OID and format so that binary can join them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import methodcaller, neg
from typing import Any

from pgproxy.errors import Refused
from pgproxy.operators import dates, types
from pgproxy.operators.batches import Field, cut_rows, take_field, take_fields, take_first_field, take_hidden_field
from pgproxy.wire.rows import Column


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column that rows are sorted or grouped by: `column` is its 0-based position in the row.

    `bytewise` says that its text is known to compare by bytes; without that, text is only accepted where
    the database's default collation does.
    """

    column: int
    descending: bool = False
    nulls_first: bool = False
    bytewise: bool = False


class Extreme:
    """Lies below (rank < 0) or above (rank > 0) every other value of any type: NULL, and NaN inside it.

    Other types' comparisons give NotImplemented for it, so Python asks this class instead.
    """

    __slots__ = ("rank",)

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __lt__(self, other: object) -> bool:
        return self.rank < _rank(other)

    def __le__(self, other: object) -> bool:
        return self.rank <= _rank(other)

    def __gt__(self, other: object) -> bool:
        return self.rank > _rank(other)

    def __ge__(self, other: object) -> bool:
        return self.rank >= _rank(other)

    def __eq__(self, other: object) -> bool:
        return self.rank == _rank(other)

    def __hash__(self) -> int:
        return hash(self.rank)

    def __neg__(self) -> Extreme:
        return Extreme(-self.rank)

    copy_negate = __neg__  # as Decimal calls it


def _rank(value: object) -> int:
    return value.rank if isinstance(value, Extreme) else 0


NAN = Extreme(1)
NULL_LAST = Extreme(2)
NULL_FIRST = Extreme(-2)


# One field's bytes → its ascending key.


def _numeric(value: bytes) -> Decimal | Extreme:
    return NAN if value == b"NaN" else Decimal(value.decode())


def _float(value: bytes) -> float | Extreme:
    number = float(value)
    return number if number == number else NAN


def _bpchar(value: bytes) -> bytes:
    return value.rstrip(b" ")


def _bytea(value: bytes) -> bytes:
    if value[:2] != b"\\x":  # bytea_output escape doubles its backslashes
        raise ValueError("not in hex format")
    return value


def _char(value: bytes) -> int:
    """The type "char" is one unsigned byte; those above 127 are shown as `\\ooo`, zero as nothing."""
    if len(value) == 4:
        return int(value[1:], 8)
    return value[0] if value else 0


# Ascending key → descending key.

_COMPLEMENT = bytes(255 - byte for byte in range(256))


def _reverse_text(key: bytes) -> bytes:
    """Bytes that sort the other way round: text has no zero byte, so its complement never has the terminator."""
    return key.translate(_COMPLEMENT) + b"\xff"


def _reverse_pair(key: tuple[int, int]) -> tuple[int, int]:
    return -key[0], -key[1]


@dataclass(frozen=True, slots=True)
class Order:
    """How one type's values become keys. `ascend` None: the field's own bytes are its key.

    `reverse` makes a descending key of an ascending one. `collated` types need a bytewise collation.
    """

    ascend: Callable[[bytes], Any] | None
    reverse: Callable[[Any], Any]
    collated: bool = False


_INTEGER = Order(int, neg)
_FLOAT = Order(_float, neg)
_STRING = Order(None, _reverse_text, collated=True)
# Text forms of fixed layout, or of hexadecimal digits, sort as their values do.
_AS_SHOWN = Order(None, _reverse_text)

_TEXT_FORMAT = 0

ORDERS: Mapping[tuple[int, int], Order] = {
    (types.BOOL, _TEXT_FORMAT): _AS_SHOWN,  # f before t
    (types.BYTEA, _TEXT_FORMAT): Order(_bytea, _reverse_text),
    (types.CHAR, _TEXT_FORMAT): Order(_char, neg),
    (types.NAME, _TEXT_FORMAT): _STRING,
    (types.INT8, _TEXT_FORMAT): _INTEGER,
    (types.INT2, _TEXT_FORMAT): _INTEGER,
    (types.INT4, _TEXT_FORMAT): _INTEGER,
    (types.TEXT, _TEXT_FORMAT): _STRING,
    (types.OID, _TEXT_FORMAT): _INTEGER,
    (types.FLOAT4, _TEXT_FORMAT): _FLOAT,
    (types.FLOAT8, _TEXT_FORMAT): _FLOAT,
    (types.MACADDR8, _TEXT_FORMAT): _AS_SHOWN,
    (types.MACADDR, _TEXT_FORMAT): _AS_SHOWN,
    (types.BPCHAR, _TEXT_FORMAT): Order(_bpchar, _reverse_text, collated=True),
    (types.VARCHAR, _TEXT_FORMAT): _STRING,
    (types.DATE, _TEXT_FORMAT): Order(dates.date_key, neg),
    (types.TIME, _TEXT_FORMAT): _AS_SHOWN,  # trailing zeros of the fraction are never shown
    (types.TIMESTAMP, _TEXT_FORMAT): Order(dates.timestamp_key, neg),
    (types.TIMESTAMPTZ, _TEXT_FORMAT): Order(dates.timestamptz_key, neg),
    (types.INTERVAL, _TEXT_FORMAT): Order(dates.interval_key, neg),
    (types.TIMETZ, _TEXT_FORMAT): Order(dates.timetz_key, _reverse_pair),
    (types.BIT, _TEXT_FORMAT): _AS_SHOWN,
    (types.VARBIT, _TEXT_FORMAT): _AS_SHOWN,
    (types.NUMERIC, _TEXT_FORMAT): Order(_numeric, methodcaller("copy_negate")),  # `-` rounds to 28 digits
    (types.UUID, _TEXT_FORMAT): _AS_SHOWN,
}


def comparable(oid: int, column_format: int = _TEXT_FORMAT) -> bool:
    """Whether values of this type can be sorted, grouped and compared here."""
    return (oid, column_format) in ORDERS


def collated(oid: int) -> bool:
    """Whether the order of this type's values depends on a collation."""
    order = ORDERS.get((oid, _TEXT_FORMAT))
    return order is not None and order.collated


class KeyColumn:
    """Makes the keys of one column, a batch at a time."""

    __slots__ = ("_column", "_null", "_order", "_reversed", "index")

    def __init__(self, key: SortKey, column: Column) -> None:
        self.index = key.column
        self._column = column
        self._order = order_of(column)
        self._reversed = key.descending
        self._null = NULL_FIRST if key.nulls_first else NULL_LAST

    def keys(self, fields: list[Field]) -> list[Any]:
        """One key per field. Raises Refused for a value that is not in the style it should be."""
        try:
            if None not in fields:
                return self._convert(fields)
            present = iter(self._convert([field for field in fields if field is not None]))
            return [self._null if field is None else next(present) for field in fields]
        except (ValueError, ArithmeticError) as unreadable:
            raise unreadable_value(self._column) from unreadable

    def _convert(self, fields: list[Any]) -> list[Any]:
        keys: Iterable[Any] = fields
        if self._order.ascend is not None:
            keys = map(self._order.ascend, keys)
        if self._reversed:
            keys = map(self._order.reverse, keys)
        return keys if isinstance(keys, list) else list(keys)


def order_of(column: Column) -> Order:
    """How the values of this column are ordered. Raises Refused for a type that cannot be compared here."""
    order = ORDERS.get((column.type_oid, column.format))
    if order is not None:
        return order
    if column.format != _TEXT_FORMAT and comparable(column.type_oid):
        raise Refused(
            f'cannot compare values of column "{column.name}" in binary format across shards',
            "Ask for this result in text format.",
        )
    raise Refused(
        f'cannot compare values of type {types.type_name(column.type_oid)} (column "{column.name}") across shards',
        "Sort or group by a column of another type, or cast it to text.",
    )


def unreadable_value(column: Column) -> Refused:
    """For a value that is not written as the session's settings should make the nodes write it."""
    return Refused(
        f'cannot read a value of type {types.type_name(column.type_oid)} in column "{column.name}"',
        "Results of several shards are merged with DateStyle ISO, IntervalStyle postgres and bytea_output hex only.",
    )


class KeyReader:
    """Takes a batch apart into one sort key per row and the rows, cut to their `visible` first columns."""

    __slots__ = ("_indexes", "_keys", "_visible")

    def __init__(self, keys: Sequence[KeyColumn], visible: int | None = None) -> None:
        self._keys = tuple(keys)
        self._indexes = tuple(key.index for key in keys)
        self._visible = visible

    def read(self, data: bytes) -> tuple[list[Any], list[bytes]]:
        """Keys (bare for one column, tuples for several) and rows, both in the batch's order."""
        if len(self._keys) == 1:
            fields, rows = self._take_one(data)
            return self._keys[0].keys(fields), rows
        columns, rows = take_fields(data, self._indexes)
        if self._visible is not None:
            rows = cut_rows(data, self._visible)
        if not columns:
            return [()] * len(rows), rows
        return list(zip(*map(KeyColumn.keys, self._keys, columns), strict=True)), rows

    def _take_one(self, data: bytes) -> tuple[list[Field], list[bytes]]:
        (index,) = self._indexes
        if self._visible is not None and index >= self._visible:
            return take_hidden_field(data, index, self._visible)
        fields, rows = take_first_field(data) if index == 0 else take_field(data, index)
        return fields, rows if self._visible is None else cut_rows(data, self._visible)


def ordering_reader(
    keys: Sequence[SortKey], columns: Sequence[Column], *, bytewise_default: bool, visible: int | None = None
) -> KeyReader:
    """A reader of keys that put rows in order. Raises Refused for text whose collation is not bytewise."""
    for key in keys:
        check_collation(columns[key.column], bytewise=key.bytewise or bytewise_default)
    return equality_reader(keys, columns, visible=visible)


def equality_reader(keys: Sequence[SortKey], columns: Sequence[Column], *, visible: int | None = None) -> KeyReader:
    """A reader of keys that only tell equal rows from different ones, whatever their collation."""
    return KeyReader([KeyColumn(key, columns[key.column]) for key in keys], visible)


def check_collation(column: Column, *, bytewise: bool) -> None:
    """Raises Refused for a text column that the node may sort otherwise than by bytes."""
    if order_of(column).collated and not bytewise:
        raise Refused(
            f'cannot merge text of column "{column.name}" in the order of its collation',
            'Add COLLATE "C" to the sort expression, or use a database whose collation is C or C.UTF-8.',
        )


def explain_keys(keys: Sequence[SortKey]) -> str:
    """`2 DESC, 1 NULLS FIRST`: positions counted from 1, PostgreSQL's defaults left out."""
    return ", ".join(_explain_key(key) for key in keys)


def _explain_key(key: SortKey) -> str:
    text = f"{key.column + 1} DESC" if key.descending else str(key.column + 1)
    if key.nulls_first == key.descending:
        return text
    return text + (" NULLS FIRST" if key.nulls_first else " NULLS LAST")
