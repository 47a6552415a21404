"""What a session needs of the running proxy, and nothing else of it. The server satisfies it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from pgproxy.auth.pending import Pending
from pgproxy.auth.stored import Stored
from pgproxy.auth.users import Users
from pgproxy.backend.pool import NodePool
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.metrics import Figures, Metrics
from pgproxy.session.client import Client
from pgproxy.session.description import Description, DescriptionKey
from pgproxy.session.in_force import InForce
from pgproxy.session.recent import Recent
from pgproxy.shardmap.model import ShardMap
from pgproxy.tls.serving import ServingTls
from pgproxy.wire.auth import Credential


class Gateways(Protocol):
    """Which nodes are well."""

    @property
    def interchangeable(self) -> bool:
        """Any node can run any statement."""
        ...

    def node_for(self, home: str, failed: Collection[str] = ()) -> str | None:
        """As `Services.gateway_for`; None where that raises."""
        ...

    def untried(self, failed: Collection[str]) -> bool:
        """Some node is up that has not failed yet."""
        ...


class Services(Protocol):
    """One worker's shared state."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def shard_map(self) -> ShardMap: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def in_force(self) -> InForce:
        """For what begins now. What a session goes by is `Backends.in_force`."""
        ...

    def pools_of(self, node_user: str) -> Mapping[str, NodePool]:
        """The pools in force of this user of the nodes, who has entered; "": of the configured one."""
        ...

    def enter_pools(self, credential: Credential) -> Mapping[str, NodePool]:
        """The pools for a client that has logged in so. Raises 53300."""
        ...

    def leave_pools(self, user: str) -> None:
        """The session ends; once for each `enter_pools`."""
        ...

    @property
    def users(self) -> Users: ...

    @property
    def salt_secret(self) -> bytes:
        """What the salts of unknown users are made from."""
        ...

    def check_password(self, stored: Stored, user: str, password: bytes, wake: Callable[[], None]) -> Pending[bool]:
        """Without blocking the event loop."""
        ...

    @property
    def draining(self) -> bool:
        """SIGTERM came: sessions end as soon as they are idle."""
        ...

    @property
    def slow_us(self) -> int:
        """A statement that takes longer is told to `slow`."""
        ...

    def slow(self, ran: Figures, template: Figures | None, microseconds: int, client: str) -> None: ...

    def log_error(self, error: ProxyError, client: str, sql: str) -> None:
        """An error goes to a client; `sql` is the statement if it is known."""
        ...

    @property
    def logs_statements(self) -> bool:
        """Every statement is told to `log_statement`."""
        ...

    def log_statement(self, sql: str, client: str) -> None: ...

    @property
    def serving_tls(self) -> ServingTls | None:
        """The certificate and what belongs to it for connections that come now; None: no TLS."""
        ...

    def bytewise_default(self) -> bool: ...

    def why_down(self, node: str) -> NodeFailure | None:
        """The error for statements that need this node, when its heartbeat says that it is down."""
        ...

    @property
    def any_replicas(self) -> bool:
        """There are nodes with replicas: `place` says more than the node's name."""
        ...

    def place(self, node: str, *, reads: bool = False, other_than: str | None = None) -> str:
        """The key, in `pools`, of the member of this node that a statement is for: its primary, or for reads what
        the shard map's read_from says, if possible `other_than` this one. The node's own name when there is none:
        `why_down` tells why."""
        ...

    def seek_primary(self, node: str, wake: Callable[[], None]) -> Pending[None]:
        """Ask all members of a node with replicas which one is the primary, now."""
        ...

    @property
    def gateways(self) -> Gateways: ...

    def gateway_for(self, node: str, failed: Collection[str] = ()) -> str:
        """Where a statement for this node is to run; `failed` are nodes that have failed it already. Raises
        NodeFailure when it cannot run anywhere."""
        ...

    def any_node(self) -> str:
        """The node for statements that any node can answer: always the same one while it is up, since object
        ids differ between nodes. Raises NodeFailure when none is."""
        ...

    def start_up_parameters(self, user: str, settings: Mapping[str, str]) -> dict[str, str] | None:
        """ParameterStatus values of a session with these start-up settings, if they are known already. `user` as
        the nodes know it, "" for the configured one."""
        ...

    def remember_start_up(self, user: str, settings: Mapping[str, str], parameters: dict[str, str]) -> None: ...

    def order(self, sql: str, wake: Callable[[], None]) -> Pending[bytes] | None:
        """An order to the admin database that takes its time, begun; None: `admin` answers at once."""
        ...

    def give_up_order(self, order: Pending[bytes]) -> None:
        """Nobody waits for it any more. One that is done is done."""
        ...

    def admin(self, sql: str) -> bytes:
        """The admin database's answer as wire messages up to CommandComplete."""
        ...

    def status(self) -> bytes:
        """The answer to `STATUS;` as wire messages."""
        ...

    @property
    def descriptions(self) -> Recent[DescriptionKey, Description]:
        """What nodes have said of statements: parameter types and columns, by text, types and settings."""
        ...

    def admit(self, client: Client, *, admin: bool) -> None:
        """One more client, which has logged in. Raises 53300 when there are too many."""
        ...

    def settle(self, gid: str, wake: Callable[[], None]) -> Pending[bool]:
        """End what nodes have prepared under this global id (`shardmap.commit_log`) as its decider says: whether it was
        committed. Fails with 40003 when the decider does not say in time; the rest is tried again until it is done."""
        ...

    def cancel(self, pid: int, key: bytes) -> None:
        """A CancelRequest came: cancel that session's statement, if the key fits."""
        ...
