"""Sessions that wait for each other over several nodes: one of them hears 40P01, as from a single server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.cluster.lock_waits import NAME
from tests.activity import await_nothing_open, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import Message, RawClient, frame, query

FIRST_ISBN = 7_000
PATIENCE_S = 120
NODES = {
    "downtown": ("downtown-library", "books_a"),
    "west": ("west-library", "books_b"),
    "north": ("north-library", "books_c"),
}

Enter = Callable[..., RawClient]


def write(branch: str, at: int = 0) -> str:
    return f"UPDATE books SET genre = 'locked' WHERE branch = '{branch}' AND isbn = {FIRST_ISBN + at}"


def logged_in(conninfo: str) -> RawClient:
    """A client that waits for as long as a loaded machine takes."""
    client = RawClient.logged_in(conninfo)
    client.socket.settimeout(PATIENCE_S)
    return client


def insert(branch: str, at: int) -> str:
    return f"INSERT INTO books (isbn, branch, book_name, author) VALUES ({FIRST_ISBN + at}, '{branch}', 'x', 'y')"


def direct_write(branch: str, at: int = 0) -> str:
    return f"UPDATE {NODES[branch][1]} SET genre = 'locked' WHERE isbn = {FIRST_ISBN + at}"


@pytest.fixture(autouse=True)
def _rows(library_cluster: LibraryCluster) -> Iterator[None]:
    """Two rows to lock in each shard."""
    every = [(branch, *place) for branch, place in NODES.items()]
    for branch, node, table in every:
        with library_cluster.connect(node) as connection:
            connection.execute(
                f"INSERT INTO {table} (isbn, branch, book_name, author) "
                f"SELECT n, '{branch}', 'x', 'y' FROM generate_series({FIRST_ISBN}, {FIRST_ISBN + 1}) n".encode()
            )
    yield
    await_nothing_open(library_cluster)
    for _, node, table in every:
        with library_cluster.connect(node) as connection:
            connection.execute(f"DELETE FROM {table} WHERE isbn BETWEEN {FIRST_ISBN} AND {FIRST_ISBN + 99}".encode())


@pytest.fixture
def enter(shared_proxy: RunningProxy) -> Iterator[Enter]:
    """A client in a transaction, in which it has run these statements; the last one entered is the youngest."""
    with ExitStack() as stack:

        def entered(*statements: str, conninfo: str = shared_proxy.conninfo) -> RawClient:
            client = stack.enter_context(logged_in(conninfo))
            for sql in ("BEGIN", *statements):
                assert state_of(client.query(sql)) == (None, "T")
            return client

        yield entered


@pytest.fixture
def direct(library_cluster: LibraryCluster) -> Iterator[Callable[[str], RawClient]]:
    """A client connected to a node, in a transaction."""
    with ExitStack() as stack:

        def connected(branch: str) -> RawClient:
            client = stack.enter_context(logged_in(library_cluster.conninfo(NODES[branch][0])))
            client.query("BEGIN")
            return client

        yield connected


def state_of(answer: list[Message]) -> tuple[str | None, str]:
    """(SQLSTATE of the error or None, ReadyForQuery's status)."""
    return (next((message.fields["C"] for message in answer if message.kind == "E"), None), answer[-1].text)


def error_of(answer: list[Message]) -> dict[str, str]:
    return next(message.fields for message in answer if message.kind == "E")


def waiting(cluster: LibraryCluster) -> int:
    """How many processes on the nodes wait for a lock."""
    return sum(asked(cluster, node, "SELECT count(*) FROM pg_locks WHERE NOT granted")[0] for node in cluster.nodes)


def await_waiting(cluster: LibraryCluster, count: int) -> None:
    until(lambda: waiting(cluster) == count, f"{count} processes wait")


def asked(cluster: LibraryCluster, node: str, sql: str) -> Any:
    with cluster.connect(node) as connection:
        return connection.execute(sql.encode()).fetchone()


def await_looks(cluster: LibraryCluster, node: str, count: int) -> None:
    """Until the proxy has asked the node so many times more."""
    last = f"SELECT max(query_start)::text FROM pg_stat_activity WHERE application_name = '{NAME}'"
    for _ in range(count):
        before = asked(cluster, node, last)
        until(lambda before=before: asked(cluster, node, last) != before, f"a look at {node}")


def deadlocks(proxy: RunningProxy) -> int:
    with proxy.connect(dbname="pgproxy") as admin:
        return next(int(value) for name, _, value in admin.execute("SHOW STATS") if name == "deadlocks")


def test_of_two_sessions_the_younger_is_the_victim(
    enter: Enter, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    before = deadlocks(shared_proxy)
    older, younger = enter(write("west")), enter(write("north"))
    younger.send(query(write("west")))
    await_waiting(library_cluster, 1)
    older.send(query(write("north")))  # closes the circle, and is no victim for that
    answer = younger.until_ready()
    assert state_of(answer) == ("40P01", "E")
    error = error_of(answer)
    assert (error["S"], error["V"], error["M"]) == ("ERROR", "ERROR", "deadlock detected")
    lines = [re.sub(r"transaction \d+", "transaction x", line) for line in error["D"].splitlines()]
    assert sorted(lines) == sorted(
        f"Process {waiter.key[0]} waits for ShareLock on transaction x on node {node}; "
        f"blocked by process {holder.key[0]}."
        for waiter, node, holder in ((younger, "west-library", older), (older, "north-library", younger))
    )
    assert set(error) == {"S", "V", "C", "M", "D"}
    assert state_of(older.until_ready()) == (None, "T")  # before the victim says ROLLBACK
    assert state_of(older.query("COMMIT")) == (None, "I")
    assert state_of(younger.query("SELECT 1")) == ("25P02", "E")
    assert state_of(younger.query("ROLLBACK")) == (None, "I")
    for sql in ("BEGIN", write("north"), write("west")):
        assert state_of(younger.query(sql)) == (None, "T")
    assert state_of(younger.query("COMMIT")) == (None, "I")
    assert deadlocks(shared_proxy) == before + 1
    told = [line for line in shared_proxy.log_text().splitlines() if "deadlock over several" in line]
    address = "{}:{}".format(*younger.socket.getsockname())
    assert any(address in line and "40P01" in line and "north-library" in line for line in told)


def test_a_circle_of_three_over_three_nodes(enter: Enter) -> None:
    clients = [enter(write(branch)) for branch in NODES]
    for client, branch in zip(clients, (*list(NODES)[1:], "downtown"), strict=True):
        client.send(query(write(branch)))
    first, second, third = clients
    answer = third.until_ready()
    assert state_of(answer) == ("40P01", "E")
    assert len(error_of(answer)["D"].splitlines()) == 3
    for survivor in (second, first):
        assert state_of(survivor.until_ready()) == (None, "T")
        assert state_of(survivor.query("COMMIT")) == (None, "I")
    assert third.query("COMMIT")[0].text == "ROLLBACK"


def test_a_circle_through_a_connection_to_a_node(
    enter: Enter, direct: Callable[[str], RawClient], library_cluster: LibraryCluster
) -> None:
    older, between, younger = enter(write("west")), direct("north"), enter(write("north", 1))
    between.query(direct_write("north", 0))
    older.send(query(write("north", 0)))
    between.send(query(direct_write("north", 1)))
    await_waiting(library_cluster, 2)
    younger.send(query(write("west")))
    answer = younger.until_ready()
    assert state_of(answer) == ("40P01", "E")
    detail = error_of(answer)["D"]
    assert detail.count(f"process {between.key[0]}.") == detail.count(f"Process {between.key[0]} ") == 1
    assert state_of(between.until_ready()) == (None, "T")
    assert state_of(between.query("ROLLBACK")) == (None, "I")
    assert state_of(older.until_ready()) == (None, "T")
    assert state_of(older.query("ROLLBACK")) == (None, "I")


def test_who_only_reads_is_no_victim(
    enter: Enter, direct: Callable[[str], RawClient], library_cluster: LibraryCluster
) -> None:
    """Although it began last. Table locks that are taken on the nodes let a reader wait and be waited for."""
    writer = enter(write("north"))
    reader = enter("SELECT count(*) FROM books WHERE branch = 'west'")
    on_north, on_west = direct("north"), direct("west")
    on_west.query("UPDATE patrons_b SET name = name")
    on_north.query("LOCK TABLE patrons_c IN ACCESS EXCLUSIVE MODE")
    on_north.send(query(direct_write("north")))
    on_west.send(query("LOCK TABLE books_b IN ACCESS EXCLUSIVE MODE"))
    await_waiting(library_cluster, 2)
    reader.send(query("SELECT count(*) FROM patrons"))
    (patron,) = asked(library_cluster, "west-library", "SELECT min(patron_id) FROM patrons_b")
    writer.send(query(f"UPDATE patrons SET name = name WHERE patron_id = {patron}"))
    assert state_of(writer.until_ready()) == ("40P01", "E")
    on_north.until_ready()
    on_north.query("ROLLBACK")
    assert state_of(reader.until_ready()) == (None, "T")
    reader.query("COMMIT")
    on_west.until_ready()
    on_west.query("ROLLBACK")


def test_neither_a_chain_nor_a_slow_statement_is_a_deadlock(
    enter: Enter, direct: Callable[[str], RawClient], shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    before = deadlocks(shared_proxy)
    holder = direct("north")
    holder.query(direct_write("north"))
    first = enter(write("west"), write("downtown", 1))
    second = enter(write("downtown"), write("north", 1))
    third = enter(write("west", 1), "SELECT count(*) FROM books")
    slow = enter("SELECT count(*) FROM books")
    first.send(query(write("north")))
    second.send(query(write("west")))
    third.send(query(write("downtown")))
    slow.send(query("SELECT pg_sleep(3600) FROM books WHERE branch = 'west' LIMIT 1"))
    await_waiting(library_cluster, 3)
    await_looks(library_cluster, "north-library", 4)
    assert waiting(library_cluster) == 3
    holder.query("ROLLBACK")
    for client in (first, second, third):
        assert state_of(client.until_ready()) == (None, "T")
        assert state_of(client.query("COMMIT")) == (None, "I")
    running = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3600)%'"
    asked(library_cluster, "west-library", f"SELECT pg_cancel_backend(({running}))")
    assert state_of(slow.until_ready()) == ("57014", "E")
    assert deadlocks(shared_proxy) == before


def test_a_deadlock_on_one_node_is_the_nodes_own(enter: Enter, shared_proxy: RunningProxy) -> None:
    before = deadlocks(shared_proxy)
    clients = [enter("SELECT count(*) FROM books", write("west", at)) for at in (0, 1)]
    for client, at in zip(clients, (1, 0), strict=True):
        client.send(query(write("west", at)))
    answers = [client.until_ready() for client in clients]
    assert sorted(map(state_of, answers), key=str) == [("40P01", "E"), (None, "T")]
    detail = next(error_of(answer)["D"] for answer in answers if state_of(answer)[0])
    assert "on node" not in detail
    assert deadlocks(shared_proxy) == before


def test_a_copy_may_be_in_it(shared_proxy: RunningProxy, enter: Enter, library_cluster: LibraryCluster) -> None:
    """It waits for a row that is not committed yet, and holds one on another node."""
    older = enter(insert("west", 10))
    with logged_in(shared_proxy.conninfo) as copying:
        copying.send(query("COPY books (isbn, branch, book_name, author) FROM STDIN"))
        response = copying.message()
        assert response is not None
        assert response.kind == "G"
        rows = f"{FIRST_ISBN + 11}\tnorth\tx\ty\n{FIRST_ISBN + 10}\twest\tx\ty\n"
        copying.send(frame("d", rows.encode()) + frame("c"))
        await_waiting(library_cluster, 1)
        older.send(query(insert("north", 11)))
        assert state_of(copying.until_ready()) == ("40P01", "I")
    assert state_of(older.until_ready()) == (None, "T")
    assert state_of(older.query("COMMIT")) == (None, "I")


def test_a_cursor_may_be_in_it(enter: Enter) -> None:
    older, younger = enter(write("west")), enter(write("north"))
    younger.query(
        f"DECLARE c CURSOR FOR SELECT isbn FROM books WHERE branch = 'west' AND isbn = {FIRST_ISBN} FOR UPDATE"
    )
    younger.send(query("FETCH ALL FROM c"))
    older.send(query(write("north")))
    assert state_of(younger.until_ready()) == ("40P01", "E")
    assert state_of(older.until_ready()) == (None, "T")
    assert state_of(older.query("COMMIT")) == (None, "I")
    assert younger.query("COMMIT")[0].text == "ROLLBACK"


def test_the_extended_protocol_too(shared_proxy: RunningProxy, enter: Enter) -> None:
    older = enter(write("west"))
    with ThreadPoolExecutor(1) as pool, psycopg.connect(shared_proxy.conninfo) as younger:
        younger.execute(write("north").encode())
        waits = pool.submit(younger.execute, write("west").replace(str(FIRST_ISBN), "%s").encode(), [FIRST_ISBN])
        older.send(query(write("north")))
        with pytest.raises(psycopg.errors.DeadlockDetected, match="deadlock detected"):
            waits.result()
        assert state_of(older.until_ready()) == (None, "T")
        older.query("ROLLBACK")
        younger.rollback()
        assert younger.execute(write("west").encode()).rowcount == 1
        younger.rollback()


def test_what_a_savepoint_came_before_is_kept(enter: Enter, library_cluster: LibraryCluster) -> None:
    """The victim's locks from before its savepoint stay; what came after it is free at once."""
    older = enter(write("west"))
    younger = enter(write("downtown"), 'SAVEPOINT "A b"', write("north"))
    younger.send(query(write("west")))
    older.send(query(write("north")))
    assert state_of(younger.until_ready()) == ("40P01", "E")
    assert state_of(older.until_ready()) == (None, "T")
    older.query("COMMIT")
    with library_cluster.connect("downtown-library") as node, pytest.raises(psycopg.errors.LockNotAvailable):
        node.execute(f"SELECT * FROM books_a WHERE isbn = {FIRST_ISBN} FOR UPDATE NOWAIT".encode())
    for sql in ('ROLLBACK TO "A b"', write("north"), write("west")):
        assert state_of(younger.query(sql)) == (None, "T")
    assert state_of(younger.query("COMMIT")) == (None, "I")


def test_a_circle_through_other_proxies(
    enter: Enter, library_cluster: LibraryCluster, tmp_path: Path, shared_proxy: RunningProxy
) -> None:
    """Over three nodes and three proxies, each of which has one session that waits."""
    with ExitStack() as stack:
        proxies = [shared_proxy]
        for name in ("second", "third"):
            (tmp_path / name).mkdir()
            proxies.append(stack.enter_context(running_proxy(library_cluster, tmp_path / name)))
        clients = [enter(write(branch), conninfo=proxy.conninfo) for proxy, branch in zip(proxies, NODES, strict=True)]
        for client, branch in zip(clients, (*list(NODES)[1:], "downtown"), strict=True):
            client.send(query(write(branch)))
        first, second, third = clients
        answer = third.until_ready()
        assert state_of(answer) == ("40P01", "E")
        assert f"Process {third.key[0]} waits for " in error_of(answer)["D"]
        for survivor in (second, first):
            assert state_of(survivor.until_ready()) == (None, "T")
            assert state_of(survivor.query("COMMIT")) == (None, "I")
        assert third.query("COMMIT")[0].text == "ROLLBACK"
        assert [deadlocks(proxy) for proxy in proxies[1:]] == [0, 1]


EVERYWHERE = f"UPDATE books SET genre = 'locked' WHERE isbn = {FIRST_ISBN}"


def new_rows(behind: str = "") -> str:
    values = ", ".join(f"({FIRST_ISBN + 20}, '{branch}', 'x', 'y')" for branch in NODES)
    return f"INSERT INTO books (isbn, branch, book_name, author) VALUES {values} {behind}"


def test_a_statement_on_several_shards_may_be_in_it(
    enter: Enter, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    older = enter(write("west"))
    with logged_in(shared_proxy.conninfo) as client:
        client.send(query(EVERYWHERE))
        await_waiting(library_cluster, 1)  # it has the first nodes' rows, and waits for the last one's
        older.send(query(write("downtown")))
        assert state_of(client.until_ready()) == ("40P01", "I")
        assert state_of(older.until_ready()) == (None, "T")
        assert state_of(older.query("ROLLBACK")) == (None, "I")
        assert client.query(EVERYWHERE)[0].text == "UPDATE 3"


@pytest.mark.parametrize(
    ("sql", "holds", "free"),
    [
        (EVERYWHERE, write("downtown"), True),
        (EVERYWHERE.replace("UPDATE books SET genre = 'locked'", "DELETE FROM books"), write("downtown"), True),
        (new_rows("ON CONFLICT DO NOTHING"), insert("downtown", 20), True),
        (new_rows(), insert("downtown", 20), False),
    ],
    ids=["update", "delete", "on conflict", "new rows"],
)
def test_nodes_where_others_may_want_the_same_rows_take_turns(
    sql: str, holds: str, free: bool, enter: Enter, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    """What waits on the first one has touched none of the next."""
    holder = enter(holds)
    with logged_in(shared_proxy.conninfo) as client:
        client.send(query(sql))
        await_waiting(library_cluster, 1)
        with library_cluster.connect("north-library") as node:
            writing = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock'"
            if free:
                assert node.execute(writing.encode()).fetchone() == (0,)
            else:
                until(lambda: node.execute(writing.encode()).fetchone() == (1,), "the next one writes")
        holder.query("ROLLBACK")
        assert state_of(client.until_ready()) == (None, "I")


def test_a_commit_may_be_in_it(enter: Enter, library_cluster: LibraryCluster) -> None:
    """What is checked then waits for a row."""
    with library_cluster.connect("north-library") as node:
        node.execute(f"""CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS
                         $$ BEGIN PERFORM FROM books_c WHERE isbn = {FIRST_ISBN + 1} FOR UPDATE; RETURN NULL; END $$""")
        node.execute(f"""CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON books_c DEFERRABLE INITIALLY DEFERRED
                         FOR EACH ROW WHEN (NEW.isbn = {FIRST_ISBN}) EXECUTE FUNCTION waits()""")
        try:
            older, younger = enter(write("north", 1)), enter(write("west"), write("north"))
            younger.send(query("COMMIT"))
            await_waiting(library_cluster, 1)
            older.send(query(write("west")))
            assert state_of(younger.until_ready()) == ("40P01", "I")
            assert state_of(older.until_ready()) == (None, "T")
            assert state_of(older.query("COMMIT")) == (None, "I")
        finally:
            node.execute("DROP FUNCTION waits CASCADE")
    found = f"SELECT count(*) FROM books_c WHERE isbn = {FIRST_ISBN} AND genre = 'locked'"
    assert asked(library_cluster, "north-library", found) == (0,)
