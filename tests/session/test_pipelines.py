"""Several statements before one Sync, whole and cut into pieces: what PostgreSQL answers, in its order."""

# ruff: noqa: E501

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.activity import await_nothing_open, await_running
from tests.extended_client import (
    SYNC,
    Shown,
    Step,
    bind,
    close,
    converse,
    describe,
    execute,
    flush,
    once,
    parse,
    simple,
)
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, cancel_request
from tests.session.library_sql import BRANCHES, DELETE, INSERT, ISBN, ONE, WEST
from tests.session.test_extended_nodes import alter, rows, states

INT8, TEXT = 20, 25
DIVIDED = "SELECT isbn / $3 FROM books WHERE branch = $1 AND isbn = $2"
UPDATE = "UPDATE books SET price = price WHERE branch = $1 AND isbn = $2"


def begun(sql: str, *values: bytes | None, **options: Sequence[int]) -> list[Step]:
    """One statement without its Sync."""
    return once(sql, *values, **options)[:-1]  # type: ignore[arg-type]


def bound(*values: bytes | None, name: str = "s") -> list[Step]:
    return [bind(*values, name=name), describe(), execute()]


TURNS = [step for branch in BRANCHES * 2 for step in begun(ONE, branch, ISBN)]
PIPELINES: dict[str, list[Step]] = {
    "one node": [step for _ in range(4) for step in begun(ONE, b"west", ISBN)] + [SYNC],
    "several nodes": [*TURNS, SYNC],
    "in a transaction": [*once("BEGIN"), *TURNS, SYNC, *TURNS, SYNC, *once("COMMIT")],
    "BEGIN and COMMIT inside": [*begun("BEGIN"), *TURNS, *begun("COMMIT"), SYNC],
    "named": [parse(ONE, "s"), SYNC, *(step for branch in BRANCHES * 2 for step in bound(branch, ISBN)), SYNC],
    "named and unnamed": [parse(ONE, "s"), SYNC, *(step for branch in BRANCHES for step in (*bound(branch, ISBN), *begun(WEST, branch))), SYNC, *bound(b"west", name=""), SYNC],
    "without Describe": [parse(ONE, "s"), SYNC, *(step for branch in BRANCHES * 2 for step in (bind(branch, ISBN, name="s"), execute())), SYNC],
    "parsed inside": [*begun(ONE, b"west", ISBN), parse(ONE, "s"), *bound(b"west", ISBN), *bound(b"north", ISBN), *bound(b"west", ISBN), close("S", "s"), SYNC],
    "writes": [*once("BEGIN"), *begun(INSERT, b"1", b"west", b"a"), *begun(INSERT, b"2", b"west", b"b"), *begun(UPDATE, b"west", b"1"), *begun(UPDATE, b"west", b"3"), *begun(DELETE, b"west", b"1"), *begun(DELETE, b"west", b"1"), SYNC, *once("ROLLBACK")],
    "an implicit transaction of writes": [*(step for n in range(4) for step in begun(INSERT, b"%d" % n, b"west", b"a")), SYNC, *(step for n in range(4) for step in begun(DELETE, b"west", b"%d" % n)), SYNC],
    "an error undoes the rest": [*begun(INSERT, b"1", b"west", b"x"), *begun(INSERT, b"2", b"west", b"x"), *begun(DIVIDED, b"west", ISBN, b"0", types=[TEXT, INT8, INT8]), *begun(INSERT, b"3", b"west", b"x"), SYNC, *(step for n in range(1, 4) for step in once(DELETE, b"west", b"%d" % n))],
    "an error of another node": [*once("BEGIN"), *TURNS, SYNC, *begun(ONE, b"west", ISBN), *begun(DIVIDED, b"north", ISBN, b"0"), *begun(ONE, b"west", ISBN), *begun(DIVIDED, b"west", ISBN, b"0"), SYNC, *once("ROLLBACK")],
    "a wrong value": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", b"x"), *begun(ONE, b"west", ISBN), SYNC, *begun(ONE, b"west", ISBN), SYNC, *once("ROLLBACK")],
    "a wrong column": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), *begun("SELECT isbn, titel FROM books WHERE branch = $1", b"west"), *begun(ONE, b"west", ISBN), SYNC, *bound(b"west", ISBN, name=""), SYNC, *once("ROLLBACK"), *bound(b"west", ISBN, name=""), SYNC],
    "the unnamed statement after an error": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), *begun(DIVIDED, b"west", ISBN, b"0"), *begun(WEST, b"west"), SYNC, *once("ROLLBACK"), *bound(b"west", ISBN, b"1", name=""), SYNC],
    "the unnamed portal behind it": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), *begun(UPDATE, b"west", ISBN), SYNC, describe(), SYNC, execute(), SYNC, *once("ROLLBACK")],
    "its rows are all fetched": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), *begun(WEST, b"west"), SYNC, describe(), execute(), SYNC, *once("COMMIT"), execute(), SYNC],
    "the portal of one that failed": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(DIVIDED, b"west", ISBN, b"0"), SYNC, execute(), SYNC, *once("ROLLBACK"), execute(), SYNC],
    "savepoints": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun("SAVEPOINT a"), *begun(INSERT, b"1", b"west", b"x"), *begun(DIVIDED, b"west", ISBN, b"0"), *begun(ONE, b"west", ISBN), SYNC, *once("ROLLBACK TO a"), execute(), SYNC, *once("ROLLBACK TO a"), *begun(DELETE, b"west", b"1"), *begun(ONE, b"west", ISBN), SYNC, *once("ROLLBACK")],
    "a suspended portal beside it": [*once("BEGIN"), parse(WEST), bind(b"west"), execute(2), SYNC, parse(ONE, "s"), SYNC, execute(2), SYNC, *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), SYNC, execute(2), SYNC, *once("COMMIT")],
    "a suspended named portal beside it": [*once("BEGIN"), parse(WEST), bind(b"west", portal="p"), execute(2, "p"), SYNC, *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), execute(2, "p"), *begun(ONE, b"west", ISBN), SYNC, *once("COMMIT")],
    "Flush between": [*begun(ONE, b"west", ISBN), flush(5), *begun(ONE, b"west", ISBN), *begun(ONE, b"north", ISBN), flush(10), *begun(ONE, b"west", ISBN), SYNC],
    "a Query between": [*begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), *begun(INSERT, b"1", b"west", b"x"), simple("SELECT 1"), *once(DELETE, b"west", b"1")],
    "a routed Query drops the unnamed statement": [parse(ONE), SYNC, simple("SELECT isbn FROM books WHERE branch = 'west' AND isbn = 9780451524935"), bind(b"west", ISBN), SYNC],
    "all kinds": [*begun(ONE, b"west", ISBN), *begun("SELECT count(*) FROM books"), *begun(ONE, b"west", ISBN), *begun("SHOW server_encoding"), *begun(ONE, b"west", ISBN), *begun(""), *begun(ONE, b"west", ISBN), *begun("SELECT 1"), *begun(ONE, b"north", ISBN), SYNC],
    "malformed": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN), *begun(ONE, b"west"), *begun(ONE, b"west", ISBN), SYNC, *once("ROLLBACK")],
    "formats": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", ISBN, results=[1]), *begun(ONE, b"west", ISBN, results=[0, 1]), *begun(ONE, b"west", ISBN, formats=[0, 0], results=[1, 0]), *begun(ONE, b"west", ISBN, results=[0, 0, 0]), *begun(ONE, b"west", ISBN), SYNC, *once("ROLLBACK")],
    "NULL": [*once("BEGIN"), *begun(ONE, b"west", ISBN), *begun(ONE, b"west", None), *begun(ONE, None, ISBN), *begun(UPDATE, b"west", None), SYNC, *once("ROLLBACK")],
    "several groups in one read": [*once(ONE, b"west", ISBN), *once(ONE, b"north", ISBN), *once(ONE, b"west", b"x"), *once(ONE, b"west", ISBN)],
    "many": [*(step for n in range(300) for step in begun(ONE, BRANCHES[n % 4], ISBN)), SYNC],
}  # fmt: skip


