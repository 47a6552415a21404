"""A client that sends no more but still reads (`nc`, a shell's pipe) gets its answers, as PostgreSQL gives them."""

from __future__ import annotations

import socket

import pytest

from tests.activity import await_nothing_open, await_running, locked, open_statements, until
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, frame, query

BIND = frame("B", b"\0\0\0\0\0\0\0\0")
EXECUTE = frame("E", b"\0\0\0\0\0")

CONVERSATIONS = [
    pytest.param(query("SELECT isbn FROM books WHERE branch = 'west' ORDER BY isbn"), id="route"),
    pytest.param(query("SELECT isbn FROM books ORDER BY isbn"), id="scatter"),
    pytest.param(query("SELECT 1; SELECT count(*) FROM books; SELECT 2"), id="several"),
    pytest.param(query("SELECT count(*) FROM books") * 3, id="pipeline"),
    pytest.param(query("SELECT pg_sleep(0.2)"), id="slow"),
    pytest.param(query("SELECT 1/0"), id="error"),
    pytest.param(query("BEGIN") + query("SELECT count(*) FROM books"), id="open transaction"),
    pytest.param(frame("P", b"\0SELECT 7\0\0\0") + BIND + EXECUTE + frame("S"), id="extended"),
    pytest.param(query("SELECT 1")[:-3], id="cut in a message"),
    pytest.param(b"", id="nothing"),
]


def _answer(conninfo: str, data: bytes) -> list[tuple[object, ...]]:
    with RawClient.logged_in(conninfo) as client:
        client.send(data)
        client.socket.shutdown(socket.SHUT_WR)
        return [message.shown() for message in client.messages()]


@pytest.mark.parametrize("data", CONVERSATIONS)
def test_the_answer_is_postgres_own(
    data: bytes, shared_proxy: RunningProxy, reference_pg: ReferencePostgres, library_cluster: LibraryCluster
) -> None:
    assert _answer(shared_proxy.conninfo, data) == _answer(reference_pg.conninfo, data)
    await_nothing_open(library_cluster)


def test_the_end_comes_while_the_statement_waits(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        with locked(library_cluster, "west-library", "books_b"):
            client.send(query("SELECT count(*) FROM books WHERE branch = 'west'"))
            await_running(library_cluster, "books_b")
            client.socket.shutdown(socket.SHUT_WR)
        assert [message.kind for message in client.messages()] == ["T", "D", "C", "Z"]


def test_who_vanishes_instead_ends_its_statement(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    client = RawClient.logged_in(shared_proxy.conninfo)
    with locked(library_cluster, "west-library", "books_b"):
        client.send(query("SELECT count(*) FROM books WHERE branch = 'west'"))
        await_running(library_cluster, "books_b")
        client.vanish()
        until(
            lambda: (
                not any("books_b" in sql for _, state, sql in open_statements(library_cluster) if state == "active")
            ),
            "the statement has been cancelled",
        )


def test_its_place_is_free_afterwards(shared_proxy: RunningProxy) -> None:
    def clients() -> int:
        with shared_proxy.connect(dbname="pgproxy") as admin:
            return len(admin.execute("SHOW CLIENTS").fetchall())

    before = clients()
    for _ in range(5):
        _answer(shared_proxy.conninfo, query("SELECT 1"))
    until(lambda: clients() <= before, "the sessions have ended")
