"""Gateways that break, stall, drain and come back: reads go on through others, writes happen once or are reported."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from loadtest.tcp_relay import READY, TcpRelay, error_message
from pgproxy.shardmap.model import HeartbeatSettings, PoolSettings
from tests.activity import until
from tests.fix_gateways import GatewayCluster
from tests.fix_proxy import RunningProxy, running_proxy

WEST = "west-library"
QUICK = HeartbeatSettings(interval_s=0.2, timeout_s=20.0)  # where connections are refused
NOTICES_STALLS = HeartbeatSettings(interval_s=0.2, timeout_s=1.0)
BLIND = HeartbeatSettings(interval_s=600, timeout_s=20)  # what statements find out for themselves
ROUTED = "SELECT count(*) FROM books WHERE branch = 'west'"
READS = {
    "routed": ROUTED,
    "scattered": "SELECT count(*) FROM books",
    "merged": "SELECT count(*) FROM (SELECT 1) AS one",
}


@pytest.fixture
def proxy(gateways: GatewayCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    with running_proxy(gateways, tmp_path, heartbeat=QUICK, failover_stable_s=0.5) as running:
        yield running


@pytest.fixture
def watchful(gateways: GatewayCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    """A proxy that does not wait long for a node's answer."""
    with running_proxy(gateways, tmp_path, heartbeat=NOTICES_STALLS, failover_stable_s=0.5) as running:
        yield running


