"""How far a standby is behind, in seconds, by what its primary has said of its WAL before. Pure.

Neither the clocks of the nodes nor what a standby believes to have received play a part: a standby that is caught up
has no lag however long nothing was written, and one that is cut off from its primary has, although it cannot know.
With the primary gone the lag is the one behind what it had last told.
"""

from __future__ import annotations

from bisect import bisect_right

_MOST_MARKS = 10_000


class WalHistory:
    """Positions of the primary's WAL, each with the last time at which there was no more of it."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._positions: list[int] = []
        self._times: list[float] = []

    def note(self, now: float, position: int) -> None:
        """The primary is at this position."""
        if self._positions and self._positions[-1] >= position:
            self._times[-1] = now
            return
        self._positions.append(position)
        self._times.append(now)
        # All older than the span but one: a standby that is behind that is behind any limit.
        old = min(bisect_right(self._times, now - self._span_s) - 1, len(self._times) - 1)
        old = max(old, len(self._times) - _MOST_MARKS)
        if old > 0:
            del self._positions[:old], self._times[:old]

    def lag_s(self, replayed: int) -> float | None:
        """A standby has replayed up to here; None when it is behind all that is remembered."""
        at = bisect_right(self._positions, replayed) - 1
        return None if at < 0 else self._times[-1] - self._times[at]
