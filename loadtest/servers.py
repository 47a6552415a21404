"""What the benchmark measures against: three nodes with its tables, PgBouncer and pgproxy as child processes.

Everything listens on 127.0.0.1 and ends with the benchmark. What is measured is left to `bench`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from loadtest.children import await_answer, conninfo, end
from pgproxy.demo.nodes import (
    HOST,
    NODE_NAMES,
    SUPERUSER,
    SYSTEM_USER,
    EmbeddedNode,
    die_with_parent,
    free_port,
    programs_folder,
    start_nodes,
    stop_nodes,
    undisturbed,
)
from pgproxy.shardmap.model import (
    ClusterSettings,
    Engine,
    Method,
    Node,
    ProxySettings,
    Shard,
    ShardMap,
    Table,
    TlsSettings,
)
from pgproxy.shardmap.write import to_toml

DATABASE = "bench"
ACCOUNTS_PER_SHARD = 100_000
MAX_CLIENTS = 10_500
_NODE_SETTINGS = {"shared_buffers": "512MB", "autovacuum": "off", "jit": "off", "max_parallel_workers_per_gather": "0"}
_STOP_TIMEOUT_S = 40.0


@dataclass(frozen=True, slots=True)
class Target:
    """Something to connect to. `pid` is the process between client and nodes, None when there is none."""

    name: str
    port: int
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that runs. `rows` is how many rows of `events` one shard holds. `pgbouncer_prepares`: it knows
    prepared statements in transaction pooling (1.21 and newer)."""

    directory: Path
    programs: Path
    shards: tuple[Target, ...]
    pgbouncer: Target | None
    pgproxy: Target
    rows: int
    pgbouncer_prepares: bool = False


@contextmanager
def running(rows: int, pgbouncer_program: Path | None = None, *, tls: bool = False) -> Iterator[Bench]:
    """Start nodes, PgBouncer (that one, or the installed one if there is one) and pgproxy; stop them at the end. With
    `tls` both proxies allow it."""
    program = pgbouncer_program or shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    prepares = program is not None and _prepares(program)
    directory = Path(tempfile.mkdtemp(prefix="pgproxy-bench-"))
    directory.chmod(0o755)  # root runs PostgreSQL and PgBouncer as a system user, who must get in
    nodes = [EmbeddedNode(name, directory / name, settings=_NODE_SETTINGS) for name in NODE_NAMES]
    children: list[subprocess.Popen[bytes]] = []
    try:
        start_nodes(nodes)
        for index, node in enumerate(nodes):
            _load(node, index, rows)
        pair = _make_certificate(directory) if tls else None
        shards = tuple(Target(f"direct {'abc'[index]}", node.port) for index, node in enumerate(nodes))
        pgbouncer = None
        if program is not None:
            pgbouncer = _start_pgbouncer(program, directory, nodes[0], children, pair, prepares=prepares)
        pgproxy = _start_pgproxy(directory, nodes, rows, children, pair)
        yield Bench(directory, programs_folder(directory), shards, pgbouncer, pgproxy, rows, prepares)
    finally:
        for child in children:
            end(child, _STOP_TIMEOUT_S)
        stop_nodes(nodes)
        shutil.rmtree(directory, ignore_errors=True)


