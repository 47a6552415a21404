"""Who waits for whom over all nodes, and the circles in it that no node sees: pure, from what the nodes were asked.

A session waits with all its connections at once: what its statement waits for on one node holds up what it keeps
locked on the others until its transaction ends. Within one node a circle of processes is the node's own to break.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Place = tuple[str, int]
"""A server's host and port."""


@dataclass(frozen=True, slots=True)
class Process:
    """One server process on a node."""

    place: Place
    pid: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A process waits for a lock, as long as all but the blockers stays the same. `transaction` is its virtual one."""

    process: Process
    transaction: str
    lock: str
    blockers: tuple[int, ...] = field(compare=False)


Vertex = str | Process
"""A session, by a token, or a process that is no session's that is known."""


@dataclass(frozen=True, slots=True)
class Edge:
    """`waiter` waits for `holder`, since `wait`'s process waits for `blocker`."""

    waiter: Vertex
    wait: Wait
    blocker: Process
    holder: Vertex


Circle = tuple[Edge, ...]
"""Each edge's holder is the next one's waiter, the last one's the first one's."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """The tokens of the sessions that use these processes. What a process `holds` it keeps until the session goes on;
    one that only `uses` ends by itself, and the session waits for it."""

    holds: Mapping[Process, str]
    uses: Mapping[Process, str]


def edges(waits: Iterable[Wait], sessions: Sessions) -> list[Edge]:
    return [edge for wait in waits for edge in _edges_of(wait, sessions)]


def _edges_of(wait: Wait, sessions: Sessions) -> Iterator[Edge]:
    process = wait.process
    waiters: set[Vertex] = {sessions.holds.get(process, process), sessions.uses.get(process, process)}
    for pid in wait.blockers:
        if pid:  # 0 is a prepared transaction: no process, and whoever prepared it is about to end it
            blocker = Process(process.place, pid)
            holder = sessions.holds.get(blocker, blocker)
            yield from (Edge(waiter, wait, blocker, holder) for waiter in waiters)


def deadlocks(found: Iterable[Edge], own: Iterable[str]) -> Iterator[Circle]:
    """Circles through these sessions, none with the victim of an earlier one."""
    graph: dict[Vertex, list[Edge]] = {}
    for edge in found:
        graph.setdefault(edge.waiter, []).append(edge)
    for token in sorted(own, reverse=True):
        circle = _circle_through(token, graph)
        if circle and not _is_seen_by_its_node(circle):
            del graph[victim(circle)]
            yield circle


def victim(circle: Circle) -> str:
    """The session with the greatest token, whoever looks at the circle."""
    return max(edge.waiter for edge in circle if isinstance(edge.waiter, str))


def _circle_through(start: Vertex, graph: Mapping[Vertex, list[Edge]]) -> Circle:
    """The shortest one, empty if there is none."""
    reached_by: dict[Vertex, Edge] = {}
    waiting: deque[Vertex] = deque([start])
    while waiting:
        for edge in graph.get(waiting.popleft(), ()):
            if edge.holder in reached_by:
                continue
            reached_by[edge.holder] = edge
            if edge.holder == start:
                return tuple(_way_back(start, reached_by))[::-1]
            waiting.append(edge.holder)
    return ()


def _way_back(start: Vertex, reached_by: Mapping[Vertex, Edge]) -> Iterator[Edge]:
    edge = reached_by[start]
    yield edge
    while edge.waiter != start:
        edge = reached_by[edge.waiter]
        yield edge


def _is_seen_by_its_node(circle: Circle) -> bool:
    """Every process waits for the next one itself: nothing leads from one process of a session to another."""
    return all(
        edge.blocker == following.wait.process for edge, following in zip(circle, (*circle[1:], circle[0]), strict=True)
    )
