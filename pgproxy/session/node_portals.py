"""Portals on nodes, fetched in portions: rows of several shards that stay open while a transaction does other things.

A node's connection must be free for other statements between two fetches. So each shard's statement is a named
portal there, and the operators above are fed with one Execute at a time, of as many rows as are wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, ServerError
from pgproxy.errors import ProxyError
from pgproxy.operators.batches import first_rows, without_first_rows
from pgproxy.operators.concat import Concat
from pgproxy.operators.default_limit import DefaultLimit, DefaultLimitOperator
from pgproxy.operators.limit import Limit
from pgproxy.operators.recode import Recode
from pgproxy.operators.source import Batch, Pipeline, RowSource
from pgproxy.planner.plan import Effect, Planned, SqlTemplate, sql_for
from pgproxy.session.call import Call, WantedPortal
from pgproxy.session.client import Client
from pgproxy.session.environment import SessionEnvironment
from pgproxy.session.positions import client_position
from pgproxy.session.services import Services
from pgproxy.session.sources import ExchangeSource
from pgproxy.session.styles import check_style
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard
from pgproxy.wire.rows import Column

FIRST_ROWS = 50
MOST_ROWS = 2_000
PORTION_BYTES = 128 * 1024


@dataclass(slots=True)
class _Demand:
    """How many rows are wanted of all legs together. A leg asks its node for no more than that – what is never
    wanted must not fail – but when it is asked again for the same demand, the rows go into groups or OFFSET."""

    rows: int = 0
    number: int = 0


class PortalSource(ExchangeSource):
    """A portal on a node as a RowSource. Portions grow from a few rows to `PORTION_BYTES`: a portion is read whole
    even if nobody takes it, since other answers come behind it on the same connection."""

    def __init__(
        self, connection: BackendConnection, portal: str, exchange: Exchange, client: Client, demand: _Demand
    ) -> None:
        super().__init__(exchange, client)
        self.connection = connection
        self._portal = portal
        self._demand = demand
        self._columns: tuple[Column, ...] | None = None
        self._rows = FIRST_ROWS
        self._served = 0  # the demand that the last portion was for
        self._unstarted = True
        self._came_rows = self._came_bytes = 0
        self.closed = False

    def opened_with(self, rows: int | None) -> None:
        """How many rows were asked for when it was opened."""
        self._unstarted = rows is None
        self._served = 0 if rows is None else self._demand.number

    async def describe(self) -> tuple[Column, ...]:
        if self._columns is None:
            self._columns = await super().describe()
        return self._columns

    async def next_batch(self) -> Batch | None:
        while True:
            batch = await super().next_batch()
            if batch is not None:
                self._came_rows += batch.count
                self._came_bytes += len(batch.data)
                return batch
            if not self.exchange.suspended and not self._unstarted:
                self.close()
                return None
            self._ask()

    def start(self) -> None:
        """Ask for the first rows, if that has not been done."""
        if self._unstarted and not self.closed:
            self._ask()

    def _ask(self) -> None:
        self._unstarted = False
        self.exchange = self.connection.fetch(self._portal, self._portion(), self._client.wake)

    async def settle(self) -> None:
        """Wait for the end of the portion that is on its way."""
        while not self.exchange.finished:
            await self._client.wait()
        self._raise_error()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        super().close()
        self.connection.prepared.close_portal_later(self._portal)

    def _portion(self) -> int:
        if self._came_rows:
            fitting = PORTION_BYTES * self._came_rows // max(self._came_bytes, 1)
            self._rows = max(1, min(2 * self._rows, fitting, MOST_ROWS))
            self._came_rows = self._came_bytes = 0
        again = self._served == self._demand.number
        self._served = self._demand.number
        return self._rows if again else max(1, min(self._rows, self._demand.rows))  # 0 would be all


class _PortalEnvironment(SessionEnvironment):
    """Evaluations run on a connection of the transaction, behind the portions that are on their way there."""

    def __init__(self, client: Client, services: Services, connection: BackendConnection, call: Call) -> None:
        super().__init__(client, services, no_connection, call)
        self._connection = connection

    def evaluate(self, sql: str, parameters: Collection[int] = ()) -> RowSource:
        exchange = self._call.evaluate(self._connection, sql, parameters, self._client.wake)
        exchange.unlimited = True  # a few hundred rows
        return ExchangeSource(exchange, self._client, relay_notices=False)


async def no_connection() -> BackendConnection:
    raise AssertionError("nothing is evaluated there, or in the transaction")


class OpenRows:
    """The rows of one statement, over portals. Lives as long as the transaction at most."""

    def __init__(
        self,
        top: RowSource,
        sources: Sequence[PortalSource],
        demand: _Demand,
        transactions: Transactions,
        limit: DefaultLimitOperator | None = None,
        *,
        eager: bool = False,
    ) -> None:
        self._top: RowSource = limit or top
        self._limit = limit
        self.style = transactions.output_style()
        self._eager = eager  # the first row out needs one of each source: all are asked at once
        self._sources = sources
        self._demand = demand
        self._transactions = transactions
        self._left: Batch | None = None
        self._ended = False

    @property
    def cut_at(self) -> int | None:
        """The default limit, once it has held rows back."""
        return self._limit.limit if self._limit is not None and self._limit.cut else None

    async def describe(self) -> tuple[Column, ...]:
        return await self._top.describe()

    async def take(self, wanted: int) -> Batch | None:
        """Some of the next rows, `wanted` (at least 1) at most; None at the end."""
        batch, self._left = self._left, None
        if batch is None and not self._ended:
            self._demand.rows = wanted
            self._demand.number += 1
            if self._eager:
                for source in self._sources:
                    source.start()
            try:
                batch = await self._top.next_batch()
            except ServerError as error:
                raise _cause(error, self._sources) from None
            self._ended = batch is None
        if batch is not None and batch.count > wanted:
            self._left = without_first_rows(batch, wanted)
            batch = first_rows(batch, wanted)
        return batch

    async def check_style(self) -> None:
        """Raise Refused if what is in hand would look otherwise now."""
        check_style(self.style, self._transactions.output_style(), await self.describe())

    async def settle(self) -> None:
        """A fetch is through. Every node must have ended well before the client hears so: what fails on a node
        fails the transaction there."""
        for source in self._sources:
            await source.settle()
        self.check()

    def check(self) -> None:
        """Note if a node has failed the transaction."""
        for source in self._sources:
            self._transactions.leave(source.connection)

    def close(self) -> None:
        """No more rows are wanted."""
        self._left = None
        self._ended = True
        self._top.close()
        for source in self._sources:
            source.close()

    def forget(self) -> None:
        """The transaction has ended, and the portals with it."""
        for source in self._sources:
            source.closed = True
        self._top.close()


def rows_over(top: RowSource, transactions: Transactions) -> OpenRows:
    """Rows that are here already."""
    return OpenRows(top, (), _Demand(), transactions)


Target = tuple[str, Shard | None]
"""A node, and the shard there that a statement is for."""


class Portals:
    """Opens statements on the nodes of the current transaction."""

    def __init__(self, client: Client, services: Services, transactions: Transactions) -> None:
        self._client = client
        self._services = services
        self._transactions = transactions
        self._count = 0

    async def open(
        self,
        planned: Planned,
        text: SqlTemplate,
        pipeline: Pipeline,
        targets: Sequence[Target],
        effect: Effect,
        call: Call,
        *,
        as_text: bool,
        rows: int | None = None,
    ) -> OpenRows:
        """Open a portal for each target, all of them before the first row is taken: each node's snapshot is that
        of this moment. `rows`: fetch so many at once. Nothing is owed for it when it raises."""
        arguments = planned.arguments
        if text.asks_time:
            arguments = replace(arguments, now=await self._transactions.now(targets[0][0]))
            planned = replace(planned, arguments=arguments)
        demand = _Demand(rows or FIRST_ROWS, 1)  # to describe its rows, an operator may look into some
        sources: list[PortalSource] = []
        connections: dict[str, BackendConnection] = {}
        try:
            # In an order that all sessions share, so that they cannot wait for each other in a circle.
            for node in sorted({node for node, _ in targets}):
                connections[node] = await self._transactions.enter(node, effect)
            for node, shard in targets:
                self._count += 1
                portal = f"pgproxy_c{self._count}"
                first = None if rows is None else min(rows, FIRST_ROWS)
                wanted = WantedPortal(portal, sql_for(text, shard, arguments), first, as_text)
                exchange = call.open(connections[node], wanted, self._client.wake)
                exchange.unlimited = True
                source = PortalSource(connections[node], portal, exchange, self._client, demand)
                source.opened_with(rows)
                sources.append(source)
            exchanges = [source.exchange for source in sources]
            for source in sources:
                await source.settle()
            for exchange in exchanges:
                call.accepted(exchange)
            environment = _PortalEnvironment(self._client, self._services, sources[0].connection, call)
            top = pipeline.open(sources, arguments, environment)
            limit = None
            if planned.default_limit is not None:
                limit = DefaultLimit(planned.default_limit).open((top,), arguments, environment)
            eager = not isinstance(pipeline.steps[0], Concat)
            opened = OpenRows(top, sources, demand, self._transactions, limit, eager=eager)
            await opened.describe()
            return opened
        except BaseException as error:
            if isinstance(error, ServerError):
                _correct_position(error, sources, text, targets, planned)
            for source in sources:
                source.close()
            raise
        finally:
            for connection in connections.values():
                self._transactions.leave(connection)

    async def adopt(self, connection: BackendConnection, portal: str) -> OpenRows:
        """A portal that was opened there otherwise, and has more rows."""
        exchange = connection.describe_portal(portal, self._client.wake)
        source = PortalSource(connection, portal, exchange, self._client, demand := _Demand())
        try:
            await source.describe()
            await source.settle()
        finally:
            self._transactions.leave(connection)
        return OpenRows(source, (source,), demand, self._transactions)


def _cause(error: ServerError, sources: Sequence[PortalSource]) -> ProxyError:
    """What failed first, where another statement on the same connection only hears that the transaction has."""
    if error.sqlstate != "25P02":
        return error
    errors = [source.exchange.error for source in sources if source.exchange.error is not None]
    return next((found for found in errors if found.sqlstate != "25P02"), error)


def _correct_position(
    error: ServerError, sources: Sequence[PortalSource], text: SqlTemplate, targets: Sequence[Target], planned: Planned
) -> None:
    failed = [shard for source, (_, shard) in zip(sources, targets, strict=False) if source.exchange.error is error]
    if not failed:
        error.position = None  # of an evaluation, whose text is ours
    elif error.position is not None:
        error.position = client_position(error.position, text, failed[0], planned.arguments)


def passes_rows_on(pipeline: Pipeline) -> bool:
    """No operator looks into rows, so their format does not matter."""
    return all(isinstance(step, (Concat, Limit)) for step in pipeline.steps)


def recoded(pipeline: Pipeline, call: Call) -> Pipeline:
    """With what makes the binary that the client wants of the text that the operators read."""
    if passes_rows_on(pipeline) or not (any(call.result_formats) or len(call.result_formats) > 1):
        return pipeline
    return Pipeline((*pipeline.steps, Recode(call.result_formats)))
