"""Writes on several shards where several of them share a node, or a gateway, or nodes that cannot commit together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import HeartbeatSettings, PoolSettings
from tests.activity import await_nothing_open, until
from tests.extended_client import converse, once
from tests.fix_gateways import GatewayCluster
from tests.fix_letters import LettersCluster, letters_cluster
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient

ROWS = 600
WANTED = "fadcbeafdbca"
INSERT = "INSERT INTO letters VALUES " + ", ".join(f"('{letter}', {1000 + n})" for n, letter in enumerate(WANTED))
MINE = "SELECT letter, n FROM letters WHERE n >= 1000 ORDER BY n"


@pytest.fixture(scope="module")
def letters(library_cluster: LibraryCluster) -> Iterator[LettersCluster]:
    with letters_cluster(library_cluster, ROWS) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def proxy(letters: LettersCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """With one connection to each node."""
    with running_proxy(letters, tmp_path_factory.mktemp("letters"), pool=PoolSettings(size=1)) as running:
        yield running


@pytest.fixture
def client(proxy: RunningProxy, letters: LettersCluster) -> Iterator[psycopg.Connection]:
    with psycopg.connect(proxy.conninfo, autocommit=True) as client:
        yield client
        client.execute("ROLLBACK")
        client.execute("DELETE FROM letters WHERE n >= 1000")
    await_nothing_open(letters)


def rows(client: psycopg.Connection, sql: str) -> list[tuple[object, ...]]:
    return client.execute(sql.encode()).fetchall()


def test_rows_come_in_their_order(client: psycopg.Connection) -> None:
    expected = [(letter, 1000 + n) for n, letter in enumerate(WANTED)]
    assert rows(client, f"{INSERT} RETURNING letter, n") == expected
    assert rows(client, MINE) == expected
    assert client.execute("UPDATE letters SET n = n + 1000 WHERE n >= 1000").statusmessage == f"UPDATE {len(WANTED)}"
    assert sorted(rows(client, "DELETE FROM letters WHERE n >= 2000 RETURNING n")) == [
        (2000 + n,) for n in range(len(WANTED))
    ]


def test_an_error_on_one_shard_leaves_nothing(client: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        client.execute(f"{INSERT}, ('e', 1 / (SELECT 0)), ('b', 3000)".encode())
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        client.execute("UPDATE letters SET n = n * 5000000")
    assert rows(client, "SELECT count(*), max(n) FROM letters") == [(ROWS, ROWS - 1)]


def test_in_a_transaction_with_savepoints(client: psycopg.Connection) -> None:
    client.execute("BEGIN")
    client.execute(INSERT.encode())
    client.execute("SAVEPOINT a")
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        client.execute("UPDATE letters SET n = n * 5000000")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        client.execute("SELECT 1")
    client.execute("ROLLBACK TO a")
    assert client.execute("DELETE FROM letters WHERE n < 1000").rowcount == ROWS
    assert rows(client, "SELECT count(*) FROM letters") == [(len(WANTED),)]
    client.execute("ROLLBACK TO a")
    client.execute("COMMIT")
    assert rows(client, "SELECT count(*) FROM letters") == [(ROWS + len(WANTED),)]


def test_rows_in_parts(proxy: RunningProxy, client: psycopg.Connection) -> None:
    with psycopg.connect(proxy.conninfo) as other, other.cursor() as cursor:
        found = [row[1] for row in cursor.stream(f"{INSERT} RETURNING letter, n".encode(), size=5)]
        assert found == [1000 + n for n in range(len(WANTED))]
    with RawClient.logged_in(proxy.conninfo) as raw:
        (answer,) = converse(raw, once("UPDATE letters SET n = n WHERE n >= 1000 RETURNING n", rows=5))
        assert [one[0] for one in answer] == ["1", "2", "T", *"DDDDD", "s", "Z"]


def test_more_rows_than_memory_takes(letters: LettersCluster, client: psycopg.Connection, tmp_path: Path) -> None:
    with (
        running_proxy(letters, tmp_path, sort_memory_bytes=65_536) as proxy,
        psycopg.connect(proxy.conninfo, autocommit=True) as small,
    ):
        values = ", ".join(f"('{'abcdef'[n * n % 6]}', {1000 + n})" for n in range(3_000))
        found = rows(small, f"INSERT INTO letters VALUES {values} RETURNING n, repeat('x', 300)")
        assert [row[0] for row in found] == [1000 + n for n in range(3_000)]
        assert len(rows(small, "DELETE FROM letters WHERE n >= 1000 RETURNING n, repeat('y', 300)")) == 3_000


def test_many_at_once_do_not_wait_for_each_other(proxy: RunningProxy, client: psycopg.Connection) -> None:
    def write(number: int) -> int:
        with psycopg.connect(proxy.conninfo, autocommit=True) as one:
            first = 2_000 + 100 * number
            for _ in range(5):
                one.execute(INSERT.encode())
                one.execute(f"UPDATE letters SET n = {first} WHERE n = {first - 1}".encode())
            return one.execute("UPDATE letters SET n = n WHERE n < 0").rowcount

    with ThreadPoolExecutor(6) as clients:
        assert list(clients.map(write, range(6))) == [0] * 6
    assert rows(client, "SELECT count(*) FROM letters WHERE n >= 1000") == [(6 * 5 * len(WANTED),)]


@pytest.fixture
def leaves_out(letters: LettersCluster) -> Iterator[None]:
    """A trigger that lets no row of letter b in."""
    letters.execute(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )
    with letters.connect(list(letters.nodes)[1]) as node:
        node.execute("CREATE TRIGGER leave BEFORE INSERT ON letters_1 FOR EACH ROW EXECUTE FUNCTION leave_out()")
    yield
    letters.execute("DROP FUNCTION leave_out CASCADE")


def test_rows_that_a_trigger_leaves_out(leaves_out: None, client: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="trigger"):
        client.execute(f"{INSERT} RETURNING n".encode())
    assert rows(client, MINE) == []
    assert client.execute(INSERT.encode()).statusmessage == f"INSERT 0 {len(WANTED) - WANTED.count('b')}"


def test_an_error_does_not_wait_for_what_is_locked_elsewhere(
    letters: LettersCluster, client: psycopg.Connection
) -> None:
    _, second, _ = letters.nodes
    with letters.connect(second) as node:
        node.execute("SET application_name = 'test'")
        node.execute("BEGIN")
        node.execute("SELECT * FROM letters_1 FOR UPDATE")
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute("UPDATE letters SET n = 1 / (n - 5)")
        client.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            client.execute("UPDATE letters SET n = n")
        client.execute("RESET lock_timeout")
        timer = threading.Timer(0.3, client.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("UPDATE letters SET n = n")
        timer.join()
        client.execute("BEGIN")
        client.execute("SAVEPOINT a")
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute("UPDATE letters SET n = 1 / (n - 5)")
        client.execute("ROLLBACK TO a")
        assert client.execute("UPDATE letters SET n = n WHERE letter = 'a'").rowcount == ROWS // 6
        client.execute("COMMIT")
        node.execute("ROLLBACK")
    assert client.execute("UPDATE letters SET n = n").rowcount == ROWS


def test_one_snapshot_keeps_to_one_node(client: psycopg.Connection) -> None:
    client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert client.execute("UPDATE letters SET n = n WHERE letter IN ('a', 'd')").rowcount == ROWS // 3
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="one snapshot"):
        client.execute("UPDATE letters SET n = n")
    client.execute("ROLLBACK")


def test_nodes_that_cannot_commit_together(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    with letters_cluster(own_cluster, 12) as cluster:
        with cluster.connect(list(cluster.nodes)[1]) as node:
            node.execute(f"DROP TABLE {commit_log.TABLE}".encode())
        with (
            running_proxy(cluster, tmp_path) as proxy,
            psycopg.connect(proxy.conninfo, autocommit=True) as client,
        ):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot commit together") as refused:
                client.execute("UPDATE letters SET n = n + 100")
            assert "pgproxy init" in (refused.value.diag.message_hint or "")
            assert rows(client, "SELECT max(n) FROM letters") == [(11,)]
            assert rows(client, "UPDATE letters SET n = n + 100 WHERE letter IN ('a', 'd') RETURNING 1") == [(1,)] * 4
            found = rows(client, "INSERT INTO letters VALUES ('b', 1), ('e', 2), ('b', 3) RETURNING n")
            assert found == [(1,), (2,), (3,)]


@pytest.mark.parametrize("victim", [0, 1], ids=["a node that works", "a node that waits"])
def test_a_node_that_dies_takes_the_whole_statement_with_it(
    victim: int, own_cluster: LibraryCluster, tmp_path: Path
) -> None:
    name = sorted(own_cluster.nodes)[victim]
    with running_proxy(own_cluster, tmp_path) as proxy, psycopg.connect(proxy.conninfo, autocommit=True) as client:
        killer = threading.Timer(0.5, own_cluster.kill, [name])
        killer.start()
        with pytest.raises(psycopg.Error) as failed:
            client.execute("UPDATE books SET genre = 'killed' WHERE pg_sleep(0.1) IS NOT NULL")
        killer.join()
        assert failed.value.sqlstate in ("08006", "57P01", "57P02")
        own_cluster.restart(name)
        until(lambda: not wrong(client, "SELECT count(*) FROM books"), "the node is back")
        assert rows(client, "SELECT count(*) FROM books WHERE genre = 'killed'") == [(0,)]
        await_nothing_open(own_cluster)


def wrong(client: psycopg.Connection, sql: str) -> bool:
    try:
        client.execute(sql.encode())
    except psycopg.Error:
        return True
    return False


# Through gateways

FIRST = 70_000
OURS = f"isbn BETWEEN {FIRST} AND {FIRST + 99}"
BOOKS = ", ".join(
    f"({FIRST + n}, '{branch}', 'b', 'x')"
    for n, branch in enumerate(["north", "west", "downtown", "west", "north", "downtown"])
)
INTO = f"INSERT INTO books (isbn, branch, book_name, author) VALUES {BOOKS}"
BLIND = HeartbeatSettings(interval_s=600, timeout_s=5)


@pytest.fixture
def through_gateways(gateways: GatewayCluster, tmp_path: Path) -> Iterator[psycopg.Connection]:
    with (
        running_proxy(gateways, tmp_path, heartbeat=BLIND) as proxy,
        psycopg.connect(proxy.conninfo, autocommit=True) as client,
    ):
        yield client
        gateways.heal()
        client.execute(f"DELETE FROM books WHERE {OURS}".encode())


def test_through_one_gateway(through_gateways: psycopg.Connection) -> None:
    client = through_gateways
    assert rows(client, f"{INTO} RETURNING isbn") == [(FIRST + n,) for n in range(6)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        client.execute(INTO.replace(str(FIRST), str(FIRST + 50), 1).encode())
    assert client.execute(f"UPDATE books SET price = 3 WHERE {OURS}".encode()).rowcount == 6
    with client.transaction(), pytest.raises(psycopg.errors.DivisionByZero), client.transaction():
        client.execute(f"UPDATE books SET price = 1 / (isbn - {FIRST}) WHERE {OURS}".encode())
    assert rows(client, f"SELECT price, count(*) FROM books WHERE {OURS} GROUP BY price") == [(3, 6)]
    with client.transaction():
        assert len(rows(client, f"DELETE FROM books WHERE {OURS} RETURNING isbn")) == 6


def test_what_a_gateway_has_not_committed_runs_through_another(
    gateways: GatewayCluster, through_gateways: psycopg.Connection
) -> None:
    client = through_gateways
    client.execute(INTO.encode())
    slow = f"UPDATE books SET price = coalesce(price, 0) + 1 WHERE {OURS} AND pg_sleep(0.3) IS NOT NULL"

    def cut() -> None:
        for name, relay in gateways.relays.items():
            if name.startswith("downtown"):
                relay.cut()

    timer = threading.Timer(0.7, cut)
    timer.start()
    assert len(rows(client, f"{slow} RETURNING isbn")) == 6
    timer.join()
    assert rows(client, f"SELECT price, count(*) FROM books WHERE {OURS} GROUP BY price") == [(1, 6)]