def _load(node: EmbeddedNode, index: int, rows: int) -> None:
    """This node's shards: `accounts` as pgbench has them, `events` with `rows` rows, a third of them in part 0."""
    with psycopg.connect(node.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    accounts, events = f"pgbench_accounts_{'abc'[index]}", f"events_{'abc'[index]}"
    account, event = index * ACCOUNTS_PER_SHARD, index * rows
    with psycopg.connect(node.conninfo(DATABASE), autocommit=True) as connection:
        for name in ("pgbench_accounts", accounts):
            connection.execute(
                f"CREATE TABLE {name} (aid int PRIMARY KEY, bid int NOT NULL, abalance int NOT NULL, filler char(84))"
            )
        for name in ("events", events):
            connection.execute(
                f"CREATE TABLE {name} (id bigint PRIMARY KEY, part int NOT NULL, value int NOT NULL, note text)"
            )
        connection.execute(
            f"INSERT INTO {accounts} SELECT {account} + n, 1, 0, '' FROM generate_series(1, {ACCOUNTS_PER_SHARD}) n"
        )
        connection.execute(
            f"INSERT INTO {events} SELECT {event} + n, n % 3, hashint4(n + {event}), 'note ' || n"
            f" FROM generate_series(0, {rows - 1}) n"
        )
        connection.execute(f"CREATE INDEX ON {events} (part, value)")
        connection.execute(f"VACUUM ANALYZE {events}")
        connection.execute(f"VACUUM ANALYZE {accounts}")


def _make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    certificate, key = directory / "server.pem", directory / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    certificate.chmod(0o644)
    key.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(key, SYSTEM_USER)
    return certificate, key


def shard_map(nodes: Sequence[EmbeddedNode], port: int, rows: int, tls: TlsSettings) -> ShardMap:
    """Both tables in ranges of their integer key, one per node."""
    return ShardMap(
        proxy=ProxySettings(port=port, max_clients=MAX_CLIENTS, tls=tls),
        cluster=ClusterSettings(name="bench", engine=Engine.POSTGRESQL, database=DATABASE, user=SUPERUSER),
        nodes={node.name: Node(node.name, node.host, node.port) for node in nodes},
        tables={
            "pgbench_accounts": _ranges("pgbench_accounts", "aid", ACCOUNTS_PER_SHARD, nodes, first=1),
            "events": _ranges("events", "id", rows, nodes, first=0),
        },
    )


def _ranges(name: str, key: str, width: int, nodes: Sequence[EmbeddedNode], *, first: int) -> Table:
    bounds = [None, *(str(first + width * index) for index in range(1, len(nodes))), None]
    shards = tuple(
        Shard(index, f"{name}_{'abc'[index]}", node.name, lower=bounds[index], upper=bounds[index + 1])
        for index, node in enumerate(nodes)
    )
    return Table(name, "public", key, Method.RANGE, shards)


def _prepares(program: str | Path) -> bool:
    """Whether this PgBouncer has max_prepared_statements."""
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    version = re.search(r"PgBouncer (\d+)\.(\d+)", shown)
    return version is not None and (int(version[1]), int(version[2])) >= (1, 21)


def _start_pgbouncer(
    program: str | Path,
    directory: Path,
    node: EmbeddedNode,
    children: list[subprocess.Popen[bytes]],
    pair: tuple[Path, Path] | None,
    *,
    prepares: bool,
) -> Target:
    """In transaction pooling in front of the first node. It refuses to run as root."""
    port, config, users = free_port(), directory / "pgbouncer.ini", directory / "users.txt"
    users.write_text(f'"{SUPERUSER}" ""\n')
    config.write_text(
        f"[databases]\n{DATABASE} = host={node.host} port={node.port} user={SUPERUSER}\n[pgbouncer]\n"
        f"listen_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\n"
        f"pool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = {MAX_CLIENTS}\n"
        "ignore_startup_parameters = extra_float_digits\nlog_connections = 0\nlog_disconnections = 0\n"
        + (f"client_tls_sslmode=allow\nclient_tls_cert_file={pair[0]}\nclient_tls_key_file={pair[1]}\n" if pair else "")
        + ("max_prepared_statements = 200\n" if prepares else "")
    )
    identity: dict[str, str | int] = (
        {"user": SYSTEM_USER, "group": pwd.getpwnam(SYSTEM_USER).pw_gid} if os.geteuid() == 0 else {}
    )
    command = [str(program), str(config)]
    return _start("PgBouncer", command, port, directory, children, **identity)


def _start_pgproxy(
    directory: Path,
    nodes: Sequence[EmbeddedNode],
    rows: int,
    children: list[subprocess.Popen[bytes]],
    pair: tuple[Path, Path] | None,
) -> Target:
    port, config = free_port(), directory / "shardmap.toml"
    tls = TlsSettings("allow", str(pair[0]), str(pair[1])) if pair else TlsSettings()
    config.write_text(to_toml(shard_map(nodes, port, rows, tls)), encoding="utf-8")
    command = [sys.executable, "-m", "pgproxy", "serve", "--config", str(config)]
    return _start("pgproxy", command, port, directory, children)


def _start(
    name: str,
    command: list[str],
    port: int,
    directory: Path,
    children: list[subprocess.Popen[bytes]],
    **identity: str | int,
) -> Target:
    log = directory / f"{name}.log"
    with log.open("wb") as output, undisturbed() as before:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM, before),
            **identity,
        )
    children.append(process)
    await_answer(process, conninfo(port, DATABASE), log)
    return Target(name, port, process.pid)
