"""Rows of several shards that come over one connection, one shard after the other: put aside until all have come."""

from __future__ import annotations

from pgproxy.backend.exchange import Exchange
from pgproxy.operators.spool import Spool
from pgproxy.session.client import Client
from pgproxy.session.sources import ExchangeSource
from pgproxy.wire.rows import Batch, Column

_BATCH_ROWS = 256


class SpooledSource:
    """One shard's answer, all of it here, as a RowSource."""

    ready = True

    def __init__(self, exchange: Exchange, columns: tuple[Column, ...], rows: Spool) -> None:
        self.exchange = exchange
        self._columns = columns
        self._rows = rows
        self._at = 0

    async def describe(self) -> tuple[Column, ...]:
        return self._columns

    async def next_batch(self) -> Batch | None:
        batch = self._rows.forward(self._at, _BATCH_ROWS)
        if batch is not None:
            self._at += batch.count
        return batch

    def close(self) -> None:
        self._rows.close()


async def spooled(exchange: Exchange, client: Client, memory_bytes: int) -> SpooledSource:
    """Read the whole answer, beyond `memory_bytes` into a temporary file. Raises the node's error."""
    source = ExchangeSource(exchange, client)
    rows = Spool(memory_bytes)
    try:
        columns = await source.describe()
        while (batch := await source.next_batch()) is not None:
            rows.append(batch)
    except BaseException:
        source.close()
        rows.close()
        raise
    return SpooledSource(exchange, columns, rows)
