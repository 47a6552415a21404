"""CancelRequest: it ends the statement that runs, wherever it runs or waits, and no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.model import PoolSettings
from tests.activity import TIMEOUT_S, await_nothing_open, await_running, locked, open_statements, until
from tests.extended_client import SYNC, bind, converse, execute, flush, once, parse, simple
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, cancel_request, frame, query

COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"


class Attempt(threading.Thread):
    """A statement in a thread of its own; `error` is what it raised."""

    def __init__(self, connection: psycopg.Connection, sql: str) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._execute: Callable[[], object] = lambda: connection.execute(sql.encode())
        self.start()

    def run(self) -> None:
        try:
            self._execute()
        except psycopg.Error as error:
            self.error = error

    @property
    def state(self) -> str | None:
        self.join(TIMEOUT_S)
        assert not self.is_alive(), "the statement goes on"
        return self.error.sqlstate if isinstance(self.error, psycopg.Error) else None


@pytest.mark.parametrize(
    "sql",
    [
        COUNT_WEST,
        "SELECT count(*) FROM books",
        "SELECT isbn FROM books ORDER BY isbn",
        "SELECT 1; SELECT count(*) FROM books; SELECT 2",
        "UPDATE books SET genre = genre WHERE branch = 'west'",
        "INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'x', 'y')",
        "SELECT genre, count(*) + 1 FROM books GROUP BY genre",
        "SELECT DISTINCT genre FROM books ORDER BY genre LIMIT 3",
        "EXECUTE count_west",
    ],
)
def test_a_running_statement_is_cancelled_on_the_nodes(
    sql: str, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("PREPARE count_west AS SELECT count(*) FROM books WHERE branch = 'west'")
        with locked(library_cluster, "west-library", "books_b"):
            attempt = Attempt(connection, sql)
            await_running(library_cluster, "books_b")
            connection.cancel_safe()
            assert attempt.state == "57014"
            until(lambda: library_is_quiet(library_cluster), "no statement is left waiting for the lock")
        assert connection.execute(COUNT_WEST).fetchone()[0] > 0


def library_is_quiet(cluster: LibraryCluster) -> bool:
    return not [query for _, state, query in open_statements(cluster) if state == "active"]


def test_a_cancelled_statement_fails_its_transaction(
    shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("BEGIN")
        with locked(library_cluster, "west-library", "books_b"):
            attempt = Attempt(connection, "SELECT count(*) FROM books")
            await_running(library_cluster, "books_b")
            connection.cancel_safe()
            assert attempt.state == "57014"
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute(COUNT_WEST)
        connection.execute("ROLLBACK")
        assert connection.execute(COUNT_WEST).fetchone()[0] > 0
    await_nothing_open(library_cluster)


@pytest.mark.parametrize("transaction", [False, True])
def test_a_session_that_keeps_a_connection_is_cancelled_there(
    transaction: bool, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    """And keeps it, with what it has there."""
    with shared_proxy.connect() as connection:
        connection.execute("CREATE TEMP TABLE t (a int)")
        for _ in range(10):
            if transaction:
                connection.execute("BEGIN")
            attempt = Attempt(connection, "SELECT count(*), pg_sleep(600) FROM t")
            await_running(library_cluster, "pg_sleep(600)")
            connection.cancel_safe()
            assert attempt.state == "57014"
            connection.execute("ROLLBACK")
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    await_nothing_open(library_cluster)


def test_a_pipeline_is_cancelled(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    steps = [step for sql in ("SELECT 1", COUNT_WEST, "SELECT 2") for step in once(sql)[:-1]]
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        with locked(library_cluster, "west-library", "books_b"):
            client.send(b"".join(step.data for step in [*steps, SYNC]))
            await_running(library_cluster, "books_b")
            cancel(shared_proxy, client)
            answer = client.until_ready()
        assert "".join(message.kind for message in answer) == "12TDCEZ"
        assert answer[-2].fields["C"] == "57014"
        assert converse(client, once("SELECT 3"))[0][3] == ("D", (b"3",))
    await_nothing_open(library_cluster)


def test_a_portal_that_goes_on_is_cancelled(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    sql = "SELECT isbn, pg_sleep(CASE WHEN isbn > 9780500000000 THEN 600 ELSE 0 END) FROM books_b ORDER BY isbn"
    steps = [simple("BEGIN"), parse(sql), bind(portal="p"), execute(2, "p"), flush(5)]
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        assert converse(client, steps)[1][-1][0] == "s"
        client.send(execute(0, "p").data + SYNC.data)
        await_running(library_cluster, "pg_sleep(CASE")
        cancel(shared_proxy, client)
        assert [message.fields["C"] for message in client.until_ready() if message.kind == "E"] == ["57014"]
        assert client.query("ROLLBACK")[-1].text == "I"
    await_nothing_open(library_cluster)


def cancel(proxy: RunningProxy, client: RawClient) -> None:
    with RawClient(proxy.host, proxy.port) as other:
        other.send(cancel_request(*client.key))
        assert other.closed()


def test_a_cancel_between_statements_does_nothing(shared_proxy: RunningProxy) -> None:
    with shared_proxy.connect() as connection:
        for number in range(50):
            connection.cancel_safe()
            assert connection.execute(f"SELECT {number}").fetchone() == (number,)


@pytest.mark.parametrize("transaction", [False, True])
def test_waiting_for_a_connection_is_cancelled(
    transaction: bool, library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    with (
        running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=1)) as proxy,
        proxy.connect() as holder,
        proxy.connect() as connection,
    ):
        holder.execute("BEGIN")
        holder.execute(COUNT_WEST)
        if transaction:
            connection.execute("BEGIN")
        attempt = Attempt(connection, COUNT_WEST)
        with proxy.connect(dbname="pgproxy") as admin:
            until(lambda: "waiting" in str(admin.execute("SHOW CLIENTS").fetchall()), "one waits")
        connection.cancel_safe()
        assert attempt.state == "57014"
        connection.execute("ROLLBACK")
        holder.execute("COMMIT")
        assert connection.execute(COUNT_WEST).fetchone()[0] > 0


def test_a_copy_that_is_cancelled_leaves_the_session_what_it_has(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client, RawClient(shared_proxy.host, shared_proxy.port) as other:
        client.query("CREATE TEMP TABLE kept (a int)")
        client.query("INSERT INTO kept VALUES (1)")
        client.send(query("COPY kept FROM STDIN") + frame("d", b"2\n"))
        assert [message.kind for message in (client.message(),) if message] == ["G"]
        other.send(cancel_request(*client.key))
        answer = client.until_ready()
        assert [message.fields["C"] for message in answer if message.kind == "E"] == ["57014"]
        client.send(frame("d", b"3\n") + frame("c"))
        assert [message.values for message in client.query("SELECT * FROM kept") if message.kind == "D"] == [(b"1",)]


def test_cancels_in_a_hurry_hit_nobody_else(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """Many short statements over few connections, half of the clients cancelling all the time: the others never
    see a cancel."""
    stop = threading.Event()
    surprises: list[BaseException] = []

    def cancelled(connection: psycopg.Connection) -> None:
        while not stop.is_set():
            try:
                with suppress(psycopg.errors.QueryCanceled):
                    connection.execute(COUNT_WEST)
            except psycopg.Error as error:
                surprises.append(error)

    def cancelling(connection: psycopg.Connection) -> None:
        while not stop.is_set():
            connection.cancel_safe()

    def undisturbed(connection: psycopg.Connection) -> None:
        try:
            for _ in range(400):
                connection.execute(COUNT_WEST)
        except psycopg.Error as error:
            surprises.append(error)

    with running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=2)) as proxy:
        victims, others = ([proxy.connect() for _ in range(3)] for _ in range(2))
        threads = [threading.Thread(target=cancelled, args=(victim,)) for victim in victims]
        threads += [threading.Thread(target=cancelling, args=(victim,)) for victim in victims]
        finishing = [threading.Thread(target=undisturbed, args=(other,)) for other in others]
        for thread in threads + finishing:
            thread.start()
        for thread in finishing:
            thread.join()
        stop.set()
        for thread in threads:
            thread.join()
        for connection in victims + others:
            connection.close()
    assert surprises == []
