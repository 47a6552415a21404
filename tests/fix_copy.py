"""Tables to copy rows into and out of: on three nodes behind a proxy, and whole in one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.library import DATABASE, library_map
from pgproxy.demo.nodes import NODE_NAMES, EmbeddedNode, start_nodes, stop_nodes
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import Method, Shard, ShardMap, Table
from tests.fix_nodes import LibraryCluster, node_directory
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import Message, RawClient, frame, query

LETTERS = "abc"
_COLUMNS = {
    "loads": "a text, k text NOT NULL, b text, n int DEFAULT 7",
    "numbers": "k int NOT NULL PRIMARY KEY, v text CONSTRAINT good CHECK (v <> 'bad')",
    "places": "k text NOT NULL, v int",
    "owned": "k int NOT NULL, c text CONSTRAINT coloured REFERENCES colours DEFERRABLE INITIALLY DEFERRED",
    "maybe": "k int DEFAULT 1, v text",
    "computed": "d int GENERATED ALWAYS AS (k * 2) STORED, k int NOT NULL",
}
_SHARED = ("CREATE TABLE colours (c text PRIMARY KEY)", "INSERT INTO colours VALUES ('red'), ('blue')")
_UNMAPPED = "CREATE TABLE plain (a int, b text)"


def _shards(name: str, **of_shard: tuple[tuple[str, ...], ...]) -> tuple[Shard, ...]:
    values = of_shard.get("values", ((), (), ()))
    return tuple(Shard(i, f"{name}_{LETTERS[i]}", NODE_NAMES[i], values=values[i]) for i in range(3))


def _tables() -> dict[str, Table]:
    tables = {name: Table(name, "public", "k", Method.HASH, _shards(name)) for name in _COLUMNS if name != "places"}
    lists = _shards("places", values=(("east",), ("west", "south"), ("north",)))
    return tables | {"places": Table("places", "public", "k", Method.LIST, lists)}


class CopyCluster(LibraryCluster):
    def shard_map(self, port: int = 6432) -> ShardMap:
        library = library_map(list(self.nodes.values()), port)
        return replace(library, tables=_tables(), reference_tables=frozenset({"colours"}))


@dataclass(frozen=True)
class CopySides:
    proxy: RunningProxy
    cluster: CopyCluster
    reference: str  # conninfo

    def both(self, *steps: bytes | str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        """The same conversation with the proxy and with PostgreSQL."""
        return conversation(self.proxy.conninfo, *steps), conversation(self.reference, *steps)

    def empty(self) -> None:
        for name in NODE_NAMES:
            with self.cluster.connect(name) as node:
                node.execute(", ".join(["TRUNCATE plain"] * (name == NODE_NAMES[0])) or "SELECT 1")
                node.execute(
                    f"TRUNCATE {', '.join(f'{table}_{LETTERS[NODE_NAMES.index(name)]}' for table in _COLUMNS)}"
                )
        with psycopg.connect(self.reference, autocommit=True) as reference:
            reference.execute(f"TRUNCATE plain, {', '.join(_COLUMNS)}")

    def rows(self, table: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        """The table's rows, in an order of our own."""
        with self.proxy.connect() as proxy, psycopg.connect(self.reference) as reference:
            return tuple(
                sorted(side.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for side in (proxy, reference)
            )  # type: ignore[return-value]


def conversation(conninfo: str, *steps: bytes | str) -> list[tuple[object, ...]]:
    """Send Queries (str) and other messages (bytes), each str only when the server is ready: all that comes back."""
    answer: list[tuple[object, ...]] = []
    with RawClient.logged_in(conninfo) as client:
        for number, step in enumerate(steps):
            if isinstance(step, str):
                client.send(query(step))
            else:
                client.send(step)
            following = steps[number + 1] if number + 1 < len(steps) else ""
            if isinstance(following, str):
                answer += [shown(message) for message in client.until_ready()]
    return answer


def copying(sql: str, *pieces: bytes, end: bytes = frame("c")) -> tuple[bytes]:
    """A COPY FROM as its client sends it, all at once."""
    return (query(sql) + b"".join(frame("d", piece) for piece in pieces) + end,)


def shown(message: Message) -> tuple[object, ...]:
    if message.kind in "EN":
        return (message.kind, message.fields)
    return (message.kind, message.payload)


@pytest.fixture(scope="session")
def copy_sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CopySides]:
    with _copy_sides(tmp_path_factory.mktemp("copy"), (*_SHARED, _UNMAPPED, *commit_log.SETUP)) as sides:
        yield sides


@pytest.fixture(scope="module")
def sides_without_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CopySides]:
    """Nodes that cannot commit one transaction together."""
    with _copy_sides(tmp_path_factory.mktemp("copy-plain"), (*_SHARED, _UNMAPPED)) as sides:
        yield sides


@contextmanager
def _copy_sides(path: Path, setup: Sequence[str]) -> Iterator[CopySides]:
    with node_directory() as directory:
        reference = EmbeddedNode("reference", directory / "reference")
        nodes = [EmbeddedNode(name, directory / name) for name in NODE_NAMES]
        start_nodes([reference, *nodes])
        try:
            for node, letter in zip([reference, *nodes], ["", *LETTERS], strict=True):
                _create(node, letter, setup)
            cluster = CopyCluster({node.name: node for node in nodes})
            with running_proxy(cluster, path) as proxy:
                yield CopySides(proxy, cluster, reference.conninfo(DATABASE))
        finally:
            stop_nodes([reference, *nodes])


@pytest.fixture
def plain_sides(sides_without_log: CopySides) -> CopySides:
    """With no rows in them."""
    sides_without_log.empty()
    return sides_without_log


@pytest.fixture
def sides_to_copy(copy_sides: CopySides) -> CopySides:
    """With no rows in them."""
    copy_sides.empty()
    return copy_sides


def _create(node: EmbeddedNode, letter: str, setup: Sequence[str]) -> None:
    with psycopg.connect(node.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(node.conninfo(DATABASE), autocommit=True) as connection:
        for statement in setup:
            connection.execute(statement.encode())
        for name, columns in _COLUMNS.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
            if letter:
                connection.execute(f"CREATE TABLE {name}_{letter} ({columns})")
