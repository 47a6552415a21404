"""BEGIN to COMMIT over nodes: what one PostgreSQL would answer, and nothing left open anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.activity import await_nothing_open
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import Message, RawClient
from tests.session.conftest import Converse

FIRST_ISBN = 5_000
FIND = f"SELECT isbn, branch FROM books WHERE isbn BETWEEN {FIRST_ISBN} AND {FIRST_ISBN + 999} ORDER BY isbn"
READ = {branch: f"SELECT min(isbn) FROM books WHERE branch = '{branch}'" for branch in ("downtown", "west", "north")}

SHOWN = ["SHOW transaction_isolation", "SHOW transaction_read_only", "SHOW transaction_deferrable"]
SET_THERE = [
    f"SELECT current_setting('work_mem'), current_setting('geqo') FROM books WHERE branch = '{branch}' LIMIT 1"
    for branch in READ
]

BY_NOW = (
    "INSERT INTO books (isbn, branch, book_name, author, updated_at) "
    f"VALUES ({FIRST_ISBN + 7}, 'west', 'x', 'y', now())"
)
FIND_BY_NOW = [
    f"SELECT isbn, pg_sleep(0.01) FROM books WHERE updated_at = now() AND isbn >= {FIRST_ISBN}",
    f"SELECT isbn, now() = updated_at FROM books WHERE isbn = {FIRST_ISBN + 7}",
    f"DECLARE c CURSOR FOR SELECT isbn FROM books WHERE updated_at = now() AND isbn >= {FIRST_ISBN}",
    "FETCH ALL FROM c",
]


def insert(isbn: int, branch: str) -> str:
    return f"INSERT INTO books (isbn, branch, book_name, author) VALUES ({isbn}, '{branch}', 'x', 'y')"


@pytest.fixture
def client(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> Iterator[RawClient]:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        yield client
    await_nothing_open(library_cluster)
    for name, node in zip("abc", library_cluster.nodes, strict=True):
        with library_cluster.connect(node) as connection:
            connection.execute(f"DELETE FROM books_{name} WHERE isbn BETWEEN {FIRST_ISBN} AND {FIRST_ISBN + 999}")


def state_of(answer: list[Message]) -> tuple[str | None, str]:
    """(SQLSTATE of the error or None, ReadyForQuery's status)."""
    errors = [message.fields["C"] for message in answer if message.kind == "E"]
    return (errors[0] if errors else None, answer[-1].text)


def found(client: RawClient) -> list[tuple[bytes | None, ...]]:
    return [message.values for message in client.query(FIND) if message.kind == "D"]


@pytest.mark.parametrize(
    "statements",
    [
        ["BEGIN", "SELECT 1", "COMMIT"],
        ["BEGIN", "SELECT 1", "SELECT 1/0", "SELECT 1", "SELEC", "SELECT nothing", "COMMIT"],
        ["BEGIN", "SELECT 1/0", "SAVEPOINT a", "RELEASE a", "BEGIN", "SET work_mem = '1MB'", "ROLLBACK"],
        ["BEGIN", "BEGIN", "COMMIT", "COMMIT", "ROLLBACK", "END", "ABORT"],
        ["START TRANSACTION", "START TRANSACTION", "COMMIT WORK"],
        ["/* a */ BEGIN", "COMMIT", "/* a /* b */ c */ BEGIN", "COMMIT", "-- d\nSTART TRANSACTION READ ONLY", "COMMIT"],
        ["BEGIN", "SELECT 1", "BEGIN /* a */ TRANSACTION READ ONLY -- b", "SHOW transaction_read_only", "COMMIT"],
        ["BEGIN", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE, NOT DEFERRABLE", *SHOWN, "COMMIT"],
        ["SELECT 1; BEGIN READ ONLY, DEFERRABLE", *SHOWN, "COMMIT"],
        ["BEGIN", BY_NOW, *FIND_BY_NOW, "ROLLBACK"],
        ["BEGIN", "SET DateStyle = 'SQL, DMY'", "SELECT 1", BY_NOW, *FIND_BY_NOW, "ROLLBACK"],
        ["BEGIN ISOLATION LEVEL REPEATABLE READ", BY_NOW, "ROLLBACK"],
        ["; ".join([BY_NOW, *FIND_BY_NOW[:2], "SELECT 1/0"])],
        [
            "BEGIN",
            "SELECT count(*) FROM books WHERE isbn > 1000",
            "SET LOCAL timezone = 'Asia/Tokyo'",
            "COPY (SELECT max(updated_at) + interval '1 h' FROM books WHERE isbn > 1000) TO STDOUT",
            "COPY (SELECT max(joined) + 1 FROM patrons) TO STDOUT (FORMAT csv)",
            "ROLLBACK",
            "COPY (SELECT max(updated_at) + interval '1 h' FROM books WHERE isbn > 1000) TO STDOUT",
        ],
        [
            "BEGIN -- a",
            "SET LOCAL geqo = off -- b",
            "SAVEPOINT a -- c",
            "SET LOCAL work_mem = '3MB' -- d",
            *SET_THERE,
            "ROLLBACK TO a -- e",
            *SET_THERE,
            "COMMIT -- f",
        ],
        ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"],
        ["SELECT 1; COMMIT AND CHAIN", "SELECT 1; ROLLBACK AND CHAIN"],
        ["SAVEPOINT a", "RELEASE a", "ROLLBACK TO a", "SELECT 1; SAVEPOINT a"],
        ["BEGIN", "SAVEPOINT a", "SELECT 1/0", "ROLLBACK TO a", "SELECT 1", "RELEASE a", "RELEASE a", "END"],
        ["BEGIN", "ROLLBACK TO nothing", "COMMIT"],
        ["BEGIN", "SAVEPOINT a", "SAVEPOINT a", "RELEASE a", "ROLLBACK TO a", "RELEASE a", "RELEASE a", "ROLLBACK"],
        ["BEGIN", "SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a", "ROLLBACK TO b", "ROLLBACK"],
        ["BEGIN", 'SAVEPOINT "A b"', "SAVEPOINT a", 'ROLLBACK TO "A b"', "RELEASE A", "ROLLBACK"],
        [
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "SHOW transaction_isolation",
            "COMMIT AND CHAIN",
            "SHOW transaction_isolation",
            "ROLLBACK AND CHAIN",
            "SHOW transaction_isolation",
            "ABORT",
        ],
        ["BEGIN READ ONLY", "DELETE FROM books WHERE branch = 'west'", "ROLLBACK"],
        ["BEGIN", "SET TRANSACTION READ ONLY", "DELETE FROM books WHERE branch = 'west'", "ROLLBACK"],
        ["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SHOW transaction_isolation", "COMMIT"],
        ["BEGIN", "SELECT 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"],
        ["START TRANSACTION READ WRITE, ISOLATION LEVEL REPEATABLE READ", "SHOW transaction_isolation", "END"],
        ["SET TRANSACTION READ ONLY"],
        ["SELECT 1; BEGIN; SELECT 1/0", "SELECT 1", "ROLLBACK"],
        ["BEGIN; SELECT 1; COMMIT; SELECT 2; BEGIN; SELECT 3", "COMMIT"],
        ["SELECT 1; BEGIN ISOLATION LEVEL SERIALIZABLE", "SELECT 1"],
        ["SELECT 1; BEGIN READ ONLY; DELETE FROM books WHERE branch = 'west'", "ROLLBACK"],
        ["BEGIN ISOLATION LEVEL SERIALIZABLE; SHOW transaction_isolation", "COMMIT"],
        ["SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3; BEGIN", "ROLLBACK"],
        ["BEGIN", "DISCARD ALL", "ROLLBACK", "SELECT 1; DISCARD ALL", "DISCARD ALL"],
    ],
)
def test_a_conversation_is_that_with_postgres(
    statements: list[str], with_proxy: Converse, with_postgres: Converse
) -> None:
    assert with_proxy(*statements) == with_postgres(*statements)


def test_reads_on_all_nodes_and_a_write_on_one_are_committed(client: RawClient) -> None:
    for sql in ["BEGIN", *READ.values(), insert(5000, "west"), READ["north"], insert(5001, "west")]:
        assert state_of(client.query(sql)) == (None, "T")
    assert state_of(client.query("COMMIT")) == (None, "I")
    assert found(client) == [(b"5000", b"west"), (b"5001", b"west")]


def test_what_is_written_on_several_nodes_is_committed_on_all(client: RawClient) -> None:
    for sql in ["BEGIN", insert(5000, "west"), insert(5001, "north"), insert(5002, "downtown")]:
        assert state_of(client.query(sql)) == (None, "T")
    assert state_of(client.query("COMMIT")) == (None, "I")
    assert found(client) == [(b"5000", b"west"), (b"5001", b"north"), (b"5002", b"downtown")]


@pytest.mark.parametrize("end", [["ROLLBACK"], ["SELECT 1/0", "COMMIT"]])
def test_what_is_written_on_several_nodes_is_undone_on_all(end: list[str], client: RawClient) -> None:
    for sql in ["BEGIN", insert(5000, "west"), insert(5001, "north"), *end[:-1]]:
        client.query(sql)
    assert client.query(end[-1])[0].text == "ROLLBACK"
    assert found(client) == []


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
def test_a_client_that_left_has_left_nothing(how: str, client: RawClient, shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as leaving:
        for sql in ["BEGIN", READ["north"], insert(5000, "west")]:
            leaving.query(sql)
    assert found(client) == []  # the fixture waits until the nodes have nothing open


def test_a_savepoint_covers_nodes_that_join_before_and_after_it(client: RawClient) -> None:
    for sql in ["BEGIN", READ["north"], "SAVEPOINT a", READ["downtown"], insert(5000, "west")]:
        assert state_of(client.query(sql)) == (None, "T")
    assert state_of(client.query("SELECT 1/0")) == ("22012", "E")
    assert state_of(client.query("ROLLBACK TO a")) == (None, "T")
    # The writer was forgotten with what it wrote: another node may be written to.
    for sql in [insert(5001, "north"), READ["west"], READ["downtown"], "RELEASE a", "COMMIT"]:
        assert state_of(client.query(sql))[0] is None
    assert found(client) == [(b"5001", b"north")]


def test_a_node_that_joins_later_has_the_savepoints_too(client: RawClient) -> None:
    for sql in ["BEGIN", "SAVEPOINT a", insert(5000, "west"), "SAVEPOINT b", insert(5001, "west")]:
        assert state_of(client.query(sql)) == (None, "T")
    for sql in [READ["north"], "ROLLBACK TO b", READ["north"], "RELEASE b", "RELEASE a", "COMMIT"]:
        assert state_of(client.query(sql))[0] is None
    assert found(client) == [(b"5000", b"west")]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_one_snapshot_is_of_one_node(level: str, client: RawClient) -> None:
    client.query(f"BEGIN ISOLATION LEVEL {level}")
    assert state_of(client.query(READ["west"])) == (None, "T")
    assert state_of(client.query(READ["west"])) == (None, "T")
    assert state_of(client.query(READ["north"])) == ("0A000", "E")
    assert state_of(client.query("ROLLBACK")) == (None, "I")


@pytest.mark.parametrize(
    "said",
    [
        "SET default_transaction_isolation = 'repeatable read'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ],
)
def test_the_default_isolation_level_counts_as_well(said: str, client: RawClient) -> None:
    assert state_of(client.query(said)) == (None, "I")
    client.query("BEGIN")
    assert state_of(client.query(READ["west"])) == (None, "T")
    assert state_of(client.query(READ["north"])) == ("0A000", "E")
    client.query("ROLLBACK")
    client.query("BEGIN ISOLATION LEVEL READ COMMITTED")
    assert state_of(client.query(READ["west"])) == (None, "T")
    assert state_of(client.query(READ["north"])) == (None, "T")


def test_a_start_up_isolation_level_counts_as_well(shared_proxy: RunningProxy) -> None:
    options = "-c default_transaction_isolation=serializable"
    with RawClient.logged_in(shared_proxy.conninfo, options=options) as client:
        client.query("BEGIN")
        assert state_of(client.query(READ["west"])) == (None, "T")
        assert state_of(client.query(READ["north"])) == ("0A000", "E")


def test_a_commit_that_fails_leaves_nothing(client: RawClient, library_cluster: LibraryCluster) -> None:
    with library_cluster.connect("west-library") as node:
        node.execute("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                        $$ BEGIN RAISE 'not this one' USING ERRCODE = '23514'; END $$""")
        node.execute("""CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON books_b DEFERRABLE INITIALLY DEFERRED
                        FOR EACH ROW WHEN (NEW.isbn = 5000) EXECUTE FUNCTION refuse()""")
        try:
            for sql in ["BEGIN", READ["north"], insert(5001, "west"), insert(5000, "west")]:
                assert state_of(client.query(sql)) == (None, "T")
            assert state_of(client.query("COMMIT")) == ("23514", "I")
            assert found(client) == []
            assert state_of(client.query(insert(5000, "west"))) == ("23514", "I")
            assert state_of(client.query(f"{READ['north']}; {insert(5000, 'west')}")) == ("23514", "I")
        finally:
            node.execute("DROP FUNCTION refuse CASCADE")


def test_statements_outside_of_transactions_are_committed_each(client: RawClient) -> None:
    for isbn, branch in ((5000, "west"), (5001, "north"), (5002, "downtown")):
        assert state_of(client.query(insert(isbn, branch))) == (None, "I")
    assert state_of(client.query(insert(5000, "west"))) == ("23505", "I")
    assert [isbn for isbn, _ in found(client)] == [b"5000", b"5001", b"5002"]


def test_a_transaction_sees_what_it_wrote_in_a_scatter(client: RawClient) -> None:
    client.query("BEGIN")
    client.query(insert(5000, "west"))
    assert found(client) == [(b"5000", b"west")]
    client.query("ROLLBACK")
    assert found(client) == []


def test_an_error_in_a_scatter_fails_the_transaction_everywhere(client: RawClient) -> None:
    client.query("BEGIN")
    client.query(insert(5000, "west"))
    assert state_of(client.query("SELECT 1 / (isbn - isbn) FROM books"))[1] == "E"
    assert client.query("COMMIT")[0].text == "ROLLBACK"
    assert found(client) == []


def test_transactions_over_a_lost_connection(client: RawClient, library_cluster: LibraryCluster) -> None:
    """The node ends the connection: an error, a failed transaction, and all is well after ROLLBACK."""
    client.query("BEGIN")
    client.query(READ["north"])
    client.query(insert(5000, "west"))
    with library_cluster.connect("west-library") as node:
        node.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    state, status = state_of(client.query(READ["west"]))
    assert state in {"57P01", "08006"}
    assert status == "E"
    assert client.query("COMMIT")[0].text == "ROLLBACK"
    assert found(client) == []


@pytest.mark.parametrize(
    "statements",
    [
        ("BEGIN", "BEGIN READ ONLY", "DELETE FROM books WHERE branch = 'west' AND isbn = 1"),
        (
            "BEGIN",
            "SELECT count(*) FROM books",
            "BEGIN READ ONLY",
            "DELETE FROM books WHERE branch = 'west' AND isbn = 1",
        ),
        ("BEGIN", "SELECT count(*) FROM books", "BEGIN ISOLATION LEVEL SERIALIZABLE", "SELECT 1"),
        ("BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "SHOW transaction_isolation"),
    ],
)
def test_a_second_begin_warns_and_sets_its_modes(
    statements: tuple[str, ...], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    answers = []
    for conninfo in (shared_proxy.conninfo, reference_pg.conninfo):
        with RawClient.logged_in(conninfo) as client:
            answers.append([[message.shown() for message in client.query(sql)] for sql in (*statements, "ROLLBACK")])
    assert answers[0] == answers[1]
