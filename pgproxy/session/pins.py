"""The node connections that a session keeps for itself, because what it has done there cannot be moved to another:
temporary tables, LISTEN, session-level advisory locks, held cursors; and the notifications that come in on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.pool import NodePool
from pgproxy.errors import ProxyError
from pgproxy.planner.plan import Pin
from pgproxy.session.client import Client
from pgproxy.wire.messages import notification_response, parse_notification

PAUSE_BYTES = 256 * 1024
MOST_BYTES = 8 * 1024 * 1024


class Pins:
    """At most one connection for each node. `pid` is the client's, for notifications of its own.

    A pinned connection is not leased and released: `Backends` takes it when the session needs its node.
    """

    def __init__(self, client: Client) -> None:
        self.pid = 0
        self.reasons: dict[Pin, None] = {}  # in the order in which they came up
        self.by_node: dict[str, BackendConnection] = {}
        self.notifications: deque[bytes] = deque()  # whole messages, until the client may hear them
        self._pools: dict[BackendConnection, NodePool] = {}
        self._given_up: set[Pin] = set()  # when the transaction commits
        self._bytes = 0
        self._client = client

    def __contains__(self, connection: BackendConnection) -> bool:
        return connection in self._pools

    def __bool__(self) -> bool:
        return bool(self.by_node)

    @property
    def failure(self) -> ProxyError | None:
        """What was kept is lost, or the client does not take its notifications: the session must end."""
        if self._bytes > MOST_BYTES:
            return ProxyError("53400", "too many notifications wait for the end of the transaction")
        return next((connection.failure for connection in self._pools if connection.closed), None)

    @property
    def pools(self) -> Iterable[NodePool]:
        return self._pools.values()

    def pool_of(self, connection: BackendConnection) -> NodePool:
        return self._pools[connection]

    def pin(self, connection: BackendConnection, pool: NodePool, reason: Pin) -> bool:
        """Keep the connection, which the session has in use. True when this reason is new. Raises 53300."""
        if connection not in self._pools:
            pool.pin()
            self._pools[connection] = pool
            self.by_node[connection.node.name] = connection
            connection.on_notification = lambda payload: self._notified(connection, payload)
            connection.on_quiet = lambda _: self._client.wake()
        is_new = reason not in self.reasons
        self.reasons[reason] = None
        self._given_up.discard(reason)
        return is_new

    # Giving up

    def give_up(self, reason: Pin) -> None:
        """The session has no more of this kind, unless the transaction that said so is rolled back."""
        self._given_up.add(reason)

    def forget(self, reason: Pin) -> None:
        """It did not come to that."""
        self.reasons.pop(reason, None)

    def rolled_back(self) -> None:
        self._given_up.clear()

    def committed(self) -> Iterator[BackendConnection]:
        """What has been given up is; if that was all, the connections that need not be kept any more."""
        for reason in self._given_up:
            self.reasons.pop(reason, None)
        self._given_up.clear()
        if not self.reasons:
            yield from list(self._pools)

    def unpin(self, connection: BackendConnection) -> None:
        """Give it back to its pool."""
        pool = self._pools.pop(connection)
        del self.by_node[connection.node.name]
        connection.on_notification = connection.on_quiet = None
        pool.unpin(connection)

    def close(self) -> None:
        """The session ends, and with it what it had there."""
        for connection in list(self._pools):
            connection.distrust()
            self.unpin(connection)
        self.reasons.clear()
        self._given_up.clear()

    # Notifications

    def deliver(self) -> None:
        """Send what has come in. Only between transactions, as PostgreSQL does."""
        while self.notifications:
            self._client.send(self.notifications.popleft())
        self._bytes = 0
        for connection in self._pools:
            connection.resume_reading()

    def _notified(self, connection: BackendConnection, payload: bytes) -> None:
        pid, rest = parse_notification(payload)
        # Who compares it with its own process id wants to know whether it was itself.
        if pid == connection.pid:
            pid = self.pid
        elif pid == self.pid:
            pid = 0
        message = notification_response(pid, rest)
        self.notifications.append(message)
        self._bytes += len(message)
        if self._bytes > PAUSE_BYTES and not connection.busy:
            connection.pause_reading()
        self._client.wake()
