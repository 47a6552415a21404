"""Sessions that could be part of a deadlock over several nodes: a statement takes long, and what the session has locked
on other connections stays locked until it ends. Finding the deadlocks is the control plane's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from time import monotonic

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.scanner import IDLE
from pgproxy.session.backends import Backends
from pgproxy.session.session import Session
from pgproxy.shardmap.model import Node

LONG_S = 1.0  # PostgreSQL's own deadlock_timeout


@dataclass(frozen=True, slots=True)
class Part:
    """A connection that the session has in use. What it `holds` stays locked until the session goes on."""

    node: Node
    pid: int
    holds: bool


@dataclass(frozen=True, slots=True)
class Suspect:
    """Satisfies `cluster.deadlocks.Suspect`."""

    pid: int
    client: str
    statement: float
    began: float
    writes: bool
    parts: tuple[Part, ...]
    give_way: Callable[[float, str], bool]


def suspects(sessions: Iterable[Session]) -> list[Suspect]:
    """Cheap as long as no statement takes long."""
    before = monotonic() - LONG_S
    long = [session for session in sessions if session.active and session.started_at < before]
    return [suspect for session in long if (suspect := _suspect(session)) is not None]


def _suspect(session: Session) -> Suspect | None:
    """None where nothing could wait for one connection while the session waits for another."""
    current = session.transactions.current
    parts = _parts(session.backends, () if current is None else current.joined.values())
    if len(parts) < 2 or not any(part.holds for part in parts):
        return None
    return Suspect(
        pid=session.pid,
        client=session.client.address,
        statement=session.started_at,
        began=session.started_at if current is None else current.began_at,
        writes=current is None or bool(current.writers),
        parts=parts,
        give_way=session.give_way,
    )


def _parts(backends: Backends, joined: Collection[BackendConnection]) -> tuple[Part, ...]:
    """Outside of a transaction on its node a part of a statement ends by itself, and with it its locks."""
    kept = backends.pins.by_node.values()
    return tuple(
        Part(connection.node, connection.pid, connection.status != IDLE or connection in joined or connection in kept)
        for connection in dict.fromkeys((*backends.held, *kept))
        if connection.pid is not None
    )
