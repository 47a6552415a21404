"""The row sources that a session gives to operators: a statement running on a shard, and one of our own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange
from pgproxy.errors import ProtocolViolation
from pgproxy.operators.source import Batch
from pgproxy.session.client import Client
from pgproxy.wire.rows import Column


class ExchangeSource:
    """A ROWS exchange as a RowSource. After `close` the node may still work: the pool
    waits for it, or ends it."""

    def __init__(self, exchange: Exchange, client: Client, relay_notices: bool = True) -> None:
        self.exchange = exchange
        self._client = client
        self._relay_notices = relay_notices

    @property
    def ready(self) -> bool:
        return self.exchange.ready

    async def describe(self) -> tuple[Column, ...]:
        exchange = self.exchange
        while exchange.description is None and exchange.error is None and not exchange.finished:
            await self._client.wait()
        if exchange.description is None:
            self._raise_error()
        if exchange.description is None:  # operators are given statements that return rows only
            raise ProtocolViolation("a node described no rows")
        return exchange.description

    async def next_batch(self) -> Batch | None:
        exchange = self.exchange
        while not exchange.ready:
            await self._client.wait()
        chunk = exchange.take()
        if chunk is not None:
            return cast(Batch, chunk)
        self._pass_notices()
        self._raise_error()
        while not exchange.finished:
            await self._client.wait()
        self._raise_error()
        return None

    def close(self) -> None:
        if not self.exchange.finished:
            self.exchange.discard()

    def _pass_notices(self) -> None:
        asides, self.exchange.asides = self.exchange.asides, []
        if self._relay_notices:
            for aside in asides:
                self._client.send(aside)

    def _raise_error(self) -> None:
        if self.exchange.error is not None:
            raise self.exchange.error


class EvaluationSource:
    """A statement of ours on a connection that is leased when the first answer is asked for."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[BackendConnection]],
        start: Callable[[BackendConnection], Exchange],
        client: Client,
    ) -> None:
        self._connect = connect
        self._start = start
        self._client = client
        self._source: ExchangeSource | None = None

    @property
    def ready(self) -> bool:
        return self._source is not None and self._source.ready

    async def describe(self) -> tuple[Column, ...]:
        return await (await self._running()).describe()

    async def next_batch(self) -> Batch | None:
        return await (await self._running()).next_batch()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    async def _running(self) -> ExchangeSource:
        if self._source is None:
            exchange = self._start(await self._connect())
            self._source = ExchangeSource(exchange, self._client, relay_notices=False)
        return self._source
