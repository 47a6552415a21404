"""Query messages: the same ones come back, in the same order, as from a single PostgreSQL."""

from __future__ import annotations

import pytest

from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, query
from tests.session.conftest import Converse


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        " ; ; ",
        "-- only a comment",
        "/* only a comment */",
        "/* a comment */ ; SELECT 1",
        "SELECT 1; SELECT 'a', 2.5, NULL",
        "SELECT 1;;SELECT 2;",
        "SELECT count(*) FROM books; SELECT count(*) FROM patrons",
        "SELECT FROM books WHERE branch = 'west'",
        "SELECT book_name FROM books WHERE branch = 'west' ORDER BY isbn LIMIT 0",
        "SELECT isbn, author FROM books WHERE branch = 'north' ORDER BY isbn",
        "SELECT isbn, author FROM books ORDER BY isbn LIMIT 3",
        "SELECT 1; SELECT 1/0; SELECT 2",
        "SELECT count(*) FROM books; SELECT count(*) FROM patrons; SELECT nothing FROM books",
        "BEGIN; SELECT 1; COMMIT; SELECT 2",
        "SELECT 1; COMMIT; SELECT 2",
        "SELECT 1; ROLLBACK; SELECT 2",
        "DO $$ BEGIN RAISE NOTICE 'hello %', 1; END $$",
        "DO $$ BEGIN RAISE WARNING USING MESSAGE = 'w', DETAIL = 'd', HINT = 'h'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = 'e', ERRCODE = 'AB123', COLUMN = 'c', CONSTRAINT = 'k'; END $$",
        b"SELECT '\xff\xfe'",
        b"SELECT '\xc3'",
        b"SELECT 1\0SELECT 2",
    ],
)
def test_a_query_is_answered_as_by_postgres(sql: str | bytes, with_proxy: Converse, with_postgres: Converse) -> None:
    assert with_proxy(sql, "SELECT 'next'") == with_postgres(sql, "SELECT 'next'")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT title FROM books WHERE branch = 'west'",
        "SELECT 'äöü', titel FROM books WHERE branch = 'west' AND isbn = 12345",
        "SELECT 'a much longer literal, ü', titel FROM books WHERE branch = 'west' AND isbn = 1",
        "SELECT 'äöü', titel FROM books WHERE branch = 'west'",
        "SELECT 'ä', titel FROM books WHERE branch = 'a branch with a longer name'",
        "SELECT 'äöü' AS x, titel FROM books",
        "SELECT books.titel, 'x' FROM books WHERE branch = 'west'",
        "  /* ä */ SELECT b.titel FROM books AS b WHERE branch IN ('west', 'north')",
        "SELECT book_name FROM books WHERE branch = 'west' AND isbn = 'abc'",
        "SELECT book_name FROM books WHERE isbn = 'abc'",
        "SELECT 1 / (published_year - published_year) FROM books WHERE branch = 'west'",
        "SELECT 1 AS ä; SELECT 'ü', nothing",
        "SELECT 1; SELECT 'ü', titel FROM books WHERE branch = 'west'",
        "SELECT count(*) FROM books WHERE branch = 'west' AND nothing(isbn)",
        "INSERT INTO patrons (patron_id, name, branch, joined) VALUES (5, 'a', 'west', '2020-13-01')",
        "SELEC 'ü'",
        "SELECT 'ü' FROM FROM",
        "SELECT (",
        "SELECT 'open",
    ],
)
def test_errors_keep_their_fields_and_point_to_the_client_s_text(
    sql: str, with_proxy: Converse, with_postgres: Converse
) -> None:
    assert with_proxy(sql) == with_postgres(sql)
    assert with_proxy(sql) == with_postgres(sql), "the plan from the cache"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE books SET titel = 'ü' WHERE branch = 'west'",
        "INSERT INTO books (isbn, branch, titel) VALUES (1, 'west', 2)",
    ],
)
def test_a_message_of_a_write_names_the_shard(sql: str, with_proxy: Converse, with_postgres: Converse) -> None:
    ((error, ready),) = with_postgres(sql)
    error[1]["M"] = error[1]["M"].replace('"books"', '"books_b"')
    assert with_proxy(sql) == [[error, ready]]


def test_a_violated_constraint_is_told_in_full(with_proxy: Converse) -> None:
    sql = "INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'x', NULL)"
    ((error, _ready),) = with_proxy(sql)
    assert {code: error[1][code] for code in "SCstc"} == {
        "S": "ERROR",
        "C": "23502",
        "s": "public",
        "t": "books_b",
        "c": "author",
    }
    assert error[1]["D"].startswith("Failing row contains (1, west, x, null")


def test_an_error_undoes_the_statements_before_it(shared_proxy: RunningProxy, with_proxy: Converse) -> None:
    insert = "INSERT INTO books (isbn, branch, book_name, author) VALUES (77, 'west', 'x', 'y')"
    find = "SELECT count(*) FROM books WHERE branch = 'west' AND isbn = 77"
    several, found = with_proxy(f"{insert}; {find}; SELECT 1/0; {insert}", find)
    assert several[-2][1]["C"] == "22012"
    assert ("D", (b"1",)) in several
    assert ("D", (b"0",)) in found


def test_a_query_that_writes_on_several_nodes_does_all_or_nothing(with_proxy: Converse) -> None:
    """One Query is one transaction."""
    insert = "INSERT INTO books (isbn, branch, book_name, author) VALUES (78, '{}', 'x', 'y')"
    both = f"{insert.format('west')}; {insert.format('north')}"
    find = "SELECT count(*) FROM books WHERE isbn = 78"
    failed, none, done, found, cleaned = with_proxy(
        f"{both}; SELECT 1/0", find, both, find, "DELETE FROM books WHERE isbn = 78"
    )
    assert failed[-2][1]["C"] == "22012"
    assert ("D", (b"0",)) in none
    assert done == [("C", "INSERT 0 1"), ("C", "INSERT 0 1"), ("Z", "I")]
    assert ("D", (b"2",)) in found
    assert cleaned[0] == ("C", "DELETE 2")


def test_what_was_committed_inside_a_query_stays(with_proxy: Converse) -> None:
    insert = "INSERT INTO books (isbn, branch, book_name, author) VALUES ({}, 'west', 'x', 'y')"
    mixed, found, cleaned = with_proxy(
        f"BEGIN; {insert.format(79)}; COMMIT; {insert.format(80)}; SELECT 1/0",
        "SELECT isbn FROM books WHERE branch = 'west' AND isbn IN (79, 80)",
        "DELETE FROM books WHERE branch = 'west' AND isbn = 79",
    )
    assert mixed[-2][1]["C"] == "22012"
    assert [message[1] for message in found if message[0] == "D"] == [(b"79",)]
    assert cleaned[0] == ("C", "DELETE 1")


def test_statements_on_every_node_in_one_query(
    with_proxy: Converse, with_postgres: Converse, library_cluster: LibraryCluster
) -> None:
    sql = "; ".join(
        f"SELECT min(isbn), '{branch}' FROM books WHERE branch = '{branch}'" for branch in ("north", "west", "downtown")
    )
    assert with_proxy(sql) == with_postgres(sql)


def test_queries_sent_without_waiting_are_answered_in_order(shared_proxy: RunningProxy) -> None:
    statements = [f"SELECT {number}, count(*) FROM books" for number in range(50)]
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.send(b"".join(map(query, statements)))
        answers = [client.until_ready() for _ in statements]
    assert [next(message for message in answer if message.kind == "D").values[0] for answer in answers] == [
        str(number).encode() for number in range(50)
    ]
