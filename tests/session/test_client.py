"""What happens to a client while its statement is under way on the short way: it sends more, ends, or does not read."""

from __future__ import annotations

import socket
import time

from tests.activity import await_running, locked, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.raw_client import Message, RawClient, frame, query

WEST = "west-library"
COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
LARGE = "SELECT repeat('x', 6000) FROM books WHERE branch = 'west' LIMIT 1"
STATEMENTS = 3_000


def rows(messages: list[Message]) -> list[bytes | None]:
    return [message.values[0] for message in messages if message.kind == "D"]


def test_it_sends_more(library_cluster: LibraryCluster, shared_proxy: RunningProxy) -> None:
    """What comes meanwhile is neither lost nor sent before its turn, and afterwards the short way is open again."""
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        assert rows(client.query(COUNT_WEST)) == [b"24"]
        with locked(library_cluster, WEST, "books_b"):
            client.send(query(COUNT_WEST))
            await_running(library_cluster, "books_b")
            client.send(query("SELECT 7") + query("SELECT 8")[:9])
            time.sleep(0.1)
            client.send(query("SELECT 8")[9:])
        assert [rows(client.until_ready()) for _ in range(3)] == [[b"24"], [b"7"], [b"8"]]
        assert rows(client.query(COUNT_WEST)) == [b"24"]


def test_it_ends(library_cluster: LibraryCluster, shared_proxy: RunningProxy) -> None:
    """Its statement is answered, and then the connection is closed."""
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        with locked(library_cluster, WEST, "books_b"):
            client.send(query(COUNT_WEST))
            await_running(library_cluster, "books_b")
            client.socket.shutdown(socket.SHUT_WR)
            time.sleep(0.1)
        assert rows(client.until_ready()) == [b"24"]
        assert client.closed()


def test_it_says_goodbye(library_cluster: LibraryCluster, shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        with locked(library_cluster, WEST, "books_b"):
            client.send(query(COUNT_WEST))
            await_running(library_cluster, "books_b")
            client.send(frame("X"))
        assert rows(client.until_ready()) == [b"24"]
        assert client.closed()


def test_it_does_not_read(proxy: RunningProxy) -> None:
    """Its answers fill what may wait for it, and no more of its statements run until it reads on."""

    def statements() -> int:
        """How many have begun for the one client of this database that is not the administrator's."""
        with proxy.connect(dbname="pgproxy") as admin:
            cursor = admin.execute("SHOW CLIENTS")
            at = [column.name for column in cursor.description or ()].index("statements")
            return max(int(row[at]) for row in cursor.fetchall())

    with RawClient.logged_in(proxy.conninfo) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(STATEMENTS):
            client.send(query(LARGE))
            time.sleep(0.001)
        seen = -1

        def at_rest() -> bool:
            nonlocal seen
            before, seen = seen, statements()
            time.sleep(0.3)
            return 0 < before == seen

        until(at_rest, "it goes no further")
        assert 0 < seen < STATEMENTS
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for _ in range(STATEMENTS):
            (row,) = rows(client.until_ready())
            assert row is not None
            assert len(row) == 6000
