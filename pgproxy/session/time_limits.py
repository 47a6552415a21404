"""The proxy's own limits for statements and for idle transactions: looked at now and then, so no statement pays."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from pgproxy.shardmap.model import ProxySettings

_LONGEST_INTERVAL_S = 1.0
_SHORTEST_INTERVAL_S = 0.05


class Limited(Protocol):
    """A session."""

    def limit(self, statement_s: float, idle_in_transaction_s: float) -> None:
        """Cancel a statement, or end an idle transaction with its session, that has taken longer; 0 is no limit."""
        ...


class TimeLimits:
    """Of all sessions of a worker. Does nothing, at no cost, where the shard map sets none."""

    def __init__(
        self, sessions: Mapping[int, Limited], settings: ProxySettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._sessions = sessions
        self._limits = settings.statement_timeout_s or 0.0, settings.idle_in_transaction_timeout_s or 0.0
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def change(self, settings: ProxySettings) -> None:
        self.stop()
        self._limits = settings.statement_timeout_s or 0.0, settings.idle_in_transaction_timeout_s or 0.0
        self.start()

    def start(self) -> None:
        if any(self._limits):
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        for session in list(self._sessions.values()):
            session.limit(*self._limits)
        quarter_s = min(limit for limit in self._limits if limit) / 4
        self._timer = self._loop.call_later(max(_SHORTEST_INTERVAL_S, min(_LONGEST_INTERVAL_S, quarter_s)), self._look)
