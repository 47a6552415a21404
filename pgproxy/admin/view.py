"""What the admin database asks of the running proxy: one Protocol of small facts, filled by the server.

Every property is read anew for each answer, so it may compute its value on the spot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pgproxy.metrics import Figures, Metrics
from pgproxy.shardmap.model import Node, ShardMap


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as its heartbeat sees it. Times are epoch seconds.

    `up` is None until the first probe has ended; `since` is when `up` last changed. The place of a node with
    replicas is its primary's.
    """

    name: str
    up: bool | None
    since: float
    last_ok: float | None = None
    latency_ms: float | None = None
    failures: int = 0
    error: str | None = None
    place: Node | None = None  # where it is, if not as the shard map says
    members: tuple[MemberView, ...] = ()
    paused: bool = False
    avoided: bool = False  # up, but statements go elsewhere: it drains, refuses connections, or was down just now
    in_doubt: int = 0  # transactions that it has prepared and nobody has ended for a while


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member of a node with replicas. `role` is `primary` or `standby`, None while it does not answer; `lag_s` is
    None while that is not known."""

    node: NodeView
    role: str | None
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class PoolView:
    """The connections of one user to one node, or one member of it (`waiting`: sessions in the queue for them;
    `pinned`: kept by one session each, and in use)."""

    node: str
    size: int
    idle: int
    in_use: int
    waiting: int
    max_size: int
    oldest_wait_s: float | None = None
    user: str = ""
    pinned: int = 0
    home: str = ""  # the node that the member `node` belongs to
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ClientView:
    """One client session. `state` is idle, active, `idle in transaction` or waiting; `nodes` are those it holds,
    `pinned` says why it keeps a connection for itself."""

    id: int
    user: str
    database: str
    application_name: str
    address: str
    state: str
    connected_at: float
    statements: int = 0
    nodes: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanView:
    """One entry of the plan cache. `way` is route, scatter, node …, by its last call; `figures` are of its calls."""

    template: str
    way: str
    table: str | None = None
    uses: int = 0
    figures: Figures = field(default_factory=Figures)


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """A statement that took longer than `proxy.slow_statement_ms`, by its template. `at` is when it ended."""

    at: float
    took_ms: float
    way: str
    node: str
    template: str
    client: str


@dataclass(frozen=True, slots=True)
class AlertView:
    """A node went up or down."""

    at: float
    node: str
    up: bool
    reason: str | None


class View(Protocol):
    """The running proxy."""

    @property
    def version(self) -> str: ...

    @property
    def engine_version(self) -> str | None:
        """The nodes' `server_version`, None while none could be asked."""
        ...

    @property
    def uptime_s(self) -> float: ...

    @property
    def shard_map(self) -> ShardMap: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def nodes(self) -> Sequence[NodeView]:
        """In the shard map's order."""
        ...

    @property
    def pools(self) -> Sequence[PoolView]: ...

    @property
    def clients(self) -> Sequence[ClientView]: ...

    @property
    def plans(self) -> Sequence[PlanView]:
        """The most used first."""
        ...
