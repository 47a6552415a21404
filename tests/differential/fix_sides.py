"""The two sides of the comparison: one PostgreSQL, and the proxy in front of three nodes with the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.library import DATABASE, library_map
from pgproxy.demo.nodes import NODE_NAMES, EmbeddedNode, start_nodes, stop_nodes
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import Method, Shard, ShardMap, Table
from tests.differential.compare import Server
from tests.differential.data import SHARDS, SUBJECTS, Subject, load_node, load_reference
from tests.differential.key_tables import KEY_TABLES, REFERENCE_TABLE, load_key_tables
from tests.fix_nodes import LibraryCluster, node_directory
from tests.fix_proxy import running_proxy


@dataclass(frozen=True)
class Sides:
    proxy: Server
    reference: Server


class DifferentialCluster(LibraryCluster):
    """Three nodes with the tables of `data.SUBJECTS` and `key_tables.KEY_TABLES`."""

    def shard_map(self, port: int = 6432) -> ShardMap:
        library = library_map(list(self.nodes.values()), port)
        tables = [*map(sharded, SUBJECTS), *(table.mapped() for table in KEY_TABLES)]
        return replace(
            library, tables={table.name: table for table in tables}, reference_tables=frozenset({REFERENCE_TABLE})
        )


def sharded(subject: Subject) -> Table:
    shards = tuple(
        Shard(
            index,
            f"{subject.name}_{SHARDS[index]}",
            NODE_NAMES[index],
            values=subject.values[index] if subject.values else (),
            lower=subject.ranges[index][0] if subject.ranges else None,
            upper=subject.ranges[index][1] if subject.ranges else None,
        )
        for index in range(len(SHARDS))
    )
    return Table(subject.name, "public", subject.key, Method(subject.method), shards)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("differential", "comparing the proxy with one PostgreSQL")
    group.addoption("--statements", type=int, default=2_000, help="how many statements to generate (default: 2000)")
    group.addoption("--conversations", type=int, default=60, help="how many random conversations (default: 60)")
    group.addoption("--conversation-luck", action="store_true", help="not the same random conversations every time")
    group.addoption("--seed", type=int, default=1, help="seed of the statements and of the data (default: 1)")


@pytest.fixture(scope="session")
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with node_directory() as directory:
        reference = EmbeddedNode("reference", directory / "reference")
        nodes = [EmbeddedNode(name, directory / name) for name in NODE_NAMES]
        start_nodes([reference, *nodes])
        try:
            _load(reference, nodes, request.config.getoption("seed"))
            yield from _both(reference, nodes, tmp_path_factory.mktemp("differential"))
        finally:
            stop_nodes([reference, *nodes])


def _load(reference: EmbeddedNode, nodes: list[EmbeddedNode], seed: int) -> None:
    for node in (reference, *nodes):
        with psycopg.connect(node.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(reference.conninfo(DATABASE), autocommit=True) as whole:
        load_reference(whole, seed)
        for node, shard in zip(nodes, SHARDS, strict=True):
            with psycopg.connect(node.conninfo(DATABASE), autocommit=True) as part:
                load_node(part, shard, whole)
                for statement in commit_log.SETUP:
                    part.execute(statement.encode())
        whole.execute("DROP SCHEMA layout CASCADE")
        with ExitStack() as opened:
            parts = [opened.enter_context(psycopg.connect(node.conninfo(DATABASE), autocommit=True)) for node in nodes]
            load_key_tables(whole, dict(zip(SHARDS, parts, strict=True)))


def _both(reference: EmbeddedNode, nodes: list[EmbeddedNode], directory: Path) -> Iterator[Sides]:
    with running_proxy(DifferentialCluster({node.name: node for node in nodes}), directory) as proxy:
        sides = Sides(Server(proxy.conninfo), Server(reference.conninfo(DATABASE)))
        yield sides
        sides.proxy.close()
        sides.reference.close()
