"""COPY TO STDOUT over several shards: what the nodes give put together, or a query's rows in COPY's formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.plan import CopyOut, Effect, Planned, SqlTemplate, quote, sql_for
from pgproxy.session.backends import Backends
from pgproxy.session.call import SimpleCall
from pgproxy.session.client import Client
from pgproxy.session.positions import client_position
from pgproxy.session.services import Services
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard
from pgproxy.wire import copy as wire
from pgproxy.wire.copy import CopyKind
from pgproxy.wire.copy_write import row_writer
from pgproxy.wire.frames import first_message_end
from pgproxy.wire.messages import command_complete
from pgproxy.wire.rows import Batch

_FAILED = ord("E")


class CopyOutOfShards:
    """COPY TO of which the shards' answers need only be put together."""

    def __init__(self, client: Client, services: Services, backends: Backends, transactions: Transactions) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions

    async def run(self, planned: Planned, plan: CopyOut, shards: list[Shard]) -> None:
        text = plan.text
        assert isinstance(text, SqlTemplate)
        legs: list[tuple[Shard, Exchange]] = []
        connections: list[BackendConnection] = []
        try:
            for node, here in self._backends.by_gateway(shards):
                taken = await self._transactions.enter_several(node, plan.effect, len(here))
                connections += taken
                for shard, connection in zip(here, taken, strict=True):
                    sql = sql_for(text, shard, planned.arguments)
                    legs.append((shard, connection.query(sql, Mode.COPY, self._client.wake)))
            legs.sort(key=lambda leg: leg[0].index)
            await self._pass_on([exchange for _, exchange in legs], plan)
        except ServerError as error:
            failed = [shard for shard, exchange in legs if exchange.error is error]
            if error.position is not None:
                error.position = client_position(error.position, text, failed[0], planned.arguments) if failed else None
            raise
        finally:
            for _, exchange in legs:
                if not exchange.finished:
                    exchange.discard()
            for connection in connections:
                self._transactions.leave(connection)

    async def _pass_on(self, exchanges: list[Exchange], plan: CopyOut) -> None:
        client = self._client
        for exchange in exchanges:
            while exchange.copy_response is None and not exchange.finished:
                await client.wait()
            if exchange.copy_response is None:
                raise exchange.error or ProxyError("08006", "a node did not begin the COPY")
        responses = {exchange.copy_response for exchange in exchanges}
        if len(responses) > 1:
            raise Refused("the shards do not have the same columns", "Name the columns that you need.")
        client.send(wire.copy_response(b"H", exchanges[0].copy_response or b""))
        cut = _Cut(plan.form.kind is CopyKind.BINARY, bool(plan.form.header_lines))
        first, *others = exchanges
        while not first.ready:  # its header comes before all rows
            await client.wait()
        running = [first, *others]
        while running:
            ready = [exchange for exchange in running if exchange.ready]
            if not ready:
                await client.wait()
            for exchange in ready:
                await self._take(exchange, cut, running, first)
        client.send(cut.trailer())
        for exchange in exchanges:
            self._backends.reported.relay(exchange.asides)
        count = sum(int((exchange.tag or "COPY 0").rpartition(" ")[2]) for exchange in exchanges)
        self._services.metrics.rows += count
        client.send(wire.copy_done() + command_complete(f"COPY {count}"))

    async def _take(self, exchange: Exchange, cut: _Cut, running: list[Exchange], first: Exchange) -> None:
        chunk = cast("bytes | None", exchange.take())
        if chunk is not None:
            self._client.send(cut.rows(chunk, exchange, first))
            await self._client.drain()
        elif exchange.error is not None:
            raise exchange.error
        elif exchange.finished:
            running.remove(exchange)


