"""The node connections that one session holds, brought to its settings; the way a cancel reaches them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.backend.lease_queue import Lease
from pgproxy.backend.pool import NodePool
from pgproxy.backend.scanner import IDLE
from pgproxy.errors import ConnectionLost, NodeFailure, ProxyError, TurnedAway
from pgproxy.planner.plan import Effect, Pin
from pgproxy.session.client import Client
from pgproxy.session.elsewhere import Elsewhere
from pgproxy.session.in_force import InForce
from pgproxy.session.pins import Pins
from pgproxy.session.reported import Reported
from pgproxy.session.services import Services
from pgproxy.session.settings import NO_SETTINGS, Settings, changes
from pgproxy.shardmap.model import Shard


class Backends:
    """Leases from the pools. `settings` are the session's own, `defaults` those of its start-up packet."""

    __slots__ = (
        "_client",
        "_services",
        "cancelled",
        "defaults",
        "elsewhere",
        "failed",
        "held",
        "in_force",
        "node_user",
        "pins",
        "pools",
        "reported",
        "settings",
        "waiting",
    )

    def __init__(self, client: Client, services: Services) -> None:
        self.settings: Settings = NO_SETTINGS
        self.defaults: Settings = NO_SETTINGS
        self.in_force: InForce = services.in_force
        self.pools: Mapping[str, NodePool] = self.in_force.pools
        self.node_user = ""  # as whom the nodes know the session, where that is the client's user
        self.held: dict[BackendConnection, NodePool] = {}
        self.reported = Reported(client)
        self.pins = Pins(client)
        self.elsewhere = Elsewhere(client, services)
        self.failed: set[str] = set()  # nodes that have failed the statement that is being tried again
        self.waiting = False
        self._client = client
        self._services = services
        self.cancelled = False  # the statement that runs

    def move_on(self) -> None:
        """From here on under the shard map that is in force now."""
        self.in_force = self._services.in_force
        self.pools = self._services.pools_of(self.node_user)

    def pool(self, node: str, *, reads: bool = False) -> NodePool:
        """The pool for a statement on this node, or on another gateway in its stead; one that only `reads` may go to a
        replica. Raises NodeFailure."""
        if self._services.any_replicas:
            return self.elsewhere.pool(self.pools, node, self.settings, reads=reads)
        gateway = self._services.gateway_for(node, self.failed)
        return self.pools.get(gateway) or self._services.pools_of(self.node_user)[gateway]

    def pool_if_up(self, node: str, effect: Effect) -> NodePool | None:
        """The pool for a statement that begins now."""
        self.elsewhere.begin()
        try:
            return self.pool(node, reads=effect is Effect.READ)
        except NodeFailure:
            return None

    async def lease(self, node: str, *, reads: bool = False, settings: Settings | None = None) -> BackendConnection:
        """A clean connection to the node, or to another gateway in its stead, with this session's settings in force,
        or these: the one that the session keeps there, if it has one that is not in use."""
        wanted = self.settings if settings is None else settings
        pinned = self._pinned_for(node)
        if pinned is not None and pinned not in self.held:
            return await self._take_pinned(pinned, wanted)
        pool = self.pool(node, reads=reads)
        try:
            connection = pool.try_lease() or await self._queue(pool)
        except TurnedAway:
            return await self.lease(node, reads=reads)
        self.held[connection] = pool
        connection.on_closed = self._client.wake
        await self._prepare(connection, wanted)
        return connection

    @property
    def interchangeable(self) -> bool:
        """Any node can run any statement."""
        return self._services.gateways.interchangeable

    def by_gateway(self, shards: Iterable[Shard], spare: str | None = None) -> list[tuple[str, list[Shard]]]:
        """Which shards to ask where, in an order that all sessions share, so that they cannot wait for each other in a
        circle. The connections for one place are to be taken at once, for the same reason. `spare`: one more place."""
        found: dict[str, list[Shard]] = {} if spare is None else {spare: []}
        for shard in shards:
            node = self._services.gateway_for(shard.node, self.failed) if self.interchangeable else shard.node
            found.setdefault(node, []).append(shard)
        return sorted(found.items())

    def _pinned_for(self, node: str) -> BackendConnection | None:
        """Where any node will do, the session's own connection does best."""
        if self.pins and self.interchangeable:
            return next(iter(self.pins.by_node.values()), None)
        return self.pins.by_node.get(node)

    async def lease_several(self, node: str, count: int, *, reads: bool = False) -> list[BackendConnection]:
        """So many connections at once: a session that held one and then queued for the next could wait for others
        who do the same."""
        if count == 1:
            return [await self.lease(node, reads=reads)]
        pool = self.pool(node, reads=reads)
        if count > pool.settings.size:
            raise ProxyError(
                "53300",
                f"the statement needs {count} connections to node {pool.node.name} at once",
                hint=f"proxy.pool.size is {pool.settings.size}: raise it.",
            )
        connections = [found for _ in range(count) if (found := pool.try_lease()) is not None]
        self.held.update(dict.fromkeys(connections, pool))
        try:
            leases = [pool.request(self._client.wake) for _ in range(count - len(connections))]
            granted = await self._all_granted(pool, leases)
            self.held.update(dict.fromkeys(granted, pool))
            connections += granted
            for connection in connections:
                connection.on_closed = self._client.wake
                await self._prepare(connection, self.settings)
        except BaseException:
            for connection in connections:
                self.give_back(connection)
            raise
        return connections

    async def _prepare(self, connection: BackendConnection, wanted: Settings) -> None:
        """Bring it to these settings, or give it back."""
        if connection.applied is wanted or connection.applied == wanted:
            return
        try:
            await self.apply_settings(connection, wanted)
            self.check_cancelled()
        except ConnectionLost as lost:
            self.give_back(connection)
            raise never_sent(lost) from None
        except BaseException:
            self.give_back(connection)
            raise

    def give_back(self, connection: BackendConnection) -> None:
        pool = self.held.pop(connection, None)
        if pool is None:
            return
        if connection in self.pins:
            self._end_what_runs(connection, pool)
            return
        connection.on_closed = None
        pool.release(connection)

    def give_back_all(self) -> None:
        """The session ends: what still runs is cancelled, open transactions are rolled back by the pool."""
        for connection, pool in list(self.held.items()):
            if connection not in self.pins:
                pool.cancel_running(connection)
            self.give_back(connection)
        self.pins.close()

    # Keeping

    def pin(self, connection: BackendConnection, reason: Pin) -> bool:
        """Keep this connection, which the session has in use, until `unpin_all` or the session's end. True when
        the reason is new. Raises 53300 when too many connections are kept."""
        connection.on_closed = self._client.wake
        return self.pins.pin(connection, self.held[connection], reason)

    def note_committed(self) -> None:
        """A transaction, or a statement outside of one, is through: what it has given up need not be kept."""
        for connection in self.pins.committed():
            if connection not in self.held:
                connection.on_closed = None
                self.pins.unpin(connection)

    async def discard_pinned(self) -> None:
        """DISCARD ALL: all that was kept is gone when this returns."""
        for node in list(self.pins.by_node):
            connection = await self.lease(node)
            try:
                await self.execute(connection, "DISCARD ALL")
            finally:
                connection.distrust()
                self.give_back(connection)
        self.pins.close()

    def _end_what_runs(self, connection: BackendConnection, pool: NodePool) -> None:
        """Nobody wants the rest of what runs on a pinned connection; whoever needs it next waits for that."""
        if connection.busy:
            connection.discard()
            pool.cancel_running(connection)

    async def _take_pinned(self, connection: BackendConnection, wanted: Settings) -> BackendConnection:
        """As clean as one from the pool, but for what the session keeps there."""
        self.held[connection] = self.pins.pool_of(connection)
        try:
            connection.resume_reading()
            while (connection.busy or connection.cancels_running) and not connection.closed:
                await self._client.wait()
                self.check_cancelled()
            if connection.closed:
                raise connection.failure
            if connection.status != IDLE:
                await self.execute(connection, "ROLLBACK")
            if connection.distrusted:
                await self._restore(connection)
            if connection.applied != wanted:
                await self.apply_settings(connection, wanted)
                self.check_cancelled()
        except BaseException:
            self.give_back(connection)
            raise
        return connection

    async def _restore(self, connection: BackendConnection) -> None:
        """Its settings are not known any more: back to the node's defaults, and then to the session's."""
        await self.execute(connection, "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL")
        connection.applied = NO_SETTINGS
        connection.distrusted = False

    async def finish(self, exchange: Exchange) -> None:
        """Wait for the end of an exchange; raise its error."""
        while not exchange.finished:
            await self._client.wait()
        if exchange.error is not None:
            raise exchange.error

    async def execute(self, connection: BackendConnection, sql: str) -> str:
        """Run a statement of which only the tag or the error matters."""
        exchange = connection.query(sql, Mode.SILENT, self._client.wake)
        await self.finish(exchange)
        return exchange.tag or ""

    async def execute_on_all(self, connections: Sequence[BackendConnection], sql: str) -> None:
        """Run a statement on all at once. The first one's notices and ParameterStatuses go to the client; when
        all have ended, the first error is raised."""
        exchanges = self._begun_on_all(connections, sql)
        for exchange in exchanges:
            while not exchange.finished:
                await self._client.wait()
        self.reported.relay(exchanges[0].asides if exchanges else ())
        for exchange in exchanges:
            await self.finish(exchange)

    async def ended_on_all(self, connections: Sequence[BackendConnection], sql: str) -> list[Exchange]:
        """The same, but what all of them say goes to the client, and the errors are the caller's."""
        return await self.all_ended(self._begun_on_all(connections, sql))

    async def all_ended(self, exchanges: list[Exchange]) -> list[Exchange]:
        """With their errors."""
        for exchange in exchanges:
            while not exchange.finished:
                await self._client.wait()
            self.reported.relay(exchange.asides)
        return exchanges

    def _begun_on_all(self, connections: Sequence[BackendConnection], sql: str) -> list[Exchange]:
        return [connection.query(sql, Mode.SILENT, self._client.wake) for connection in connections]

    # Cancelling

    def begin_statement(self) -> None:
        """What was cancelled before does not concern the statement that begins now."""
        self.cancelled = False

    def check_cancelled(self) -> None:
        """Raise 57014 if the cancel came while nothing ran that a node could have cancelled: between the steps
        that lead to the statement itself."""
        if self.cancelled:
            raise ProxyError("57014", "canceling statement due to user request")

    def cancel(self) -> None:
        """Cancel the running statement wherever it runs or waits. Without one, nothing happens."""
        self.cancelled = True
        for connection, pool in self.held.items():
            pool.cancel_running(connection)
        self._client.wake()

    # Inside

    async def _queue(self, pool: NodePool) -> BackendConnection:
        (connection,) = await self._all_granted(
            pool, [pool.request(self._client.wake, in_the_way=self._is_in_the_way())]
        )
        return connection

    async def _all_granted(self, pool: NodePool, leases: Sequence[Lease]) -> list[BackendConnection]:
        self.waiting = True
        try:
            for lease in leases:
                while not lease.done:
                    await self._client.wait()
                    self.check_cancelled()
                if lease.error is not None:
                    raise self.refused(lease.error, pool)
        except BaseException:
            for lease in leases:
                pool.withdraw(lease)
            raise
        finally:
            self.waiting = False
        return [lease.connection for lease in leases if lease.connection is not None]

    def _is_in_the_way(self) -> bool:
        """A pause waits for this session: it must be able to go on."""
        return any(pool.paused for pool in (*self.held.values(), *self.pins.pools))

    def refused(self, error: ProxyError, pool: NodePool) -> ProxyError:
        """Why there is no connection. The heartbeat may have found the node down in the meantime: that says more than
        a refused connect."""
        if isinstance(error, NodeFailure):
            return self._services.why_down(pool.node.name) or error
        if isinstance(error, ServerError) and error.sqlstate in _NOT_NOW:
            return NodeFailure(pool.node.name, error.message, sqlstate=error.sqlstate, hint=error.hint)
        return error

    async def apply_settings(self, connection: BackendConnection, wanted: Settings) -> None:
        """Bring the connection to these settings. One that refuses is closed."""
        try:
            await self.execute(connection, changes(connection.applied, wanted))
        except BaseException:
            connection.distrust()  # which of them took effect is not known
            raise
        connection.applied = wanted


def never_sent(lost: ConnectionLost) -> NodeFailure:
    """It broke before the statement itself was on its way."""
    failure = NodeFailure(lost.node, lost.message, sqlstate=lost.sqlstate, hint=lost.hint)
    failure.detail = lost.detail
    return failure


_NOT_NOW = frozenset({"57P01", "57P02", "57P03"})  # log-ins are refused while the node shuts down or starts
