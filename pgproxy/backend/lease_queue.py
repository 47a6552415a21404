"""Who waits for a connection of one pool: oldest first, only so many, only so long. While the node is paused they are
held back, and their time limit is another.

Who is served, and when, is the pool's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.counts import PoolCounts
from pgproxy.errors import ProxyError
from pgproxy.shardmap.model import PoolSettings

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


class LeaseQueue:
    """`in_turn` are those who are served next. It is one object for the queue's whole life: the pool looks at it
    whenever a connection is given back, and a call would be on every statement's way."""

    def __init__(self, node: str, settings: PoolSettings, counts: PoolCounts, loop: asyncio.AbstractEventLoop) -> None:
        self.in_turn: deque[Lease] = deque()
        self.settings = settings
        self._held_back: deque[Lease] | None = None
        self._node = node
        self._counts = counts
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._pause_timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self.in_turn) + len(self._held_back or ())

    @property
    def oldest_wait_s(self) -> float | None:
        """How long the first one has waited, None when nobody waits."""
        firsts = [leases[0].queued_at for leases in (self.in_turn, self._held_back) if leases]
        return self._loop.time() - min(firsts) if firsts else None

    @property
    def paused(self) -> bool:
        return self._held_back is not None

    def reconfigure(self, settings: PoolSettings) -> None:
        """Who waits goes by the new limits."""
        self.settings = settings
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(0, self._time_out)

    def why_full(self) -> ProxyError | None:
        if self.waiting < self.settings.queue_limit:
            return None
        return ProxyError(
            "53300",
            f"too many statements wait for a connection to node {self._node}",
            hint="Raise proxy.pool.queue_limit or proxy.pool.size in the shard map.",
        )

    def enter(self, lease: Lease, *, in_the_way: bool) -> bool:
        """Whether it is its turn next; else it is held back."""
        if self._held_back is not None and not in_the_way:
            self._held_back.append(lease)
            return False
        self.in_turn.append(lease)
        self._start_timer()
        return True

    def leave(self, lease: Lease) -> None:
        if lease in self.in_turn:
            self.in_turn.remove(lease)
        elif self._held_back is not None and lease in self._held_back:
            self._held_back.remove(lease)

    def fail(self, reason: ProxyError) -> None:
        """Those whose turn is next hear it, from the event loop."""
        self._fail(self.in_turn, reason)

    def turn_away(self, reason: ProxyError) -> None:
        """Those who are held back hear it."""
        if self._held_back is not None:
            self._fail(self._held_back, reason)

    def _fail(self, leases: deque[Lease], reason: ProxyError) -> None:
        failed = list(leases)
        leases.clear()
        for lease in failed:
            lease.error = reason
            self._loop.call_soon(lease.wake)

    def close(self, reason: ProxyError) -> None:
        """Everybody hears it."""
        for timer in (self._timer, self._pause_timer):
            if timer is not None:
                timer.cancel()
        self.in_turn.extend(self._held_back or ())
        self._held_back = None
        self.fail(reason)

    # While the node is paused

    def pause(self) -> None:
        """Hold everyone back until `resume`."""
        if self._held_back is None:
            self._held_back = deque(self.in_turn)
            self.in_turn.clear()
            self._pause_timer = self._loop.call_later(PAUSE_LOOK_S, self._end_long_pauses)

    def resume(self) -> None:
        """In the order in which they came; `queue_timeout_s` begins now."""
        if self._held_back is None:
            return
        waiting, self._held_back = self._held_back, None
        if self._pause_timer is not None:
            self._pause_timer.cancel()
        for lease in waiting:
            lease.queued_at = self._loop.time()
        self.in_turn.extend(waiting)
        if self.in_turn:
            self._start_timer()

    def _end_long_pauses(self) -> None:
        assert self._held_back is not None
        self._pause_timer = self._loop.call_later(PAUSE_LOOK_S, self._end_long_pauses)
        overdue = self._loop.time() - self.settings.pause_timeout_s
        while self._held_back and self._held_back[0].queued_at <= overdue:
            lease = self._held_back.popleft()
            self._counts.queue_timeouts += 1
            lease.error = ProxyError(
                "53300",
                f"node {self._node} is paused, and was not resumed within {self.settings.pause_timeout_s:g} s",
                hint=f'"RESUME {self._node};" in the database "pgproxy" lets statements go on.',
            )
            lease.wake()

    # Time limits

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self.settings.queue_timeout_s, self._time_out)

    def _time_out(self) -> None:
        """One timer serves the whole queue, since all wait equally long."""
        self._timer = None
        overdue = self._loop.time() - self.settings.queue_timeout_s + TIMER_SLACK_S
        while self.in_turn and self.in_turn[0].queued_at <= overdue:
            lease = self.in_turn.popleft()
            self._counts.queue_timeouts += 1
            lease.error = ProxyError(
                "53300",
                f"no connection to node {self._node} became free within {self.settings.queue_timeout_s:g} s",
                hint="All connections of the pool are in use: raise proxy.pool.size or shorten transactions.",
            )
            lease.wake()
        if self.in_turn:
            wait_s = self.in_turn[0].queued_at - overdue
            self._timer = self._loop.call_later(max(wait_s, TIMER_SLACK_S), self._time_out)