class _Cut:
    """Leaves out the headers of all shards but the first, and all trailers."""

    def __init__(self, binary: bool, header: bool) -> None:
        self._binary = binary
        self._header = header
        self._binary_header = wire.BINARY_HEADER
        self._begun: set[Exchange] = set()

    def rows(self, chunk: bytes, exchange: Exchange, first: Exchange) -> bytes:
        fresh = exchange not in self._begun
        self._begun.add(exchange)
        if self._binary:
            return b"".join(self._binary_rows(chunk, fresh))
        if fresh and self._header and exchange is not first:
            return chunk[1 + int.from_bytes(chunk[1:5], "big") :]
        return chunk

    def _binary_rows(self, chunk: bytes, fresh: bool) -> Iterator[bytes]:
        """The header stands in one message with the first row, or with the trailer if there is none."""
        for number, message in enumerate(wire.messages_of(chunk)):
            payload = wire.payload_of(message)
            if fresh and number == 0:
                payload = payload[len(wire.BINARY_HEADER) :]
            if payload and payload != wire.BINARY_TRAILER:
                header, self._binary_header = self._binary_header, b""
                yield wire.copy_data(header + payload)

    def trailer(self) -> bytes:
        return wire.copy_data(self._binary_header + wire.BINARY_TRAILER) if self._binary else b""


class QueryAsCopy(SimpleCall):
    """How a query over several shards runs when COPY is to have its rows. They come as text."""

    def __init__(self, plan: CopyOut, head: bytes, names: Sequence[str]) -> None:
        self._binary = plan.form.kind is CopyKind.BINARY
        self._head = head
        self.result_formats = (1,) if self._binary else ()
        self._header = wire.BINARY_HEADER if self._binary else b""
        self._write = row_writer(plan.form, names, plan.forced)

    def again(self) -> None:
        self._header = wire.BINARY_HEADER if self._binary else b""

    def begin(self) -> bytes:
        """What goes before the rows."""
        return self._head

    def rows(self, batch: Batch) -> bytes:
        """CopyData messages. In binary the header stands in one message with the first row."""
        data = self._write(batch)
        header, self._header = self._header, b""
        if not header:
            return data
        first = first_message_end(data)
        return wire.copy_data(header + wire.payload_of(data[:first])) + data[first:]

    def end(self, count: int) -> bytes:
        trailer = wire.copy_data(self._header + wire.BINARY_TRAILER) if self._binary else b""
        return trailer + wire.copy_done() + command_complete(f"COPY {count}")


async def query_as_copy(
    planned: Planned, plan: CopyOut, shard: Shard, transactions: Transactions, backends: Backends, client: Client
) -> QueryAsCopy:
    """A node says which columns the query has, and does the same COPY of no rows: so it judges the options and writes
    the header."""
    assert plan.query is not None
    connection = await transactions.enter(shard.node, Effect.READ)
    try:
        names = await _names(planned, plan, connection, shard, backends, client)
        exchange = await _probe(plan, names, connection, backends, client)
    finally:
        transactions.leave(connection)
    head = wire.copy_response(b"H", exchange.copy_response or b"")
    if plan.form.kind is CopyKind.BINARY:
        return QueryAsCopy(plan, head, names)
    while (chunk := cast("bytes | None", exchange.take())) is not None:
        head += chunk
    return QueryAsCopy(plan, head, names)


async def _names(
    planned: Planned, plan: CopyOut, connection: BackendConnection, shard: Shard, backends: Backends, client: Client
) -> list[str]:
    """The query's columns."""
    assert plan.query is not None
    exchange = connection.describe(sql_for(plan.query.route, shard, planned.arguments), (), client.wake)
    try:
        await backends.finish(exchange)
    except ServerError as error:
        if connection.status != _FAILED and plan.forced == frozenset():
            await _probe(plan, (), connection, backends, client)  # what is wrong with the options comes first
        if error.position is not None:
            error.position = client_position(error.position, plan.query.route, shard, planned.arguments)
        raise
    return [column.name for column in exchange.description or ()]


async def _probe(
    plan: CopyOut, names: Sequence[str], connection: BackendConnection, backends: Backends, client: Client
) -> Exchange:
    """The same COPY of no rows."""
    listed = ", ".join(f"NULL::text AS {quote(name)}" for name in names)
    before, behind = plan.probe
    sql = f"{before}SELECT {listed} LIMIT 0{behind}"
    exchange = connection.query(sql, Mode.COPY, client.wake)
    try:
        await backends.finish(exchange)
    except ServerError as error:
        # Options stand behind the query, as far from the end as in the client's text.
        in_options = error.position is not None and error.position > len(sql) - len(behind)
        error.position = plan.length - len(sql) + error.position if error.position and in_options else None
        raise
    return exchange
