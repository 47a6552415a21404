"""The proxy's figures in Prometheus's words, made when someone scrapes: nothing here runs per statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pgproxy.http.view import ProxyView
from pgproxy.metrics import Figures, bounds_us, bucket_of

# The bounds of the buckets that a scrape shows, in µs: one for each doubling from 64 µs to 33 s.
_SHOWN_US = tuple(1 << doubling for doubling in range(6, 26))
_FIRST_BEYOND = tuple(bucket_of(bound) for bound in _SHOWN_US)
assert all(bounds_us(bucket)[0] == bound for bucket, bound in zip(_FIRST_BEYOND, _SHOWN_US, strict=True))


class Exposition:
    """`render` gives the body and its content type."""

    def __init__(self, view: ProxyView) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Proxy(view))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Proxy(Collector):
    def __init__(self, view: ProxyView) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return ()  # names are not checked against others': there are none

    def collect(self) -> Iterator[Metric]:
        view = self._view
        yield InfoMetricFamily(
            "pgproxy", "The proxy.", {"version": view.version, "cluster": view.shard_map.cluster.name}
        )
        for family in (_clients, _statements, _latency, _errors, _plans, _pools, _pool_counters, _heartbeats):
            yield from family(view)


def _clients(view: ProxyView) -> Iterator[Metric]:
    metrics = view.metrics
    yield GaugeMetricFamily("pgproxy_uptime_seconds", "Since the start.", view.uptime_s)
    yield GaugeMetricFamily("pgproxy_clients", "Clients connected.", metrics.clients)
    yield GaugeMetricFamily("pgproxy_max_clients", "Most clients at once.", view.shard_map.proxy.max_clients)
    yield CounterMetricFamily("pgproxy_clients_accepted", "Clients that have logged in.", metrics.clients_total)
    yield CounterMetricFamily("pgproxy_clients_refused", "Clients that were too many.", metrics.clients_refused)
    yield CounterMetricFamily("pgproxy_retries", "Statements that were tried again, each time.", metrics.retries)
    yield CounterMetricFamily("pgproxy_cancel_requests", "Requests that cancelled a statement.", metrics.cancels)
    yield CounterMetricFamily("pgproxy_deadlocks", "Deadlocks over several nodes.", metrics.deadlocks)


def _statements(view: ProxyView) -> Iterator[Metric]:
    metrics = view.metrics
    family = CounterMetricFamily(
        "pgproxy_statements", "Statements by the way they ran and how they ended.", labels=("way", "outcome")
    )
    counts: dict[tuple[str, str], int] = {}
    for way, _node, figures in metrics.ways:
        for outcome, count in (("ok", figures.count), ("error", figures.errors), ("cancelled", figures.cancelled)):
            counts[way, outcome] = counts.get((way, outcome), 0) + count
    counts["none", "refused"], counts["none", "error"] = metrics.refused, metrics.unplanned
    for labels, count in counts.items():
        family.add_metric(labels, count)
    yield family


def _latency(view: ProxyView) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "pgproxy_statement_seconds", "Time of statements that ended well.", labels=("way", "node")
    )
    for way, node, figures in view.metrics.ways:
        family.add_metric((way, node), _buckets(figures), figures.total_us / 1e6)
    yield family


def _buckets(figures: Figures) -> list[tuple[str, float]]:
    """Cumulative counts. Our bounds are exclusive, Prometheus's inclusive: of whole µs that is one too few."""
    counts = figures.buckets
    shown = [
        (str((bound - 1) / 1e6), float(sum(counts[:beyond])))
        for bound, beyond in zip(_SHOWN_US, _FIRST_BEYOND, strict=True)
    ]
    return [*shown, ("+Inf", float(sum(counts)))]


def _errors(view: ProxyView) -> Iterator[Metric]:
    family = CounterMetricFamily("pgproxy_errors", "Errors sent to clients.", labels=("sqlstate",))
    for sqlstate, count in view.metrics.errors.items():
        family.add_metric((sqlstate,), count)
    yield family


