"""When a process is to end: asked by signals, or relieved by a successor that has taken the port over."""

from __future__ import annotations

import asyncio


class Ending:
    """`asked`: stop accepting. `hurry`: end sessions as they become idle. `at_once`: cut off who is left.

    A signal asks for an orderly end, the next one for an end at once. After a takeover the first signal says nothing
    new: the clients who are connected are served until they leave.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.at_once = asyncio.Event()
        self.relieved = False
        self._signals = 0

    def relieve(self) -> None:
        self.relieved = True
        self.asked.set()

    def signal(self) -> None:
        self._signals += 1
        self.asked.set()
        beyond = self._signals - self.relieved
        if beyond >= 1:
            self.hurry.set()
        if beyond >= 2:
            self.at_once.set()
