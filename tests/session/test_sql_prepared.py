"""PREPARE, EXECUTE and DEALLOCATE: one namespace with the protocol's prepared statements, routed by their values."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest

from tests.activity import connect
from tests.extended_client import SYNC, Step, bind, close, converse, describe, execute, once, parse, simple
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient
from tests.session.conftest import Converse

HOME = "downtown-library"
WEST = "PREPARE q AS SELECT isbn, book_name FROM books WHERE branch = $1 AND isbn < $2 ORDER BY isbn"
NEW_PATRON = "PREPARE i AS INSERT INTO patrons (patron_id, name, branch, joined) VALUES ($1, $2, 'west', '2020-01-01')"


@pytest.mark.parametrize(
    "statements",
    [
        [
            "PREPARE q (int, text) AS SELECT $1 + 1, $2",
            "EXECUTE q(1, 'a')",
            "EXECUTE q(1 + 1, 'a' || 'b')",
            "EXECUTE q('5', NULL)",
            "EXECUTE q(2.5, 7)",
            "EXECUTE q(1)",
            "EXECUTE q(1, 2, 3)",
            "EXECUTE q",
            "EXECUTE q('x', 'y')",
            "EXECUTE  q (1, true)",
            "EXECUTE q(true, 'y')",
            "EXECUTE q(99999999999, 'y')",
            "EXECUTE q(1, nosuch)",
            "EXECUTE q(1, (SELECT 'x'))",
            "EXECUTE q(1, $1)",
            "EXECUTE q(count(*), 'x')",
            "EXECUTE q(1, nosuch())",
            "PREPARE q AS SELECT 1",
            "DEALLOCATE q",
            "DEALLOCATE q",
            "EXECUTE q(1, 'a')",
            "PREPARE q AS SELECT 2",
            "EXECUTE q",
            "DEALLOCATE ALL",
            "EXECUTE q",
        ],
        [
            WEST,
            "EXECUTE q('west', 9780451524936)",
            "EXECUTE q('north', '9780451524936')",
            "EXECUTE q(lower('WEST'), 1e18)",
            "EXECUTE q('nowhere', 3)",
            "EXECUTE q(NULL, 3)",
            "EXECUTE q(now(), 3)",
            "DISCARD ALL",
            "EXECUTE q('west', 3)",
        ],
        [
            "PREPARE q AS SELECT count(*), max(price) FROM books WHERE isbn > $1 AND genre <> $2",
            "EXECUTE q(0, '')",
            "EXECUTE q('9780451524936', 'Fantasy')",
            "PREPARE s AS SELECT branch, isbn FROM books ORDER BY isbn, branch LIMIT $1 OFFSET $2",
            "EXECUTE s(3, 4)",
            "EXECUTE s(2 + 1, NULL)",
            "EXECUTE s(-1, 0)",
            "PREPARE v AS VALUES ($1::int, 'x')",
            "EXECUTE v(1)",
            "PREPARE w AS SELECT name FROM patrons WHERE patron_id = ANY ($1) ORDER BY patron_id",
            "EXECUTE w('{1,2,3}')",
            "EXECUTE w(ARRAY[1, 5])",
        ],
        [
            "PREPARE q AS SELECT nosuch FROM books WHERE branch = 'west'",
            "PREPARE q AS SELECT * FROM books AS b WHERE b.branch = 'west' AND b.nosuch = $1",
            "   PREPARE q (int, nosuch) AS SELECT 1",
            "PREPARE q (nosuch, int) AS SELECT 1",
            "PREPARE q AS SELECT $1",
            "PREPARE q AS SELECT $1 + nosuch",
            "PREPARE q AS SELECT 1/0",
            "EXECUTE q",
            "PREPARE q AS SELECT FROM FROM",
            "PREPARE q AS CREATE TABLE t (a int)",
            "PREPARE r (int[], numeric(3, 1)) AS SELECT $1, $2",
            "EXECUTE r('{1,2}', 3.456)",
            "EXECUTE r(ARRAY[1, 2], '3.456')",
            "PREPARE t (timestamptz, interval, bytea, bool, date) AS SELECT $1, $2, $3, $4, $5",
            "EXECUTE t('2020-01-01 00:00+01', '1 day', '\\x00ff', 'on', '2020-02-30')",
            "EXECUTE t('2020-01-01 00:00+01', '1 day', '\\x00ff', 'on', '2020-02-03')",
            "SET timezone = 'Asia/Tokyo'",
            "EXECUTE t('2020-01-01 00:00', '1 day', E'\\\\x00ff', true, '2020-02-03'::timestamp)",
        ],
        ["SELECT 1; PREPARE z AS SELECT 2; EXECUTE z; EXECUTE nosuch; SELECT 3", "EXECUTE z"],
        ["BEGIN", "PREPARE q AS SELECT 1", "ROLLBACK", "EXECUTE q", "BEGIN", "DEALLOCATE q", "ROLLBACK", "EXECUTE q"],
        ["BEGIN", "PREPARE q AS SELECT 1", "SELECT 1/0", "EXECUTE q", "PREPARE r AS SELECT 1", "ROLLBACK", "EXECUTE q"],
        [
            NEW_PATRON,
            "BEGIN",
            "EXECUTE i(900001, 'Ada')",
            "SELECT name FROM patrons WHERE patron_id = 900001",
            "EXECUTE i('x', 'Ada')",
            "ROLLBACK",
            "SELECT name FROM patrons WHERE patron_id = 900001",
            "BEGIN",
            "EXECUTE i(900000 + 2, 'Bob')",
            "PREPARE u AS UPDATE patrons SET name = $1 WHERE patron_id = $2 RETURNING name",
            "EXECUTE u('Eve', 900002)",
            "SELECT name FROM patrons WHERE patron_id = 900002",
            "ROLLBACK",
        ],
        [
            "CREATE TEMP TABLE t (a int, b text)",
            "PREPARE q AS INSERT INTO t VALUES ($1, $2)",
            "EXECUTE q(1, 'x')",
            "EXECUTE q(1 + 1, upper('y'))",
            "SELECT * FROM t ORDER BY a",
        ],
        [
            'PREPARE "A b" AS SELECT 1',
            'EXECUTE "A b"',
            'DEALLOCATE PREPARE "A b"',
            'EXECUTE "A b"',
            "DEALLOCATE PREPARE ALL",
        ],
    ],
)
def test_a_conversation_is_that_with_postgres(
    statements: list[str], with_proxy: Converse, with_postgres: Converse
) -> None:
    assert with_proxy(*statements) == with_postgres(*statements)


PROTOCOL: list[list[Step]] = [
    [
        simple("PREPARE q (int) AS SELECT $1 + 1 AS x, 'a'::text AS y"),
        *once("EXECUTE q(1)"),
        *once("EXECUTE q(1 + 5)", results=(1,)),
        *once("EXECUTE q(1)", results=(1, 0)),
        *once("EXECUTE q(1)", results=(1, 0, 1)),
        *once("EXECUTE q('x')"),
        bind(b"7", name="q"), describe(), execute(), SYNC,
        describe("S", "q"), SYNC,
        close("S", "q"), SYNC,
        simple("EXECUTE q(1)"),
    ],
    [
        parse("SELECT $1::int * 3", "p"), SYNC,
        simple("EXECUTE p(5)"),
        simple("EXECUTE p('x')"),
        simple("PREPARE p AS SELECT 1"),
        simple("DEALLOCATE p"),
        simple("EXECUTE p(5)"),
        bind(b"7", name="p"), SYNC,
    ],
    [
        *once("PREPARE z AS SELECT $1::text"),
        *once("EXECUTE z('a')"),
        *once("DEALLOCATE z"),
        *once("EXECUTE z('a')"),
        parse("EXECUTE nosuch", "e"), describe("S", "e"), SYNC,
        *once("PREPARE z AS SELECT nosuch"),
    ],
    [
        simple("PREPARE i AS SELECT isbn FROM books WHERE branch = $1 ORDER BY isbn"),
        *once("EXECUTE i('west')"),
        *once("EXECUTE i(lower('NORTH'))", results=(1,)),
        simple("PREPARE j AS SELECT isbn FROM books ORDER BY isbn, branch"),
        *once("EXECUTE j", results=(1,)),
        *once("EXECUTE j", rows=3),
        parse("EXECUTE i('west')"), bind(), execute(), parse("EXECUTE i(1/0)"), bind(), execute(), SYNC,
    ],
]  # fmt: skip


@pytest.mark.parametrize("steps", PROTOCOL, ids=range(len(PROTOCOL)))
def test_beside_the_protocol_s_statements(
    steps: Sequence[Step], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as one, RawClient.logged_in(reference_pg.conninfo) as other:
        assert converse(one, steps) == converse(other, steps)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("EXPLAIN EXECUTE q", "EXPLAIN of EXECUTE"),
        ("CREATE TEMP TABLE t AS EXECUTE q", "CREATE TABLE AS EXECUTE"),
        ("EXECUTE q(pg_advisory_xact_lock(1))", "pg_advisory_xact_lock"),
        ("PREPARE r AS SELECT * FROM books, pg_class", "cannot use sharded table"),
    ],
)
def test_refused(sql: str, message: str, shared_proxy: RunningProxy) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("PREPARE q AS SELECT 1")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=message):
            connection.execute(sql.encode())


def test_values_choose_the_shards(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    """Each execution reads its own shard and no other: the others are locked."""
    with shared_proxy.connect() as connection, connect(library_cluster, "north-library") as node, node.transaction():
        connection.execute("PREPARE q (text) AS SELECT count(*) FROM books WHERE branch = $1")
        node.execute("LOCK TABLE books_c IN ACCESS EXCLUSIVE MODE")
        for _ in range(3):
            assert connection.execute("EXECUTE q('west')").fetchone()
            assert connection.execute("EXECUTE q('down' || 'town')").fetchone()


def test_arguments_leave_nothing_behind_on_nodes(shared_proxy: RunningProxy) -> None:
    """Also when they fail in a transaction, where nothing can be deallocated."""
    names = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'pgproxy_arguments%%'"
    with psycopg.connect(shared_proxy.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE keeps_its_connection (a int)")
        connection.execute("PREPARE q (int) AS SELECT $1")
        for number in range(5):
            assert connection.execute(f"EXECUTE q({number} + 1)".encode()).fetchone() == (number + 1,)
            connection.execute("BEGIN")
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("EXECUTE q(1/0)")
            connection.execute("ROLLBACK")
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("EXECUTE q(1/0)")
        connection.execute("SELECT %s::int", (1,))
        assert connection.execute(names).fetchone() == (0,)


def test_sequences_among_arguments(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    with connect(library_cluster, HOME) as node, shared_proxy.connect() as connection:
        node.execute("CREATE SEQUENCE prepared_numbers")
        try:
            connection.execute("PREPARE q (bigint) AS SELECT $1")
            assert [connection.execute("EXECUTE q(nextval('prepared_numbers'))").fetchone() for _ in range(3)] == [
                (1,),
                (2,),
                (3,),
            ]
        finally:
            node.execute("DROP SEQUENCE prepared_numbers")


def test_a_client_has_a_limit(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        for first in range(0, 10_000, 500):
            several = "; ".join(f"PREPARE p{number} AS SELECT 1" for number in range(first, first + 500))
            assert client.query(several)[-2].kind == "C"
        for steps in ([simple("PREPARE last AS SELECT 1")], [parse("SELECT 1", "last"), SYNC]):
            assert converse(client, steps)[0][0][1]["C"] == "53400"
        assert client.query("DEALLOCATE p5; PREPARE last AS SELECT 1; EXECUTE last")[-2].text == "SELECT 1"


def test_execute_of_itself_is_refused(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        of_itself = [parse("EXECUTE s", "s"), bind(name="s"), describe(), execute(), SYNC]
        answers = converse(client, [*of_itself, *once("SELECT 1")])
    assert [[shown[1]["C"] for shown in answer if shown[0] == "E"] for answer in answers] == [["0A000"], []]


def test_surplus_arguments_of_a_statement_without_parameters(
    shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    steps = [simple("PREPARE s AS SELECT 1 AS one"), simple("EXECUTE s('west', 1/0)"), simple("EXECUTE s")]
    answers = []
    for conninfo in (shared_proxy.conninfo, reference_pg.conninfo):
        with RawClient.logged_in(conninfo) as client:
            answers.append(converse(client, steps))
    assert answers[0] == answers[1]
