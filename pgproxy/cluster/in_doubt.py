"""Transactions that nodes have prepared and nobody has ended: found in rounds, and ended as their decider says.

Whatever happens to a proxy, its clients or the nodes in the middle of a commit, the decider's commit log says what
becomes of it. So any proxy of the cluster can do this at any time, several at once, and nothing is kept in a proxy.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pgproxy.auth.pending import Pending
from pgproxy.cluster.participant import MOST_PREPARED, NotAllowed, Prepared, StillOpen
from pgproxy.cluster.participants import Counts, Participants, UnknownDecider
from pgproxy.cluster.settling import Settling
from pgproxy.errors import NodeFailure
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import Engine, ShardMap

_MOST_TOLD = 1_000

log = logging.getLogger(__name__)

Left = list[tuple[Prepared, str]]  # what could not be ended, and why


@dataclass(frozen=True, slots=True)
class Timing:
    """`patience_s`: younger ones are still in the hands of their sessions. `round_s`: no node is worked on for longer.
    `clean_s`: how often old decisions are deleted."""

    interval_s: float = 5.0
    patience_s: float = 10.0
    alert_s: float = 60.0
    round_s: float = 20.0
    clean_s: float = 600.0


class InDoubt:
    """`shard_map` gives the one in force, with the primaries' addresses; `is_up` says whether to ask a node."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shard_map: Callable[[], ShardMap],
        is_up: Callable[[str], bool],
        timing: Timing | None = None,
    ) -> None:
        self._loop = loop
        self._shard_map = shard_map
        self._timing = timing or Timing()
        self._participants = Participants(shard_map, is_up)
        self._settling = Settling(loop, self._participants)
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._clean_at = loop.time() + self._timing.clean_s * random.uniform(0.1, 1)  # not all proxies at once
        self._told: set[tuple[str, str]] = set()  # node and global id of what somebody must end by hand
        self._alerted: set[str] = set()  # nodes

    def counts_of(self, node: str) -> Counts:
        return self._participants.counts.get(node) or Counts()

    def start(self) -> None:
        """The first round begins."""
        if self._shard_map().cluster.engine is Engine.POSTGRESQL:
            self._wanted.set()
            self._task = self._loop.create_task(self._keep_on(), name="recovery")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._settling.stop()
        await self._participants.close()

    def ask_soon(self) -> None:
        """A node has come back."""
        self._wanted.set()

    def settle(self, gid: str, wake: Callable[[], None]) -> Pending[bool]:
        """As `session.services.Services` says."""
        return self._settling.settle(gid, wake)

    async def round(self) -> None:
        """Ask all nodes that are up, and end what can be ended."""
        names = self._participants.current()
        found = await asyncio.gather(*(self._recover(name) for name in names))
        whole = [parts for parts in found if parts is not None and len(parts) < MOST_PREPARED]
        if len(whole) == len(names) and self._loop.time() >= self._clean_at:
            self._clean_at = self._loop.time() + self._timing.clean_s
            await self._clean(names, {part.gid for parts in whole for part in parts})

    async def _keep_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timing.interval_s):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self.round()
            except Exception:  # whatever goes wrong in one, the next may do better
                log.exception("a round of recovery failed unexpectedly")

    async def _recover(self, node: str) -> Collection[Prepared] | None:
        """What is prepared on a node; None when it does not say."""
        try:
            found = await self._participants.prepared(node, commit_log.prefix(self._participants.cluster))
        except NodeFailure:
            return None  # if that lasts, its heartbeat tells
        doubtful = [part for part in found if part.age_s >= self._timing.patience_s]
        counts = self._participants.counts[node]
        counts.in_doubt, before = len(doubtful), (counts.committed, counts.rolled_back)
        left = await self._end_all(node, doubtful)
        counts.in_doubt = len(left)
        _log_ended(node, counts.committed - before[0], counts.rolled_back - before[1])
        self._alert(node, left)
        return found

    async def _end_all(self, node: str, parts: Collection[Prepared]) -> Left:
        left: Left = []
        deaf: dict[str, str] = {}  # deciders that do not answer
        deadline = self._loop.time() + self._timing.round_s
        for part in parts:
            why = "there was no time for it" if self._loop.time() > deadline else await self._end(node, part, deaf)
            if why is not None:
                left.append((part, why))
        return left

    async def _end(self, node: str, part: Prepared, deaf: dict[str, str]) -> str | None:
        """Why it could not be ended; None if it could."""
        try:
            decider = self._participants.decider_of(part.gid)
        except UnknownDecider:
            return self._by_hand(node, part, "the node that decides about it is not in the shard map")
        if decider in deaf:
            return deaf[decider]
        try:
            committed = await self._participants.committed(part.gid)
        except StillOpen as failure:
            return failure.message
        except NodeFailure as failure:
            return deaf.setdefault(decider, failure.message)
        try:
            await self._participants.end(node, part, commit=committed)
        except NotAllowed:
            verb = "COMMIT" if committed else "ROLLBACK"
            return self._by_hand(node, part, f"{verb} PREPARED '{part.gid}' is for its owner {part.owner} to run there")
        except NodeFailure as failure:
            return failure.message
        return None

    def _by_hand(self, node: str, part: Prepared, why: str) -> str:
        if (node, part.gid) not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add((node, part.gid))
            log.error("ALERT: transaction %s on node %s must be ended by hand: %s", part.gid, node, why)
        return why

    def _alert(self, node: str, left: Left) -> None:
        known = {part.gid for part, _ in left}
        self._told = {told for told in self._told if told[0] != node or told[1] in known}
        old = [(part, why) for part, why in left if part.age_s >= self._timing.alert_s]
        if old and node not in self._alerted:
            part, why = old[0]
            self._alerted.add(node)
            log.error(
                "ALERT: %d transactions are in doubt on node %s, the oldest for %.0f s: %s (%s)",
                *(len(left), node, part.age_s, part.gid, why),
            )
        elif not old and node in self._alerted:
            self._alerted.discard(node)
            log.warning("RECOVERED: no transaction is in doubt for long on node %s any more", node)

    async def _clean(self, nodes: Collection[str], prepared: Collection[str]) -> None:
        """No node has a part of what is deleted, so nobody will ask for it."""
        for node in nodes:
            try:
                deleted = await self._participants.forget(node, prepared)
            except NodeFailure as failure:
                log.warning("old rows of %s stay: %s", commit_log.TABLE, failure.message)
            else:
                log.debug("%d old rows of %s on node %s are deleted", deleted, commit_log.TABLE, node)


def _log_ended(node: str, committed: int, rolled_back: int) -> None:
    if committed or rolled_back:
        log.warning(
            "of the transactions in doubt on node %s %d were committed, %d rolled back", node, committed, rolled_back
        )
