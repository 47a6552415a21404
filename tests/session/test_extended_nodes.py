"""What the extended query protocol leaves on the nodes, and what nodes do to it: eviction, DDL, cancel, loss."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.activity import await_nothing_open, await_running, connect, locked
from tests.extended_client import SYNC, Shown, bind, converse, describe, execute, once, parse
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, cancel_request

ISBN = b"9780451524935"
ONE = "SELECT book_name FROM books WHERE branch = $1 AND isbn = $2"
BRANCHES = (b"west", b"north", b"downtown")
MOST_PREPARED = 200
VARCHAR = 1043


@pytest.fixture
def client(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> Iterator[RawClient]:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        yield client
    await_nothing_open(library_cluster)


def rows(answer: list[Shown]) -> list[tuple[bytes | None, ...]]:
    return [message[1] for message in answer if message[0] == "D"]


def states(answer: list[Shown]) -> list[str]:
    return [message[1]["C"] for message in answer if message[0] == "E"]


def test_statements_of_one_name_in_many_clients(shared_proxy: RunningProxy) -> None:
    clients = [RawClient.logged_in(shared_proxy.conninfo) for _ in range(20)]
    try:
        for number, client in enumerate(clients):
            converse(
                client, [parse(f"SELECT branch, {number % 7} FROM books WHERE branch = $1 AND isbn = $2", "s"), SYNC]
            )
        for turn in range(3):
            for number, client in enumerate(clients):
                branch = BRANCHES[(number + turn) % 3]
                (answer,) = converse(client, [bind(branch, ISBN, name="s"), execute(), SYNC])
                assert rows(answer) == [(branch, b"%d" % (number % 7))]
    finally:
        for client in clients:
            client.socket.close()


def test_no_more_statements_are_prepared_on_a_node_than_are_used(
    client: RawClient, library_cluster: LibraryCluster
) -> None:
    count = MOST_PREPARED + 60
    for turn in range(2):
        for number in range(count):
            steps = [bind(b"west", ISBN, name=f"s{number}"), execute(), SYNC]
            if turn == 0:
                steps.insert(
                    0, parse(f"SELECT isbn, {number} FROM books WHERE branch = $1 AND isbn = $2", f"s{number}")
                )
            assert rows(converse(client, steps)[0]) == [(ISBN, b"%d" % number)]
    prepared = "SELECT count(*) FROM pg_prepared_statements"
    steps = [*once("BEGIN"), *once(ONE, b"west", ISBN), *once(prepared), *once("ROLLBACK")]
    ((number,),) = rows(converse(client, steps)[2])
    assert number is not None
    assert 0 < int(number) <= MOST_PREPARED + 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT email, name FROM patrons WHERE patron_id = $1",
        "SELECT email, name FROM patrons WHERE patron_id >= $1 ORDER BY patron_id",
    ],
)
def test_a_table_that_changes_is_prepared_anew(sql: str, client: RawClient, library_cluster: LibraryCluster) -> None:
    run = [bind(b"1050", name="s"), describe(), execute(), SYNC]
    converse(client, [parse(sql, "s"), SYNC])
    before = [converse(client, run)[0] for _ in range(3)]
    assert before[0] == before[1] == before[2]
    try:
        alter(library_cluster, "ALTER COLUMN email TYPE varchar(300)")
        after = converse(client, run)[0]
        assert states(after) == []
        assert rows(after) == rows(before[0])
        assert [message[1][1] for message in after if message[0] == "T"] == [VARCHAR]
    finally:
        alter(library_cluster, "ALTER COLUMN email TYPE text")
    assert converse(client, run)[0] == before[0]


def test_a_table_that_changes_in_a_transaction(client: RawClient, library_cluster: LibraryCluster) -> None:
    run = [bind(b"1060", name="s"), describe(), execute(), SYNC]
    converse(client, [parse("SELECT * FROM patrons WHERE patron_id = $1", "s"), SYNC])
    before = [converse(client, run)[0] for _ in range(3)][-1]
    try:
        converse(client, once("BEGIN"))
        alter(library_cluster, "ADD COLUMN shelf int NOT NULL DEFAULT 7")
        failed = converse(client, run)[0]
        assert states(failed) == ["0A000"]
        assert failed[-1] == ("Z", "E")
        converse(client, once("ROLLBACK"))
        assert rows(converse(client, run)[0]) == [(*row, b"7") for row in rows(before)]
    finally:
        alter(library_cluster, "DROP COLUMN shelf")


def alter(cluster: LibraryCluster, change: str) -> None:
    for name, node in zip("abc", cluster.nodes, strict=True):
        with connect(cluster, node) as connection:
            connection.execute(f"ALTER TABLE patrons_{name} {change}".encode())


def test_65535_parameters(client: RawClient) -> None:
    count = 65_535
    sql = f"SELECT isbn FROM books WHERE branch = $1 AND isbn IN ({', '.join(f'${n}' for n in range(2, count + 1))})"
    values = [b"west", *[b"%d" % n for n in range(count - 2)], ISBN]
    (answer,) = converse(client, once(sql, *values))
    assert rows(answer) == [(ISBN,)]


@pytest.mark.parametrize(
    "sql", ["SELECT count(*) FROM books WHERE branch = $1", "SELECT count(*) FROM books WHERE author <> $1"]
)
def test_cancel(sql: str, client: RawClient, shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    with locked(library_cluster, "west-library", "books_b"):
        client.send(b"".join(step.data for step in once(sql, b"west")))
        await_running(library_cluster, "books_b")
        with RawClient(shared_proxy.host, shared_proxy.port) as other:
            other.send(cancel_request(*client.key))
        answer = client.until_ready()
    assert [message.fields["C"] for message in answer if message.kind == "E"] == ["57014"]
    assert rows(converse(client, once(ONE, b"west", ISBN))[0]) == [(b"1984",)]


@pytest.mark.parametrize("transaction", [False, True])
def test_a_connection_that_is_lost(transaction: bool, client: RawClient, library_cluster: LibraryCluster) -> None:
    converse(client, [parse(ONE, "s"), SYNC])
    if transaction:
        converse(client, once("BEGIN"))
        converse(client, [bind(b"north", ISBN, name="s"), execute(), SYNC])
    with locked(library_cluster, "west-library", "books_b"):
        client.send(b"".join(step.data for step in (bind(b"west", ISBN, name="s"), execute(), *once("SELECT 1"))))
        await_running(library_cluster, "books_b")
        terminate(library_cluster, "west-library")
        answer = client.until_ready()
    assert [message.fields["C"] for message in answer if message.kind == "E"] in (["57P01"], ["08006"])
    assert answer[-1].text == ("E" if transaction else "I")
    if transaction:
        converse(client, once("ROLLBACK"))
    assert rows(converse(client, [bind(b"west", ISBN, name="s"), execute(), SYNC])[0]) == [(b"1984",)]


def terminate(cluster: LibraryCluster, node: str) -> None:
    with psycopg.connect(cluster.conninfo(node), autocommit=True, application_name="test") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%books_b%'"
            " AND pid <> pg_backend_pid() AND application_name <> 'pgproxy heartbeat'"
        )


def test_portals_do_not_pile_up_on_a_node(client: RawClient) -> None:
    """A client that fetches in parts, many times in one transaction."""
    converse(client, once("BEGIN"))
    for _ in range(20):
        steps = [*once("SELECT isbn FROM books WHERE branch = $1", b"west", rows=5)[:-1], execute(1000), SYNC]
        assert len(rows(converse(client, steps)[0])) == 24
        converse(client, once("SELECT isbn FROM books WHERE branch = $1", b"west", rows=5))  # never fetched further
    (answer,) = converse(client, once("SELECT count(*) FROM pg_cursors WHERE name LIKE 'pgproxy%'"))
    ((count,),) = rows(answer)
    assert count is not None
    assert int(count) <= 1
    converse(client, once("ROLLBACK"))