def _plans(view: ProxyView) -> Iterator[Metric]:
    metrics = view.metrics
    yield CounterMetricFamily("pgproxy_plan_cache_hits", "Statements whose plan was known.", metrics.plan_cache_hits)
    yield CounterMetricFamily("pgproxy_plan_cache_misses", "Statements planned anew.", metrics.plan_cache_misses)
    yield CounterMetricFamily("pgproxy_plan_cache_evictions", "Plans dropped for others.", metrics.plan_cache_evictions)
    yield GaugeMetricFamily("pgproxy_plan_cache_size", "Plans kept.", len(view.plans))
    yield GaugeMetricFamily("pgproxy_plan_cache_capacity", "Most plans kept.", view.shard_map.proxy.plan_cache_size)


def _pools(view: ProxyView) -> Iterator[Metric]:
    names = {
        "in_use": "Connections that serve a client.",
        "idle": "Connections that wait for work.",
        "waiting": "Statements that wait for a connection.",
        "max_size": "Most connections.",
    }
    for name, text in names.items():
        family = GaugeMetricFamily(f"pgproxy_pool_{name}", text, labels=("node", "user"))
        for pool in view.pools:
            family.add_metric((pool.node, pool.user), getattr(pool, name))
        yield family


_POOL_COUNTERS: Mapping[str, tuple[str, str]] = {
    "leases": ("pgproxy_pool_leases", "Connections handed out without or after a wait."),
    "waits": ("pgproxy_pool_waits", "Statements that had to wait for a connection."),
    "queue_timeouts": ("pgproxy_pool_queue_timeouts", "Statements that waited too long."),
    "connects": ("pgproxy_node_connects", "Connections made."),
    "connect_failures": ("pgproxy_node_connect_failures", "Connections that could not be made."),
    "breaker_trips": ("pgproxy_node_breaker_trips", "How often connecting failed so often that nobody waits for it."),
    "failures": ("pgproxy_node_connections_lost", "Connections that broke."),
    "doubts_committed": ("pgproxy_doubts_committed", "Prepared transactions that recovery has committed."),
    "doubts_rolled_back": ("pgproxy_doubts_rolled_back", "Prepared transactions that recovery has rolled back."),
    "failovers": ("pgproxy_failovers", "Statements for this node that ran through another."),
}


def _pool_counters(view: ProxyView) -> Iterator[Metric]:
    for attribute, (name, text) in _POOL_COUNTERS.items():
        family = CounterMetricFamily(name, text, labels=("node",))
        for node, figures in view.metrics.nodes.items():
            family.add_metric((node,), getattr(figures, attribute))
        yield family


def _heartbeats(view: ProxyView) -> Iterator[Metric]:
    gauge = partial(GaugeMetricFamily, labels=("node",))
    up = gauge("pgproxy_node_up", "1: the node answers its heartbeat.")
    latency = gauge("pgproxy_heartbeat_seconds", "The last heartbeat's time.")
    answered = gauge("pgproxy_heartbeat_last_answer_timestamp_seconds", "When the node last answered.")
    failures = gauge("pgproxy_heartbeat_failures", "Heartbeats in a row that were not answered.")
    for node in view.nodes:
        labels = (node.name,)
        up.add_metric(labels, 1 if node.up else 0)
        failures.add_metric(labels, node.failures)
        if node.latency_ms is not None:
            latency.add_metric(labels, node.latency_ms / 1000)
        if node.last_ok is not None:
            answered.add_metric(labels, node.last_ok)
    in_doubt = gauge("pgproxy_node_in_doubt", "Prepared transactions that nobody has ended for a while.")
    for node in view.nodes:
        in_doubt.add_metric((node.name,), node.in_doubt)
    yield from (up, latency, answered, failures, in_doubt)
    yield from _alerts(view)


def _alerts(view: ProxyView) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "pgproxy_node_last_change_timestamp_seconds", "When the node last went up or down.", labels=("node",)
    )
    for node in view.nodes:
        family.add_metric((node.name,), node.since)
    yield family
