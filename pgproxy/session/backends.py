"""The node connections that one session holds, brought to its settings; the way a cancel reaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgproxy.backend.connection import IDLE, BackendConnection
from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.backend.pool import NodePool
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.planner.plan import Pin
from pgproxy.session.client import Client
from pgproxy.session.in_force import InForce
from pgproxy.session.pins import Pins
from pgproxy.session.reported import Reported
from pgproxy.session.services import Services
from pgproxy.session.settings import NO_SETTINGS, Settings, changes


class Backends:
    """Leases from the pools. `settings` are the session's own, `defaults` those of its start-up packet."""

    def __init__(self, client: Client, services: Services) -> None:
        self.settings: Settings = NO_SETTINGS
        self.defaults: Settings = NO_SETTINGS
        self.in_force: InForce = services.in_force
        self.pools: Mapping[str, NodePool] = self.in_force.pools
        self.node_user = ""  # as whom the nodes know the session, where that is the client's user
        self.held: dict[BackendConnection, NodePool] = {}
        self.reported = Reported(client)
        self.pins = Pins(client)
        self.waiting = False
        self._client = client
        self._services = services
        self._cancelled = False

    def move_on(self) -> None:
        """From here on under the shard map that is in force now."""
        self.in_force = self._services.in_force
        self.pools = self._services.pools_of(self.node_user)

    async def lease(self, node: str) -> BackendConnection:
        """A clean connection to the node with this session's settings in force: the one that the session keeps
        there, if it has one that is not in use."""
        pinned = self.pins.by_node.get(node)
        if pinned is not None and pinned not in self.held:
            return await self._take_pinned(pinned)
        failure = self._services.why_down(node)
        if failure is not None:
            raise failure
        pool = self.pools.get(node) or self._services.pools_of(self.node_user)[node]
        connection = pool.try_lease() or await self._queue(pool)
        self.held[connection] = pool
        connection.on_closed = self._client.wake
        if connection.applied is not self.settings and connection.applied != self.settings:
            try:
                await self.apply_settings(connection)
                self.check_cancelled()
            except BaseException:
                self.give_back(connection)
                raise
        return connection

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

    async def _take_pinned(self, connection: BackendConnection) -> BackendConnection:
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
            if connection.applied != self.settings:
                await self.apply_settings(connection)
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
        exchanges = [connection.query(sql, Mode.SILENT, self._client.wake) for connection in connections]
        for exchange in exchanges:
            while not exchange.finished:
                await self._client.wait()
        self.reported.relay(exchanges[0].asides if exchanges else ())
        for exchange in exchanges:
            await self.finish(exchange)

    # Cancelling

    def begin_statement(self) -> None:
        """What was cancelled before does not concern the statement that begins now."""
        self._cancelled = False

    def check_cancelled(self) -> None:
        """Raise 57014 if the cancel came while nothing ran that a node could have cancelled: between the steps
        that lead to the statement itself."""
        if self._cancelled:
            raise ProxyError("57014", "canceling statement due to user request")

    def cancel(self) -> None:
        """Cancel the running statement wherever it runs or waits. Without one, nothing happens."""
        self._cancelled = True
        for connection, pool in self.held.items():
            pool.cancel_running(connection)
        self._client.wake()

    # Inside

    async def _queue(self, pool: NodePool) -> BackendConnection:
        lease = pool.request(self._client.wake, in_the_way=self._is_in_the_way())
        self.waiting = True
        try:
            while not lease.done:
                await self._client.wait()
                self.check_cancelled()
        except BaseException:
            pool.withdraw(lease)
            raise
        finally:
            self.waiting = False
        if lease.error is not None:
            raise self._with_node(lease.error, pool)
        assert lease.connection is not None
        return lease.connection

    def _is_in_the_way(self) -> bool:
        """A pause waits for this session: it must be able to go on."""
        return any(pool.paused for pool in (*self.held.values(), *self.pins.pools))

    def _with_node(self, error: ProxyError, pool: NodePool) -> ProxyError:
        """The heartbeat may have found the node down in the meantime: that says more than a refused connect."""
        if isinstance(error, NodeFailure):
            return self._services.why_down(pool.node.name) or error
        return error

    async def apply_settings(self, connection: BackendConnection) -> None:
        """Bring the connection to the session's settings. One that refuses is closed."""
        wanted = self.settings
        try:
            await self.execute(connection, changes(connection.applied, wanted))
        except BaseException:
            connection.distrust()  # which of them took effect is not known
            raise
        connection.applied = wanted
