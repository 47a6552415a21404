"""A table in six shards, two on each node, beside the library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pgproxy.demo.nodes import NODE_NAMES
from pgproxy.shardmap.model import Method, Shard, ShardMap, Table
from tests.fix_nodes import LibraryCluster


class LettersCluster(LibraryCluster):
    """The library, and table `letters`."""

    def shard_map(self, port: int = 6432) -> ShardMap:
        library = super().shard_map(port)
        shards = tuple(Shard(n, f"letters_{n}", NODE_NAMES[n % 3], values=("abcdef"[n],)) for n in range(6))
        letters = Table("letters", "public", "letter", Method.LIST, shards)
        return replace(library, tables={**library.tables, "letters": letters})

    def execute(self, *statements: str) -> None:
        for node in self.nodes:
            with self.connect(node) as connection:
                for sql in statements:
                    connection.execute(sql.encode())


@contextmanager
def letters_cluster(library: LibraryCluster, rows: int) -> Iterator[LettersCluster]:
    """With so many rows, numbered in turn through the shards."""
    cluster = LettersCluster(library.nodes)
    names = ["letters", *(f"letters_{n}" for n in range(6))]
    cluster.execute(*(f'CREATE TABLE {name} (letter text COLLATE "C", n int)' for name in names))
    try:
        for n in range(6):
            with cluster.connect(NODE_NAMES[n % 3]) as node:
                made = f"SELECT '{'abcdef'[n]}', 6 * i + {n} FROM generate_series(0, {rows // 6 - 1}) i"
                node.execute(f"INSERT INTO letters_{n} {made}".encode())
        yield cluster
    finally:
        cluster.execute(f"DROP TABLE {', '.join(names)}")
