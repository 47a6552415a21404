"""Those who wait until every member of a node has been asked anew, with a limit to the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

_PATIENCE = 3  # times a probe's timeout: one may be under way, and one follows


@dataclass(slots=True, eq=False)
class _Seeker:
    """`due`: how many probes of each member must still end. One that was under way already may know nothing new."""

    due: dict[str, int]
    found: Callable[[], None]
    timer: asyncio.TimerHandle | None = None


class Seekers:
    def __init__(self, probe_timeout_s: float) -> None:
        self._patience_s = probe_timeout_s * _PATIENCE
        self._waiting: set[_Seeker] = set()

    def add(self, due: dict[str, int], found: Callable[[], None]) -> None:
        seeker = _Seeker(due, found)
        seeker.timer = asyncio.get_running_loop().call_later(self._patience_s, self._end, seeker)
        self._waiting.add(seeker)

    def probed(self, key: str) -> None:
        for seeker in list(self._waiting):
            if key not in seeker.due:
                continue
            seeker.due[key] -= 1
            if not seeker.due[key]:
                del seeker.due[key]
            if not seeker.due:
                self._end(seeker)

    def close(self) -> None:
        for seeker in list(self._waiting):
            self._end(seeker)

    def _end(self, seeker: _Seeker) -> None:
        if seeker in self._waiting:
            self._waiting.discard(seeker)
            if seeker.timer is not None:
                seeker.timer.cancel()
            seeker.found()