@pytest.fixture
def blind(gateways: GatewayCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    """A proxy whose heartbeat finds nothing in time."""
    with running_proxy(gateways, tmp_path, heartbeat=BLIND, failover_stable_s=0.5) as running:
        yield running


def count(client: psycopg.Connection, sql: str = ROUTED) -> int:
    row = client.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


def ask_admin(proxy: RunningProxy, sql: str) -> list[dict[str, str]]:
    with psycopg.connect(
        proxy.conninfo, dbname="pgproxy", autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as admin:
        cursor = admin.execute(sql.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def stat(proxy: RunningProxy, name: str, node: str | None = None) -> int:
    found = [row["value"] for row in ask_admin(proxy, "SHOW STATS") if (row["name"], row["node"]) == (name, node)]
    return int(found[0])


def states(proxy: RunningProxy) -> dict[str, str]:
    return {row["node"]: row["state"] for row in ask_admin(proxy, "SHOW NODES")}


def west(gateways: GatewayCluster) -> TcpRelay:
    return gateways.relays[WEST]


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("how", ["kill", "cut", "greet", "say", "reply"])
def test_a_read_goes_on(how: str, extended: bool, gateways: GatewayCluster, blind: RunningProxy) -> None:
    cursor = psycopg.Cursor if extended else psycopg.ClientCursor
    with blind.connect(cursor_factory=cursor) as client:
        counts = {name: count(client, sql) for name, sql in READS.items()}
        misbehave(west(gateways), how)
        for _ in range(3):
            assert {name: count(client, sql) for name, sql in READS.items()} == counts


def misbehave(relay: TcpRelay, how: str) -> None:
    match how:
        case "kill":
            relay.kill()
        case "cut":
            relay.cut()
        case "greet":
            relay.greet()
            relay.cut()
        case "say":
            relay.say()
        case "reply":
            relay.reply(error_message("XXUUU", "failed to connect to n2", "ERROR") + READY)


class Readers:
    """Clients who read without end, by all ways in turn."""

    def __init__(self, proxy: RunningProxy, number: int) -> None:
        self.answers = 0
        self.errors: list[psycopg.Error] = []
        self.connections = [proxy.connect() for _ in range(number)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(connection,)) for connection in self.connections]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for connection in self.connections:
            connection.close()

    def _run(self, connection: psycopg.Connection) -> None:
        while not self._stop.wait(0.005):
            for sql in READS.values():
                try:
                    connection.execute(sql.encode())
                    self.answers += 1
                except psycopg.Error as error:
                    self.errors.append(error)

    def go_on(self, answers: int = 200) -> None:
        wanted = self.answers + answers
        until(lambda: self.answers >= wanted or bool(self.errors), "answers")


@pytest.mark.parametrize("how", ["kill", "stall", "greet", "say", "delay"])
def test_no_read_fails_under_load(how: str, gateways: GatewayCluster, watchful: RunningProxy) -> None:
    proxy = watchful
    with Readers(proxy, 20) as readers:
        readers.go_on()
        if how in ("stall", "delay"):
            west(gateways).stall() if how == "stall" else west(gateways).delay(1)
        else:
            misbehave(west(gateways), how)
        if how not in ("say", "delay"):
            until(lambda: states(proxy)[WEST] == "down", "the verdict")
        readers.go_on()
        gateways.heal()
        until(lambda: states(proxy)[WEST] == "up", "the recovery")
        readers.go_on()
    assert readers.errors == []


def test_the_home_is_preferred_again_when_it_is_stable(gateways: GatewayCluster, proxy: RunningProxy) -> None:
    relay = west(gateways)
    with proxy.connect() as client:
        count(client)
        relay.kill()
        until(lambda: states(proxy)[WEST] == "down", "the verdict")
        count(client)
        assert stat(proxy, "failovers", WEST) > 0
        relay.heal()
        until(lambda: states(proxy)[WEST] == "up", "the recovery")
        served = relay.served
        until(lambda: count(client) > 0 and relay.served - served > 20, "statements at home")


def test_a_node_that_drains_gets_no_new_statements(gateways: GatewayCluster, tmp_path: Path) -> None:
    relay = west(gateways)
    with running_proxy(gateways, tmp_path, heartbeat=BLIND, failover_stable_s=600) as proxy, proxy.connect() as client:
        count(client)
        relay.say()
        until(lambda: relay.connections == 0, "the good-byes")
        count(client)
        served = relay.served
        count(client)
        assert relay.served == served


def test_a_node_that_drains_is_told(gateways: GatewayCluster, tmp_path: Path) -> None:
    relay = west(gateways)
    with running_proxy(gateways, tmp_path, heartbeat=BLIND, failover_stable_s=600) as proxy, proxy.connect() as client:
        count(client)
        assert {row["error"] for row in ask_admin(proxy, "SHOW NODES")} == {None}
        relay.say()
        until(lambda: relay.connections == 0, "the good-byes")
        count(client)
        [row] = [row for row in ask_admin(proxy, "STATUS") if row["node"] == WEST]
        assert row["state"] == "up"
        assert row["detail"].startswith("statements go through other nodes: it drains")


def test_all_gateways_down_and_back_within_the_deadline(gateways: GatewayCluster, proxy: RunningProxy) -> None:
    with proxy.connect() as client:
        before = count(client)
        for relay in gateways.relays.values():
            relay.kill()
        until(lambda: set(states(proxy).values()) == {"down"}, "the verdict on all")
        healer = threading.Timer(1, gateways.heal)
        healer.start()
        assert count(client) == before
        healer.join()


def test_a_read_is_given_up_at_the_deadline(gateways: GatewayCluster, tmp_path: Path) -> None:
    with (
        running_proxy(gateways, tmp_path, heartbeat=QUICK, failover_deadline_s=0.5) as proxy,
        proxy.connect() as client,
    ):
        count(client)
        for relay in gateways.relays.values():
            relay.kill()
        for sql in READS.values():
            with pytest.raises(psycopg.OperationalError) as failed:
                client.execute(sql.encode())
            assert failed.value.sqlstate == "08006"
        gateways.heal()
        until(lambda: "down" not in states(proxy).values(), "the recovery")
        assert count(client) > 0


@pytest.mark.parametrize("row_bytes", [100_000, 400_000], ids=["between rows", "inside a row"])
def test_nothing_is_repeated_behind_rows_that_were_sent(
    row_bytes: int, gateways: GatewayCluster, proxy: RunningProxy
) -> None:
    with proxy.connect() as client:
        west(gateways).cut_after(3 * row_bytes + row_bytes // 2)
        with pytest.raises(psycopg.OperationalError):
            client.execute(f"SELECT repeat('x', {row_bytes}) FROM books WHERE branch = 'west'".encode())
    assert stat(proxy, "retries") == 0


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_write_that_was_lost_is_reported_not_repeated(
    extended: bool, gateways: GatewayCluster, blind: RunningProxy
) -> None:
    cursor = psycopg.Cursor if extended else psycopg.ClientCursor
    relay = west(gateways)
    write = "INSERT INTO books (isbn, book_name, author, branch) VALUES (%s, 'twice?', 'nobody', 'west')"
    with blind.connect(cursor_factory=cursor) as client, gateways.connect() as beside:
        client.execute("SELECT count(*) FROM books WHERE branch = 'west'")
        with lost(relay, b"twice?"), pytest.raises(psycopg.OperationalError) as failed:
            client.execute(write, (987_001,))
        assert failed.value.sqlstate == "40003"
        assert beside.execute("SELECT count(*) FROM books_b WHERE book_name = 'twice?'").fetchone() == (0,)
        relay.kill()  # now it is never sent there at all
        client.execute(write, (987_002,))
        assert beside.execute("DELETE FROM books_b WHERE book_name = 'twice?'").rowcount == 1


@contextmanager
def lost(relay: TcpRelay, part: bytes) -> Iterator[None]:
    """Meanwhile what has such bytes reaches the relay, and no further: the connections break."""

    def lose() -> None:
        until(lambda: relay.holds(part), "it has come")
        relay.cut()
        relay.heal()

    relay.stall()
    with ThreadPoolExecutor(1) as thread:
        losing = thread.submit(lose)
        yield
        losing.result()


def test_a_conflict_is_tried_again(gateways: GatewayCluster, blind: RunningProxy) -> None:
    relay = west(gateways)
    with blind.connect() as client:
        count(client)
        before = stat(blind, "retries")
        relay.reply(error_message("40001", "restart transaction", "ERROR") + READY)
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(client.execute, "UPDATE books SET genre = genre WHERE branch = 'west'")
            until(lambda: stat(blind, "retries") > before, "it is tried again")
            relay.heal()
            assert written.result().rowcount == 24


def test_a_conflict_that_does_not_end_is_reported(gateways: GatewayCluster, tmp_path: Path) -> None:
    with (
        running_proxy(gateways, tmp_path, heartbeat=BLIND, failover_deadline_s=0.3) as proxy,
        proxy.connect() as client,
    ):
        count(client)
        west(gateways).reply(error_message("40001", "restart transaction", "ERROR") + READY)
        with pytest.raises(psycopg.errors.SerializationFailure):
            client.execute("UPDATE books SET genre = genre WHERE branch = 'west'")


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
def test_a_transaction_runs_through_one_gateway(isolation: str, gateways: GatewayCluster, proxy: RunningProxy) -> None:
    with proxy.connect() as client, gateways.connect() as beside:
        whole = count(client, "SELECT count(*) FROM books")
        for end, left in (("ROLLBACK", 0), ("COMMIT", 2)):
            client.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
            for branch in ("west", "north"):
                client.execute(
                    "INSERT INTO books (isbn, book_name, author, branch) VALUES (7, 'in two', 'nobody', %s)", (branch,)
                )
            assert count(client, "SELECT count(*) FROM books") == whole + 2
            names = client.execute("SELECT isbn, branch FROM books WHERE isbn = 7 ORDER BY branch DESC").fetchall()
            assert names == [(7, "west"), (7, "north")]
            client.execute(end.encode())
            assert beside.execute("SELECT count(*) FROM books_b WHERE isbn = 7").fetchone() == (left // 2,)
            assert beside.execute("SELECT count(*) FROM books_c WHERE isbn = 7").fetchone() == (left // 2,)
        client.execute("DELETE FROM books WHERE isbn = 7 AND branch = 'west'")
        client.execute("DELETE FROM books WHERE isbn = 7 AND branch = 'north'")


def test_a_copy_runs_through_one_gateway(gateways: GatewayCluster, proxy: RunningProxy) -> None:
    """All shards are copied into on the transaction's connection, one after the other."""
    with proxy.connect() as client, gateways.connect() as beside:
        for end, left in (("ROLLBACK", 0), ("COMMIT", 1)):
            client.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            with client.cursor().copy("COPY books (isbn, book_name, author, branch) FROM STDIN") as copy:
                for branch in ("west", "north", "downtown"):
                    copy.write_row((7, "in three", "nobody", branch))
            assert count(client, "SELECT count(*) FROM books WHERE isbn = 7") == 3
            client.execute(end.encode())
            for letter in "abc":
                found = beside.execute(f"SELECT count(*) FROM books_{letter} WHERE isbn = 7".encode()).fetchone()
                assert found == (left,)
        for branch in ("west", "north", "downtown"):
            client.execute("DELETE FROM books WHERE isbn = 7 AND branch = %s", (branch,))


def test_a_transaction_begins_through_another_gateway(gateways: GatewayCluster, blind: RunningProxy) -> None:
    with blind.connect() as client:
        expected = count(client)
        west(gateways).kill()
        with client.transaction():
            assert count(client) == expected
            assert client.execute("UPDATE books SET genre = genre WHERE branch = 'west'").rowcount == expected


def test_a_transaction_whose_gateway_breaks_fails(gateways: GatewayCluster, blind: RunningProxy) -> None:
    with blind.connect() as client:
        client.execute("BEGIN")
        client.execute("UPDATE books SET genre = 'lost' WHERE branch = 'west'")
        west(gateways).cut()
        with pytest.raises(psycopg.OperationalError):
            count(client)
        assert client.execute("COMMIT").statusmessage == "ROLLBACK"
        assert count(client, "SELECT count(*) FROM books WHERE genre = 'lost'") == 0


def test_a_commit_that_was_lost_is_ambiguous(gateways: GatewayCluster, blind: RunningProxy) -> None:
    relay = west(gateways)
    with blind.connect() as client:
        client.execute("BEGIN")
        client.execute("UPDATE books SET genre = genre WHERE branch = 'west'")
        with lost(relay, b"COMMIT"), pytest.raises(psycopg.OperationalError) as failed:
            client.execute("COMMIT")
        assert failed.value.sqlstate == "40003"


def test_a_write_that_runs_while_tables_cannot_be_read_may_succeed(
    gateways: GatewayCluster, watchful: RunningProxy
) -> None:
    """As a CockroachDB cluster whose leases move: the node answers, its tables do not."""
    proxy = watchful
    write = "UPDATE patrons SET name = name WHERE patron_id = {}"
    with proxy.connect() as client, gateways.connect() as holder, gateways.connect() as beside:
        row = holder.execute("SELECT patron_id FROM patrons_b LIMIT 1").fetchone()
        assert row is not None
        holder.autocommit = False
        holder.execute("SELECT * FROM patrons_b FOR UPDATE")
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(client.execute, write.format(row[0]).encode())
            until(lambda: is_waiting(beside), "the write")
            beside.execute("ALTER TABLE books_b RENAME TO books_b_itself")
            beside.execute("CREATE VIEW books_b AS SELECT * FROM books_b_itself WHERE pg_sleep(4) IS NOT NULL")
            try:
                until(lambda: states(proxy)[WEST] == "down", "the verdict")
            finally:
                beside.execute("DROP VIEW books_b")
                beside.execute("ALTER TABLE books_b_itself RENAME TO books_b")
                holder.rollback()
            assert written.result().rowcount == 1


def is_waiting(server: psycopg.Connection) -> bool:
    found = server.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return found == (1,)


def test_rows_of_one_shard_do_not_leave_before_the_others_have_answered(
    gateways: GatewayCluster, blind: RunningProxy
) -> None:
    """A small answer is held back as PostgreSQL does, so a shard that breaks late breaks nothing."""
    relay = west(gateways)
    sql = "SELECT branch FROM books"
    with blind.connect() as client:
        expected = sorted(client.execute(sql.encode()).fetchall())
        with lost(relay, b"books_b"):
            assert sorted(client.execute(sql.encode()).fetchall()) == expected
        assert stat(blind, "retries") == 1


def test_one_gateway_left_for_all_shards(gateways: GatewayCluster, tmp_path: Path) -> None:
    """Each statement needs several of its connections; nobody waits for another who does the same."""
    sql = "SELECT branch, isbn FROM books ORDER BY isbn, branch"
    with running_proxy(gateways, tmp_path, heartbeat=QUICK, pool=PoolSettings(size=4)) as proxy:
        with proxy.connect() as client:
            expected = client.execute(sql.encode()).fetchall()
        gateways.relays[WEST].kill()
        gateways.relays["north-library"].kill()
        until(lambda: sorted(states(proxy).values()) == ["down", "down", "up"], "the verdicts")
        connections = [proxy.connect() for _ in range(12)]
        with ThreadPoolExecutor(12) as threads:
            for found in threads.map(
                lambda client: [client.execute(sql.encode()).fetchall() for _ in range(5)], connections
            ):
                assert found == [expected] * 5
        for connection in connections:
            connection.close()


def test_a_pool_too_small_for_all_shards(gateways: GatewayCluster, tmp_path: Path) -> None:
    settings = {"heartbeat": QUICK, "pool": PoolSettings(size=1)}
    with running_proxy(gateways, tmp_path, **settings) as proxy, proxy.connect() as client:
        assert count(client, "SELECT count(*) FROM books") > 0
        gateways.relays[WEST].kill()
        until(lambda: states(proxy)[WEST] == "down", "the verdict")
        with pytest.raises(psycopg.errors.TooManyConnections, match="needs 2 connections"):
            client.execute("SELECT count(*) FROM books")
        assert count(client) > 0