@pytest.fixture
def client(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> Iterator[RawClient]:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        yield client
    await_nothing_open(library_cluster)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_is_answered_as_by_postgres(
    name: str, client: RawClient, shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    steps = PIPELINES[name]
    with RawClient.logged_in(reference_pg.conninfo) as postgres:
        want = converse(postgres, steps)
    assert want == converse(client, steps)
    for _ in range(2):  # where the statements are prepared already
        with RawClient.logged_in(shared_proxy.conninfo) as other:
            assert converse(other, steps) == want


@pytest.mark.parametrize("name", [name for name in PIPELINES if name != "many"])
def test_cut_anywhere(name: str, client: RawClient, reference_pg: ReferencePostgres) -> None:
    """In two at random places, and byte by byte, with time for each piece to be read alone."""
    dice = random.Random(name)
    steps = PIPELINES[name]
    with RawClient.logged_in(reference_pg.conninfo) as postgres:
        want = converse(postgres, steps)
        refresh = [close("S", "s"), close("S"), SYNC]  # statements would be there already
        for _ in range(4):
            assert in_pieces(client, steps, lambda size: [dice.randrange(1, size)]) == want
            converse(client, refresh)
    assert in_pieces(client, steps, lambda size: list(range(1, size, 7))) == want


def test_every_cut_of_one_statement(client: RawClient) -> None:
    steps = once(ONE, b"west", ISBN)
    (want,) = converse(client, steps)
    size = sum(len(step.data) for step in steps)
    for at in range(1, size):
        assert in_pieces(client, steps, lambda _, at=at: [at]) == [want]  # type: ignore[misc]


def in_pieces(client: RawClient, steps: Sequence[Step], cuts) -> list[list[Shown]]:  # type: ignore[no-untyped-def]
    """`converse`, but what is sent at once goes out in pieces."""
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers: list[list[Shown]] = []
    group: list[Step] = []
    for step in steps:
        group.append(step)
        if step.read == 0:
            continue
        data = b"".join(one.data for one in group)
        at = 0
        for cut in (*cuts(len(data)), len(data)):
            client.send(data[at:cut])
            time.sleep(0.001)
            at = cut
        answers += converse(client, [Step(b"", step.read)])
        group = []
    return answers


def test_answers_larger_than_all_buffers(client: RawClient) -> None:
    """Of two nodes in turn, while the client does not read."""
    sql = "SELECT repeat(book_name, 1000) FROM books WHERE branch = $1 ORDER BY isbn"
    steps = [step for _ in range(60) for branch in BRANCHES[:2] for step in begun(sql, branch)]
    alone = [rows(converse(client, once(sql, branch))[0]) for branch in BRANCHES[:2]]
    client.send(b"".join(step.data for step in (*steps, SYNC)))
    time.sleep(0.5)
    (answer,) = converse(client, [Step(b"", -1)])
    assert rows(answer) == (alone[0] + alone[1]) * 60


def test_more_statements_than_are_sent_ahead(client: RawClient) -> None:
    steps = [step for n in range(3000) for step in begun(ONE, BRANCHES[n % 3], b"%d" % (n % 2 * int(ISBN)))]
    (answer,) = converse(client, [*steps, SYNC])
    assert [message[0] for message in answer].count("C") == 3000
    assert [len(message) for message in answer if message[0] == "E"] == []
    assert len(rows(answer)) == 1500


def test_more_statements_than_are_prepared(client: RawClient, library_cluster: LibraryCluster) -> None:
    def numbered(number: int) -> list[Step]:
        return begun(f"SELECT isbn, {number} FROM books WHERE branch = $1 AND isbn = $2", b"west", ISBN)

    for _ in range(4):
        (answer,) = converse(client, [*(step for number in range(260) for step in numbered(number)), SYNC])
        assert rows(answer) == [(ISBN, b"%d" % number) for number in range(260)]
    converse(client, once("BEGIN"))
    converse(client, once(ONE, b"west", ISBN))
    ((count,),) = rows(converse(client, once("SELECT count(*) FROM pg_prepared_statements"))[0])
    assert count is not None
    assert int(count) <= 201
    converse(client, once("ROLLBACK"))


def test_one_that_fails_is_counted_where_it_ran(client: RawClient, shared_proxy: RunningProxy) -> None:
    def unplanned() -> str:
        with shared_proxy.connect(dbname="pgproxy") as admin:
            return next(row[2] for row in admin.execute("SHOW STATS") if row[0] == "unplanned")

    before = unplanned()
    converse(client, once("BEGIN"))
    converse(client, once(ONE, b"west", ISBN))
    fine, wrong = begun(ONE, b"west", ISBN), begun(DIVIDED, b"west", ISBN, b"0")
    (answer,) = converse(client, [*fine, *fine, *wrong, SYNC])
    assert states(answer) == ["22012"]
    assert unplanned() == before


def test_what_a_node_has_skipped_is_prepared_later(client: RawClient) -> None:
    """An error, and behind it statements that were to be prepared there and others to be closed."""
    texts = [f"SELECT isbn, 'skipped {n}' FROM books WHERE branch = $1 AND isbn = $2" for n in range(30)]
    for _ in range(3):
        skipped = [step for text in texts for step in begun(text, b"west", ISBN)]
        first = begun(ONE, b"west", ISBN)
        (answer,) = converse(client, [*first, *first, *begun(DIVIDED, b"west", ISBN, b"0"), *skipped, SYNC])
        assert states(answer) == ["22012"]
        assert len(rows(answer)) == 2
    for _ in range(3):
        (answer,) = converse(client, [*(step for text in texts for step in begun(text, b"west", ISBN)), SYNC])
        assert rows(answer) == [(ISBN, b"skipped %d" % n) for n in range(30)]


def test_a_table_that_changes_in_a_pipeline(client: RawClient, library_cluster: LibraryCluster) -> None:
    run = [step for _ in range(3) for step in bound(b"1060")]
    converse(client, [parse("SELECT * FROM patrons WHERE patron_id = $1", "s"), SYNC])
    before = [converse(client, [*run, SYNC])[0] for _ in range(3)][-1]
    assert len(rows(before)) == 3
    converse(client, once("BEGIN"))
    alter(library_cluster, "ADD COLUMN shelf int NOT NULL DEFAULT 7")
    try:
        assert states(converse(client, [*run, SYNC])[0]) == ["0A000"]
        converse(client, once("ROLLBACK"))
        converse(client, once("BEGIN"))
        assert rows(converse(client, [*run, SYNC])[0]) == [(*row, b"7") for row in rows(before)]
        converse(client, once("ROLLBACK"))
    finally:
        alter(library_cluster, "DROP COLUMN shelf")


def test_cancel(client: RawClient, shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    converse(client, once("BEGIN"))
    converse(client, once(ONE, b"west", ISBN))
    slow = "SELECT pg_sleep(60) FROM books WHERE branch = $1 AND isbn = $2"
    client.send(b"".join(step.data for step in (*begun(ONE, b"west", ISBN), *begun(slow, b"west", ISBN), *TURNS, SYNC)))
    await_running(library_cluster, "pg_sleep")
    with RawClient(shared_proxy.host, shared_proxy.port) as other:
        other.send(cancel_request(*client.key))
    answer = client.until_ready()
    assert [message.fields["C"] for message in answer if message.kind == "E"] == ["57014"]
    assert answer[-1].text == "E"
    converse(client, once("ROLLBACK"))
    assert rows(converse(client, once(ONE, b"west", ISBN))[0])


def test_a_client_that_leaves(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    for _ in range(5):
        with RawClient.logged_in(shared_proxy.conninfo) as client:
            client.send(b"".join(step.data for step in (*TURNS * 20, *begun(INSERT, b"77", b"west", b"never"))))
    await_nothing_open(library_cluster)
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        assert rows(converse(client, once(DELETE, b"west", b"77"))[0]) == []
