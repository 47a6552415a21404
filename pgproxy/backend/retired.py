"""Pools of nodes that have left the shard map: kept until the statements that began before are through, then closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from pgproxy.backend.pool import NodePool

LOOK_S = 0.5


class Retired:
    """`needed` says whether a session might still come to a pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, needed: Callable[[NodePool], bool]) -> None:
        self._loop = loop
        self._needed = needed
        self._pools: list[NodePool] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, pools: Iterable[NodePool]) -> None:
        for pool in pools:
            pool.retire()
            self._pools.append(pool)
        if self._timer is None:
            self._look()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for pool in self._pools:
            pool.close()

    def _look(self) -> None:
        kept = []
        for pool in self._pools:
            if not pool.unused or self._needed(pool):
                kept.append(pool)
            else:
                pool.close()
        self._pools = kept
        self._timer = self._loop.call_later(LOOK_S, self._look) if kept else None
