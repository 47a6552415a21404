"""Batches of DataRow bytes taken apart no further than needed: one field of each row, rows cut short, first rows.

These loops run once per row of every merged result, so they are written for speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from pgproxy.operators.source import Batch
from pgproxy.wire.rows import Column

Field = bytes | None

_UINT32 = Struct("!I").unpack_from
_INT32 = Struct("!i").unpack_from
_ROW_TO_FIRST_FIELD = Struct("!xI2xi").unpack_from  # message length, size of the first field
_ROW_HEADER = Struct("!cIH").pack
_HEADER_BYTES = 7  # type byte, length, number of fields


def take_first_field(data: bytes) -> tuple[list[Field], list[bytes]]:
    """The first field of each row, and each row."""
    fields: list[Field] = []
    rows: list[bytes] = []
    add_field, add_row = fields.append, rows.append
    unpack = _ROW_TO_FIRST_FIELD
    at, end = 0, len(data)
    while at < end:
        length, size = unpack(data, at)
        value = at + 11
        add_field(data[value : value + size] if size >= 0 else None)
        following = at + 1 + length
        add_row(data[at:following])
        at = following
    return fields, rows


def take_field(data: bytes, index: int) -> tuple[list[Field], list[bytes]]:
    """Field `index` (above 0) of each row, and each row."""
    fields: list[Field] = []
    rows: list[bytes] = []
    add_field, add_row = fields.append, rows.append
    unpack = _INT32
    skipped = range(index - 1)
    at, end = 0, len(data)
    while at < end:
        length, size = _ROW_TO_FIRST_FIELD(data, at)
        value = at + 11
        if size > 0:
            value += size
        for _ in skipped:
            (size,) = unpack(data, value)
            value += size + 4 if size > 0 else 4
        (size,) = unpack(data, value)
        value += 4
        add_field(data[value : value + size] if size >= 0 else None)
        following = at + 1 + length
        add_row(data[at:following])
        at = following
    return fields, rows


def take_hidden_field(data: bytes, index: int, visible: int) -> tuple[list[Field], list[bytes]]:
    """Field `index` of each row, and each row cut to its `visible` first fields, which it is not among."""
    fields: list[Field] = []
    rows: list[bytes] = []
    add_field, add_row = fields.append, rows.append
    unpack = _INT32
    shown, skipped = range(visible), range(index - visible)
    at, end = 0, len(data)
    while at < end:
        (length,) = _UINT32(data, at + 1)
        value = first = at + _HEADER_BYTES
        for _ in shown:
            (size,) = unpack(data, value)
            value += size + 4 if size > 0 else 4
        add_row(_ROW_HEADER(b"D", value - at - 1, visible) + data[first:value])
        for _ in skipped:
            (size,) = unpack(data, value)
            value += size + 4 if size > 0 else 4
        (size,) = unpack(data, value)
        value += 4
        add_field(data[value : value + size] if size >= 0 else None)
        at += 1 + length
    return fields, rows


def cut_rows(data: bytes, visible: int) -> list[bytes]:
    """Each row cut to its `visible` first fields."""
    rows: list[bytes] = []
    add_row, unpack = rows.append, _INT32
    shown = range(visible)
    at, end = 0, len(data)
    while at < end:
        (length,) = _UINT32(data, at + 1)
        value = first = at + _HEADER_BYTES
        for _ in shown:
            (size,) = unpack(data, value)
            value += size + 4 if size > 0 else 4
        add_row(_ROW_HEADER(b"D", value - at - 1, visible) + data[first:value])
        at += 1 + length
    return rows


def take_fields(data: bytes, indexes: Sequence[int]) -> tuple[list[list[Field]], list[bytes]]:
    """The fields at `indexes` (one list for each index), and each row."""
    columns: dict[int, list[Field]] = {index: [] for index in indexes}
    taps = [columns[index].append if index in columns else None for index in range(max(indexes, default=-1) + 1)]
    rows: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        following = at + 1 + _UINT32(data, at + 1)[0]
        _tap(data, at + _HEADER_BYTES, taps)
        rows.append(data[at:following])
        at = following
    return [columns[index] for index in indexes], rows


def _tap(data: bytes, at: int, taps: Sequence[Callable[[Field], None] | None]) -> None:
    """Go over one field for each tap, giving the field to those that are not None."""
    for tap in taps:
        (size,) = _INT32(data, at)
        at += 4
        if tap is not None:
            tap(data[at : at + size] if size >= 0 else None)
        if size > 0:
            at += size


def raw_fields(row: bytes) -> list[bytes]:
    """Each field of one row with the length word before it, as it goes into another row."""
    fields = []
    at, end = _HEADER_BYTES, len(row)
    while at < end:
        (size,) = _INT32(row, at)
        following = at + 4 + max(size, 0)
        fields.append(row[at:following])
        at = following
    return fields


def row_of_raw(fields: Sequence[bytes]) -> bytes:
    """One whole row from fields that carry their length words."""
    body = b"".join(fields)
    return _ROW_HEADER(b"D", len(body) + 6, len(fields)) + body


def cut_batch(batch: Batch, visible: int) -> Batch:
    """The batch with only the `visible` first fields of each row."""
    return Batch(b"".join(cut_rows(batch.data, visible)), batch.count)


def cut_columns(columns: tuple[Column, ...], visible: int | None) -> tuple[Column, ...]:
    """The columns that the client sees."""
    return columns if visible is None else columns[:visible]


def row_offset(data: bytes, count: int) -> int:
    """The offset behind the first `count` rows."""
    at = 0
    for _ in range(count):
        at += 1 + _UINT32(data, at + 1)[0]
    return at


def first_rows(batch: Batch, count: int) -> Batch:
    """The first `count` rows of a batch that has more."""
    return Batch(batch.data[: row_offset(batch.data, count)], count)


def without_first_rows(batch: Batch, count: int) -> Batch:
    """A batch without its first `count` rows, of which it has more."""
    return Batch(batch.data[row_offset(batch.data, count) :], batch.count - count)
