"""Real PostgreSQL servers: the library on three nodes, and the same rows in one PostgreSQL."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from loadtest.gateways import load_all_tables
from pgproxy.demo.library import DATABASE, library_map, load_library
from pgproxy.demo.nodes import NODE_NAMES, EmbeddedNode, start_nodes, stop_nodes
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import ShardMap


@dataclass(frozen=True)
class LibraryCluster:
    """Three running nodes. A test that kills or changes one must put it back: `cluster.restart(name)`."""

    nodes: dict[str, EmbeddedNode]

    def conninfo(self, name: str) -> str:
        return self.nodes[name].conninfo(DATABASE)

    def connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(self.conninfo(name), autocommit=True)

    def kill(self, name: str) -> None:
        """kill -9 of the node's server."""
        self.nodes[name].kill()

    def restart(self, name: str) -> None:
        """Start a killed or stopped node again on its port, with its data."""
        if not self.nodes[name].running:
            self.nodes[name].start()

    def shard_map(self, port: int = 6432) -> ShardMap:
        return library_map(list(self.nodes.values()), port)


@dataclass(frozen=True)
class ReferencePostgres:
    """One PostgreSQL with every row in the single tables `books` and `patrons`."""

    host: str
    port: int
    conninfo: str


@contextmanager
def running_cluster() -> Iterator[LibraryCluster]:
    """A library cluster of one's own, for a test that must break it."""
    with node_directory() as directory:
        made = _library_made_once()
        subprocess.run(["cp", "-a", *(made / name for name in NODE_NAMES), directory], check=True)
        nodes = [EmbeddedNode(name, directory / name) for name in NODE_NAMES]
        start_nodes(nodes)
        try:
            yield LibraryCluster({node.name: node for node in nodes})
        finally:
            stop_nodes(nodes)


@functools.cache
def _library_made_once() -> Path:
    """The directories of three nodes that have been stopped. To copy them costs a fifth of what initdb does."""
    directory = Path(tempfile.mkdtemp(prefix="pgproxy-test-made-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    nodes = [EmbeddedNode(name, directory / name) for name in NODE_NAMES]
    start_nodes(nodes)
    try:
        load_library(nodes)
    finally:
        stop_nodes(nodes)
    return directory


@pytest.fixture(scope="session")
def library_cluster() -> Iterator[LibraryCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def demo_directory() -> Iterator[Path]:
    with node_directory() as directory:
        yield directory


@pytest.fixture
def own_cluster() -> Iterator[LibraryCluster]:
    with running_cluster() as cluster:
        yield cluster


@contextmanager
def running_node(name: str, settings: Mapping[str, str] | None = None) -> Iterator[EmbeddedNode]:
    """An empty server."""
    with node_directory() as directory:
        node = EmbeddedNode(name, directory / name, settings=dict(settings or {}))
        node.start()
        try:
            yield node
        finally:
            node.stop()


@pytest.fixture(scope="session")
def reference_pg() -> Iterator[ReferencePostgres]:
    with running_node("reference") as node:
        _load_whole(node)
        yield ReferencePostgres(node.host, node.port, node.conninfo(DATABASE))


def _load_whole(node: EmbeddedNode) -> None:
    """The shards' rows in the logical tables themselves, no shards left, and the schema that the nodes have as well."""
    load_all_tables(node)
    with psycopg.connect(node.conninfo(DATABASE), autocommit=True) as connection:
        for table in ("books", "patrons"):
            for letter in "abc":
                connection.execute(f"INSERT INTO {table} SELECT * FROM {table}_{letter}".encode())
                connection.execute(f"DROP TABLE {table}_{letter}".encode())
        for statement in commit_log.SETUP:
            connection.execute(statement)
        connection.execute("ANALYZE")


@contextmanager
def node_directory() -> Iterator[Path]:
    """A temporary directory that PostgreSQL's system user can enter when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="pgproxy-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
