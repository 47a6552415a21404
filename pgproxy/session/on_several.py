"""One statement on several shards: their connections, the operators over them, and what is done where connections are
few – in a transaction, on one gateway, in a small pool."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.operators.evaluate import Evaluate
from pgproxy.planner.plan import Planned, Scatter, Sharded, sql_for
from pgproxy.session.backends import Backends
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.copy_out import QueryAsCopy
from pgproxy.session.in_turn import SpooledSource, spooled
from pgproxy.session.node_portals import MOST_ROWS, Portals, passes_rows_on, recoded
from pgproxy.session.positions import with_client_position
from pgproxy.session.rows_out import RowsOut, in_parts
from pgproxy.session.services import Services
from pgproxy.session.sources import ExchangeSource
from pgproxy.session.transaction import Transaction
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard


@dataclass(slots=True)
class _Leg:
    """One shard's part."""

    shard: Shard
    connection: BackendConnection
    exchange: Exchange | None = None


class _Extra:
    """The connection that evaluations run on, leased when it is first asked for. Beside a transaction it is told what
    that has set for itself, by which the values are read and written."""

    def __init__(self, backends: Backends, services: Services, transaction: Transaction | None) -> None:
        self._backends = backends
        self._services = services
        self._transaction = transaction
        self._leased: BackendConnection | None = None

    def take(self, connection: BackendConnection) -> None:
        """Leased already, together with others."""
        self._leased = connection

    async def connection(self) -> BackendConnection:
        if self._leased is None:
            self._leased = await self._backends.lease(self._services.any_node())
            if self._transaction is not None and self._transaction.log:
                # The pool closes what is given back in a transaction.
                await self._backends.execute(self._leased, self._transaction.opening())
        return self._leased

    def give_back(self) -> None:
        if self._leased is not None:
            self._backends.give_back(self._leased)


