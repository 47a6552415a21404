"""What is measured: the library behind a proxy, whose nodes can be stopped and started again.

Three kinds: independent PostgreSQL nodes; one PostgreSQL behind three relays, as gateways of one cluster; or any
cluster that runs already, with commands that stop and start its nodes.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import psycopg

from loadtest.children import await_answer, conninfo, end
from loadtest.gateways import gateway_map, load_gateway_server, open_relays
from loadtest.tcp_relay import TcpRelay
from pgproxy.demo.library import DATABASE, generate_rows, library_map, load_library
from pgproxy.demo.nodes import NODE_NAMES, EmbeddedNode, free_port, start_nodes, stop_nodes
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import Engine, Shard, ShardMap
from pgproxy.shardmap.write import to_toml

BOOKS = "books"
ADMIN_DATABASE = "pgproxy"
_STOP_TIMEOUT_S = 45.0


class Stoppable(Protocol):
    """One node, whatever it is."""

    def kill(self) -> None:
        """As kill -9."""
        ...

    def start(self) -> None:
        """Again, with its data; returns when the command has been given or the node is there."""
        ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """`target` is the proxy, `pid` its process where it is ours."""

    engine: Engine
    target: str
    shard_map: ShardMap
    nodes: Mapping[str, Stoppable]
    pid: int | None

    @property
    def admin(self) -> str:
        return psycopg.conninfo.make_conninfo(self.target, dbname=ADMIN_DATABASE)

    def node_conninfo(self, name: str) -> str:
        node, cluster = self.shard_map.nodes[name], self.shard_map.cluster
        return psycopg.conninfo.make_conninfo(
            host=node.host, port=node.port, user=cluster.user, password=cluster.password, dbname=cluster.database
        )

    @property
    def branches(self) -> list[str]:
        return sorted(branch for shard in self._books for branch in shard.values)

    def shard_of(self, branch: str) -> Shard:
        return next(shard for shard in self._books if branch in shard.values)

    @property
    def _books(self) -> Sequence[Shard]:
        return self.shard_map.tables[BOOKS].shards


@contextmanager
def open_cluster(kind: str, rows: int, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """`postgresql` or `gateways`, made for the occasion with `rows` books. `settings` are the servers' own."""
    directory = Path(tempfile.mkdtemp(prefix="pgproxy-measure-"))
    directory.chmod(0o755)  # root runs PostgreSQL as a system user, who must get in
    try:
        make = _independent if kind == "postgresql" else _gateways
        with make(directory, rows, dict(settings or {})) as cluster:
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def given_cluster(config: Path, target: str, stop: str, start: str) -> Iterator[Cluster]:
    """A cluster that runs already; `{node}` in a command is the node's name."""
    shard_map = load(config)
    nodes = {name: _ByCommand(name, stop, start) for name in shard_map.nodes}
    yield Cluster(shard_map.cluster.engine, target, shard_map, nodes, None)


@dataclass(frozen=True, slots=True)
class _ByCommand:
    name: str
    stop_command: str
    start_command: str

    def kill(self) -> None:
        subprocess.run(shlex.split(self.stop_command.format(node=self.name)), check=True)

    def start(self) -> None:
        subprocess.run(shlex.split(self.start_command.format(node=self.name)), check=True)


@dataclass(frozen=True, slots=True)
class _Gateway:
    relay: TcpRelay

    def kill(self) -> None:
        self.relay.kill()

    def start(self) -> None:
        self.relay.heal()


@contextmanager
def _independent(directory: Path, rows: int, settings: dict[str, str]) -> Iterator[Cluster]:
    nodes = [EmbeddedNode(name, directory / name, settings=settings) for name in NODE_NAMES]
    try:
        start_nodes(nodes)
        load_library(nodes)
        generate_rows(nodes, rows, lambda _some: None)
        with _proxy(directory, library_map(nodes, free_port())) as (shard_map, pid):
            yield _cluster(shard_map, {node.name: node for node in nodes}, pid)
    finally:
        stop_nodes(nodes)


@contextmanager
def _gateways(directory: Path, rows: int, settings: dict[str, str]) -> Iterator[Cluster]:
    """All six tables in one server, which every relay leads to."""
    server = EmbeddedNode("server", directory / "server", settings=settings)
    try:
        server.start()
        load_gateway_server(server)
        generate_rows([replace(server, name=name) for name in NODE_NAMES], rows, lambda _some: None)
        with open_relays(server) as relays:
            shard_map = gateway_map(server, relays, free_port())
            with _proxy(directory, shard_map) as (shard_map, pid):
                yield _cluster(shard_map, {name: _Gateway(relay) for name, relay in relays.items()}, pid)
    finally:
        server.stop()


def _cluster(shard_map: ShardMap, nodes: Mapping[str, Stoppable], pid: int) -> Cluster:
    target = conninfo(shard_map.proxy.port, DATABASE)
    return Cluster(shard_map.cluster.engine, target, shard_map, nodes, pid)


@contextmanager
def _proxy(directory: Path, shard_map: ShardMap) -> Iterator[tuple[ShardMap, int]]:
    config, log = directory / "shardmap.toml", directory / "proxy.log"
    config.write_text(to_toml(shard_map), encoding="utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pgproxy", "serve", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        await_answer(process, conninfo(shard_map.proxy.port, DATABASE), log)
        yield shard_map, process.pid
    finally:
        end(process, _STOP_TIMEOUT_S)
