"""The connections to one node: leased for a statement or a transaction, opened when someone waits, reaped, replaced.

A connection is handed out again only when it is provably clean: no statement running, no cancel request
on its way, no transaction open. Settings are the session's business: it compares `applied` with its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine

from pgproxy.backend.breaker import Breaker
from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.counts import PoolCounts
from pgproxy.backend.lease_queue import Lease, LeaseQueue
from pgproxy.backend.scanner import IDLE
from pgproxy.backend.settling import Settling
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.metrics import Figures
from pgproxy.shardmap.model import ClusterSettings, Node, PoolSettings
from pgproxy.tls.node import NodeTls
from pgproxy.wire.auth import Credential

log = logging.getLogger("pgproxy.backend")

REAP_INTERVAL_S = 5.0
BREAKER_LOOK_S = 0.5
LIFETIME_JITTER = 0.2
NESTED_SERVES = 8
_NOT_NOW = frozenset({"57P01", "57P02", "57P03"})  # it shuts down or starts


class NodePool:
    """All connections to one node. Everything happens on one event loop; nothing here blocks."""

    def __init__(
        self,
        node: Node,
        cluster: ClusterSettings,
        settings: PoolSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        on_failure: Callable[[str, str], None] = lambda node, reason: None,
        on_trouble: Callable[[str], None] = lambda node: None,
        credential: Credential | None = None,
        tls: NodeTls | None = None,
    ) -> None:
        self.node = node
        self.credential = credential  # None: the cluster's user; connections opened from now on log in with it
        self.settings = settings
        self.tls = tls  # for connections that are made from now on
        self.counts = PoolCounts()
        self.routed = Figures()  # of the statements that went to one shard here
        self._cluster = cluster
        self._loop = loop
        self._on_failure = on_failure
        self._on_trouble = on_trouble
        self._idle: list[BackendConnection] = []  # the last one used is the first one out
        self._all: set[BackendConnection] = set()
        self.pinned = 0
        self._queue = LeaseQueue(node.name, settings, self.counts, loop)
        self._in_turn = self._queue.in_turn
        self._serving = 0
        self._settling = Settling(loop, self.cancel_running, self._settled)
        self._connecting = 0
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_open_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._retired = False
        self._replaced = 0  # how often all connections were told to make room for new ones
        self._reap_interval_s = _reap_interval_s(settings)
        self._reaper = loop.call_later(self._reap_interval_s, self._reap)

    # Figures

    @property
    def size(self) -> int:
        return len(self._all)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    @property
    def room(self) -> int:
        """How many connections may be had without waiting for those who have one."""
        if self._in_turn:
            return 0
        return len(self._idle) + max(0, self.settings.size - len(self._all) - self._connecting)

    @property
    def oldest_wait_s(self) -> float | None:
        """How long the first in the queue has waited, None when nobody waits."""
        return self._queue.oldest_wait_s

    @property
    def paused(self) -> bool:
        return self._queue.paused

    @property
    def unused(self) -> bool:
        """No connection is open or on its way, and nobody waits for one that would be opened now."""
        return not self._all and not self._connecting and not self._in_turn

    # Leasing

    def try_lease(self) -> BackendConnection | None:
        """An idle connection at once, or None: then `request` one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                self.counts.leases += 1
                return connection
        return None

    def request(self, wake: Callable[[], None], *, in_the_way: bool = False) -> Lease:
        """Queue for a connection. The wait ends with a connection, 53300 (queue full or timeout) or the
        node's failure. Give up with `withdraw`. `in_the_way`: whoever asks holds what a pause waits for, and so is
        served nevertheless."""
        lease = Lease(wake, self._loop.time())
        waits_for_resume = self.paused and not in_the_way
        broken = None if self._all or waits_for_resume else self._breaker.why_open(self._loop.time())
        lease.error = self._queue.why_full() or broken
        if lease.error is not None:
            return lease
        self.counts.waits += 1
        if self._queue.enter(lease, in_the_way=in_the_way) and len(self._all) + self._connecting < self.settings.size:
            self._grow()
        return lease

    def withdraw(self, lease: Lease) -> None:
        """Leave the queue, or give back what was granted in the meantime."""
        if lease.connection is not None:
            self.release(lease.connection)
            lease.connection = None
        else:
            self._queue.leave(lease)

    def release(self, connection: BackendConnection) -> None:
        """Take a connection back, at once or as soon as it is clean. A statement that still runs is cancelled;
        a connection that does not become clean in time is closed."""
        if connection.closed:
            self._forget(connection)
        elif connection.expired:
            self._retire(connection)
        elif connection.busy or connection.cancels_running or connection.status != IDLE:
            self._settling.add(connection)
        elif self._in_turn:
            self._serve(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def take_back(self, connection: BackendConnection) -> None:
        """`release` for a connection whose statement was answered whole: nothing runs there, no transaction is open."""
        if self._in_turn or connection.closed or connection.expired or connection.cancels_running:
            self.release(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def pin(self) -> None:
        """A session is to keep its connection until `unpin`. Raises 53300 when too few would be left for the others."""
        if self.pinned >= max(self.settings.size - 1, 1):
            raise ProxyError(
                "53300",
                f"too many sessions keep a connection to node {self.node.name} for themselves",
                hint='SHOW CLIENTS in the database "pgproxy" tells whose and why; proxy.pool.size limits them.',
            )
        self.pinned += 1

    def unpin(self, connection: BackendConnection) -> None:
        """Take it back, clean or to be closed."""
        self.pinned -= 1
        self.release(connection)

    def fail(self, reason: ProxyError) -> None:
        """The node is down: whoever waits or runs there hears it at once."""
        self._queue.fail(reason)
        self._idle.clear()
        for connection in list(self._all):
            connection.abort(reason)

    def close(self) -> None:
        """Close every connection and stop. Waiting leases fail with 57P01."""
        self._closed = True
        self._reaper.cancel()
        self._settling.close()
        self._queue.close(ProxyError("57P01", "the proxy is shutting down", severity="FATAL"))
        for task in self._tasks:
            task.cancel()
        for connection in list(self._all):
            connection.close()
        self._idle.clear()

    def cancel_running(self, connection: BackendConnection) -> None:
        """Cancel what runs on a connection, in a task of the pool's own."""
        if connection.busy:
            self._start(connection.cancel())

    # What an operator asks for

    def replace_connections(self) -> None:
        """Close every connection, those in use when they are given back; who needs one gets a new one."""
        self._replaced += 1
        for connection in self._all:
            _expire(connection)
        for connection in list(self._idle):
            self._retire(connection)

    def pause(self) -> None:
        """Let go of the node: whoever comes waits for `resume`, and connections are closed when they are given back;
        `unused` tells when all of them are. Without idle connections everyone comes to `request`, so nothing is added
        to the usual way of a statement."""
        self._queue.pause()
        self.replace_connections()

    def resume(self) -> None:
        """Serve those who wait, in the order in which they came; `queue_timeout_s` begins now."""
        if not self.paused:
            return
        self._breaker.succeeded()
        self._queue.resume()
        self._grow()

    def turn_away(self, reason: ProxyError) -> None:
        """Whoever waits for `resume` hears this instead."""
        self._queue.turn_away(reason)

    def change(self, node: Node, cluster: ClusterSettings, settings: PoolSettings) -> None:
        """A shard map was reloaded. To a node that is elsewhere now, or wants another log-in, go new connections."""
        moved = (node, cluster) != (self.node, self._cluster)
        self.node, self._cluster, self.settings = node, cluster, settings
        self._queue.reconfigure(settings)
        self._reap_interval_s = _reap_interval_s(settings)
        self._breaker.change(settings.breaker_failures, settings.breaker_open_s, self._loop.time())
        if moved:
            self._breaker.succeeded()
            self.replace_connections()
        self._grow()

    def retire(self) -> None:
        """The node is no longer in the shard map: statements that began before still find it. `close` comes later."""
        self.resume()
        self._retired = True
        self.replace_connections()

    def _settled(self, connection: BackendConnection) -> None:
        if connection.status != IDLE:
            # Left inside a transaction: ROLLBACK would also undo settings that `applied` tells of.
            self._retire(connection)
        else:
            self.release(connection)

    def _serve(self, connection: BackendConnection) -> None:
        """Give a clean connection to the first in the queue, whose session goes on at once. A chain of sessions
        that release without having waited is broken up by the event loop before it makes the stack grow."""
        if self._serving >= NESTED_SERVES:
            self._loop.call_soon(self.release, connection)
            return
        lease = self._in_turn.popleft()
        self.counts.leases += 1
        lease.connection = connection
        self._serving += 1
        try:
            lease.wake()
        finally:
            self._serving -= 1

    # Growing and shrinking

    def _grow(self) -> None:
        """Connect as long as someone waits for whom no connection is on its way."""
        while (
            not self._closed
            and len(self._in_turn) > self._connecting
            and len(self._all) + self._connecting < self.settings.size
            and not (self._breaker.tripped and self._connecting)
        ):
            self._connecting += 1
            self._start(self._connect())

    async def _connect(self) -> None:
        replaced = self._replaced
        try:
            while pause_s := self._breaker.pause_s(self._loop.time()):  # noqa: ASYNC110 - time alone ends it, mostly
                await asyncio.sleep(min(pause_s, BREAKER_LOOK_S))  # other settings may make it shorter
            connection = await BackendConnection.open(
                self.node, self._cluster, self._loop, self.settings.connect_timeout_s, self.tls, self.credential
            )
        except ProxyError as failure:
            self._connecting -= 1
            self._connect_failed(failure)
            return
        except BaseException:
            self._connecting -= 1
            raise
        self._connecting -= 1
        self._breaker.succeeded()
        connection.keep_alive(self.settings.keepalive_s)
        self.counts.connects += 1
        self._all.add(connection)
        jitter = random.uniform(1 - LIFETIME_JITTER, 1 + LIFETIME_JITTER)
        connection.expires_at = self._loop.time() + self.settings.lifetime_s * jitter
        connection.on_lost = self._lost
        if self._retired or self.paused:
            _expire(connection)  # for those who must be served nevertheless, and nobody else
            if self._in_turn:
                self._serve(connection)
                return
        elif replaced != self._replaced:
            _expire(connection)  # it may be to where the node was before
        self.release(connection)

    def _connect_failed(self, failure: ProxyError) -> None:
        self.counts.connect_failures += 1
        self._breaker.failed(failure, self._loop.time())
        self.counts.breaker_trips = self._breaker.trips
        if failure.sqlstate == "53300" and (self._all or self._connecting):
            # The node has no room for more: those who wait get the connections that are there, or on their way.
            log.warning("node %s: %s", self.node.name, failure.message)
            return
        if isinstance(failure, NodeFailure) or failure.sqlstate in _NOT_NOW:
            self._on_trouble(self.node.name)
            self._on_failure(self.node.name, failure.message)
        else:
            log.warning("node %s refuses the log-in: %s", self.node.name, failure.message)
        self._queue.fail(failure)

    def _lost(self, connection: BackendConnection) -> None:
        self.counts.lost += 1
        if connection.said_good_bye:
            self._on_trouble(self.node.name)
        self._on_failure(self.node.name, "a connection was lost")
        self._forget(connection)

    def _forget(self, connection: BackendConnection) -> None:
        self._all.discard(connection)
        self._settling.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._grow()

    def _reap(self) -> None:
        """Close what idled too long or lived too long; busy ones get their turn when they are back."""
        now = self._loop.time()
        self._reaper = self._loop.call_later(self._reap_interval_s, self._reap)
        for connection in self._all:
            connection.expired = now > connection.expires_at
        for connection in list(self._idle):
            spare = len(self._all) > self.settings.min_idle
            if len(self._all) > self.settings.size:
                connection.expired = True  # the size was more when it was opened
            if connection.expired or (spare and now - connection.idle_since > self.settings.idle_timeout_s):
                self._idle.remove(connection)
                self._retire(connection)

    def _retire(self, connection: BackendConnection) -> None:
        self.cancel_running(connection)  # a node goes on with a statement whose client has left
        connection.close()
        self._forget(connection)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _expire(connection: BackendConnection) -> None:
    """It is closed when it is given back."""
    connection.expired = True
    connection.expires_at = 0.0


def _reap_interval_s(settings: PoolSettings) -> float:
    return min(REAP_INTERVAL_S, settings.idle_timeout_s, settings.lifetime_s)
