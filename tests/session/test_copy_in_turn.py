"""COPY into several shards of one node: on a connection each, or one after the other over that of a transaction."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgproxy.demo.nodes import NODE_NAMES
from tests.activity import await_nothing_open, connect, until
from tests.fix_copy import copying
from tests.fix_letters import LettersCluster, letters_cluster
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import Message, RawClient, frame, query

LETTERS = b"abcdef"  # a and d have one node, b and e, c and f
COPY = "COPY letters FROM STDIN"
COUNTED = "SELECT count(*), sum(n) FROM letters"
ROWS = b"".join(b"%c\t%d\n" % (LETTERS[n % 6], n) for n in range(600))
ALL = (b"600", b"179700")
NONE = (b"0", None)
BACKWARDS = b"".join(b"%c\t%d\n" % (letter, letter) for letter in reversed(LETTERS))


@pytest.fixture(scope="module")
def letters(library_cluster: LibraryCluster) -> Iterator[LettersCluster]:
    with letters_cluster(library_cluster, rows=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def letters_proxy(letters: LettersCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy(letters, tmp_path_factory.mktemp("letters"), sort_memory_bytes=64 * 1024) as running:
        yield running


@pytest.fixture
def client(letters: LettersCluster, letters_proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient.logged_in(letters_proxy.conninfo) as client:
        yield client
    await_nothing_open(letters)
    until(lambda: not prepared(letters), "nothing is in doubt")
    for number in range(6):
        with connect(letters, NODE_NAMES[number % 3]) as node:
            node.execute(f"TRUNCATE letters_{number}".encode())


def prepared(cluster: LettersCluster) -> list[tuple[object, ...]]:
    found = []
    for name in cluster.nodes:
        with connect(cluster, name) as node:
            found += node.execute("SELECT gid FROM pg_prepared_xacts").fetchall()
    return found


def copied(client: RawClient, data: bytes, sql: str = COPY) -> list[Message]:
    client.send(copying(sql, data)[0])
    return client.until_ready()


def tag(answer: list[Message]) -> str:
    (found,) = [
        message.fields["M"] if message.kind == "E" else message.text for message in answer if message.kind in "CE"
    ]
    return found


def counted(client: RawClient) -> tuple[bytes | None, ...]:
    (row,) = [message.values for message in client.query(COUNTED) if message.kind == "D"]
    return row


def test_by_itself(client: RawClient) -> None:
    assert tag(copied(client, ROWS)) == "COPY 600"
    assert counted(client) == ALL


def test_in_a_transaction(client: RawClient) -> None:
    client.query("BEGIN")
    assert tag(copied(client, ROWS)) == "COPY 600"
    assert counted(client) == ALL
    assert tag(copied(client, BACKWARDS)) == "COPY 6"
    assert tag(client.query("ROLLBACK")) == "ROLLBACK"
    assert counted(client) == NONE
    client.query("BEGIN")
    assert tag(copied(client, ROWS)) == "COPY 600"
    assert tag(client.query("COMMIT")) == "COMMIT"
    assert counted(client) == ALL


def test_among_others_in_one_query(client: RawClient) -> None:
    tags = [message.text for message in copied(client, ROWS, f"{COPY}; DELETE FROM letters WHERE letter = 'd'")]
    assert [text for text in tags if text.startswith(("COPY", "DELETE"))] == ["COPY 600", "DELETE 100"]
    assert counted(client)[0] == b"500"


def test_among_others_up_to_sync(client: RawClient) -> None:
    execute = frame("B", b"\0\0\0\0\0\0\0\0") + frame("E", b"\0\0\0\0\0")
    client.send(frame("P", b"\0" + COPY.encode() + b"\0\0\0") + execute + frame("d", ROWS) + frame("c"))
    client.send(frame("P", b"\0DELETE FROM letters WHERE letter = 'd'\0\0\0") + execute + frame("S"))
    kinds = "".join(message.kind for message in client.until_ready())
    assert kinds == "12GC12CZ"
    assert counted(client)[0] == b"500"


@pytest.mark.parametrize("wrong", [(6, 9), (9, 6), (3, 4), (594, 597)], ids=str)
@pytest.mark.parametrize("begin", ["BEGIN", "SELECT 1"])
def test_the_first_wrong_row_is_told(begin: str, wrong: tuple[int, int], client: RawClient) -> None:
    """Whichever of the two comes to the node first."""
    lines = ROWS.splitlines(keepends=True)
    for at in wrong:
        lines[at] = lines[at][:2] + b"x\n"
    client.query(begin)
    answer = copied(client, b"".join(lines))
    (error,) = [message.fields for message in answer if message.kind == "E"]
    assert error["W"] == f'COPY letters, line {min(wrong) + 1}, column n: "x"'
    assert answer[-1].text == ("E" if begin == "BEGIN" else "I")
    client.query("ROLLBACK")
    assert counted(client) == NONE


def test_goes_on_behind_a_savepoint(client: RawClient) -> None:
    client.query("BEGIN")
    client.query("SAVEPOINT a")
    assert "invalid input" in tag(copied(client, ROWS + b"d\tx\n"))
    assert tag(client.query("ROLLBACK TO a")) == "ROLLBACK"
    assert tag(copied(client, BACKWARDS)) == "COPY 6"
    client.query("SAVEPOINT a")
    assert tag(copied(client, ROWS)) == "COPY 600"
    assert tag(client.query("ROLLBACK TO a")) == "ROLLBACK"
    assert tag(client.query("COMMIT")) == "COMMIT"
    assert counted(client)[0] == b"6"


def test_headers_and_trailers(client: RawClient) -> None:
    client.query("BEGIN")
    data = b"letter,n\n" + BACKWARDS.replace(b"\t", b",")
    assert tag(copied(client, data, f"{COPY} (FORMAT csv, HEADER MATCH)")) == "COPY 6"
    rows = [struct.pack("!hi1sii", 2, 1, b"%c" % letter, 4, letter) for letter in LETTERS]
    binary = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows) + b"\xff\xff"
    assert tag(copied(client, binary, f"{COPY} (FORMAT binary)")) == "COPY 6"
    assert tag(client.query("COMMIT")) == "COMMIT"
    assert counted(client) == (b"12", b"%d" % (2 * sum(LETTERS)))


def test_more_than_is_kept_in_memory(client: RawClient) -> None:
    """The proxy's temporary files have most of it."""
    client.query("BEGIN")
    assert tag(copied(client, ROWS * 300)) == "COPY 180000"
    assert tag(client.query("COMMIT")) == "COMMIT"
    assert counted(client)[0] == b"180000"


