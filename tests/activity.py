"""What happens on the nodes behind the proxy: looked at in pg_stat_activity, held up by table locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from tests.fix_nodes import LibraryCluster

TIMEOUT_S = 15.0

_OTHERS = """SELECT state, query FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'test'"""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, however long a loaded machine takes."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S:g} s: {what}"
        time.sleep(0.02)


def connect(cluster: LibraryCluster, node: str) -> psycopg.Connection:
    """A connection to a node that the functions of this module look past."""
    return psycopg.connect(cluster.conninfo(node), autocommit=True, application_name="test")


def open_statements(cluster: LibraryCluster) -> list[tuple[str, str, str]]:
    """(node, state, query) of everything that runs or is in a transaction on the nodes that are up."""
    found = []
    for name in cluster.nodes:
        with connect(cluster, name) as node:
            found += [(name, *row) for row in node.execute(_OTHERS + " AND state <> 'idle'").fetchall()]
    return found


def await_nothing_open(cluster: LibraryCluster) -> None:
    until(lambda: not open_statements(cluster), "the nodes have nothing open any more")


def await_running(cluster: LibraryCluster, part: str, count: int = 1) -> None:
    """Until so many statements with this text run on the nodes."""
    until(
        lambda: sum(part in query and state == "active" for _, state, query in open_statements(cluster)) >= count,
        f"{count} statements with {part!r} run",
    )


def connections(cluster: LibraryCluster, node: str) -> set[int]:
    """The process ids of all connections to a node but those of this module."""
    with connect(cluster, node) as connection:
        return {pid for (pid,) in connection.execute(_OTHERS.replace("state, query", "pid")).fetchall()}


@contextmanager
def locked(cluster: LibraryCluster, node: str, table: str) -> Iterator[None]:
    """Whoever wants to read the table waits."""
    with connect(cluster, node) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
