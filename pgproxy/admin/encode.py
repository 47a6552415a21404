"""An admin answer as wire messages, all but the ReadyForQuery that ends it."""

from __future__ import annotations

from pgproxy.admin.answers import BOOL, FLOAT8, INT8, TIMESTAMPTZ, AdminResult
from pgproxy.wire.messages import command_complete, empty_query_response
from pgproxy.wire.rows import Column, data_row, row_description

_INT4 = 23
_SIZES = {BOOL: 1, _INT4: 4, INT8: 8, FLOAT8: 8, TIMESTAMPTZ: 8}


def encode(result: AdminResult) -> bytes:
    """RowDescription, DataRows and CommandComplete; EmptyQueryResponse for an empty statement."""
    if not result.tag:
        return empty_query_response()
    parts = []
    if result.columns:
        columns = [Column(name, type_oid=oid, type_size=_SIZES.get(oid, -1)) for name, oid in result.columns]
        parts.append(row_description(columns))
        parts += [data_row(None if text is None else text.encode() for text in row) for row in result.rows]
    parts.append(command_complete(result.tag))
    return b"".join(parts)
