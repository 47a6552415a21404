"""Counters and latency histograms: what the proxy has done, cheap enough for every statement.

Plain integers on slotted objects, bumped by their owners (`metrics.route += 1`); one event loop, so no locks.
Nothing here is shared between workers; turning figures into answers is `admin`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

_STEPS = 4  # buckets for each doubling
_BUCKETS = 39 * _STEPS  # the last begins at 7/8 of 2**40 µs, about 11 days
_TABLED_US = 1 << 16
LONGEST_TAG_BYTES = 64  # PostgreSQL's COMPLETION_TAG_BUFSIZE
_OTHER = "other"


def bucket_of(microseconds: int) -> int:
    """Which bucket counts this value: the top three bits and their place say it."""
    if microseconds < _STEPS:
        return microseconds
    doublings = microseconds.bit_length() - 3
    return min(doublings * _STEPS + (microseconds >> doublings), _BUCKETS - 1)


def bounds_us(bucket: int) -> tuple[int, int]:
    """The values that a bucket counts: from the first up to but not with the second. Bucket 0 counts zeros."""
    if bucket < _STEPS:
        return (bucket, bucket + 1 if bucket else 0)
    doublings = bucket // _STEPS - 1
    lower = (_STEPS + bucket % _STEPS) << doublings
    return lower, lower + (1 << doublings)


# Looking a bucket up is cheaper than computing it, for all but the slowest statements.
_BUCKET_OF = b"".join(
    bytes([bucket]) * (max(upper, 1) - lower)
    for bucket, (lower, upper) in ((bucket, bounds_us(bucket)) for bucket in range(bucket_of(_TABLED_US)))
)


class Histogram:
    """Latencies in buckets a quarter of a doubling wide: 1000 µs is counted with 896 to 1023."""

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS

    def observe(self, microseconds: int) -> None:
        self.buckets[bucket_of(microseconds)] += 1

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def add(self, other: Histogram) -> None:
        self.buckets = list(map(int.__add__, self.buckets, other.buckets))

    def quantile_us(self, fraction: float) -> float | None:
        """The value below which `fraction` of the observations lie, None without any. At most a quarter off."""
        return quantile_us(self.buckets, fraction)


def quantile_us(buckets: Sequence[int], fraction: float) -> float | None:
    """As `Histogram.quantile_us`. Interpolated within its bucket."""
    total = sum(buckets)
    if not total:
        return None
    wanted = fraction * total
    below = 0
    for index, inside in enumerate(buckets):
        if inside and below + inside >= wanted:
            lower, upper = bounds_us(index)
            return lower + (upper - lower) * max(0.0, wanted - below) / inside
        below += inside
    raise AssertionError("unreachable: the buckets hold the total")


class Figures(Histogram):
    """What became of some statements: those of one way on one node, or those of one template. The latencies are
    those of statements that went well. Of a template `rows` were sent or affected, and `ran` are the figures of the way
    that it took last."""

    __slots__ = ("cancelled", "errors", "ran", "rows", "total_us")

    def __init__(self) -> None:
        super().__init__()
        self.total_us = 0
        self.rows = 0
        self.errors = 0
        self.cancelled = 0
        self.ran: Figures | None = None

    @property
    def mean_us(self) -> float | None:
        calls = self.count
        return self.total_us / calls if calls else None

    def failed(self, sqlstate: str) -> None:
        if sqlstate == _CANCELLED:
            self.cancelled += 1
        else:
            self.errors += 1


_CANCELLED = "57014"
ONE_ROW = b" 1\0Z\0\0\0\5I"  # the end of an answer with SELECT 1, UPDATE 1 and the like


def count(ran: Figures, template: Figures | None, microseconds: int, rows: int) -> None:
    """One statement went well. In one piece, since every statement pays for it; so rows are only the template's."""
    try:
        bucket = _BUCKET_OF[microseconds]
    except IndexError:
        bucket = bucket_of(microseconds)
    ran.buckets[bucket] += 1
    ran.total_us += microseconds
    if template is not None:
        template.buckets[bucket] += 1
        template.total_us += microseconds
        template.rows += rows
        template.ran = ran


def rows_of_answer(answer: bytes) -> int:
    """How many rows were sent or affected, by the CommandComplete before the ReadyForQuery that ends an answer."""
    return rows_of_tag(answer[-LONGEST_TAG_BYTES:-7])


