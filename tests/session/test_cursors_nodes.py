"""What cursors and suspended portals cost, and what ends them: memory, cancel, lost nodes and clients, shared nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.activity import await_nothing_open, await_running
from tests.extended_client import SYNC, bind, converse, execute, once, parse
from tests.fix_letters import letters_cluster
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query
from tests.session.test_cancel import Attempt

PER_BOOK = 41_667  # of 72 books: 3 M rows
FEWER = 10_000
TURN = 60_000
GROWTH_BYTES = 9_000_000
MERGED = "SELECT isbn, generate_series(1, {}), 'some text' FROM books ORDER BY isbn"
ON_ONE_NODE = "SELECT n, 2 * n, 'some text' FROM generate_series(1, 72 * {}) AS n"


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.mark.parametrize(
    ("options", "sql", "per_book"),
    [
        pytest.param("CURSOR", MERGED, PER_BOOK, id="merged"),
        pytest.param("CURSOR", ON_ONE_NODE, PER_BOOK, id="one node"),
        pytest.param("SCROLL CURSOR", MERGED, FEWER, id="spooled"),
        pytest.param("CURSOR WITH HOLD", MERGED, FEWER, id="held"),
        pytest.param("CURSOR WITH HOLD", ON_ONE_NODE, FEWER, id="held from one node"),
    ],
)
def test_millions_of_rows_cost_a_few_megabytes(options: str, sql: str, per_book: int, proxy: RunningProxy) -> None:
    with RawClient.logged_in(proxy.conninfo) as client:
        for warm in ("BEGIN", "DECLARE w SCROLL CURSOR FOR SELECT isbn FROM books ORDER BY isbn", "FETCH ALL FROM w"):
            client.query(warm)
        before = peak_bytes(proxy.process.pid)
        client.query(f"DECLARE c {options} FOR {sql.format(per_book)}")
        if "HOLD" in options:
            client.query("COMMIT")
        count, turn = 0, -1
        while turn:
            client.send(query(f"FETCH {TURN} FROM c"))
            turn, _ = client.count_rows()
            count += turn
        assert count == 72 * per_book
        if "SCROLL" in options:
            assert client.query("FETCH ABSOLUTE 300123 FROM c")[1].shown()[1][1] == b"%d" % (300_123 % FEWER)
        assert peak_bytes(proxy.process.pid) - before < GROWTH_BYTES


def test_a_portal_of_three_million_rows_costs_a_few_megabytes(proxy: RunningProxy) -> None:
    with RawClient.logged_in(proxy.conninfo) as client:
        client.query("BEGIN")
        client.query("SELECT isbn FROM books ORDER BY isbn")
        before = peak_bytes(proxy.process.pid)
        converse(client, [parse(MERGED.format(PER_BOOK)), bind(portal="p"), SYNC])
        count, suspended = 0, True
        while suspended:
            client.send(execute(TURN, "p").data + SYNC.data)
            rows, others = client.count_rows()
            count += rows
            suspended = others[0].kind == "s"
        assert count == 72 * PER_BOOK
        assert peak_bytes(proxy.process.pid) - before < GROWTH_BYTES


def test_large_rows_come_in_small_portions(proxy: RunningProxy) -> None:
    """Rows of 200 KB: the node is asked for one at a time once their size is known."""
    with RawClient.logged_in(proxy.conninfo) as client:
        client.query("BEGIN")
        client.query("DECLARE c CURSOR FOR SELECT isbn, repeat('x', 200000), generate_series(1, 20) FROM books")
        before = peak_bytes(proxy.process.pid)
        client.send(query("FETCH 500 FROM c"))
        assert client.count_rows()[0] == 500
        assert peak_bytes(proxy.process.pid) - before < 50_000_000


@pytest.fixture
def client(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> Iterator[RawClient]:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        yield client
    await_nothing_open(library_cluster)


def test_a_client_that_leaves_closes_its_cursors(client: RawClient) -> None:
    """The fixture waits until the nodes have nothing open."""
    client.query("BEGIN")
    client.query(f"DECLARE c CURSOR FOR {MERGED.format(PER_BOOK)}")
    client.query("FETCH 100 FROM c")
    converse(client, [parse(MERGED.format(PER_BOOK)), bind(portal="p"), execute(100, "p"), SYNC])


def test_a_held_cursor_keeps_no_connection(client: RawClient, library_cluster: LibraryCluster) -> None:
    client.query("BEGIN")
    client.query("DECLARE c CURSOR WITH HOLD FOR SELECT isbn FROM books ORDER BY isbn")
    client.query("COMMIT")
    await_nothing_open(library_cluster)
    assert len(client.query("FETCH ALL FROM c")) == 72 + 3


def test_the_current_row_of_an_unmapped_table(client: RawClient) -> None:
    client.query("CREATE TABLE jotted AS SELECT n FROM generate_series(1, 5) n")
    try:
        client.query("BEGIN")
        client.query("DECLARE c CURSOR FOR SELECT n FROM jotted FOR UPDATE")
        client.query("FETCH 2 FROM c")
        assert client.query("DELETE FROM jotted WHERE CURRENT OF c")[0].text == "DELETE 1"
        client.query("COMMIT")
        assert client.query("SELECT sum(n) FROM jotted")[1].shown()[1] == (b"13",)
    finally:
        client.query("DROP TABLE jotted")


def test_statements_of_cursors_take_no_names_on_nodes(client: RawClient, library_cluster: LibraryCluster) -> None:
    """Names of cursors are often new ones: prepared, they would drive out what is used again."""
    for number in range(5):
        converse(client, once("BEGIN"))
        converse(client, once(f"DECLARE c{number} CURSOR FOR SELECT isbn FROM books WHERE branch = $1", b"west"))
        for _ in range(3):
            (answer,) = converse(client, once(f"FETCH 2 FROM c{number}"))
            assert len([shown for shown in answer if shown[0] == "D"]) == 2
        (answer,) = converse(
            client, once("SELECT name FROM pg_prepared_statements WHERE statement ~ '^(DECLARE|FETCH)'")
        )
        assert not [shown for shown in answer if shown[0] == "D"]
        converse(client, once("COMMIT"))


@pytest.mark.parametrize("options", ["CURSOR", "CURSOR WITH HOLD"])
def test_a_fetch_is_cancelled(options: str, shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("BEGIN")
        sql = "SELECT pg_sleep(30), isbn FROM books"
        connection.execute(f"DECLARE c {options} FOR {sql}".encode())
        attempt = Attempt(connection, "FETCH c")
        await_running(library_cluster, "pg_sleep")
        connection.cancel_safe()
        assert attempt.state == "57014"
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("FETCH c")
        connection.execute("ROLLBACK")
    await_nothing_open(library_cluster)


def test_a_commit_that_reads_a_held_cursor_is_cancelled(
    shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("DECLARE c CURSOR WITH HOLD FOR SELECT pg_sleep(30), isbn FROM books")
        attempt = Attempt(connection, "COMMIT")
        await_running(library_cluster, "pg_sleep")
        connection.cancel_safe()
        assert attempt.state == "57014"
        with pytest.raises(psycopg.errors.InvalidCursorName):
            connection.execute("FETCH c")
    await_nothing_open(library_cluster)


def test_a_node_that_dies_between_two_fetches(tmp_path: Path) -> None:
    with running_cluster() as cluster, running_proxy(cluster, tmp_path) as proxy:
        with proxy.connect() as connection:
            connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT isbn FROM books ORDER BY isbn")
            connection.execute("BEGIN")
            connection.execute(f"DECLARE c CURSOR FOR {MERGED.format(PER_BOOK)}".encode())
            assert len(connection.execute("FETCH 10 FROM c").fetchall()) == 10
            cluster.kill("west-library")
            with pytest.raises(psycopg.OperationalError) as caught:
                connection.execute("MOVE ALL FROM c")
            assert caught.value.sqlstate in ("08006", "57P01")  # a server that is killed may still say so
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute("FETCH c")
            connection.execute("ROLLBACK")
            assert len(connection.execute("FETCH ALL FROM held").fetchall()) == 72
        cluster.restart("west-library")


# Several shards of one node, which share its connection in a transaction.

LETTERS = "SELECT letter, n FROM letters ORDER BY n"


@pytest.fixture(scope="module")
def letters(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with (
        letters_cluster(library_cluster, rows=60_000) as cluster,
        running_proxy(cluster, tmp_path_factory.mktemp("letters")) as proxy,
    ):
        yield proxy


def test_cursors_over_shards_that_share_a_node(letters: RunningProxy) -> None:
    with letters.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"DECLARE a CURSOR FOR {LETTERS}".encode())
        connection.execute(f"DECLARE b SCROLL CURSOR FOR {LETTERS} DESC".encode())
        seen: list[int] = []
        for count in (1, 7, 500, 10_000, 60_000):
            seen += [n for _, n in connection.execute(f"FETCH {count} FROM a".encode())]
            assert connection.execute("FETCH 1 FROM b").fetchone() is not None
            assert connection.execute("SELECT count(*) FROM letters").fetchone() == (60_000,)
        assert seen == list(range(60_000))
        assert connection.execute("FETCH ABSOLUTE 60000 FROM b").fetchone() == ("a", 0)
        connection.execute("COMMIT")


def test_any_statement_over_shards_that_share_a_node_in_a_transaction(letters: RunningProxy) -> None:
    with letters.connect() as connection:
        plain = connection.execute(LETTERS.encode()).fetchall()
        groups = "SELECT letter, count(*) + 1 FROM letters GROUP BY letter HAVING sum(n) > 5 ORDER BY letter"
        outside = connection.execute(groups.encode()).fetchall()
        with connection.transaction():
            assert connection.execute(LETTERS.encode()).fetchall() == plain
            assert connection.execute(groups.encode()).fetchall() == outside
            assert connection.execute("SELECT n FROM letters ORDER BY n LIMIT 3 OFFSET 5").fetchall() == [
                (5,),
                (6,),
                (7,),
            ]
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / (n - 30000) FROM letters")
        connection.execute("ROLLBACK")


def test_describing_expressions_over_groups_reads_few_of_them(letters: RunningProxy) -> None:
    """A node says what their types are, given the first groups; not all 60 MB are read for that."""
    with RawClient.logged_in(letters.conninfo) as client:
        client.query("BEGIN")
        client.query("SELECT n FROM letters ORDER BY n")
        before = peak_bytes(letters.process.pid)
        sql = "SELECT n, count(*) + 1, max(repeat('x', 1000)) FROM letters GROUP BY n"
        assert client.query(f"DECLARE c CURSOR FOR {sql}")[0].kind == "C"
        client.send(query("FETCH 3 FROM c"))
        rows, others = client.count_rows()
        assert (rows, [message.kind for message in others]) == (3, ["T", "C", "Z"])
        assert peak_bytes(letters.process.pid) - before < GROWTH_BYTES


def test_connections_are_not_used_up(letters: RunningProxy) -> None:
    """Expressions over groups are computed on the transaction's own connection."""
    with letters.connect() as connection, letters.connect(dbname="pgproxy") as admin:

        def pools(column: str) -> dict[str, int]:
            cursor = admin.execute("SHOW POOLS")
            at = [each.name for each in cursor.description or ()].index(column)
            return {row[0]: int(row[at]) for row in cursor.fetchall()}

        connection.execute("SELECT count(*) FROM letters")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM letters")
        size, in_use = pools("size"), pools("in_use")
        assert set(in_use.values()) == {1}
        for name in "abcdefgh":
            sql = "SELECT letter, count(*) + 1 FROM letters GROUP BY letter HAVING count(*) > 1 ORDER BY letter"
            connection.execute(f"DECLARE {name} CURSOR FOR {sql}".encode())
            assert connection.execute(f"FETCH 1 FROM {name}".encode()).fetchone() == ("a", 10_001)
        assert pools("in_use") == in_use
        assert all(found <= size[node] for node, found in pools("size").items())
        connection.execute("ROLLBACK")
