"""Transactions that write on several nodes: each conversation is the one that a single PostgreSQL has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
import pytest

from tests.activity import await_nothing_open, connect
from tests.differential.conversation import Talker, Turn, said
from tests.extended_client import SYNC, Step, bind, describe, execute, parse
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy

FIRST, LAST = 71_000, 71_999
REFUSED, TOLD = 71_666, 71_777
MINE = f"isbn BETWEEN {FIRST} AND {LAST}"
FOUND = f"SELECT isbn, branch, book_name FROM books WHERE {MINE} ORDER BY isbn, branch"
IN = [f"SELECT count(*) FROM books WHERE branch = '{branch}' AND {MINE}" for branch in ("west", "north", "downtown")]
SET_THERE = [
    f"SELECT count(*), current_setting('work_mem'), current_setting('geqo'), current_setting('TimeZone') "
    f"FROM books WHERE branch = '{branch}' AND {MINE}"
    for branch in ("west", "north", "downtown")
]
SET_BEFORE = ["BEGIN", "SET work_mem = '3MB'", "SET TimeZone = 'Asia/Tokyo'"]
# Rows whose COMMIT fails, rows whose COMMIT has something to say, and no two of one name in a branch by then.
SETUP = (
    """CREATE FUNCTION commit_refused() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE 'not this one' USING ERRCODE = '23514', HINT = 'another'; END $$""",
    """CREATE FUNCTION commit_told() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE NOTICE '% of %', NEW.isbn, NEW.branch; RETURN NULL; END $$""",
    f"""CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON {{table}} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.isbn = {REFUSED}) EXECUTE FUNCTION commit_refused()""",
    f"""CREATE CONSTRAINT TRIGGER told AFTER INSERT ON {{table}} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.isbn = {TOLD}) EXECUTE FUNCTION commit_told()""",
    f"""ALTER TABLE {{table}} ADD CONSTRAINT named_once EXCLUDE (branch WITH =, book_name WITH =)
        WHERE ({MINE}) DEFERRABLE INITIALLY DEFERRED""",
)
CLEAN_UP = (
    f"DELETE FROM {{table}} WHERE {MINE}",
    "ALTER TABLE {table} DROP CONSTRAINT named_once",
    "DROP FUNCTION commit_refused, commit_told CASCADE",
)


def insert(isbn: int, branch: str, name: str = "", more: str = "") -> str:
    name = name or f"book {isbn}"
    return f"INSERT INTO books (isbn, branch, book_name, author) VALUES ({isbn}, '{branch}', '{name}', 'x') {more}"


W, N, D = insert(71_001, "west"), insert(71_002, "north"), insert(71_003, "downtown")
RETURNING = insert(71_004, "north", more="RETURNING isbn, branch, price")
AGAIN = insert(71_001, "west", more="ON CONFLICT (branch, isbn) DO UPDATE SET book_name = 'again' RETURNING book_name")
LATER = insert(71_005, "downtown")
UPDATE = f"UPDATE books SET book_name = book_name || '!' WHERE branch = 'north' AND {MINE} RETURNING isbn, book_name"
DELETE = f"DELETE FROM books WHERE branch = 'west' AND {MINE}"
SAME_NAMES = [insert(71_010, "west", "a"), insert(71_011, "north", "a"), insert(71_012, "north", "b")]
CLASH = insert(71_013, "north", "b")


@pytest.fixture(scope="module", autouse=True)
def constraints(library_cluster: LibraryCluster, reference_pg: ReferencePostgres) -> Iterator[None]:
    def everywhere(statements: Sequence[str]) -> None:
        for letter, node in zip("abc", library_cluster.nodes, strict=True):
            _run(library_cluster.conninfo(node), statements, f"books_{letter}")
        _run(reference_pg.conninfo, statements, "books")

    everywhere(SETUP)
    yield
    everywhere(CLEAN_UP)


@pytest.fixture(autouse=True)
def no_rows(library_cluster: LibraryCluster, reference_pg: ReferencePostgres, constraints: None) -> Iterator[None]:
    yield
    await_nothing_open(library_cluster)
    for letter, node in zip("abc", library_cluster.nodes, strict=True):
        with connect(library_cluster, node) as connection:
            assert connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == []
        _run(library_cluster.conninfo(node), CLEAN_UP[:1], f"books_{letter}")
    _run(reference_pg.conninfo, CLEAN_UP[:1], "books")


def _run(conninfo: str, statements: Sequence[str], table: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.format(table=table).encode())


@pytest.fixture
def talkers(shared_proxy: RunningProxy, reference_pg: ReferencePostgres) -> Iterator[tuple[Talker, Talker]]:
    both = Talker(shared_proxy.conninfo), Talker(reference_pg.conninfo)
    yield both
    for talker in both:
        talker.close()


def agree(talkers: tuple[Talker, Talker], turns: Sequence[Turn]) -> None:
    proxy, reference = talkers
    for turn in turns:
        assert proxy.take(turn) == reference.take(turn), turn


@pytest.mark.parametrize(
    "statements",
    [
        ["BEGIN", W, N, D, FOUND, *IN, "COMMIT", FOUND],
        ["BEGIN", W, RETURNING, AGAIN, UPDATE, DELETE, FOUND, "COMMIT", FOUND],
        ["BEGIN", W, N, "ROLLBACK", FOUND, "COMMIT"],
        ["BEGIN", W, N, "SELECT 1/0", FOUND, D, "COMMIT", FOUND],
        ["BEGIN", W, N, "SELECT 1/0", "COMMIT AND CHAIN", D, FOUND, "COMMIT", FOUND],
        ["BEGIN", W, N, "COMMIT AND CHAIN", D, AGAIN, "ROLLBACK AND CHAIN", LATER, W, "COMMIT", FOUND],
        [
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            W,
            N,
            "COMMIT AND CHAIN",
            "SHOW transaction_isolation",
            "END",
        ],
        # Writers come and go.
        ["BEGIN", W, "SAVEPOINT a", N, D, FOUND, "ROLLBACK TO a", FOUND, "COMMIT", FOUND],
        ["BEGIN", W, "SAVEPOINT a", N, "ROLLBACK TO a", D, "COMMIT", FOUND],
        ["BEGIN", W, "SAVEPOINT a", N, "SAVEPOINT b", D, "ROLLBACK TO b", "RELEASE a", FOUND, "COMMIT", FOUND],
        ["BEGIN", "SAVEPOINT a", W, N, "SELECT 1/0", "ROLLBACK TO a", RETURNING, D, "RELEASE a", "COMMIT", FOUND],
        ["BEGIN", *IN, "SAVEPOINT a", W, N, "ROLLBACK TO a", N, "ROLLBACK TO a", D, W, "COMMIT", FOUND],
        [
            "BEGIN",
            W,
            "SAVEPOINT a",
            N,
            "SAVEPOINT a",
            D,
            "ROLLBACK TO a",
            "RELEASE a",
            "ROLLBACK TO a",
            "COMMIT",
            FOUND,
        ],
        ["BEGIN", W, "SAVEPOINT a", W, "ROLLBACK TO a", N, "SAVEPOINT b", N, "RELEASE b", "COMMIT", FOUND],
        # COMMIT says no, wherever that is.
        ["BEGIN", W, insert(REFUSED, "north"), "COMMIT", FOUND, "COMMIT"],
        ["BEGIN", insert(REFUSED, "west"), N, "COMMIT AND CHAIN", FOUND, "ROLLBACK"],
        ["BEGIN", W, N, insert(REFUSED, "downtown"), "COMMIT", FOUND],
        ["BEGIN", W, "SAVEPOINT a", insert(REFUSED, "north"), "ROLLBACK TO a", N, "COMMIT", FOUND],
        ["BEGIN", *SAME_NAMES, "COMMIT", FOUND],
        ["BEGIN", *SAME_NAMES, CLASH, "COMMIT", FOUND],
        ["BEGIN", *SAME_NAMES, CLASH, "DELETE FROM books WHERE branch = 'north' AND isbn = 71012", "COMMIT", FOUND],
        ["BEGIN", insert(TOLD, "west"), N, "COMMIT", FOUND],
        ["BEGIN", W, insert(TOLD, "north"), "COMMIT", FOUND],
        ["SET CONSTRAINTS ALL IMMEDIATE", "BEGIN", "SET CONSTRAINTS ALL DEFERRED", W, "COMMIT", FOUND],
        ["BEGIN", *SAME_NAMES, "SET CONSTRAINTS ALL IMMEDIATE", CLASH, "COMMIT", FOUND],
        ["BEGIN", *SAME_NAMES, CLASH, "SAVEPOINT a", "SET CONSTRAINTS ALL IMMEDIATE", "ROLLBACK", FOUND],
        [
            *("BEGIN", insert(TOLD, "west"), insert(TOLD, "downtown"), "SET CONSTRAINTS ALL IMMEDIATE"),
            *("SET CONSTRAINTS ALL DEFERRED", insert(TOLD, "north"), "COMMIT", FOUND),
        ],
        [
            *("BEGIN", W, "SAVEPOINT a", "SET CONSTRAINTS ALL IMMEDIATE", insert(REFUSED, "north"), "ROLLBACK TO a"),
            *(insert(REFUSED, "north"), "ROLLBACK TO a", N, "COMMIT", FOUND),
        ],
        # One Query is one transaction.
        [f"{W}; {N}; {D}", FOUND],
        [f"{W}; {N}; SELECT 1/0; {D}", FOUND],
        [f"{W}; {N}; COMMIT; {D}; ROLLBACK; {LATER}", FOUND],
        [f"{W}; BEGIN; {N}; {D}", FOUND, "COMMIT", FOUND],
        ["; ".join(["BEGIN", W, N, "COMMIT", "BEGIN", insert(REFUSED, "west"), D, "COMMIT", LATER]), FOUND],
        # What is set stays as far as it should.
        [
            "BEGIN",
            "SET work_mem = '3MB'",
            W,
            "SET LOCAL geqo = off",
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            N,
            *SET_THERE,
            "COMMIT",
            *SET_THERE,
            "RESET ALL",
        ],
        [*SET_BEFORE, W, insert(REFUSED, "north"), "COMMIT", *SET_THERE],
        [*SET_BEFORE, insert(REFUSED, "west"), N, IN[2], "COMMIT", *SET_THERE],
        [*SET_BEFORE, IN[1], IN[2], insert(REFUSED, "west"), "COMMIT", *SET_THERE],
        ["SET work_mem = '4MB'", "BEGIN", W, N, "RESET work_mem", "COMMIT", *SET_THERE],
        ["SET synchronous_commit = off", "BEGIN", W, N, "COMMIT", "SHOW synchronous_commit", FOUND],
        # What the session keeps on a node, and what may not be prepared.
        ["LISTEN l", "BEGIN", W, N, D, "NOTIFY l, 'x'", FOUND, "COMMIT", "UNLISTEN *"],
        [
            "BEGIN",
            N,
            D,
            W,
            "LISTEN l",
            "NOTIFY l, 'x'",
            "SELECT pg_notify('l', 'y')",
            "COMMIT",
            "NOTIFY l",
            "UNLISTEN *",
        ],
        ["LISTEN l", "BEGIN", N, W, "NOTIFY l", "ROLLBACK", "SELECT 1", "UNLISTEN *"],
        ["BEGIN", N, W, "CREATE TEMP TABLE t (a) ON COMMIT DROP AS SELECT 7", "SELECT a FROM t", "COMMIT", "TABLE t"],
        [
            "CREATE TEMP TABLE t (a int)",
            "BEGIN",
            N,
            W,
            "INSERT INTO t VALUES (1)",
            D,
            "COMMIT",
            "TABLE t",
            "DISCARD ALL",
        ],
        ["CREATE TEMP TABLE t (a int)", "BEGIN", N, W, D, "TABLE t", "COMMIT", "TABLE t", "DROP TABLE t"],
        ["BEGIN", N, W, f"DECLARE c CURSOR WITH HOLD FOR {FOUND}", D, "COMMIT", "FETCH ALL FROM c", "CLOSE c"],
        ["BEGIN", W, f"DECLARE c CURSOR WITH HOLD FOR {IN[1]}", N, D, "COMMIT", "FETCH ALL FROM c", "CLOSE c"],
        ["BEGIN", W, N, f"DECLARE c CURSOR FOR {FOUND}", "FETCH 1 FROM c", D, "COMMIT", "FETCH 1 FROM c"],
        [
            "BEGIN",
            W,
            N,
            "SELECT pg_advisory_lock(71), pg_advisory_xact_lock(71)",
            "COMMIT",
            "SELECT pg_advisory_unlock(71)",
        ],
    ],
)
def test_queries(statements: list[str], talkers: tuple[Talker, Talker]) -> None:
    agree(talkers, [said(sql) for sql in statements])


def bound(*statements: str) -> list[Step]:
    return [step for sql in statements for step in (parse(sql), bind(), describe(), execute())]


def turn(*steps: Step) -> Turn:
    return Turn(b"".join(step.data for step in (*steps, SYNC)), 1, " ".join(map(repr, steps)))


@pytest.mark.parametrize(
    "turns",
    [
        [turn(*bound(W, N, D)), said(FOUND)],
        [turn(*bound(W, RETURNING, AGAIN, UPDATE, D)), said(FOUND)],
        [turn(*bound(W, N, W, D)), said(FOUND)],
        [turn(*bound(W, N, "SELECT 1/0", D)), turn(*bound(D)), said(FOUND)],
        # Sync commits, and says so when it cannot.
        [turn(*bound(W, insert(REFUSED, "north"))), turn(*bound(D)), said(FOUND)],
        [turn(*bound(insert(REFUSED, "west"), N, D)), said(FOUND)],
        [turn(*bound(W, insert(TOLD, "north"))), said(FOUND)],
        [turn(*bound("BEGIN", W, N, "COMMIT")), said(FOUND)],
        [turn(*bound("BEGIN", W, insert(REFUSED, "north"), "COMMIT", D)), turn(*bound(D)), said(FOUND)],
        [turn(*bound("BEGIN", W, N, "SAVEPOINT a", D, W)), turn(*bound("ROLLBACK TO a", LATER, "COMMIT")), said(FOUND)],
        [turn(*bound("BEGIN", W)), turn(*bound(N, "SELECT 1/0", D)), turn(*bound("COMMIT")), said(FOUND)],
        [turn(*bound(W, N, "COMMIT", D, "SELECT 1/0")), said(FOUND)],
        [turn(*bound("BEGIN", W, N, "COMMIT AND CHAIN", D)), turn(*bound("ROLLBACK")), said(FOUND)],
    ],
)
def test_pipelines(turns: list[Turn], talkers: tuple[Talker, Talker]) -> None:
    agree(talkers, turns)


def test_a_notification_comes_with_the_commit_and_once(
    talkers: tuple[Talker, Talker], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    listeners = Talker(shared_proxy.conninfo), Talker(reference_pg.conninfo)
    agree(listeners, [said("LISTEN l")])
    agree(talkers, [said(sql) for sql in ["BEGIN", N, W, "NOTIFY l, 'x'", "COMMIT", "BEGIN", D, "NOTIFY l, 'y'"]])
    try:
        for listener in listeners:
            message = listener.client.message()
            assert message is not None
            assert message.kind == "A"
            assert message.payload[4:] == b"l\0x\0"
        agree(listeners, [said("UNLISTEN l"), said("SELECT 1")])
    finally:
        for listener in listeners:
            listener.close()
