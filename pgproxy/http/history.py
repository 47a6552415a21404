"""The last minutes of the proxy, second by second: what the charts show. Bounded; made of differences of counters."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from pgproxy.metrics import Metrics, quantile_us

KEPT = 900  # points: 15 minutes
_RATES = ("route", "scatter", "node", "local")


class History:
    """`sample` once a second. A point is what happened since the one before."""

    def __init__(self, metrics: Metrics) -> None:
        self.points: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._last = _counts(metrics)
        self._errors = sum(metrics.errors.values())
        self._at = time.monotonic()

    def sample(self, metrics: Metrics, heartbeats: Mapping[str, float | None]) -> dict[str, Any]:
        """Add the point of now: statements per second by way, p50 and p99, heartbeat latencies; all in ms."""
        now, counts, errors = time.monotonic(), _counts(metrics), sum(metrics.errors.values())
        passed_s = max(now - self._at, 1e-3)
        since = {way: _minus(buckets, self._last[way]) for way, buckets in counts.items()}
        all_of_them = [sum(column) for column in zip(*since.values(), strict=True)]
        point: dict[str, Any] = {"at": round(time.time(), 3)}
        point |= {way: round(sum(since[way]) / passed_s, 1) for way in _RATES}
        point["errors"] = round((errors - self._errors) / passed_s, 1)
        point["p50_ms"] = _ms(quantile_us(all_of_them, 0.5))
        point["p99_ms"] = _ms(quantile_us(all_of_them, 0.99))
        point["heartbeat_ms"] = {node: value and round(value, 2) for node, value in heartbeats.items()}
        self.points.append(point)
        self._last, self._errors, self._at = counts, errors, now
        return point


def _counts(metrics: Metrics) -> dict[str, list[int]]:
    """The histogram of each way, all nodes together."""
    counts: dict[str, list[int]] = {}
    for way, _node, figures in metrics.ways:
        known = counts.get(way)
        counts[way] = list(figures.buckets) if known is None else list(map(int.__add__, known, figures.buckets))
    return counts


def _minus(now: Sequence[int], before: Sequence[int]) -> list[int]:
    return list(map(int.__sub__, now, before))


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1000, 3)
