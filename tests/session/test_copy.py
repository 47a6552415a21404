"""COPY over several nodes when something goes wrong: all of it or nothing stays, and the proxy goes on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from time import sleep

import psycopg
import pytest

from pgproxy.shardmap import commit_log
from tests.activity import TIMEOUT_S, await_nothing_open, connect, open_statements, until
from tests.fix_copy import CopySides, copying, shown
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, cancel_request, frame, query

LOADS = "COPY loads FROM STDIN"
GROWTH_BYTES = 40_000_000
ROWS = 1_200_000
FILLING = b"x" * 60


def rows(first: int, last: int) -> bytes:
    return b"".join(b"a\tkey%d\tsome text that takes some room\t%d\n" % (at, at) for at in range(first, last))


def count(proxy: RunningProxy, table: str = "loads") -> int:
    with proxy.connect() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # type: ignore[index]


def begin_copy(client: RawClient, sql: str = LOADS) -> None:
    client.send(query(sql))
    message = client.message()
    assert message is not None
    assert message.kind == "G"
    client.send(frame("d", rows(0, 100)))


def test_a_client_that_vanishes_leaves_nothing(sides_to_copy: CopySides) -> None:
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        begin_copy(client)
    await_nothing_open(sides_to_copy.cluster)
    assert count(sides_to_copy.proxy) == 0


def test_cancel_ends_a_copy_that_waits_for_data(sides_to_copy: CopySides) -> None:
    proxy = sides_to_copy.proxy
    with RawClient.logged_in(proxy.conninfo) as client, RawClient(proxy.host, proxy.port) as other:
        begin_copy(client)
        other.send(cancel_request(*client.key))
        answer = client.until_ready()
        assert answer[0].fields["C"] == "57014"
        client.send(frame("d", b"more") + frame("c"))
        assert [message.kind for message in client.query("SELECT 1")] == ["T", "D", "C", "Z"]
    await_nothing_open(sides_to_copy.cluster)
    assert count(proxy) == 0


def test_a_node_that_breaks_ends_the_copy_on_all(sides_to_copy: CopySides) -> None:
    cluster, proxy = sides_to_copy.cluster, sides_to_copy.proxy
    with RawClient.logged_in(proxy.conninfo) as client:
        begin_copy(client)
        name = next(iter(cluster.nodes))
        with cluster.connect(name) as node:
            node.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY loads%'")
            client.send(frame("d", rows(100, 200)))
            error = client.until_ready()[0]
        assert error.fields["C"] in ("57P01", "08006")
        assert client.query("SELECT 1")[-1].text == "I"
    assert count(proxy) == 0


def test_a_client_that_vanishes_in_a_transaction_leaves_nothing(sides_to_copy: CopySides) -> None:
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        client.query("BEGIN")
        client.send(copying(LOADS, rows(0, 100))[0])
        assert client.until_ready()[-2].text == "COPY 100"
        begin_copy(client)
    await_nothing_open(sides_to_copy.cluster)
    assert count(sides_to_copy.proxy) == 0


def test_a_node_that_breaks_ends_the_transaction(sides_to_copy: CopySides) -> None:
    cluster, proxy = sides_to_copy.cluster, sides_to_copy.proxy
    with RawClient.logged_in(proxy.conninfo) as client:
        client.query("BEGIN")
        begin_copy(client)
        with cluster.connect(next(iter(cluster.nodes))) as node:
            node.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY loads%'")
            client.send(frame("d", rows(100, 200)))
            answer = client.until_ready()
        assert answer[0].fields["C"] in ("57P01", "08006")
        assert answer[-1].text == "E"
        assert client.query("COMMIT")[0].text == "ROLLBACK"
    await_nothing_open(cluster)
    assert count(proxy) == 0


def test_rows_for_one_node_are_committed_there_alone(sides_to_copy: CopySides) -> None:
    """All nodes have joined, but nothing was written on the others."""
    before = decided(sides_to_copy)
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        client.query("BEGIN")
        client.send(copying(LOADS, rows(0, 1))[0])
        assert client.until_ready()[-2].text == "COPY 1"
        assert client.query("COMMIT")[0].text == "COMMIT"
        assert decided(sides_to_copy) == before
        client.send(copying(LOADS, rows(0, 50))[0])
        assert client.until_ready()[-2].text == "COPY 50"
        assert decided(sides_to_copy) == before + 1
    assert count(sides_to_copy.proxy) == 51


def decided(sides: CopySides) -> int:
    """How many transactions the nodes have committed together."""
    found = 0
    for name in sides.cluster.nodes:
        with sides.cluster.connect(name) as node:
            (row,) = node.execute(f"SELECT count(*) FROM {commit_log.TABLE} WHERE committed".encode()).fetchall()
            found += row[0]
    return found


REFUSED = [
    "COPY loads FROM '/tmp/rows'",
    "COPY loads TO PROGRAM 'cat'",
    "COPY loads FROM STDIN (ENCODING 'latin1')",
    "COPY loads FROM STDIN (ON_ERROR ignore)",
    "COPY colours FROM STDIN",
    "COPY maybe (v) FROM STDIN",
    "COPY loads FROM STDIN WHERE loads.n > 1",
    "COPY loads FROM STDIN WHERE pg_backend_pid() > 1",
    "COPY loads FROM STDIN WHERE n > extract(epoch from now())",
    "COPY computed FROM STDIN",
    "COPY (SELECT DISTINCT ON (k) k FROM loads) TO STDOUT",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_not_exact_is_refused(sql: str, sides_to_copy: CopySides) -> None:
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        error, ready = client.query(sql)
        assert error.fields["C"] == "0A000"
        assert error.fields["H"]
        assert ready.text == "I"


@pytest.mark.parametrize(
    ("sql", "data"),
    [
        ("COPY maybe FROM STDIN", b"\\N\tx\n"),
        ("COPY maybe FROM STDIN (DEFAULT 'd')", b"d\tx\n"),
        ("COPY numbers FROM STDIN", b"1\tx\n 042\tx\n"),
    ],
)
def test_a_key_that_is_not_read_is_refused_with_its_line(sql: str, data: bytes, sides_to_copy: CopySides) -> None:
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        client.send(copying(sql, data)[0])
        _, error, _ = client.until_ready()
        assert error.fields["C"] == "0A000"
        assert f"line {data.count(b'x')}" in error.fields["W"]
    assert count(sides_to_copy.proxy, "maybe") == count(sides_to_copy.proxy, "numbers") == 0


def test_rows_of_no_shard_are_an_error(sides_to_copy: CopySides) -> None:
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        client.send(copying("COPY places FROM STDIN", b"east\t1\nwest\t2\nnowhere\t3\n")[0])
        error = client.until_ready()[1]
        assert shown(error)[1]["C"] == "23514"  # type: ignore[index]
        assert error.fields["W"] == 'COPY places, line 3: "nowhere\t3"'
    assert count(sides_to_copy.proxy, "places") == 0


def test_columns_said_by_name_leave_a_computed_one_out(sides_to_copy: CopySides) -> None:
    with sides_to_copy.proxy.connect() as connection:
        with connection.cursor().copy("COPY computed (k) FROM STDIN") as copy:
            copy.write(b"1\n2\n3\n")
        assert connection.execute("SELECT sum(d) FROM computed").fetchone() == (12,)


def test_memory_stays_bounded_while_a_node_is_slow(sides_to_copy: CopySides) -> None:
    """A row that waits for another transaction holds its node up: the client is held back, and no row is lost."""
    cluster, proxy = sides_to_copy.cluster, sides_to_copy.proxy
    numbers = range(0, ROWS, 10_000)
    blocks = [b"".join(b"%d\t%s\n" % (at, FILLING) for at in range(first, first + 10_000)) for first in numbers]
    before = resident_bytes(proxy.process.pid)
    with ExitStack() as held, RawClient.logged_in(proxy.conninfo) as client:
        client.socket.settimeout(TIMEOUT_S * 10)
        for name, letter in zip(cluster.nodes, "abc", strict=True):
            node = psycopg.connect(cluster.conninfo(name))
            held.callback(node.close)  # rolls back
            node.execute(f"INSERT INTO numbers_{letter} (k) VALUES (5)".encode())
        client.send(query("COPY numbers FROM STDIN"))
        sent: list[int] = []
        sender = Thread(target=lambda: [sent.append(client.send(frame("d", block)) or 1) for block in blocks])
        sender.start()
        until(lambda: len(sent) == stable(sent), "the client is held back")
        assert len(sent) < len(blocks)
        assert resident_bytes(proxy.process.pid) - before < GROWTH_BYTES
        held.pop_all().close()
        sender.join()
        client.send(frame("c"))
        assert [message.text for message in client.until_ready()][1:] == [f"COPY {ROWS}", "I"]
    assert resident_bytes(proxy.process.pid) - before < GROWTH_BYTES
    assert count(proxy, "numbers") == ROWS


def stable(sent: list[int]) -> int:
    """How many blocks had gone some time ago."""
    number = len(sent)
    sleep(1)
    return number or -1


def resident_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("begin", ["BEGIN", "SELECT 1"], ids=["in transactions", "by themselves"])
def test_two_that_wait_for_each_other_on_two_nodes(begin: str, sides_to_copy: CopySides) -> None:
    """Each has stored rows on one node that the other then brings as well: one gives way."""
    proxy, cluster = sides_to_copy.proxy, sides_to_copy.cluster
    here, there = (rows_of_shard(sides_to_copy, letter) for letter in "ab")
    sides_to_copy.empty()
    with RawClient.logged_in(proxy.conninfo) as older, RawClient.logged_in(proxy.conninfo) as younger:
        for client, data in ((older, here), (younger, there)):
            client.query(begin)
            client.send(query("COPY numbers FROM STDIN") + frame("d", data))
            until(lambda: len(open_statements(cluster)) >= 3, "the rows are on their way")
        until(lambda: locks(cluster) == {"downtown-library": 1, "west-library": 1}, "both have stored rows")
        for client, data in ((younger, here), (older, there)):
            client.send(frame("d", data) + frame("c"))
        first, second = younger.until_ready(), older.until_ready()
        assert first[-2].fields["C"] == "40P01"
        assert second[-2].text == f"COPY {len(here.splitlines()) + len(there.splitlines())}"
        younger.query("ROLLBACK")
        older.query("ROLLBACK")
    await_nothing_open(cluster)


def rows_of_shard(sides: CopySides, letter: str) -> bytes:
    """More than PostgreSQL puts aside in a COPY before it stores them."""
    if not count(sides.proxy, "numbers"):
        with RawClient.logged_in(sides.proxy.conninfo) as client:
            client.send(copying("COPY numbers FROM STDIN", b"".join(b"%d\tx\n" % k for k in range(5_000)))[0])
            assert client.until_ready()[-2].text == "COPY 5000"
    with sides.cluster.connect(dict(zip("abc", sides.cluster.nodes, strict=True))[letter]) as node:
        found = node.execute(f"SELECT k FROM numbers_{letter} ORDER BY k LIMIT 1200".encode()).fetchall()
    return b"".join(b"%d\tx\n" % k for (k,) in found)


def locks(cluster: LibraryCluster) -> dict[str, int]:
    """How many transactions have stored something, by node."""
    found = {}
    for name in cluster.nodes:
        with connect(cluster, name) as node:
            ((number,),) = node.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND granted"
            ).fetchall()
        found |= {name: number} if number else {}
    return found
