"""The circuit breaker of one node's pool: who asks a node that cannot be connected to is not made to wait for it.

Closed while connecting works. After `trips_after` failures in a row it is open: for `open_s` everybody hears the last
failure at once. Then one connection is tried, and its fate closes it or keeps it open.
"""

from __future__ import annotations

import random

from pgproxy.errors import ProxyError

BACKOFF_FIRST_S = 0.05


class Breaker:
    """Times are the caller's clock, in seconds."""

    def __init__(self, trips_after: int, open_s: float) -> None:
        self.trips = 0
        self._trips_after = trips_after
        self._open_s = open_s
        self._failures = 0
        self._last: ProxyError | None = None
        self._retry_at = 0.0

    @property
    def tripped(self) -> bool:
        """Open, or trying whether it may close: one attempt at a time."""
        return self._failures >= self._trips_after

    def why_open(self, now: float) -> ProxyError | None:
        return self._last if self.tripped and now < self._retry_at else None

    def pause_s(self, now: float) -> float:
        """How long to wait before the next attempt."""
        return max(0.0, self._retry_at - now)

    def failed(self, failure: ProxyError, now: float) -> None:
        self._failures += 1
        self.trips += self._failures == self._trips_after
        backoff_s = min(self._open_s, BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 10))
        self._retry_at = now + (self._open_s if self.tripped else backoff_s) * random.uniform(0.5, 1)
        self._last = failure

    def change(self, trips_after: int, open_s: float, now: float) -> None:
        """Other settings; a wait that has begun is no longer than they say."""
        self._trips_after, self._open_s = trips_after, open_s
        self._retry_at = min(self._retry_at, now + open_s)

    def succeeded(self) -> None:
        """Or it may well, since something has changed there."""
        self._failures = 0
        self._retry_at = 0.0
        self._last = None
