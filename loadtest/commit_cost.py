"""What COMMIT costs over several nodes, by how many were written: milliseconds, seen by one client.

python -m loadtest.commit_cost [--rounds 500] [--fsync on]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict

import psycopg

from loadtest.clusters import Cluster, open_cluster

_WRITE = "UPDATE books SET checked_out = NOT checked_out WHERE branch = '{}' AND isbn = 1"
_BOOK = "INSERT INTO books (isbn, branch, book_name, author) VALUES (1, '{}', 'x', 'y')"
_READ = "SELECT price FROM books WHERE branch = '{}' AND isbn = 1"
_WARM_UP = 20


def main() -> None:
    options = _options()
    with open_cluster("postgresql", 1_000, {"fsync": options.fsync}) as cluster:
        for name, times in _measure(cluster, options.rounds).items():
            print(f"{name:38} COMMIT {statistics.median(times):6.2f} ms")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What COMMIT costs over several nodes.")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--fsync", choices=("on", "off"), default="off", help="of the nodes")
    return parser.parse_args()


def _ways(branches: list[str]) -> dict[str, list[str]]:
    """What comes before the COMMIT. They take turns, so that all of them see the same machine."""
    one, two, three = branches
    return {
        "one node written, two statements": [_WRITE.format(one), _WRITE.format(one)],
        "one node written, another one read": [_READ.format(two), _WRITE.format(one)],
        "two nodes written": [_WRITE.format(one), _WRITE.format(two)],
        "three nodes written": [_WRITE.format(one), _WRITE.format(two), _WRITE.format(three)],
    }


def _measure(cluster: Cluster, rounds: int) -> dict[str, list[float]]:
    ways = _ways(cluster.branches)
    times: dict[str, list[float]] = defaultdict(list)
    with (
        psycopg.connect(cluster.target, autocommit=True, cursor_factory=psycopg.ClientCursor) as proxy,
        psycopg.connect(cluster.node_conninfo(cluster.shard_of(cluster.branches[0]).node), autocommit=True) as node,
    ):
        for branch in cluster.branches:
            proxy.execute(_BOOK.format(branch).encode())
        direct = _WRITE.format(cluster.branches[0]).replace("books", cluster.shard_of(cluster.branches[0]).table)
        for number in range(-_WARM_UP, rounds):
            found = {name: _commit_ms(proxy, statements) for name, statements in ways.items()}
            found["one node, without the proxy"] = _commit_ms(node, [direct, direct])
            if number >= 0:
                for name, took in found.items():
                    times[name].append(took)
    return times


def _commit_ms(connection: psycopg.Connection, statements: list[str]) -> float:
    for sql in ("BEGIN", *statements):
        connection.execute(sql.encode(), prepare=False)
    begun = time.perf_counter()
    connection.execute("COMMIT", prepare=False)
    return (time.perf_counter() - begun) * 1e3


if __name__ == "__main__":
    main()
