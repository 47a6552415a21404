"""Counters and latency histograms: what the proxy has done, cheap enough for every statement.

Plain integers on slotted objects, bumped by their owners (`metrics.route += 1`); one event loop, so no locks.
Nothing here is shared between workers; turning figures into answers is `admin`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

_BUCKETS = 40  # the last begins at 2**38 µs, about 76 hours
_OTHER = "other"


class Histogram:
    """Latencies in powers of two: bucket `n` counts values in [2**(n-1), 2**n) microseconds, bucket 0 zeros.

    The hot path does `histogram.buckets[microseconds.bit_length()] += 1` or calls `observe`.
    """

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS

    def observe(self, microseconds: int) -> None:
        try:
            self.buckets[microseconds.bit_length()] += 1
        except IndexError:
            self.buckets[-1] += 1

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def quantile_us(self, fraction: float) -> float | None:
        """The value below which `fraction` of the observations lie, None without any.

        Interpolated within its bucket, so never off by more than a factor of two.
        """
        total = self.count
        if not total:
            return None
        wanted = fraction * total
        below = 0
        for index, inside in enumerate(self.buckets):
            if inside and below + inside >= wanted:
                lower, upper = _bounds_us(index)
                return lower + (upper - lower) * max(0.0, wanted - below) / inside
            below += inside
        raise AssertionError("unreachable: the buckets hold the total")


class NodeMetrics:
    """One node's figures. `in_use` is a gauge, all others only grow."""

    __slots__ = (
        "connect_failures",
        "connects",
        "failures",
        "in_use",
        "latency",
        "leases",
        "queue_timeouts",
        "statements",
        "waits",
    )

    def __init__(self) -> None:
        self.leases = 0  # connections handed to sessions
        self.waits = 0  # of these, those that had to queue
        self.queue_timeouts = 0
        self.connects = 0
        self.connect_failures = 0
        self.failures = 0  # connections that broke in use
        self.statements = 0
        self.in_use = 0
        self.latency = Histogram()


class Metrics:
    """The proxy's figures. Statements are counted by the way they ran; `clients` is a gauge."""

    __slots__ = (
        "cancels",
        "clients",
        "clients_refused",
        "clients_total",
        "errors",
        "latency",
        "local",
        "logins_refused",
        "nodes",
        "plan_cache_evictions",
        "plan_cache_hits",
        "plan_cache_misses",
        "refused",
        "route",
        "rows",
        "scatter",
        "started_monotonic",
        "to_node",
    )

    def __init__(self, nodes: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.started_monotonic = clock()
        self.clients = 0
        self.clients_total = 0
        self.clients_refused = 0
        self.logins_refused = 0  # no rule, wrong password, …
        self.cancels = 0
        self.route = 0  # one shard
        self.scatter = 0  # several shards
        self.to_node = 0  # no sharded table
        self.local = 0  # answered by the proxy itself
        self.refused = 0  # 0A000 from the planner
        self.rows = 0
        self.plan_cache_hits = 0
        self.plan_cache_misses = 0
        self.plan_cache_evictions = 0
        self.errors: dict[str, int] = {}
        self.latency = Histogram()
        self.nodes = {name: NodeMetrics() for name in nodes}

    @property
    def statements(self) -> int:
        return self.route + self.scatter + self.to_node + self.local + self.refused

    @property
    def plan_cache_hit_rate(self) -> float | None:
        asked = self.plan_cache_hits + self.plan_cache_misses
        return self.plan_cache_hits / asked if asked else None

    def count_error(self, sqlstate: str) -> None:
        """One more error sent to a client. Nodes may invent codes; past 500 different ones they share an entry."""
        known = sqlstate in self.errors or len(self.errors) < 500
        code = sqlstate if known else _OTHER
        self.errors[code] = self.errors.get(code, 0) + 1


def _bounds_us(index: int) -> tuple[int, int]:
    return (0, 0) if index == 0 else (1 << index - 1, 1 << index)
