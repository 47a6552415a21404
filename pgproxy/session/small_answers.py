"""Answers of a few rows that the session reads for itself."""

from __future__ import annotations

from pgproxy.backend.exchange import Exchange
from pgproxy.session.client import Client
from pgproxy.session.sources import ExchangeSource
from pgproxy.wire.rows import fields_of, split_rows

Row = list[bytes | None]


async def all_rows(exchange: Exchange, client: Client) -> list[Row]:
    """Of a ROWS exchange. Raises the node's error."""
    source = ExchangeSource(exchange, client)
    await source.describe()
    rows: list[Row] = []
    while (batch := await source.next_batch()) is not None:
        rows += [fields_of(row) for row in split_rows(batch.data)]
    return rows
