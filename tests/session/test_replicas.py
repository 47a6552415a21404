"""A node with real streaming standbys behind a real proxy: where its statements run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.shardmap.model import HeartbeatSettings
from tests.fix_proxy import RunningProxy, running_proxy
from tests.fix_replicas import NODE, QUICK, ReplicatedCluster, node_rows, until

ROUTED = "SELECT inet_server_port() FROM books WHERE branch = 'west' LIMIT 1"
WRITE = "UPDATE books SET price = price WHERE branch = 'west' AND isbn = 1 RETURNING inet_server_port()"
NEW = "INSERT INTO books (isbn, branch, book_name, author) VALUES (%s, 'west', 'x', 'y') RETURNING inet_server_port()"


@pytest.fixture(scope="module")
def reading_replicas(
    shared_replicated: ReplicatedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    with started(shared_replicated, tmp_path_factory.mktemp("proxy"), "replica") as proxy:
        yield proxy


@contextmanager
def started(
    replicated: ReplicatedCluster,
    directory: Path,
    read_from: str,
    max_lag_s: float = 60.0,
    heartbeat: HeartbeatSettings = QUICK,
) -> Iterator[RunningProxy]:
    change = replicated.shard_map(read_from, max_lag_s)
    with running_proxy(replicated.cluster, directory, change, heartbeat=heartbeat) as proxy:
        until(lambda: all(row["lag_s"] != "None" for row in node_rows(proxy) if "/" in row["node"]))
        yield proxy


@contextmanager
def held_back(replicated: ReplicatedCluster) -> Iterator[None]:
    """The standbys replay nothing."""
    for standby in replicated.standbys:
        replicated.ask(standby, "SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        for standby in replicated.standbys:
            replicated.ask(standby, "SELECT pg_wal_replay_resume()")
        replicated.caught_up()


def ports(client: psycopg.Connection[Any], sql: str = ROUTED, times: int = 6) -> set[int]:
    return {port_of(client, sql) for _ in range(times)}


def port_of(client: psycopg.Connection[Any], sql: str = ROUTED, *values: object) -> int:
    row = client.execute(sql.encode(), values or None).fetchone()
    assert row is not None
    return int(row[0])


def standby_ports(replicated: ReplicatedCluster) -> set[int]:
    return {standby.port for standby in replicated.standbys}


def test_without_read_from_everything_is_on_the_primary(shared_replicated: ReplicatedCluster, tmp_path: Path) -> None:
    with started(shared_replicated, tmp_path, "primary") as proxy, proxy.connect() as client:
        assert ports(client) == {shared_replicated.primary.port}


def test_any_spreads_reads_over_all(shared_replicated: ReplicatedCluster, tmp_path: Path) -> None:
    with started(shared_replicated, tmp_path, "any") as proxy, proxy.connect() as client:
        assert ports(client) == {member.port for member in shared_replicated.members}
        assert port_of(client, NEW, 1) == shared_replicated.primary.port


@pytest.mark.parametrize("cursor_factory", [psycopg.ClientCursor, psycopg.Cursor])
def test_reads_go_to_the_replicas(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy, cursor_factory: Any
) -> None:
    with reading_replicas.connect(cursor_factory=cursor_factory) as client:
        assert ports(client) == standby_ports(shared_replicated)
        sql = "SELECT inet_server_port() FROM books WHERE branch = %s LIMIT 1"
        assert {port_of(client, sql, "west") for _ in range(10)} == standby_ports(shared_replicated)


@pytest.mark.parametrize("cursor_factory", [psycopg.ClientCursor, psycopg.Cursor])
def test_so_do_the_legs_of_a_scatter(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy, cursor_factory: Any
) -> None:
    """While the standbys replay nothing, what was written just now is not to be seen there, and only there."""
    with reading_replicas.connect(cursor_factory=cursor_factory) as client:
        shared_replicated.caught_up()
        isbn = 7_000_001 if cursor_factory is psycopg.Cursor else 7_000_002
        count = "SELECT count(*) FROM books"
        before = port_of(client, count)
        with held_back(shared_replicated):
            client.execute(NEW.encode(), (isbn,))
            assert port_of(client, count) == before
            with client.transaction():
                assert port_of(client, count) == before + 1
        assert port_of(client, count) == before + 1


def test_writes_and_what_locks_go_to_the_primary(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy
) -> None:
    primary = {shared_replicated.primary.port}
    with reading_replicas.connect() as client:
        assert port_of(client, NEW, 2) in primary
        assert ports(client, "UPDATE books SET price = 1 WHERE branch = 'west' RETURNING inet_server_port()") == primary
        locking = "SELECT inet_server_port() FROM books WHERE branch = 'west' FOR UPDATE"
        assert ports(client, locking) == primary


def test_transactions_that_may_write_are_on_the_primary(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy
) -> None:
    primary = {shared_replicated.primary.port}
    with reading_replicas.connect() as client:
        for begin in ("BEGIN", "BEGIN READ WRITE", "BEGIN; SET TRANSACTION READ ONLY"):
            client.execute(begin.encode())
            assert ports(client) == primary
            client.execute("ROLLBACK")
        client.execute("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY")  # a standby knows no such level
        assert ports(client) == primary
        client.execute("COMMIT")


def test_a_transaction_that_only_reads_is_on_one_replica(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy
) -> None:
    with reading_replicas.connect() as client:
        for begin in ("BEGIN READ ONLY", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"):
            client.execute(begin.encode())
            one = ports(client)
            assert len(one) == 1
            assert one <= standby_ports(shared_replicated)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                client.execute(NEW.encode(), (3,))
            client.execute("ROLLBACK")
        client.execute("BEGIN READ ONLY")
        assert ports(client) <= standby_ports(shared_replicated)
        client.execute("COMMIT AND CHAIN")
        assert ports(client) <= standby_ports(shared_replicated)
        client.execute("COMMIT")


def test_statements_of_one_query_are_one_transaction_on_the_primary(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy
) -> None:
    with reading_replicas.connect() as client:
        cursor = client.execute(f"{ROUTED}; {ROUTED}".encode())
        assert cursor.fetchone() == (shared_replicated.primary.port,)


def test_serializable_sessions_read_on_the_primary(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy
) -> None:
    with reading_replicas.connect() as client:
        client.execute("SET default_transaction_isolation = 'serializable'")
        assert ports(client) == {shared_replicated.primary.port}
        client.execute("RESET default_transaction_isolation")
        client.execute("SET work_mem = '5MB'")  # any other setting is brought to the replica
        assert ports(client) == standby_ports(shared_replicated)


@pytest.mark.parametrize("cursor_factory", [psycopg.ClientCursor, psycopg.Cursor])
def test_what_a_replica_cannot_answer_the_primary_does(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy, cursor_factory: Any
) -> None:
    sql = "SELECT inet_server_port() + 0 * txid_current() FROM books WHERE branch = 'west' LIMIT 1"
    with pytest.raises(psycopg.Error, match="recovery"):
        shared_replicated.ask(shared_replicated.standbys[0], "SELECT txid_current()")
    with reading_replicas.connect(cursor_factory=cursor_factory) as client:
        assert ports(client, sql) == {shared_replicated.primary.port}
        assert ports(client) == standby_ports(shared_replicated)


def test_an_error_is_the_primarys(shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy) -> None:
    sql = "SELECT 1 / (isbn - isbn) FROM books WHERE branch = 'west'"
    with reading_replicas.connect() as client:
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute(sql)
        assert ports(client) == standby_ports(shared_replicated)


def test_a_client_that_wants_to_only_read_is_refused_its_writes(
    shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy
) -> None:
    with reading_replicas.connect() as client:
        client.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            client.execute(NEW.encode(), (4,))
        client.execute("RESET default_transaction_read_only")
        assert port_of(client, NEW, 4) == shared_replicated.primary.port


def test_a_replica_too_far_behind_is_not_read(shared_replicated: ReplicatedCluster, tmp_path: Path) -> None:
    replicated = shared_replicated
    with started(replicated, tmp_path, "replica", max_lag_s=1.0) as proxy, proxy.connect() as client:
        assert ports(client) == standby_ports(replicated)
        numbers = iter(range(8_000_000, 9_000_000))
        with held_back(replicated):
            until(lambda: port_of(client, NEW, next(numbers)) and ports(client) == {replicated.primary.port})
            behind = [row for row in node_rows(proxy) if row["role"] == "standby"]
            assert len(behind) == 2
        until(lambda: ports(client) == standby_ports(replicated))


def test_a_stalled_replica_holds_nobody_up(shared_replicated: ReplicatedCluster, tmp_path: Path) -> None:
    replicated = shared_replicated
    first, second = replicated.standbys
    notices = HeartbeatSettings(interval_s=0.2, timeout_s=2.0)
    with started(replicated, tmp_path, "replica", heartbeat=notices) as proxy, proxy.connect() as client:
        until(lambda: ports(client) == {first.port, second.port})
        first.signal(signal.SIGSTOP)
        try:
            assert ports(client, times=4) <= {second.port, replicated.primary.port}
            until(lambda: ports(client) == {second.port})
        finally:
            first.signal(signal.SIGCONT)
        until(lambda: ports(client) == {first.port, second.port})


def test_the_members_are_shown(shared_replicated: ReplicatedCluster, reading_replicas: RunningProxy) -> None:
    rows = {row["node"]: row for row in node_rows(reading_replicas)}
    node, *members = [row for name, row in rows.items() if name.startswith(NODE)]
    assert node["node"] == NODE
    assert node["port"] == str(shared_replicated.primary.port)
    assert [row["role"] for row in members] == ["primary", "standby", "standby"]
    assert [row["port"] for row in members] == [str(member.port) for member in shared_replicated.members]
    with reading_replicas.connect() as client:
        shown = {row[0]: row for row in client.execute("STATUS")}
    assert list(shown) == list(rows)
    assert "books_b" in shown[NODE][4]
    assert shown[members[0]["node"]][5] == "primary"
    assert str(shown[members[1]["node"]][5]).startswith("standby, ")
