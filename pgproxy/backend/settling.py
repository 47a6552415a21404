"""Connections that were given back before they were clean: what runs there may end by itself, is cancelled, cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pgproxy.backend.connection import BackendConnection

SETTLE_TIMEOUT_S = 10.0
CANCEL_AFTER_S = 0.05  # the rest of an unwanted answer is often one round trip away; a cancel costs a connection
TIMER_SLACK_S = 0.001


@dataclass(slots=True)
class _Unclean:
    since: float
    cancelled: bool = False


class Settling:
    """`cancel` cancels what runs on a connection; `settled` hears when nothing does any more. A connection on which
    something goes on beyond SETTLE_TIMEOUT_S is closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        cancel: Callable[[BackendConnection], None],
        settled: Callable[[BackendConnection], None],
    ) -> None:
        self._loop = loop
        self._cancel = cancel
        self._settled = settled
        self._unclean: dict[BackendConnection, _Unclean] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def add(self, connection: BackendConnection) -> None:
        """Nobody wants what still comes there."""
        connection.forsake()
        connection.on_quiet = self._quiet
        if not connection.busy and not connection.cancels_running:
            self._quiet(connection)
            return
        self._unclean[connection] = _Unclean(self._loop.time())
        if self._sweeper is None:  # one timer for all, as most settle before it fires
            self._sweeper = self._loop.call_later(CANCEL_AFTER_S, self._sweep)

    def forget(self, connection: BackendConnection) -> None:
        """It is gone."""
        self._unclean.pop(connection, None)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _quiet(self, connection: BackendConnection) -> None:
        connection.on_quiet = None
        self._unclean.pop(connection, None)
        self._settled(connection)

    def _sweep(self) -> None:
        """Cancel what has gone on for a while, close what does not end even so."""
        self._sweeper = None
        now = self._loop.time() + TIMER_SLACK_S
        for connection, unclean in list(self._unclean.items()):
            if now - unclean.since > SETTLE_TIMEOUT_S:
                connection.abort()
            elif now - unclean.since >= CANCEL_AFTER_S and not unclean.cancelled:
                unclean.cancelled = True
                self._cancel(connection)
        if self._unclean:
            self._sweeper = self._loop.call_later(CANCEL_AFTER_S, self._sweep)
