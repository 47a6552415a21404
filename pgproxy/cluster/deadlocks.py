"""Deadlocks over several nodes, which no node's own detector sees: found by asking the nodes who waits for whom.

They are asked about once a second, and only while a session with something locked on one connection waits for long, so
nothing is added to any statement. Which circles there are is `cluster.wait_graph`'s.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pgproxy.cluster.lock_waits import Answers, LockWaits, place_of, telling
from pgproxy.cluster.wait_graph import Circle, Edge, Place, Process, Sessions, Vertex, deadlocks, edges, victim
from pgproxy.shardmap.model import ClusterSettings, Node

log = logging.getLogger("pgproxy.cluster")

LOOK_INTERVAL_S = 1.0
KEPT_LOOKS = 30  # how long connections are kept although there is nothing to ask
MOST_TOLD = 15  # sessions that a question tells of: pg_stat_activity shows 1,024 bytes of it


class Part(Protocol):
    """A connection that a session has in use."""

    @property
    def node(self) -> Node: ...

    @property
    def pid(self) -> int:
        """The node's process."""
        ...

    @property
    def holds(self) -> bool:
        """What it has locked stays so until the session goes on."""
        ...


class Suspect(Protocol):
    """A session whose statement takes long and which may have locked something. Times by time.monotonic."""

    @property
    def pid(self) -> int:
        """As its client knows it."""
        ...

    @property
    def client(self) -> str: ...

    @property
    def statement(self) -> float:
        """When it began."""
        ...

    @property
    def began(self) -> float:
        """When its transaction began."""
        ...

    @property
    def writes(self) -> bool: ...

    @property
    def parts(self) -> Sequence[Part]: ...

    @property
    def give_way(self) -> Callable[[float, str], bool]:
        """Fail the statement that began then with 40P01 and this detail. Whether it hears it for the first time."""
        ...


@dataclass(frozen=True, slots=True)
class _Picture:
    """What the nodes have said, and the suspects, by token, as they were just before."""

    suspects: Mapping[str, Suspect]
    answers: Answers

    def edges(self) -> list[Edge]:
        holds = self.answers.others()
        uses = {}
        for token, suspect in self.suspects.items():
            for part in suspect.parts:
                process = _process(part)
                uses[process] = token
                if part.holds:
                    holds[process] = token
        return edges(self.answers.waits, Sessions(holds, uses))


class Deadlocks:
    """Of the sessions of one worker, with whoever they wait for: their like, other proxies' sessions, anybody who is
    connected to a node. `suspects` says whom it may be about now, `nodes` are those that are up."""

    def __init__(
        self,
        suspects: Callable[[], Sequence[Suspect]],
        nodes: Callable[[], Iterable[Node]],
        cluster: Callable[[], ClusterSettings],
    ) -> None:
        self._suspects = suspects
        self._nodes = nodes
        self._lock_waits = LockWaits(cluster)
        self._task: asyncio.Task[None] | None = None
        self._names: dict[Place, str] = {}
        self._idle_looks = 0
        self._own = secrets.token_hex(4)
        self._tokens: dict[tuple[int, float], str] = {}
        self._tell: dict[Place, str] = {}
        self._others = False  # other proxies tell of sessions that wait

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._lock_waits.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                await self.look()
            except Exception:  # whatever goes wrong in it, later deadlocks are to be found
                log.exception("looking for deadlocks failed")

    async def look(self) -> None:
        """Break each deadlock that is seen twice. Its waits, which are the same both times, were there all at once
        between the two looks, although the nodes are not asked at the same moment."""
        first = await self._picture()
        circles = list(deadlocks(first.edges(), first.suspects))
        if circles:
            second = await self._picture()
            still = set(second.edges())
            for circle in circles:
                if still.issuperset(circle):
                    self._break(circle, second.suspects)

    def _break(self, circle: Circle, suspects: Mapping[str, Suspect]) -> None:
        """Every proxy finds the same victim; the one whose session it is does something about it."""
        suspect = suspects.get(victim(circle))
        if suspect is not None and suspect.give_way(suspect.statement, self._detail(circle, suspects)):
            nodes = ", ".join(dict.fromkeys(self._names[edge.blocker.place] for edge in circle))
            facts = {"client": suspect.client, "node": nodes, "sqlstate": "40P01"}
            log.warning("deadlock over several connections: a statement is cancelled", extra=facts)

    def _detail(self, circle: Circle, suspects: Mapping[str, Suspect]) -> str:
        """As PostgreSQL tells it (DeadLockReport); sessions by the process ids that their clients know."""

        def name(vertex: Vertex, process: Process) -> int:
            known = suspects.get(vertex) if isinstance(vertex, str) else None
            return process.pid if known is None else known.pid

        return "\n".join(
            f"Process {name(edge.waiter, edge.wait.process)} waits for {edge.wait.lock} "
            f"on node {self._names[edge.blocker.place]}; blocked by process {name(edge.holder, edge.blocker)}."
            for edge in circle
        )

    # Asking

    async def _picture(self) -> _Picture:
        suspects = {self._token(suspect): suspect for suspect in self._suspects()}
        self._tokens = {(suspect.pid, suspect.statement): token for token, suspect in suspects.items()}
        if not suspects:
            await self._rest()
            return _Picture({}, Answers())
        self._idle_looks = 0
        nodes = self._concerned(suspects.values())
        self._names = {place: node.name for place, node in nodes.items()}
        picture = _Picture(suspects, await self._lock_waits.ask(nodes, self._tell))
        self._others = bool(picture.answers.told)
        self._tell = _what_to_tell(picture)
        return picture

    def _token(self, suspect: Suspect) -> str:
        """It keeps to its statement. The greatest is the victim's: the transaction that began last, so that the oldest
        always gets through; one that only reads is none as long as there is another."""
        known = self._tokens.get((suspect.pid, suspect.statement))
        if known is not None:
            return known
        began_us = int((time.time() - time.monotonic() + suspect.began) * 1e6)
        return f"{suspect.writes:d}-{began_us:013x}-{self._own}-{suspect.pid:x}"

    def _concerned(self, suspects: Iterable[Suspect]) -> dict[Place, Node]:
        """The nodes of their connections; with sessions of other proxies a circle may lead over any node."""
        nodes = [part.node for suspect in suspects for part in suspect.parts]
        return {place_of(node): node for node in (*nodes, *(self._nodes() if self._others else ()))}

    async def _rest(self) -> None:
        self._idle_looks += 1
        if self._idle_looks == KEPT_LOOKS:
            await self._lock_waits.close()


def _process(part: Part) -> Process:
    return Process(place_of(part.node), part.pid)


def _what_to_tell(picture: _Picture) -> dict[Place, str]:
    """Other proxies cannot know which processes of several nodes are one session's. So the next question to each node
    tells them; each process with its transaction, so that what has been told never becomes untrue."""
    waiting = {wait.process for wait in picture.answers.waits}
    longest = sorted(picture.suspects.items(), key=lambda item: item[1].statement)
    stuck = [(token, suspect.parts) for token, suspect in longest if waiting.intersection(map(_process, suspect.parts))]
    tell: dict[Place, str] = {}
    for token, parts in stuck[:MOST_TOLD]:
        for process in (_process(part) for part in parts if part.holds):
            transaction = picture.answers.transactions.get(process)
            if transaction is not None:
                tell[process.place] = tell.get(process.place, "") + telling(token, process.pid, transaction)
    return tell
