"""DataRows written as COPY TO's rows: text and CSV as PostgreSQL's copyto.c writes them, binary as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pgproxy.wire.copy import CopyFormat, CopyKind, copy_data
from pgproxy.wire.rows import Batch, fields_of, split_rows

_LETTERS = {b"\b": b"\\b", b"\f": b"\\f", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\v": b"\\v"}


def row_writer(form: CopyFormat, names: Sequence[str], forced: frozenset[str] | None) -> Callable[[Batch], bytes]:
    """What makes CopyData messages of a batch. `forced`: the columns that CSV always quotes, None for all."""
    if form.kind is CopyKind.BINARY:
        return lambda batch: b"".join([b"d" + row[1:] for row in split_rows(batch.data)])  # the same payload
    field = _text_field(form) if form.kind is CopyKind.TEXT else _csv_field(form, alone=len(names) == 1)
    quoted = [forced is None or name in forced for name in names]

    def write(batch: Batch) -> bytes:
        return b"".join(
            [
                copy_data(form.delimiter.join(map(field, fields_of(row), quoted)) + b"\n")
                for row in split_rows(batch.data)
            ]
        )

    return write


def _text_field(form: CopyFormat) -> Callable[[bytes | None, bool], bytes]:
    special = re.compile(rb"[\x08\f\n\r\t\v\\" + re.escape(form.delimiter) + b"]")
    null = form.null

    def escaped(found: re.Match[bytes]) -> bytes:
        # A delimiter that has a letter, such as a tab, is written with it.
        return _LETTERS.get(found[0], b"\\" + found[0])

    return lambda value, _quoted: null if value is None else special.sub(escaped, value)


def _csv_field(form: CopyFormat, *, alone: bool) -> Callable[[bytes | None, bool], bytes]:
    quote, escape = form.quote, form.escape
    needs_quotes = re.compile(b"[\n\r" + re.escape(form.delimiter) + re.escape(quote) + b"]").search
    escaped = re.compile(b"[" + re.escape(quote) + re.escape(escape) + b"]")

    def write(value: bytes | None, quoted: bool) -> bytes:
        if value is None:
            return form.null
        if quoted or value == form.null or needs_quotes(value) or (alone and value == b"\\."):
            return quote + escaped.sub(lambda found: escape + found[0], value) + quote
        return value

    return write
