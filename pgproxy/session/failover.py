"""Trying again what a gateway has failed to do: what may be repeated, where, and for how long.

Only with engine cockroachdb, where any node is a gateway to every table, and only what has left no trace: nothing of
its answer has gone to the client, and it has not changed anything or certainly has not happened.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

from pgproxy.backend.exchange import ServerError
from pgproxy.errors import ConnectionLost, NodeFailure, ProxyError
from pgproxy.planner.plan import Effect
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.services import Services

T = TypeVar("T")

PAUSE_FIRST_S = 0.01
PAUSE_MAX_S = 0.5
MOST_CONFLICTS = 20  # tries after 40001
_CONFLICT = "40001"
# The node goes away, comes up, or cannot reach those that have the rows.
_NODE_TROUBLE = frozenset({"57P01", "57P02", "57P03", "58C00", "58C01"})
_UNCATEGORISED = "XXUUU"
# What CockroachDB says in XXUUU when one of its nodes cannot talk to another; anything else would only fail again.
_INTER_NODE = (
    "failed to connect",
    "transport is closing",
    "context canceled",
    "connection refused",
    "connection reset",
    "broken pipe",
    "node unavailable",
    "breaker open",
)


class Verdict(Enum):
    """What to do about a statement that has failed."""

    REPORT = auto()
    ELSEWHERE = auto()  # it may run through another gateway
    AGAIN = auto()  # the same gateway will do, after a pause
    UNKNOWN = auto()  # it may have happened: never repeated


def judge(error: ProxyError, effect: Effect) -> Verdict:
    """What may be done about the error of a statement that ran by itself."""
    if isinstance(error, ConnectionLost):
        return Verdict.ELSEWHERE if effect is Effect.READ else Verdict.UNKNOWN
    if isinstance(error, NodeFailure):
        return Verdict.ELSEWHERE  # it was never sent
    if not isinstance(error, ServerError):
        return Verdict.REPORT
    if error.sqlstate == _CONFLICT:
        return Verdict.AGAIN  # says that it did not happen
    if effect is Effect.READ and (error.sqlstate in _NODE_TROUBLE or _is_inter_node(error)):
        return Verdict.ELSEWHERE
    return Verdict.REPORT


def _is_inter_node(error: ServerError) -> bool:
    return error.sqlstate == _UNCATEGORISED and any(words in error.message for words in _INTER_NODE)


def outcome_unknown(lost: ProxyError) -> ProxyError:
    """CockroachDB's own code for it."""
    return ProxyError(
        "40003",
        f"the result is ambiguous: {lost.message}",
        detail="The connection was lost after the statement had been sent, so it may or may not have taken effect.",
        hint="It is not repeated. Look whether it has happened before you send it again.",
    )


class Failover:
    """The statements of one session."""

    def __init__(self, client: Client, services: Services, backends: Backends) -> None:
        self._client = client
        self._services = services
        self._backends = backends

    @property
    def possible(self) -> bool:
        """Whoever keeps a connection has something there that no other gateway has."""
        return self._services.gateways.interchangeable and not self._backends.pins

    async def run(self, attempt: Callable[[], Awaitable[T]], effect: Effect, call: Call = SIMPLE) -> T:
        """Attempt it until it succeeds, may not be repeated, or `failover_deadline_s` have passed since it failed
        first. It must be repeatable as a whole: outside of a transaction, or one that has not begun."""
        if not self.possible:
            return await attempt()
        mark = self._client.mark()
        failures = 0
        deadline = 0.0
        try:
            while True:
                try:
                    return await attempt()
                except ProxyError as error:
                    now = self._services.loop.time()
                    deadline = deadline or now + self._services.shard_map.proxy.failover_deadline_s
                    failures += 1
                    pause_s = self._pause_s(error, judge(error, effect), failures)
                    too_late = pause_s is None or now + pause_s >= deadline or not self.possible
                    if too_late or not self._client.take_back(mark):
                        raise
                call.again()
                self._services.metrics.retries += 1
                await self._pause(pause_s or 0.0)
        finally:
            self._backends.failed.clear()

    def _pause_s(self, error: ProxyError, verdict: Verdict, failures: int) -> float | None:
        """How long to wait before it is tried again; None: not at all. Raises 40003."""
        if verdict is Verdict.UNKNOWN:
            raise outcome_unknown(error) from None
        if verdict is Verdict.REPORT or (verdict is Verdict.AGAIN and failures > MOST_CONFLICTS):
            return None
        if verdict is Verdict.ELSEWHERE and isinstance(error, NodeFailure | ServerError):
            failed = self._backends.failed
            failed.add(error.node)
            if self._services.gateways.untried(failed):
                return 0.0
            failed.clear()
        return min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)

    async def _pause(self, pause_s: float) -> None:
        self._backends.check_cancelled()
        if not pause_s:
            return
        over = False

        def end() -> None:
            nonlocal over
            over = True
            self._client.wake()

        timer = self._services.loop.call_later(pause_s, end)
        try:
            while not over:
                await self._client.wait()
                self._backends.check_cancelled()
        finally:
            timer.cancel()
