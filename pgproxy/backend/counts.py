"""What one node's pool has done since it began."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PoolCounts:
    """They only grow."""

    leases: int = 0
    waits: int = 0
    queue_timeouts: int = 0
    connects: int = 0
    connect_failures: int = 0
    breaker_trips: int = 0
    lost: int = 0
