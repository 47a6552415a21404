"""RowDescription and DataRow: the bytes of result rows, taken apart and put together.

Rows stay bytes for as long as possible; only operators that must look into them come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct, error

from pgproxy.errors import ProtocolViolation

_UINT32 = Struct("!I").unpack_from
_INT32 = Struct("!i").unpack_from
_ROW_HEADER = Struct("!cIH").pack
_LENGTH = Struct("!i").pack
_COLUMN = Struct("!IhIhih")
_NULL_FIELD = b"\xff\xff\xff\xff"

DATA_ROW = 0x44


class Batch:
    """Some whole DataRow messages, headers included, one behind the other; never empty."""

    __slots__ = ("count", "data")

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.count = count


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a RowDescription (protocol section "Message Formats"). `format` 0 is text, 1 binary."""

    name: str
    table_oid: int = 0
    attribute: int = 0
    type_oid: int = 25
    type_size: int = -1
    type_modifier: int = -1
    format: int = 0


@lru_cache(maxsize=1_000)
def parse_row_description(payload: bytes) -> tuple[Column, ...]:
    """The columns of a RowDescription, from its payload (what follows the length).

    Remembered, since every execution of a statement brings the same bytes from each shard again.
    """
    count = int.from_bytes(payload[:2], "big")
    columns = []
    at = 2
    try:
        for _ in range(count):
            end = payload.index(b"\0", at)
            name = payload[at:end].decode()
            columns.append(Column(name, *_COLUMN.unpack_from(payload, end + 1)))
            at = end + 1 + _COLUMN.size
    except (ValueError, error) as broken:
        raise ProtocolViolation("malformed RowDescription") from broken
    if at != len(payload):
        raise ProtocolViolation("malformed RowDescription")
    return tuple(columns)


def row_description(columns: Sequence[Column]) -> bytes:
    """The whole RowDescription message for these columns."""
    body = bytearray(len(columns).to_bytes(2, "big"))
    for column in columns:
        body += column.name.encode() + b"\0"
        body += _COLUMN.pack(
            column.table_oid,
            column.attribute,
            column.type_oid,
            column.type_size,
            column.type_modifier,
            column.format,
        )
    return b"T" + _LENGTH(len(body) + 4) + bytes(body)


def split_rows(data: bytes) -> list[bytes]:
    """Each DataRow message of a batch, whole, as its own bytes."""
    rows = []
    at, end = 0, len(data)
    try:
        while at < end:
            following = at + 1 + _UINT32(data, at + 1)[0]
            rows.append(data[at:following])
            at = following
    except error as broken:
        raise ProtocolViolation("malformed DataRow") from broken
    return rows


def fields_of(row: bytes) -> list[bytes | None]:
    """The fields of one DataRow message, None for NULL."""
    fields: list[bytes | None] = []
    at, end = 7, len(row)
    try:
        while at < end:
            size = _INT32(row, at)[0]
            at += 4
            if size < 0:
                fields.append(None)
            else:
                fields.append(row[at : at + size])
                at += size
    except error as broken:
        raise ProtocolViolation("malformed DataRow") from broken
    return fields


def data_row(fields: Iterable[bytes | None]) -> bytes:
    """One whole DataRow message."""
    parts = []
    count = 0
    for field in fields:
        count += 1
        if field is None:
            parts.append(_NULL_FIELD)
        else:
            parts.append(_LENGTH(len(field)))
            parts.append(field)
    body = b"".join(parts)
    return _ROW_HEADER(b"D", len(body) + 6, count) + body
