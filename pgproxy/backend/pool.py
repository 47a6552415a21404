"""The connections to one node: leased for a statement or a transaction, queued for, reaped, replaced.

A connection is handed out again only when it is provably clean: no statement running, no cancel request
on its way, no transaction open. Settings are the session's business: it compares `applied` with its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from pgproxy.backend.breaker import Breaker
from pgproxy.backend.connection import IDLE, BackendConnection
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.metrics import Figures
from pgproxy.shardmap.model import ClusterSettings, Node, PoolSettings
from pgproxy.tls.node import NodeTls
from pgproxy.wire.auth import Credential

log = logging.getLogger("pgproxy.backend")

REAP_INTERVAL_S = 5.0
SETTLE_TIMEOUT_S = 10.0
CANCEL_AFTER_S = 0.05  # the rest of an unwanted answer is often one round trip away; a cancel costs a connection
LIFETIME_JITTER = 0.2
NESTED_SERVES = 8
_NOT_NOW = frozenset({"57P01", "57P02", "57P03"})  # it shuts down or starts
TIMER_SLACK_S = 0.001
PAUSE_LOOK_S = 1.0


class Lease:
    """A place in the queue for a connection. Done when `connection` or `error` is set; `wake` tells."""

    __slots__ = ("connection", "error", "queued_at", "wake")

    def __init__(self, wake: Callable[[], None], queued_at: float) -> None:
        self.wake = wake
        self.queued_at = queued_at
        self.connection: BackendConnection | None = None
        self.error: ProxyError | None = None

    @property
    def done(self) -> bool:
        return self.connection is not None or self.error is not None


@dataclass(slots=True)
class PoolCounts:
    """What the pool has done since it began."""

    leases: int = 0
    waits: int = 0
    queue_timeouts: int = 0
    connects: int = 0
    connect_failures: int = 0
    breaker_trips: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Settling:
    """A connection that was given back before it was clean."""

    since: float
    cancelled: bool = False


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
        self._queue: deque[Lease] = deque()  # oldest first
        self._queue_timer: asyncio.TimerHandle | None = None
        self._serving = 0
        self._settling: dict[BackendConnection, _Settling] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._connecting = 0
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_open_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._retired = False
        self._replaced = 0  # how often all connections were told to make room for new ones
        self._held_back: deque[Lease] | None = None  # while paused: who waits for `resume`, oldest first
        self._pause_timer: asyncio.TimerHandle | None = None
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
        return len(self._queue) + len(self._held_back or ())

    @property
    def room(self) -> int:
        """How many connections may be had without waiting for those who have one."""
        if self._queue:
            return 0
        return len(self._idle) + max(0, self.settings.size - len(self._all) - self._connecting)

    @property
    def oldest_wait_s(self) -> float | None:
        """How long the first in the queue has waited, None when nobody waits."""
        firsts = [queue[0].queued_at for queue in (self._queue, self._held_back) if queue]
        return self._loop.time() - min(firsts) if firsts else None

    @property
    def paused(self) -> bool:
        return self._held_back is not None

    @property
    def unused(self) -> bool:
        """No connection is open or on its way, and nobody waits for one that would be opened now."""
        return not self._all and not self._connecting and not self._queue

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
        if self.waiting >= self.settings.queue_limit:
            lease.error = ProxyError(
                "53300",
                f"too many statements wait for a connection to node {self.node.name}",
                hint="Raise proxy.pool.queue_limit or proxy.pool.size in the shard map.",
            )
            return lease
        broken = None if self._all else self._breaker.why_open(self._loop.time())
        if broken is not None:
            lease.error = broken
            return lease
        self.counts.waits += 1
        if self._held_back is not None and not in_the_way:
            self._held_back.append(lease)
            return lease
        self._queue.append(lease)
        if self._queue_timer is None:
            self._queue_timer = self._loop.call_later(self.settings.queue_timeout_s, self._time_out)
        if len(self._all) + self._connecting < self.settings.size:
            self._grow()
        return lease

    def withdraw(self, lease: Lease) -> None:
        """Leave the queue, or give back what was granted in the meantime."""
        if lease.connection is not None:
            self.release(lease.connection)
            lease.connection = None
        elif lease in self._queue:
            self._queue.remove(lease)
        elif self._held_back is not None and lease in self._held_back:
            self._held_back.remove(lease)

    def release(self, connection: BackendConnection) -> None:
        """Take a connection back, at once or as soon as it is clean. A statement that still runs is cancelled;
        a connection that does not become clean within SETTLE_TIMEOUT_S is closed."""
        if connection.closed:
            self._forget(connection)
        elif connection.expired:
            self._retire(connection)
        elif connection.busy or connection.cancels_running or connection.status != IDLE:
            self._settle(connection)
        elif self._queue:
            self._serve(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def take_back(self, connection: BackendConnection) -> None:
        """`release` for a connection whose statement was answered whole: nothing runs there, no transaction is open."""
        if self._queue or connection.closed or connection.expired or connection.cancels_running:
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
        self._fail_queue(reason)
        self._idle.clear()
        for connection in list(self._all):
            connection.abort(reason)

    def close(self) -> None:
        """Close every connection and stop. Waiting leases fail with 57P01."""
        self._closed = True
        self._reaper.cancel()
        for timer in (self._queue_timer, self._sweeper, self._pause_timer):
            if timer is not None:
                timer.cancel()
        self._queue.extend(self._held_back or ())
        self._held_back = None
        self._fail_queue(ProxyError("57P01", "the proxy is shutting down", severity="FATAL"))
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
        if self._held_back is None:
            self._held_back, self._queue = self._queue, deque()
            self._pause_timer = self._loop.call_later(PAUSE_LOOK_S, self._end_long_pauses)
        self.replace_connections()

    def resume(self) -> None:
        """Serve those who wait, in the order in which they came; `queue_timeout_s` begins now."""
        if self._held_back is None:
            return
        waiting, self._held_back = self._held_back, None
        if self._pause_timer is not None:
            self._pause_timer.cancel()
        self._backoff_s = self._retry_at = 0.0
        for lease in waiting:
            lease.queued_at = self._loop.time()
        self._queue.extend(waiting)
        if self._queue and self._queue_timer is None:
            self._queue_timer = self._loop.call_later(self.settings.queue_timeout_s, self._time_out)
        self._grow()

    def change(self, node: Node, cluster: ClusterSettings, settings: PoolSettings) -> None:
        """A shard map was reloaded. To a node that is elsewhere now, or wants another log-in, go new connections."""
        moved = (node, cluster) != (self.node, self._cluster)
        self.node, self._cluster, self.settings = node, cluster, settings
        self._reap_interval_s = _reap_interval_s(settings)
        if moved:
            self._backoff_s = self._retry_at = 0.0
            self.replace_connections()
        self._grow()

    def retire(self) -> None:
        """The node is no longer in the shard map: statements that began before still find it. `close` comes later."""
        self.resume()
        self._retired = True
        self.replace_connections()

    def _end_long_pauses(self) -> None:
        assert self._held_back is not None
        self._pause_timer = self._loop.call_later(PAUSE_LOOK_S, self._end_long_pauses)
        overdue = self._loop.time() - self.settings.pause_timeout_s
        while self._held_back and self._held_back[0].queued_at <= overdue:
            lease = self._held_back.popleft()
            self.counts.queue_timeouts += 1
            lease.error = ProxyError(
                "53300",
                f"node {self.node.name} is paused, and was not resumed within {self.settings.pause_timeout_s:g} s",
                hint=f'"RESUME {self.node.name};" in the database "pgproxy" lets statements go on.',
            )
            lease.wake()

    # Becoming clean

    def _settle(self, connection: BackendConnection) -> None:
        connection.discard()
        connection.on_quiet = self._quiet
        if not connection.busy and not connection.cancels_running:
            self._quiet(connection)
            return
        self._settling[connection] = _Settling(self._loop.time())
        if self._sweeper is None:  # one timer for all, as most settle before it fires
            self._sweeper = self._loop.call_later(CANCEL_AFTER_S, self._sweep)

    def _quiet(self, connection: BackendConnection) -> None:
        connection.on_quiet = None
        self._settling.pop(connection, None)
        if connection.status != IDLE:
            # Left inside a transaction: ROLLBACK would also undo settings that `applied` tells of.
            self._retire(connection)
        else:
            self.release(connection)

    def _sweep(self) -> None:
        """Cancel what has gone on for a while, close what does not end even so."""
        self._sweeper = None
        now = self._loop.time() + TIMER_SLACK_S
        for connection, settling in list(self._settling.items()):
            if now - settling.since > SETTLE_TIMEOUT_S:
                connection.abort()
            elif now - settling.since >= CANCEL_AFTER_S and not settling.cancelled:
                settling.cancelled = True
                self.cancel_running(connection)
        if self._settling:
            self._sweeper = self._loop.call_later(CANCEL_AFTER_S, self._sweep)

    # The queue

    def _serve(self, connection: BackendConnection) -> None:
        """Give a clean connection to the first in the queue, whose session goes on at once. A chain of sessions
        that release without having waited is broken up by the event loop before it makes the stack grow."""
        if self._serving >= NESTED_SERVES:
            self._loop.call_soon(self.release, connection)
            return
        lease = self._queue.popleft()
        self.counts.leases += 1
        lease.connection = connection
        self._serving += 1
        try:
            lease.wake()
        finally:
            self._serving -= 1

    def _time_out(self) -> None:
        """One timer serves the whole queue, since all wait equally long."""
        self._queue_timer = None
        overdue = self._loop.time() - self.settings.queue_timeout_s + TIMER_SLACK_S
        while self._queue and self._queue[0].queued_at <= overdue:
            lease = self._queue.popleft()
            self.counts.queue_timeouts += 1
            lease.error = ProxyError(
                "53300",
                f"no connection to node {self.node.name} became free within {self.settings.queue_timeout_s:g} s",
                hint="All connections of the pool are in use: raise proxy.pool.size or shorten transactions.",
            )
            lease.wake()
        if self._queue:
            wait_s = self._queue[0].queued_at - overdue
            self._queue_timer = self._loop.call_later(max(wait_s, TIMER_SLACK_S), self._time_out)

    def _fail_queue(self, reason: ProxyError) -> None:
        queue, self._queue = self._queue, deque()
        for lease in queue:
            lease.error = reason
            self._loop.call_soon(lease.wake)

    # Growing and shrinking

    def _grow(self) -> None:
        """Connect as long as someone waits for whom no connection is on its way."""
        while (
            not self._closed
            and len(self._queue) > self._connecting
            and len(self._all) + self._connecting < self.settings.size
            and not (self._breaker.tripped and self._connecting)
        ):
            self._connecting += 1
            self._start(self._connect())

    async def _connect(self) -> None:
        replaced = self._replaced
        try:
            await asyncio.sleep(self._breaker.pause_s(self._loop.time()))
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
            if self._queue:
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
        self._fail_queue(failure)

    def _lost(self, connection: BackendConnection) -> None:
        self.counts.lost += 1
        if connection.said_good_bye:
            self._on_trouble(self.node.name)
        self._on_failure(self.node.name, "a connection was lost")
        self._forget(connection)

    def _forget(self, connection: BackendConnection) -> None:
        self._all.discard(connection)
        self._settling.pop(connection, None)
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
