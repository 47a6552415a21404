"""What a session knows of its client's prepared statements and portals."""

from __future__ import annotations

from dataclasses import dataclass

from pgproxy.backend.connection import BackendConnection
from pgproxy.planner.plan import CopyIn, Declare, DiscardAll, Explain, Fetch, Planned, Sharded, ToNode
from pgproxy.planner.planner import Planner
from pgproxy.session.bound_route import BoundRoute
from pgproxy.session.cursors import ProxyCursor
from pgproxy.session.description import Description
from pgproxy.session.node_portals import OpenRows
from pgproxy.wire import extended as wire

_UNKNOWN = 705


@dataclass(slots=True)
class Prepared:
    """A statement that the client has parsed. `accepted` by a node, or nothing that a node need accept."""

    name: str
    sql: str
    types: tuple[int, ...]
    planned: Planned
    planner: Planner
    accepted: bool
    description: Description | None = None
    route: BoundRoute | None = None  # made when it is first bound the short way

    @property
    def open_types(self) -> list[int]:
        """The parameters (from 0) whose type the client has left to the server; `unknown` does so too."""
        types = self.types
        return [at for at in range(self.planned.parameters) if at >= len(types) or types[at] in (0, _UNKNOWN)]

    @property
    def for_nodes(self) -> bool:
        return isinstance(self.planned.plan, (Sharded, ToNode, Declare))

    @property
    def asks_node(self) -> bool:
        """A node is to say whether it is right, and what its parameters are."""
        return isinstance(self.planned.plan, (Sharded, ToNode, Explain, Declare))

    @property
    def short_lived(self) -> bool:
        """Names of cursors are often new ones. Unmapped tables may change between two Parses, and a node says so only
        where it hears them."""
        plan = self.planned.plan
        if isinstance(plan, ToNode):
            return plan.node is not None and not self.name
        return isinstance(plan, (Declare, Fetch))

    @property
    def stands_alone(self) -> bool:
        """Not the first of an implicit transaction: DECLARE wants one that others have begun, DISCARD ALL none."""
        plan = self.planned.plan
        return isinstance(plan, (CopyIn, DiscardAll)) or (isinstance(plan, Declare) and not plan.hold)


@dataclass(slots=True)
class Portal:
    statement: Prepared
    bind: wire.Bind
    number: int = 0  # counts Binds: a ROLLBACK TO ends those that came after its savepoint
    done: bool = False
    suspended_on: tuple[BackendConnection, str] | None = None  # and its name there
    rows: OpenRows | None = None  # or what is left of several shards
    cursor: ProxyCursor | None = None  # what MOVE has made of it