@contextmanager
def refusing_at_commit(cluster: LettersCluster, number: int) -> Iterator[None]:
    """Behind SET CONSTRAINTS ALL IMMEDIATE, by PREPARE TRANSACTION or COMMIT."""
    with connect(cluster, NODE_NAMES[number % 3]) as node:
        for sql in (
            "CREATE TABLE again (v int)",
            """CREATE FUNCTION once_more() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO again VALUES (1); RETURN NULL; END'""",
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN RAISE EXCEPTION ''not today''; END'""",
            f"""CREATE CONSTRAINT TRIGGER early AFTER INSERT ON letters_{number} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION once_more()""",
            """CREATE CONSTRAINT TRIGGER late AFTER INSERT ON again DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION refuse()""",
        ):
            node.execute(sql.encode())
        try:
            yield
        finally:
            node.execute(f"DROP TRIGGER early ON letters_{number}".encode())
            node.execute("DROP TABLE again")
            node.execute("DROP FUNCTION once_more, refuse")


@pytest.mark.parametrize("number", range(6))
def test_a_shard_that_refuses_at_the_end(number: int, letters: LettersCluster, client: RawClient) -> None:
    """Nothing of the node's other shard stays either."""
    with refusing_at_commit(letters, number):
        assert tag(copied(client, ROWS)) == "not today"
        client.query("BEGIN")
        assert tag(copied(client, ROWS)) == "COPY 600"
        assert tag(client.query("COMMIT")) == "not today"
        assert counted(client) == NONE
    assert tag(copied(client, ROWS)) == "COPY 600"


def test_a_copy_that_the_client_gives_up(client: RawClient) -> None:
    client.query("BEGIN")
    client.send(query(COPY) + frame("d", ROWS) + frame("f", b"enough\0"))
    assert tag(client.until_ready()[1:]) == "COPY from stdin failed: enough"
    client.query("ROLLBACK")
    assert counted(client) == NONE
