"""The library's data: true ISBNs, the hash layout of patrons, files that run twice."""

from __future__ import annotations

import psycopg
import pytest

from pgproxy.demo.library import load_library
from tests.fix_nodes import LibraryCluster, ReferencePostgres


def test_isbn_check_digits(reference_pg: ReferencePostgres) -> None:
    with psycopg.connect(reference_pg.conninfo) as connection:
        isbns = [str(isbn) for (isbn,) in connection.execute("SELECT DISTINCT isbn FROM books")]
    assert len(isbns) >= 55
    for isbn in isbns:
        assert len(isbn) == 13
        assert sum(int(digit) * (1, 3)[at % 2] for at, digit in enumerate(isbn)) % 10 == 0, isbn


def test_orwell_is_held_by_every_branch(reference_pg: ReferencePostgres) -> None:
    with psycopg.connect(reference_pg.conninfo) as connection:
        rows = connection.execute(
            "SELECT branch, book_name, author FROM books WHERE isbn = 9780451524935 ORDER BY 1"
        ).fetchall()
    assert rows == [(branch, "1984", "George Orwell") for branch in ("downtown", "north", "west")]


@pytest.mark.parametrize(
    ("node", "table", "branch"),
    [
        ("downtown-library", "books_a", "downtown"),
        ("west-library", "books_b", "west"),
        ("north-library", "books_c", "north"),
    ],
)
def test_books_lie_by_branch(library_cluster: LibraryCluster, node: str, table: str, branch: str) -> None:
    with library_cluster.connect(node) as connection:
        assert connection.execute(f"SELECT DISTINCT branch FROM {table}").fetchall() == [(branch,)]
        assert connection.execute("SELECT count(*) FROM books").fetchone() == (0,)


@pytest.mark.parametrize(
    ("remainder", "node", "table"),
    [
        (0, "downtown-library", "patrons_a"),
        (1, "west-library", "patrons_b"),
        (2, "north-library", "patrons_c"),
    ],
)
def test_patrons_lie_by_postgres_own_hash(
    library_cluster: LibraryCluster, remainder: int, node: str, table: str
) -> None:
    with library_cluster.connect(node) as connection:
        connection.execute("CREATE TEMP TABLE hashed (patron_id BIGINT) PARTITION BY HASH (patron_id)")
        query = f"SELECT satisfies_hash_partition('hashed'::regclass, 3, {remainder}, patron_id) FROM {table}"
        found = [right for (right,) in connection.execute(query.encode())]
    assert len(found) > 10
    assert all(found)


def test_loading_again_changes_nothing(library_cluster: LibraryCluster) -> None:
    def rows() -> list[list[tuple[object, ...]]]:
        tables = {"downtown-library": "a", "west-library": "b", "north-library": "c"}
        found = []
        for node, letter in tables.items():
            with library_cluster.connect(node) as connection:
                found.extend(
                    connection.execute(f"SELECT * FROM {table}_{letter} ORDER BY 1".encode()).fetchall()
                    for table in ("books", "patrons")
                )
        return found

    before = rows()
    load_library(list(library_cluster.nodes.values()))
    assert rows() == before


def test_nothing_else_is_in_the_reference(library_cluster: LibraryCluster, reference_pg: ReferencePostgres) -> None:
    with psycopg.connect(reference_pg.conninfo) as connection:
        assert connection.execute("SELECT count(*) FROM patrons").fetchone() == (60,)
        assert connection.execute("SELECT count(*) FROM books").fetchone() == (72,)
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert sorted(tables) == [("books",), ("patrons",)]


def test_a_killed_node_comes_back_with_its_rows(own_cluster: LibraryCluster) -> None:
    own_cluster.kill("west-library")
    with pytest.raises(psycopg.OperationalError):
        own_cluster.connect("west-library")
    own_cluster.restart("west-library")
    with own_cluster.connect("west-library") as connection:
        assert connection.execute("SELECT count(*) FROM books_b").fetchone() == (24,)
