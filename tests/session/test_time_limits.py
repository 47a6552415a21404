"""The proxy's own statement_timeout_s and idle_in_transaction_timeout_s, and keepalive on both sides."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import PoolSettings
from tests.activity import await_nothing_open, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.test_orders import in_thread, order, shown
from tests.test_reload import write

SLOW = {
    "routed": "SELECT pg_sleep(60) FROM books WHERE branch = 'west'",
    "scattered": "SELECT count(*) FROM books WHERE pg_sleep(60) IS NOT NULL",
    "on a node": "SELECT pg_sleep(60)",
}


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_statement_that_takes_too_long_is_cancelled(
    extended: bool, library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    cursor = psycopg.Cursor if extended else psycopg.ClientCursor
    with (
        running_proxy(library_cluster, tmp_path, statement_timeout_s=0.3) as proxy,
        proxy.connect(cursor_factory=cursor) as client,
    ):
        for sql in SLOW.values():
            with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
                client.execute(sql.encode())
            with unlimited(proxy):
                assert client.execute("SELECT count(*) FROM books").fetchone() == (72,)


def test_one_that_a_first_cancel_does_not_end_is_cancelled_again(
    library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    """It may come before the node has begun the statement, as when processors are busy; here the statement takes it."""
    sleeps = "PERFORM pg_sleep(60)"
    with running_proxy(library_cluster, tmp_path, statement_timeout_s=0.3) as proxy, proxy.connect() as client:
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            client.execute(f"DO $$ BEGIN {sleeps}; EXCEPTION WHEN query_canceled THEN {sleeps}; END $$".encode())
        with unlimited(proxy):
            assert client.execute("SELECT count(*) FROM books").fetchone() == (72,)


def test_one_that_waits_for_a_connection_too(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    settings = {"statement_timeout_s": 0.3, "pool": PoolSettings(size=1)}
    with (
        running_proxy(library_cluster, tmp_path, **settings) as proxy,
        proxy.connect() as holder,
        proxy.connect() as waiting,
    ):
        with unlimited(proxy):
            holder.execute("BEGIN")
            holder.execute("SELECT count(*) FROM books WHERE branch = 'west'")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            waiting.execute("SELECT count(*) FROM books WHERE branch = 'west'")


def test_orders_to_the_proxy_take_their_time(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, statement_timeout_s=0.3) as proxy,
        proxy.connect() as holder,
        proxy.connect() as client,
    ):
        with unlimited(proxy):
            holder.execute("BEGIN")
            holder.execute("SELECT count(*) FROM books WHERE branch = 'west'")
        pausing, answers = in_thread(lambda: order(proxy, "PAUSE west-library"))
        until(lambda: shown(proxy, "SHOW POOLS", "paused")["west-library"], "the node is being paused")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):  # one that began later
            client.execute("SELECT pg_sleep(60) FROM books WHERE branch = 'north'")
        assert answers == []
        holder.execute("COMMIT")
        pausing.join()
        assert answers == [[]]
        order(proxy, "RESUME west-library")


def test_an_idle_transaction_ends_with_its_session(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, idle_in_transaction_timeout_s=1.0) as proxy,
        proxy.connect() as idle,
        proxy.connect() as client,
    ):
        client.execute("SELECT 1")
        await_nothing_open(library_cluster)
        idle.execute("BEGIN")
        idle.execute("UPDATE books SET genre = 'idle' WHERE branch = 'west'")
        await_nothing_open(library_cluster)
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout, match="terminating connection"):
            idle.execute("SELECT count(*) FROM books")
        assert idle.closed
        assert client.execute("UPDATE books SET genre = genre WHERE branch = 'west'").rowcount == 24
        assert client.execute("SELECT count(*) FROM books WHERE genre = 'idle'").fetchone() == (0,)


@contextmanager
def unlimited(proxy: RunningProxy) -> Iterator[None]:
    """Without the limit of statements, which may be too short for what the test looks at on a slow machine."""
    limit_s = load(proxy.config).proxy.statement_timeout_s
    limit_statements(proxy, None)
    yield
    limit_statements(proxy, limit_s)


def limit_statements(proxy: RunningProxy, limit_s: float | None) -> None:
    """By a signal: RELOAD is a statement as well."""
    told = "the shard map is reloaded"
    before = proxy.log_text().count(told)
    write(proxy, lambda found: replace(found, proxy=replace(found.proxy, statement_timeout_s=limit_s)))
    proxy.process.send_signal(signal.SIGHUP)
    until(lambda: proxy.log_text().count(told) > before, told)


def test_silent_connections_are_probed(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """/proc tells of a socket's timer: 2 is keepalive."""
    settings = {"keepalive_s": 1234, "pool": PoolSettings(keepalive_s=2345)}
    with running_proxy(library_cluster, tmp_path, **settings) as proxy, proxy.connect() as client:
        client.execute("SELECT count(*) FROM books WHERE branch = 'west'")
        west = library_cluster.nodes["west-library"].port
        # Shown once all that was sent is acknowledged.
        until(lambda: is_probed(proxy.port, 1234), "the client's connection is probed")
        until(lambda: is_probed(west, 2345), "the node's connection is probed")


def is_probed(port: int, idle_s: int) -> bool:
    return any(found == port and idle_s - 600 < left_s <= idle_s for found, left_s in keepalive_timers())


def keepalive_timers() -> list[tuple[int, float]]:
    """Port (the local one and the remote one in turn) and seconds left of all sockets with that timer."""
    hertz = os.sysconf("SC_CLK_TCK")
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, timer, *_ = line.split()
        kind, left = timer.split(":")
        if kind == "02":
            found += [(port_of(address), int(left, 16) / hertz) for address in (local, remote)]
    return found


def port_of(address: str) -> int:
    (port,) = struct.unpack("!H", bytes.fromhex(address.rpartition(":")[2]))
    return int(port)