class OnSeveral:
    """What `Statements` leaves to it. `run` sends the answer and says how many rows it has sent."""

    def __init__(
        self,
        client: Client,
        services: Services,
        backends: Backends,
        transactions: Transactions,
        portals: Portals,
        rows_out: RowsOut,
    ) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._portals = portals
        self._rows_out = rows_out

    async def run(self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call) -> int:
        evaluates = any(isinstance(step, Evaluate) for step in scatter.pipeline.steps)
        as_copy = isinstance(call, QueryAsCopy)
        if self._transactions.current is not None:
            if self._transactions.on_one_gateway and not in_parts(call):
                return await self._in_turn(planned, plan, scatter, shards, call)
            if in_parts(call) or share_nodes(shards) or (evaluates and not as_copy):
                return await self._by_portals(planned, plan, scatter, shards, call)
        elif not as_copy and not self._backends.interchangeable and not self._has_room(shards, evaluates=evaluates):
            self._transactions.begin_implicit()
            count = await self._by_portals(planned, plan, scatter, shards, call)
            await self._transactions.end_implicit()
            return count
        planned = await self._at_one_time(planned, scatter, shards)

        async def attempt() -> int:
            return await self._once(planned, plan, scatter, shards, call, evaluates=evaluates)

        return await self._transactions.run(attempt, plan.effect, call)

    async def _at_one_time(self, planned: Planned, scatter: Scatter, shards: list[Shard]) -> Planned:
        if not scatter.text.asks_time:
            return planned
        time = await self._transactions.now(shards[0].node)
        return replace(planned, arguments=replace(planned.arguments, now=time))

    async def _once(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call, *, evaluates: bool
    ) -> int:
        """Side by side, each shard on a connection of its own."""
        arguments = planned.arguments
        as_text = isinstance(call, QueryAsCopy) or not passes_rows_on(scatter.pipeline)
        legs: list[_Leg] = []
        extra = _Extra(self._backends, self._services, self._transactions.current)
        try:
            spare = self._services.any_node() if evaluates and self._transactions.current is None else None
            for node, here in self._backends.by_gateway(shards, spare):
                count = len(here) + (node == spare)
                connections = await self._transactions.enter_several(node, plan.effect, count, replica=True)
                if node == spare:
                    extra.take(connections.pop())
                legs += [_Leg(shard, connection) for shard, connection in zip(here, connections, strict=True)]
            if evaluates:
                await extra.connection()
            legs.sort(key=lambda leg: leg.shard.index)
            exchanges: list[Exchange] = []
            for leg in legs:
                sql = sql_for(scatter.text, leg.shard, arguments)
                leg.exchange = call.send(leg.connection, sql, Mode.ROWS, self._client.wake, as_text=as_text)
                exchanges.append(leg.exchange)
            sources = [ExchangeSource(exchange, self._client) for exchange in exchanges]
            pipeline = recoded(scatter.pipeline, call)
            count = await self._rows_out.stream(pipeline, sources, planned, plan.tag, extra.connection, call)
            if self._transactions.current is not None:
                await _all_finished(self._client, exchanges)
            return count
        except ServerError as error:
            failed = [leg.shard for leg in legs if leg.exchange is not None and leg.exchange.error is error]
            if not failed:
                error.position = None  # of an evaluation, whose text is ours
                raise
            raise with_client_position(error, scatter.text, failed[0], arguments) from None
        finally:
            for leg in legs:
                self._end_leg(leg)
            extra.give_back()

    def _end_leg(self, leg: _Leg) -> None:
        """No row of it is wanted any more. The pool cancels it if it goes on; inside a transaction it may run to
        its end, since a cancel would end the node's part of the transaction."""
        if leg.exchange is not None and not leg.exchange.finished:
            leg.exchange.discard()
        self._transactions.leave(leg.connection)

    async def _in_turn(self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call) -> int:
        """All on the one connection of the transaction: each shard's rows are put aside before the next is asked. (Open
        portals side by side, as below, are PostgreSQL's alone.)"""
        planned = await self._at_one_time(planned, scatter, shards)
        as_text = isinstance(call, QueryAsCopy) or not passes_rows_on(scatter.pipeline)
        memory_bytes = self._services.shard_map.proxy.sort_memory_bytes // len(shards)
        connection = await self._transactions.enter(shards[0].node, plan.effect)
        extra = _Extra(self._backends, self._services, self._transactions.current)
        sources: list[SpooledSource] = []
        try:
            for shard in shards:
                sql = sql_for(scatter.text, shard, planned.arguments)
                exchange = call.send(connection, sql, Mode.ROWS, self._client.wake, as_text=as_text)
                try:
                    sources.append(await spooled(exchange, self._client, memory_bytes))
                except ServerError as error:
                    raise with_client_position(error, scatter.text, shard, planned.arguments) from None
            pipeline = recoded(scatter.pipeline, call)
            return await self._rows_out.stream(pipeline, sources, planned, plan.tag, extra.connection, call)
        finally:
            for source in sources:
                source.close()
            self._transactions.leave(connection)
            extra.give_back()

    def _has_room(self, shards: list[Shard], *, evaluates: bool) -> bool:
        """Whether no session can wait for ever: not if there are connections for all that it takes of a node at once.
        Sessions that hold one and wait for another would wait for each other. In a transaction one will do."""
        nodes = [shard.node for shard in shards]
        if evaluates:
            nodes.append(self._services.any_node())
        wanted = ((node, nodes.count(node)) for node in set(nodes))
        pools = self._backends.pools
        return all(count == 1 or (node in pools and pools[node].room >= count) for node, count in wanted)

    async def _by_portals(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call
    ) -> int:
        """In a transaction, where it stays open for more, or where all that is wanted of a node is one connection."""
        rows = await self._portals.open(
            planned,
            scatter.text,
            recoded(scatter.pipeline, call),
            [(shard.node, shard) for shard in sorted(shards, key=lambda shard: shard.index)],
            plan.effect,
            call,
            as_text=not passes_rows_on(scatter.pipeline),
            rows=call.max_rows or MOST_ROWS,
        )
        return await self._rows_out.give_first(rows, plan.tag, call)


def share_nodes(shards: list[Shard]) -> bool:
    return len({shard.node for shard in shards}) < len(shards)


async def _all_finished(client: Client, exchanges: list[Exchange]) -> None:
    """In a transaction every node must have ended well before the client hears so: what fails on a node fails
    the transaction there."""
    for exchange in exchanges:
        while not exchange.finished:
            await client.wait()
    for exchange in exchanges:
        if exchange.error is not None:
            raise exchange.error
