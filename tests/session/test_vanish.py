"""Clients that vanish: what they began ends on the nodes, and the pools are clean again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgproxy.shardmap.model import PoolSettings
from tests.activity import await_nothing_open, await_running, lock_waits, locked, until
from tests.extended_client import Step, bind, describe, execute, parse
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query

WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
SYNC = b"S\0\0\0\4"


@pytest.fixture(scope="module")
def small_proxy(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("vanish")
    with running_proxy(library_cluster, directory, pool=PoolSettings(size=2)) as proxy:
        yield proxy


def extended(*steps: Step) -> bytes:
    return b"".join(step.data for step in steps) + SYNC


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ([], query(WEST)),
        ([], query("SELECT count(*) FROM books")),
        ([], query("SELECT isbn FROM books ORDER BY isbn, branch")),
        ([], query("SELECT genre, count(*) + 1 FROM books GROUP BY genre")),
        ([], query("UPDATE books SET genre = genre WHERE branch = 'west'")),
        ([], query("INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'x', 'y')")),
        ([], query("SELECT 1") + query(WEST) + query("SELECT 2")),
        ([], query(f"SELECT 1; {WEST}; SELECT 2")),
        (["BEGIN", "SELECT count(*) FROM patrons"], query(WEST)),
        (["BEGIN"], query("SELECT count(*) FROM books")),
        (["PREPARE q AS " + WEST], query("EXECUTE q")),
        (["CREATE TEMP TABLE t (a int)"], query("SELECT count(*) FROM books")),
        ([], extended(parse(WEST), bind(), describe(), execute())),
        ([], extended(parse("SELECT 1"), bind(), execute(), parse(WEST), bind(), execute(), parse("SELECT 2"))),
        (["BEGIN"], extended(parse("SELECT isbn FROM books WHERE branch = 'west'"), bind(), execute(2))),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_client_that_vanishes_leaves_nothing_behind(
    before: list[str], last: bytes, small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with RawClient.logged_in(small_proxy.conninfo) as client:
        for statement in before:
            client.query(statement)
        with locked(library_cluster, "west-library", "books_b"):
            client.send(last)
            await_running(library_cluster, "books_b")
            client.vanish()
            # The lock is still held: it is a cancel that ends what waits for it.
            until(lambda: not lock_waits(library_cluster, "west-library"), "what the client began is cancelled")
    await_nothing_open(library_cluster)
    with small_proxy.connect(dbname="pgproxy") as admin:
        until(lambda: all(row[3] == 0 == row[8] for row in admin.execute("SHOW POOLS")), "nothing is in use")
    with small_proxy.connect() as connection:
        assert connection.execute("SELECT count(*) FROM books").fetchone()


def test_clients_that_vanish_while_they_wait_for_a_connection(
    small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with locked(library_cluster, "west-library", "books_b"):
        clients = [RawClient.logged_in(small_proxy.conninfo) for _ in range(20)]
        for client in clients:
            client.send(query(WEST))
        with small_proxy.connect(dbname="pgproxy") as admin:
            until(lambda: sum(row[4] for row in admin.execute("SHOW POOLS")) >= 18, "18 wait")
            for client in clients:
                client.vanish()
            until(lambda: sum(row[4] for row in admin.execute("SHOW POOLS")) == 0, "nobody waits")
    await_nothing_open(library_cluster)
    with small_proxy.connect() as connection:
        assert connection.execute(WEST).fetchone()
