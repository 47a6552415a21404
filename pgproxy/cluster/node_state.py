"""What is known of a node, or of one member of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Role:
    """What a member of a node with replicas says of itself. `wal` is up to where it has written its WAL, or as a
    standby replayed it, in bytes; `system` identifies the database system that it is a copy of."""

    in_recovery: bool
    timeline: int
    system: int
    wal: int


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is known of one node. Times are epoch seconds; `up` is None until the first verdict.

    `since` is when `up` last changed, `failures` counts the probes that failed one after another. A member's name is
    its key; `role` is what it said last. `answers`: the node itself answered the last probe, but a table could not be
    read (CockroachDB while leases move, or without a quorum).
    """

    name: str
    up: bool | None
    since: float
    last_ok: float | None = None
    latency_ms: float | None = None
    failures: int = 0
    error: str | None = None
    role: Role | None = None
    answers: bool = False
