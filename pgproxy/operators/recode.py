"""Recode: rows that shards gave in text, in the formats that a Bind asked for.

What merges rows reads text; only what leaves for the client becomes binary, by the table in `operators.binary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import Struct

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.binary import NULL_FIELD, SAME_BYTES, UNREADABLE, Encoder, encoder
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.operators.types import type_name
from pgproxy.operators.values import unreadable_value
from pgproxy.wire.extended import BINARY, TEXT, check_result_formats, format_at
from pgproxy.wire.rows import Column

_UINT32 = Struct("!I").unpack_from
_INT32 = Struct("!i").unpack_from
_ROW_HEADER = Struct("!cIH").pack
_HEADER_BYTES = 7  # type byte, length, number of fields


@dataclass(frozen=True, slots=True)
class Recode:
    """The plan of a change of formats; `formats` as in Bind: none (all text), one for all, or one for each."""

    formats: tuple[int, ...]

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return RecodeOperator(inputs, self.formats)

    def explain(self) -> str:
        if len(self.formats) == 1:
            return f"Recode  Binary: {'all' if self.formats[0] else 'none'}"
        binary = [str(position) for position, code in enumerate(self.formats, 1) if code]
        return f"Recode  Binary: {', '.join(binary) or 'none'}"


class RecodeOperator(Operator):
    """Over one input. A column that has its format already, or whose binary form is its text, is copied; what
    lies behind the last column to be encoded, is copied whole.

    `describe` raises Refused for a type that cannot be encoded, and what PostgreSQL says to formats that do
    not fit; `next_batch` raises Refused for a value in another style than it should be.
    """

    def __init__(self, inputs: Sequence[RowSource], formats: tuple[int, ...]) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self._formats = formats
        self._described: tuple[Column, ...] = ()
        self._encoders: tuple[Encoder | None, ...] = ()

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        check_result_formats(self._formats, len(columns))
        wanted = [format_at(self._formats, index) for index in range(len(columns))]
        encoders = list(map(_encoder, columns, wanted))
        while encoders and encoders[-1] is None:
            encoders.pop()
        self._encoders = tuple(encoders)
        self._described = tuple(map(_in_format, columns, wanted))
        return self._described

    async def _next(self) -> Batch | None:
        batch = await self._input.next_batch()
        return None if batch is None else self.recoded(batch)

    def recoded(self, batch: Batch) -> Batch:
        """One batch in the formats wanted; `describe` must have been awaited."""
        return Batch(self._recode(batch.data), batch.count) if self._encoders else batch

    def _recode(self, data: bytes) -> bytes:
        width, encoders = len(self._described), self._encoders
        rows: list[bytes] = []
        fields: list[bytes] = []
        add_row, add = rows.append, fields.append
        at, end = 0, len(data)
        try:
            while at < end:
                following = at + 1 + _UINT32(data, at + 1)[0]
                at += _HEADER_BYTES
                fields.clear()
                for encode in encoders:
                    value = at + 4
                    (size,) = _INT32(data, at)
                    if size < 0:
                        add(NULL_FIELD)
                        at = value
                    elif encode is None:
                        add(data[at : value + size])
                        at = value + size
                    else:
                        at = value + size
                        add(encode(data[value:at]))
                fields.append(data[at:following])
                body = b"".join(fields)
                add_row(_ROW_HEADER(b"D", len(body) + 6, width))
                add_row(body)
                at = following
        except UNREADABLE as unreadable:  # in the column behind those that are done
            raise unreadable_value(self._described[len(fields)]) from unreadable
        return b"".join(rows)


def _encoder(column: Column, wanted: int) -> Encoder | None:
    """What encodes this column's values; None where they are as they should be."""
    if wanted not in (TEXT, BINARY):
        raise ProxyError("22023", f"unsupported format code: {wanted}")
    if wanted == column.format:
        return None
    encode = encoder(column.type_oid) if wanted == BINARY else None
    if encode is None:
        raise Refused(
            f"cannot give values of type {type_name(column.type_oid)} "
            f'(column "{column.name}") in {"binary" if wanted else "text"} format across shards',
            f"Ask for this column in {'text' if wanted else 'binary'} format, or cast it to text.",
        )
    return None if column.type_oid in SAME_BYTES else encode


def _in_format(column: Column, wanted: int) -> Column:
    return column if column.format == wanted else replace(column, format=wanted)
