"""The shard map as facts: which logical tables live where, and the proxy's own settings.

Reading and validating the file is `shardmap.load`; which shard holds a value is `shardmap.placement`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pgproxy.shardmap.auth_rules import AuthRule, AuthUsers


class Engine(Enum):
    """What the nodes run."""

    POSTGRESQL = "postgresql"
    COCKROACHDB = "cockroachdb"


class Method(Enum):
    """How the shard key decides the shard."""

    LIST = "list"
    HASH = "hash"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Node:
    """`replicas` are `host:port` of streaming standbys: see `shardmap.members`."""

    name: str
    host: str
    port: int
    locality: str | None = None
    replicas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shard:
    """One physical table on its home node.

    `values` (list): the key values as text, as written in the file. `lower`/`upper` (range): bounds as
    text, lower inclusive and upper exclusive as in PostgreSQL's partitions, None for unbounded. A hash
    shard is remainder `index` of modulus len(shards).
    """

    index: int
    table: str
    node: str
    values: tuple[str, ...] = ()
    lower: str | None = None
    upper: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A logical table. Its shards are in index order; index 0 is the one asked when any will do.

    `gaps` says that ranges leave keys out on purpose.
    """

    name: str
    schema: str
    key: str
    method: Method
    shards: tuple[Shard, ...]
    gaps: bool = False


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of one node's pool. Times in seconds."""

    size: int = 20
    min_idle: int = 0
    queue_limit: int = 10_000
    queue_timeout_s: float = 10.0
    pause_timeout_s: float = 60.0
    idle_timeout_s: float = 600.0
    lifetime_s: float = 1800.0
    connect_timeout_s: float = 5.0
    breaker_failures: int = 3
    breaker_open_s: float = 1.0
    keepalive_s: float = 60.0
    max_users: int = 100


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    interval_s: float = 1.0
    timeout_s: float = 1.0
    down_after: int = 2
    up_after: int = 1


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS towards clients; the files are in PEM. `mode` is `disable`, `allow` or `require`."""

    mode: str = "disable"
    certificate_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    client_certificates: str = "optional"
    min_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    listen: str = "127.0.0.1"
    port: int = 6432
    max_clients: int = 10_000
    max_unauthenticated: int = 2_000
    max_unauthenticated_per_address: int | None = None
    startup_timeout_s: float = 10.0
    shutdown_grace_s: float = 30.0
    takeover_grace_s: float = 3600.0
    max_message_bytes: int = 64 * 1024 * 1024
    default_limit: int | None = None
    plan_cache_size: int = 2_000
    sort_memory_bytes: int = 32 * 1024 * 1024
    slow_statement_ms: int = 1_000
    log_statements: str = "none"
    allow_trust_from_anywhere: bool = False
    failover_deadline_s: float = 20.0
    failover_stable_s: float = 5.0
    statement_timeout_s: float | None = None
    idle_in_transaction_timeout_s: float | None = None
    keepalive_s: float = 60.0
    admin_users: tuple[str, ...] = ()
    pool: PoolSettings = field(default_factory=PoolSettings)
    heartbeat: HeartbeatSettings = field(default_factory=HeartbeatSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP side. `port` None: 8088 if it is free. Without a `token` only this machine is listened to and served."""

    enabled: bool = True
    listen: str = "127.0.0.1"
    port: int | None = None
    token: str | None = field(default=None, repr=False)
    write: bool = False
    default_limit: int = 100
    max_rows: int = 1_000
    max_response_bytes: int = 8 * 1024 * 1024
    statement_timeout_s: float = 10.0
    concurrency: int = 10


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How to log in to the nodes: as `user`, or for clients' statements as the client's user (`login_as`). `tls` is a
    libpq `sslmode`; the files are in PEM. `read_from` (`primary`, `replica` or `any`) and `max_lag_s` say which
    members of a node with replicas are read."""

    name: str
    engine: Engine
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    tls: str = "disable"
    tls_ca_file: str | None = None
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None
    login_as: str = "configured"
    read_from: str = "primary"
    max_lag_s: float = 10.0

    @property
    def as_client(self) -> bool:
        return self.login_as == "client"


@dataclass(frozen=True, slots=True)
class ShardMap:
    """`unmapped_node` is where tables that the map does not name live; None: the first node."""

    proxy: ProxySettings
    cluster: ClusterSettings
    nodes: Mapping[str, Node]
    tables: Mapping[str, Table]
    reference_tables: frozenset[str] = frozenset()
    unmapped_node: str | None = None
    http: HttpSettings = field(default_factory=HttpSettings)
    auth: tuple[AuthRule, ...] = ()
    auth_users: AuthUsers = field(default_factory=AuthUsers)

    @property
    def home_of_unmapped(self) -> str:
        return self.unmapped_node or next(iter(self.nodes))