def rows_of_tag(end: bytes) -> int:
    """The number at the end of a tag; 0 for tags without one."""
    number = end[end.rfind(b" ") + 1 :]
    return int(number) if number.isdigit() else 0


class NodeMetrics:
    """One node's figures. `in_use` and `in_doubt` are gauges, all others only grow. `routed` are statements that went
    to one shard here, `to_node` those that touch no sharded table."""

    __slots__ = (
        "breaker_trips",
        "connect_failures",
        "connects",
        "doubts_committed",
        "doubts_rolled_back",
        "failovers",
        "failures",
        "in_doubt",
        "in_use",
        "leases",
        "queue_timeouts",
        "routed",
        "to_node",
        "waits",
    )

    def __init__(self) -> None:
        self.leases = 0  # connections handed to sessions
        self.waits = 0  # of these, those that had to queue
        self.queue_timeouts = 0
        self.connects = 0
        self.connect_failures = 0
        self.breaker_trips = 0  # how often it could not be connected to for long
        self.failures = 0  # connections that broke in use
        self.failovers = 0  # statements for this node that ran through another
        self.in_use = 0
        self.in_doubt = 0  # prepared transactions that nobody has ended for a while
        self.doubts_committed = 0  # of these, those that recovery has ended
        self.doubts_rolled_back = 0
        self.routed = Figures()
        self.to_node = Figures()

    @property
    def statements(self) -> int:
        return self.routed.count + self.to_node.count

    @property
    def latency(self) -> Histogram:
        return _sum((self.routed, self.to_node))


class Metrics:
    """The proxy's figures. Statements are counted by the way they ran; `clients` is a gauge."""

    __slots__ = (
        "cancels",
        "clients",
        "clients_refused",
        "clients_total",
        "deadlocks",
        "errors",
        "here",
        "local",
        "logins_refused",
        "nodes",
        "plan_cache_evictions",
        "plan_cache_hits",
        "plan_cache_misses",
        "refused",
        "retries",
        "route",
        "rows",
        "scatter",
        "scattered",
        "started_monotonic",
        "to_node",
        "unplanned",
    )

    def __init__(self, nodes: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.started_monotonic = clock()
        self.clients = 0
        self.clients_total = 0
        self.clients_refused = 0
        self.logins_refused = 0  # no rule, wrong password, …
        self.cancels = 0
        self.deadlocks = 0  # over several nodes, broken here
        self.route = 0  # one shard
        self.scatter = 0  # several shards
        self.to_node = 0  # no sharded table
        self.local = 0  # answered by the proxy itself
        self.refused = 0  # 0A000 from the planner
        self.unplanned = 0  # other errors before it was known where to run
        self.retries = 0  # statements that were tried again, each time
        self.rows = 0
        self.plan_cache_hits = 0
        self.plan_cache_misses = 0
        self.plan_cache_evictions = 0
        self.errors: dict[str, int] = {}
        self.scattered = Figures()
        self.here = Figures()  # answered by the proxy itself
        self.nodes = {name: NodeMetrics() for name in nodes}

    @property
    def statements(self) -> int:
        return self.route + self.scatter + self.to_node + self.local + self.refused

    @property
    def plan_cache_hit_rate(self) -> float | None:
        asked = self.plan_cache_hits + self.plan_cache_misses
        return self.plan_cache_hits / asked if asked else None

    @property
    def ways(self) -> Iterator[tuple[str, str, Figures]]:
        """Way, node (`several` for a scatter, empty for what the proxy answers itself) and figures of each."""
        for name, node in self.nodes.items():
            yield "route", name, node.routed
            yield "node", name, node.to_node
        yield "scatter", "several", self.scattered
        yield "local", "", self.here

    def way_of(self, ran: Figures | None) -> tuple[str, str]:
        """The way and node that these are the figures of; empty if of none."""
        return next(((way, node) for way, node, figures in self.ways if figures is ran), ("", ""))

    @property
    def latency(self) -> Histogram:
        """Of all statements that went well."""
        return _sum(figures for _way, _node, figures in self.ways)

    def count_error(self, sqlstate: str) -> None:
        """One more error sent to a client. Nodes may invent codes; past 500 different ones they share an entry."""
        known = sqlstate in self.errors or len(self.errors) < 500
        code = sqlstate if known else _OTHER
        self.errors[code] = self.errors.get(code, 0) + 1


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.add(histogram)
    return total
