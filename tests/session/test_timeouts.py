"""The timeouts that a session can set: the nodes enforce them, and the client hears what PostgreSQL would tell it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.model import PoolSettings
from tests.activity import await_nothing_open, locked, until
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query

SLOW = [
    "SELECT pg_sleep(60)",
    "SELECT count(*) FROM books WHERE branch = 'west' AND pg_sleep(60) IS NOT NULL",
    "SELECT count(*) FROM books WHERE pg_sleep(60) IS NOT NULL",
    "SELECT isbn FROM books WHERE pg_sleep(60) IS NOT NULL ORDER BY isbn",
    "SELECT 1; SELECT count(*) FROM books WHERE pg_sleep(60) IS NOT NULL",
]


@pytest.mark.parametrize("sql", SLOW)
@pytest.mark.parametrize("way", ["SET", "SET LOCAL", "options", "set_config"])
def test_statement_timeout_reaches_every_node(
    way: str, sql: str, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    options = "-c statement_timeout=150" if way == "options" else ""
    with shared_proxy.connect(options=options) as connection:
        if way == "SET":
            connection.execute("SET statement_timeout = '150ms'")
        elif way == "SET LOCAL":
            connection.execute("BEGIN")
            connection.execute("SET LOCAL statement_timeout = 150")
        elif way == "set_config":
            connection.execute("SELECT set_config('statement_timeout', '150', false)")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            connection.execute(sql.encode())
        connection.execute("ROLLBACK")
        connection.execute("SET statement_timeout = 0")
        assert connection.execute("SELECT count(*) FROM books WHERE branch = 'west'").fetchone()
    await_nothing_open(library_cluster)


def test_one_slow_shard_ends_the_statement_on_all(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    """The other shards' rows have come, or their statements are cancelled; nothing is left running."""
    with shared_proxy.connect() as connection, locked(library_cluster, "north-library", "books_c"):
        connection.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT isbn FROM books ORDER BY isbn, branch")
    await_nothing_open(library_cluster)


def test_lock_timeout(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    with shared_proxy.connect() as connection, locked(library_cluster, "west-library", "books_b"):
        connection.execute("SET lock_timeout = '100ms'")
        for sql in ("SELECT count(*) FROM books WHERE branch = 'west'", "SELECT count(*) FROM books"):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute(sql.encode())
    await_nothing_open(library_cluster)


def until_closed(conninfo: str, statements: list[str]) -> list[tuple[object, ...]]:
    """What comes after the last statement's answer, up to the close."""
    with RawClient.logged_in(conninfo) as client:
        client.send(b"".join(map(query, statements)))  # at once, for none of them to be late
        for _ in statements:
            client.until_ready()
        return [message.shown() for message in client.messages()]


@pytest.mark.parametrize("first", ["SELECT 1", "SELECT count(*) FROM books WHERE branch = 'west'"])
@pytest.mark.parametrize("name", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_an_idle_transaction_ends_the_session(
    name: str, first: str, shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    statements = [f"SET {name} = '1s'", "BEGIN", first]
    answer = until_closed(shared_proxy.conninfo, statements)
    assert answer == until_closed(reference_pg.conninfo, statements)
    assert answer[0][0] == "E"


def test_transaction_timeout_ends_a_running_statement_s_session(
    shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    for sql in SLOW[:4]:
        with shared_proxy.connect() as connection:
            connection.execute("SET transaction_timeout = '200ms'")
            with pytest.raises(psycopg.errors.TransactionTimeout):
                connection.execute(sql.encode())
            assert connection.closed
    await_nothing_open(library_cluster)


def test_the_pool_lives_on_after_timeouts(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=2)) as proxy:
        for statements in (
            ["SET idle_in_transaction_session_timeout = '100ms'", "BEGIN", "SELECT count(*) FROM books"],
            ["SET transaction_timeout = '100ms'", "BEGIN", "SELECT count(*) FROM books"],
        ) * 2:
            until_closed(proxy.conninfo, statements)
        with proxy.connect() as connection, proxy.connect(dbname="pgproxy") as admin:
            for timeout in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
                assert connection.execute(f"SHOW {timeout}".encode()).fetchone() == ("0",)
            assert connection.execute("SELECT count(*) FROM books").fetchone()
            until(lambda: not sum(row[3] for row in admin.execute("SHOW POOLS")), "nothing is in use")


def test_idle_session_timeout_is_refused(shared_proxy: RunningProxy) -> None:
    """It would end connections that wait in the pool for other clients."""
    with shared_proxy.connect() as connection:
        for sql in ("SET idle_session_timeout = '1s'", "SELECT set_config('idle_session_timeout', '5', false)"):
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                connection.execute(sql.encode())
        connection.execute("SET idle_session_timeout = 0")
    with pytest.raises(psycopg.OperationalError, match="idle_session_timeout"):
        shared_proxy.connect(options="-c idle_session_timeout=1000")
