"""The node connections that one session holds, brought to its settings; the way a cancel reaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.backend.pool import NodePool
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.session.client import Client
from pgproxy.session.reported import Reported
from pgproxy.session.services import Services
from pgproxy.session.settings import NO_SETTINGS, Settings, changes


class Backends:
    """Leases from the pools. `settings` are the session's own, `defaults` those of its start-up packet."""

    def __init__(self, client: Client, services: Services) -> None:
        self.settings: Settings = NO_SETTINGS
        self.defaults: Settings = NO_SETTINGS
        self.pools: Mapping[str, NodePool] = services.pools
        self.node_user = ""  # as whom the nodes know the session, where that is the client's user
        self.held: dict[BackendConnection, NodePool] = {}
        self.reported = Reported(client)
        self.waiting = False
        self._client = client
        self._services = services
        self._cancelled = False

    async def lease(self, node: str) -> BackendConnection:
        """A clean connection to the node with this session's settings in force."""
        failure = self._services.why_down(node)
        if failure is not None:
            raise failure
        pool = self.pools[node]
        connection = pool.try_lease() or await self._queue(pool)
        self.held[connection] = pool
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
        if pool is not None:
            pool.release(connection)

    def give_back_all(self) -> None:
        """The session ends: what still runs is cancelled, open transactions are rolled back by the pool."""
        for connection, pool in list(self.held.items()):
            pool.cancel_running(connection)
            self.give_back(connection)

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
        lease = pool.request(self._client.wake)
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
