"""INSERT, UPDATE and DELETE on several shards: what one PostgreSQL would answer, on all nodes or on none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.activity import await_nothing_open
from tests.extended_client import SYNC, Shown, Step, bind, close, converse, describe, execute, parse, simple
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient

FIRST = 60_000
LAST = FIRST + 9_999
MINE = f"isbn BETWEEN {FIRST} AND {LAST}"
FIND = f"SELECT isbn, branch, book_name, price FROM books WHERE {MINE} ORDER BY isbn, branch"
REMOVE = f"DELETE FROM books WHERE {MINE}"
COLUMNS = "(isbn, branch, book_name, author)"


def insert(*rows: str, table: str = "books", behind: str = "") -> str:
    """Rows `west`, `north` … with running numbers."""
    values = ", ".join(f"({FIRST + number}, '{row}', 'b{number}', 'x')" for number, row in enumerate(rows))
    return f"INSERT INTO {table} {COLUMNS} VALUES {values}{behind}"


THREE = insert("west", "north", "downtown", "west", "north")
RETURNING = " RETURNING isbn, branch, book_name"
BOUND = f"INSERT INTO books {COLUMNS} VALUES ($1, $2, $3, 'x'), ($4, $5, $6, $7), ($8, $9, $3, $7)"
VALUES = tuple(
    value.encode() for value in (str(FIRST), "west", "one", str(FIRST + 1), "north", "two", "y", str(FIRST + 2), "west")
)
INT8, TEXT = 20, 25
TYPES = (INT8, TEXT, TEXT, INT8, TEXT, TEXT, TEXT, INT8, TEXT)
BINARY_VALUES = tuple(
    int(value).to_bytes(8, "big") if kind == INT8 else value for value, kind in zip(VALUES, TYPES, strict=True)
)


@pytest.fixture
def tidy(library_cluster: LibraryCluster, reference_pg: ReferencePostgres) -> Iterator[None]:
    yield
    await_nothing_open(library_cluster)
    for name, node in zip("abc", library_cluster.nodes, strict=True):
        with library_cluster.connect(node) as connection:
            connection.execute(f"DELETE FROM books_{name} WHERE {MINE}")


CONVERSATIONS = [
    [simple(THREE), simple(FIND), simple(REMOVE), simple(FIND)],
    [simple(THREE + RETURNING), simple(FIND)],
    [simple(THREE), simple(f"UPDATE books SET price = 7, book_name = upper(book_name) WHERE {MINE}"), simple(FIND)],
    [simple(THREE), simple(f"DELETE FROM books WHERE {MINE} AND branch IN ('west', 'north')"), simple(FIND)],
    # an error leaves nothing
    [simple(insert("west", "north", "west") + f", ({FIRST}, 'west', 'again', 'x')"), simple(FIND)],
    [simple(insert("west", "north") + ", (1/0, 'north', 'b', 'x')"), simple(FIND)],
    [simple(insert("west", "north") + f", ({FIRST + 2}, 'north', NULL, 'x')"), simple(FIND)],
    [simple(insert("west", "north") + ", ('x', 'downtown', 'b', 'x')"), simple(FIND)],
    [simple(insert("west", "north") + ", (1, 'downtown', nothing, 'x')"), simple(FIND)],
    [simple(insert("west", "north") + ", (1, 'downtown')"), simple(FIND)],
    [simple(THREE), simple(f"UPDATE books SET price = 1 / (isbn - {FIRST + 1}) WHERE {MINE}"), simple(FIND)],
    [simple("UPDATE books SET no_such = 1"), simple("DELETE FROM books WHERE no_such = 1"), simple(FIND)],
    [simple(insert("west", "north") + f", ({FIRST + 2}, NULL, 'b', 'x')"), simple(FIND)],
    # in a transaction
    [simple("BEGIN"), simple(THREE), simple(FIND), simple("COMMIT"), simple(FIND)],
    [simple("BEGIN"), simple(THREE + RETURNING), simple(FIND), simple("ROLLBACK"), simple(FIND)],
    [
        simple("BEGIN"),
        simple(insert("west")),
        simple("SAVEPOINT a"),
        simple(insert("north", "west")),
        simple("SELECT 1"),
        simple("ROLLBACK TO a"),
        simple(FIND),
        simple(f"UPDATE books SET price = 3 WHERE {MINE}"),
        simple("COMMIT"),
        simple(FIND),
    ],
    [simple("BEGIN"), simple(THREE), simple(THREE), simple(FIND), simple("COMMIT"), simple(FIND)],
    [simple("BEGIN READ ONLY"), simple(THREE), simple("ROLLBACK"), simple(FIND)],
    [simple(f"{THREE}; {REMOVE}; {FIND}"), simple(f"{THREE}; SELECT 1/0"), simple(FIND)],
    [simple(f"{THREE}; BEGIN; {REMOVE}"), simple("ROLLBACK"), simple(FIND)],
    [simple("SET default_transaction_read_only = on"), simple(THREE), simple(FIND)],
    # ON CONFLICT
    [simple(THREE), simple(insert("west", "north", "downtown", behind=" ON CONFLICT DO NOTHING")), simple(FIND)],
    [
        simple(insert("west", "downtown")),
        simple(
            insert("west", "north", behind=" ON CONFLICT (isbn, branch) DO UPDATE SET price = 5 RETURNING isbn, price")
        ),
        simple(FIND),
    ],
    # bound
    [parse(BOUND, types=TYPES), bind(*VALUES), describe(), execute(), SYNC, simple(FIND)],
    [parse(BOUND), bind(*VALUES), describe(), execute(), SYNC, simple(FIND)],
    [parse(BOUND + RETURNING), bind(*VALUES), describe(), execute(), SYNC, simple(FIND)],
    [parse(BOUND + RETURNING), describe("S"), SYNC, bind(*VALUES), execute(), SYNC, simple(FIND)],
    [
        parse(BOUND + RETURNING, types=TYPES),
        bind(*BINARY_VALUES, formats=[1], results=[1]),
        describe(),
        execute(),
        SYNC,
    ],
    [parse(BOUND + RETURNING), bind(*BINARY_VALUES, formats=[1], results=[0, 1, 0]), describe(), execute(), SYNC],
    [
        parse(BOUND + RETURNING, "s"),
        describe("S", "s"),
        SYNC,
        *[step for _ in range(3) for step in (bind(*VALUES, name="s"), execute(), SYNC, simple(REMOVE))],
        simple(FIND),
    ],
    [parse(BOUND), bind(*VALUES[:3], b"no number", *VALUES[4:]), execute(), SYNC, simple(FIND)],
    [parse(BOUND), bind(*VALUES[:-1], None), execute(), SYNC, simple(FIND)],
    [parse(BOUND), bind(*VALUES[:7], VALUES[0], b"west"), execute(), SYNC, simple(FIND)],
    # rows in parts
    [parse(BOUND + RETURNING), bind(*VALUES), describe(), execute(2), SYNC, simple(FIND)],
    [
        simple("BEGIN"),
        parse(BOUND + RETURNING),
        bind(*VALUES, portal="p"),
        describe("P", "p"),
        *(execute(2, "p"), SYNC, execute(2, "p"), execute(2, "p"), SYNC),
        simple("COMMIT"),
        simple(FIND),
    ],
    [
        simple(THREE),
        simple("BEGIN"),
        parse(f"UPDATE books SET price = 2 WHERE {MINE} RETURNING price"),
        *(bind(portal="p"), execute(2, "p"), SYNC, execute(2, "p"), SYNC, execute(2, "p"), SYNC),
        simple("COMMIT"),
    ],
    [
        simple("BEGIN"),
        parse(BOUND + RETURNING),
        *(bind(*VALUES, portal="p"), execute(1, "p"), close("P", "p"), SYNC),
        simple(FIND),
        simple("ROLLBACK"),
    ],
    # pipelines
    [parse(BOUND), bind(*VALUES), execute(), bind(*VALUES), execute(), SYNC, simple(FIND)],
    [
        *(parse(BOUND), bind(*VALUES), execute()),
        *(parse(f"UPDATE books SET price = $1 WHERE {MINE} RETURNING price"), bind(b"3"), describe(), execute()),
        *(parse(REMOVE), bind(), execute(), SYNC),
        simple(FIND),
    ],
    # by SQL
    [
        simple(
            f"PREPARE w(int, text, text) AS INSERT INTO books {COLUMNS} VALUES ($1, $2, 'p', 'x'), ($1, $3, 'q', 'x')"
        ),
        simple(f"EXECUTE w({FIRST}, 'west', 'north')"),
        simple(f"EXECUTE w({FIRST + 1}, 'west', 'west')"),
        simple(f"EXECUTE w({FIRST}, 'downtown', 'north')"),
        simple(FIND),
    ],
]


@pytest.mark.parametrize("steps", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
def test_as_one_postgres(
    steps: list[Step], shared_proxy: RunningProxy, reference_pg: ReferencePostgres, tidy: None
) -> None:
    answers = []
    for conninfo in (shared_proxy.conninfo, reference_pg.conninfo):
        with RawClient.logged_in(conninfo) as client:
            told = converse(client, [*steps, simple("ROLLBACK"), simple("RESET ALL"), simple(REMOVE)])
            answers.append([list(map(logical, answer)) for answer in told])
    assert answers[0] == answers[1]


def logical(one: Shown) -> Shown:
    """Errors without the names of shards, and without when a row was written."""
    if one[0] != "E":
        return one
    return ("E", {code: _NOW.sub("now", _SHARDS.sub("books", text)) for code, text in one[1].items()})


_SHARDS = re.compile(r"\bbooks_[abc](?=\b|_)")
_NOW = re.compile(r"20[2-9][0-9]-[0-9: .+-]+")


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE books SET price = price + 1 WHERE {MINE}",
        insert("north", "west", "downtown", behind=" ON CONFLICT (isbn, branch) DO UPDATE SET price = books.price + 1"),
    ],
    ids=["UPDATE", "ON CONFLICT"],
)
def test_sessions_that_write_the_same_rows_wait_for_each_other(
    sql: str, shared_proxy: RunningProxy, tidy: None
) -> None:
    def write(_: int) -> list[str]:
        with RawClient.logged_in(shared_proxy.conninfo) as client:
            return [message.kind for _ in range(10) for message in client.query(sql)]

    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.query(insert("north", "west", "downtown"))
        client.query(f"UPDATE books SET price = 0 WHERE {MINE}")
        with ThreadPoolExecutor(4) as clients:
            assert list(clients.map(write, range(4))) == [["C", "Z"] * 10] * 4
        found = client.query(f"SELECT price FROM books WHERE {MINE}")
        assert [message.values for message in found if message.kind == "D"] == [(b"40.00",)] * 3
