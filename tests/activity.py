"""What happens on the nodes behind the proxy: looked at in pg_stat_activity, held up by table locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from tests.fix_nodes import LibraryCluster

TIMEOUT_S = 60.0

_CONNECTIONS = """SELECT pid FROM pg_stat_activity
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                        AND application_name NOT IN ('test', 'pgproxy catalog', 'pgproxy check', 'pgproxy deadlocks')"""
# The heartbeats of all proxies that run read the nodes' tables, and wait for their locks, all the time.
_STATEMENTS = _CONNECTIONS.replace("SELECT pid", "SELECT state, query") + " AND application_name <> 'pgproxy heartbeat'"


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
    """(node, state, query) of everything that clients run or have in a transaction on the nodes that are up."""
    found = []
    for name in cluster.nodes:
        with connect(cluster, name) as node:
            found += [(name, *row) for row in node.execute(_STATEMENTS + " AND state <> 'idle'").fetchall()]
    return found


def await_nothing_open(cluster: LibraryCluster) -> None:
    until(lambda: not open_statements(cluster), "the nodes have nothing open any more")


def await_running(cluster: LibraryCluster, part: str, count: int = 1) -> None:
    """Until so many statements with this text run on the nodes."""
    until(
        lambda: sum(part in query and state == "active" for _, state, query in open_statements(cluster)) >= count,
        f"{count} statements with {part!r} run",
    )


def lock_waits(cluster: LibraryCluster, node: str) -> int:
    """How many statements of clients wait for a lock on this node."""
    with connect(cluster, node) as connection:
        return len(connection.execute(_STATEMENTS + " AND wait_event_type = 'Lock'").fetchall())


def connections(cluster: LibraryCluster, node: str) -> set[int]:
    """The process ids of the connections to a node: of pools, clients and heartbeats, but not of those that any proxy
    opens for a moment to read the catalog."""
    with connect(cluster, node) as connection:
        return {pid for (pid,) in connection.execute(_CONNECTIONS).fetchall()}


def load_settings_again(connection: psycopg.Connection) -> None:
    """pg_reload_conf, and wait for it: a session learns of it from the postmaster, which takes up no new connection
    before it has read everything itself."""
    loaded = "SELECT pg_conf_load_time()"
    (before,) = connection.execute(loaded).fetchone() or (None,)
    connection.execute("SELECT pg_reload_conf()")
    until(lambda: connection.execute(loaded).fetchone() != (before,), "the server has read its settings again")


@contextmanager
def locked(cluster: LibraryCluster, node: str, table: str) -> Iterator[None]:
    """Whoever wants to read the table waits."""
    with connect(cluster, node) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
