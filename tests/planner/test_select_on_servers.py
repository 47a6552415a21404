"""Scattered SELECTs against real servers: planned, run on each shard, merged, and compared with one PostgreSQL.

No proxy is running here: each shard's text goes to its node through libpq, its rows to the operators.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg
import pytest

from pgproxy.cluster.catalog import read_facts
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.source import Batch, RowSource
from pgproxy.planner.plan import Scatter, Sharded, bind_shard, render
from pgproxy.planner.planner import Planner
from pgproxy.wire.rows import Column, data_row, fields_of, split_rows
from tests.fix_nodes import LibraryCluster, ReferencePostgres

Row = tuple[bytes | None, ...]


class LibpqRows:
    """The rows of a finished statement, two at a time."""

    ready = True

    def __init__(self, connection: psycopg.Connection, sql: str) -> None:
        result = connection.pgconn.exec_(sql.encode())
        if result.error_message:
            raise AssertionError(f"{result.error_message.decode()} in {sql}")
        self.columns = tuple(
            Column((result.fname(n) or b"").decode(), type_oid=result.ftype(n)) for n in range(result.nfields)
        )
        rows = [data_row([result.get_value(row, n) for n in range(result.nfields)]) for row in range(result.ntuples)]
        self._batches = [rows[at : at + 2] for at in range(0, len(rows), 2)][::-1]

    async def describe(self) -> tuple[Column, ...]:
        return self.columns

    async def next_batch(self) -> Batch | None:
        if not self._batches:
            return None
        rows = self._batches.pop()
        return Batch(b"".join(rows), len(rows))

    def close(self) -> None:
        self._batches = []


@dataclass
class NodeEnvironment:
    node: psycopg.Connection
    sort_memory_bytes: int = 1 << 20
    bytewise_default: bool = True
    evaluated: list[str] = field(default_factory=list)

    async def any_ready(self, sources: Sequence[RowSource]) -> None:
        raise AssertionError("all sources are ready")

    def evaluate(self, sql: str, parameters: Collection[int] = ()) -> RowSource:
        self.evaluated.append(sql)
        return LibpqRows(self.node, sql)


@dataclass
class Servers:
    planner: Planner
    nodes: dict[str, psycopg.Connection]
    reference: psycopg.Connection

    def scattered(self, sql: str) -> tuple[list[tuple[str, int]], list[Row]]:
        """Column names and types, and rows, of a statement over its shards."""
        planned = self.planner.plan(sql)
        plan = planned.plan
        assert isinstance(plan, Sharded)
        assert isinstance(plan.scatter, Scatter), plan.scatter
        arguments = Arguments(planned.arguments.literals, now="2026-01-02 03:04:05+00")
        shards = [plan.table.shards[index] for index in plan.choice.shards(arguments)]
        sources = [
            LibpqRows(self.nodes[shard.node], render(bind_shard(plan.scatter.text, shard), arguments))
            for shard in shards
        ]
        environment = NodeEnvironment(self.nodes[shards[0].node])
        return asyncio.run(_drain(plan.scatter.pipeline.open(sources, arguments, environment)))

    def whole(self, sql: str) -> tuple[list[tuple[str, int]], list[Row]]:
        """The same of one PostgreSQL that holds everything."""
        return asyncio.run(_drain(LibpqRows(self.reference, sql)))


async def _drain(source: RowSource) -> tuple[list[tuple[str, int]], list[Row]]:
    columns = await source.describe()
    rows: list[Row] = []
    while (batch := await source.next_batch()) is not None:
        rows += [tuple(fields_of(row)) for row in split_rows(batch.data)]
    return [(column.name, column.type_oid) for column in columns], rows


@pytest.fixture(scope="module")
def servers(library_cluster: LibraryCluster, reference_pg: ReferencePostgres) -> Iterator[Servers]:
    shard_map = library_cluster.shard_map()
    planner = Planner(shard_map, asyncio.run(read_facts(shard_map)), cache_size=1000)
    nodes = {name: library_cluster.connect(name) for name in shard_map.nodes}
    reference = psycopg.connect(reference_pg.conninfo, autocommit=True)
    yield Servers(planner, nodes, reference)
    for connection in (*nodes.values(), reference):
        connection.close()


ORDERED = [
    "SELECT isbn, branch FROM books ORDER BY isbn, branch",
    "SELECT isbn, branch FROM books ORDER BY 2 DESC, 1 DESC LIMIT 7",
    "SELECT book_name FROM books ORDER BY price DESC, isbn, branch LIMIT 5 OFFSET 3",
    "SELECT * FROM books ORDER BY lower(author) DESC, isbn, branch LIMIT 20",
    "SELECT *, price * 2 AS twice FROM books b ORDER BY twice, b.isbn DESC, branch LIMIT 20",
    "SELECT isbn FROM books ORDER BY patron_id NULLS FIRST, isbn, branch",
    "SELECT isbn, patron_id FROM books ORDER BY patron_id DESC, isbn, branch LIMIT 40",
    "SELECT isbn FROM books ORDER BY patron_id DESC NULLS LAST, isbn, branch LIMIT 40",
    "SELECT -price AS price, isbn FROM books ORDER BY price, isbn, branch",
    "SELECT -price AS price, isbn FROM books ORDER BY price + 0, isbn, branch",
    "SELECT isbn FROM books ORDER BY checked_out, CASE WHEN price > 9 THEN 1 ELSE 2 END, isbn, branch",
    'SELECT book_name FROM books ORDER BY author COLLATE "C" DESC, isbn, branch',
    "SELECT updated_at FROM books ORDER BY updated_at, isbn, branch LIMIT 3",
    "SELECT joined, name FROM patrons ORDER BY joined DESC, patron_id LIMIT 9",
    "SELECT name FROM patrons WHERE patron_id IN (1, 2, 3, 4, 5) ORDER BY name, patron_id",
    "SELECT DISTINCT author FROM books ORDER BY author",
    "SELECT DISTINCT author, genre FROM books ORDER BY genre DESC, author LIMIT 5 OFFSET 2",
    "SELECT DISTINCT published_year / 100 FROM books ORDER BY published_year / 100 DESC",
    "SELECT genre, count(*) FROM books GROUP BY genre ORDER BY count(*) DESC, genre LIMIT 3",
    "SELECT genre AS g, count(*) AS n FROM books GROUP BY g HAVING count(*) > 2 ORDER BY n DESC, g",
    "SELECT genre FROM books GROUP BY genre ORDER BY sum(price) DESC, genre OFFSET 1",
    "SELECT lower(author), avg(price), min(isbn) FROM books GROUP BY 1 ORDER BY 1 DESC LIMIT 10",
    "SELECT upper(genre) || '!', sum(price) / count(*) FROM books GROUP BY genre ORDER BY 2 DESC, 1",
    "SELECT published_year / 100 AS century, count(*) FROM books GROUP BY published_year / 100 ORDER BY 1",
    "SELECT extract(year FROM joined) + 1, count(*) FROM patrons GROUP BY extract(year FROM joined) ORDER BY 1",
    "SELECT patron_id, count(*) FROM books GROUP BY patron_id ORDER BY patron_id NULLS FIRST LIMIT 5",
    "SELECT checked_out, max(updated_at), min(book_name) FROM books GROUP BY checked_out ORDER BY checked_out DESC",
    "SELECT branch, count(*) FILTER (WHERE checked_out), round(avg(price), 3) FROM books GROUP BY branch ORDER BY 1",
    "SELECT genre, author, count(*) FROM books GROUP BY genre, author ORDER BY 3 DESC, author, genre LIMIT 8",
    "SELECT count(*) FROM books GROUP BY coalesce(patron_id, 0) HAVING coalesce(patron_id, 0) >= 0 ORDER BY 1 LIMIT 9",
    "SELECT 1 + coalesce(price, 0) AS p FROM books GROUP BY coalesce(price, 0) ORDER BY coalesce(price, 0) * 2 LIMIT 9",
    "SELECT genre IN ('Fantasy', 'x'), count(*) FROM books GROUP BY genre IN ('Fantasy', 'x') ORDER BY 1",
    "SELECT array[count(*), 1]::text, genre FROM books GROUP BY genre ORDER BY genre",
    "SELECT (price + 1) * 2, price + 1 AS b, price FROM books GROUP BY price + 1, price ORDER BY price, 1",
    "SELECT price::int + 1 FROM books GROUP BY price::int ORDER BY price::int * -2",
]
UNORDERED = [
    "SELECT * FROM books",
    "SELECT * FROM patrons WHERE name LIKE 'A%'",
    "SELECT isbn FROM books WHERE price BETWEEN 5 AND 10 OR branch = 'west'",
    "SELECT FROM books WHERE checked_out",
    "SELECT DISTINCT author FROM books",
    "SELECT DISTINCT * FROM patrons",
    "SELECT DISTINCT price FROM books WHERE price > 9",
    "SELECT DISTINCT NULL, 'x' FROM books",
    "SELECT count(*) FROM books",
    "SELECT count(*) FROM books LIMIT 0",
    "SELECT count(*) FROM books OFFSET 1",
    "SELECT count(*) + 1, coalesce(sum(price), 0), round(avg(price), 2) FROM books",
    "SELECT sum(price), avg(price), min(price), max(author) FROM books WHERE price < 0",
    "SELECT avg(published_year), sum(published_year), avg(isbn), sum(isbn) FROM books",
    "SELECT avg(published_year::float8), sum(published_year::float8) FROM books",
    "SELECT bool_and(checked_out), bool_or(checked_out), every(price > 0) FROM books",
    "SELECT CASE WHEN count(*) > 3 THEN 'many' ELSE 'few' END FROM books GROUP BY author",
    "SELECT min(DISTINCT price), count(patron_id), count(*) - count(patron_id) AS free FROM books",
    "SELECT 1 FROM books HAVING count(*) > 3",
    "SELECT 1 FROM books HAVING count(*) < 3",
    "SELECT 1 FROM books HAVING true",
    "SELECT author FROM books GROUP BY author",
    "SELECT count(*) FROM books WHERE branch IN ('west', 'north') GROUP BY genre",
    "SELECT genre, sum(price) FROM books GROUP BY genre HAVING genre LIKE 'F%' OR sum(price) > 50",
    "SELECT genre, count(*) FROM books WHERE isbn < 0 GROUP BY genre HAVING count(*) > 0",
    "SELECT 'x' AS g, count(*) FROM books GROUP BY g",
    "SELECT lower(author) AS author, count(*) FROM books GROUP BY author",
    "SELECT nullif(count(*), 0), greatest(min(price), 1)::int, max(genre)::varchar FROM books",
]


@pytest.mark.parametrize("sql", ORDERED)
def test_same_rows_in_the_same_order(servers: Servers, sql: str) -> None:
    assert servers.scattered(sql) == servers.whole(sql)


@pytest.mark.parametrize("sql", UNORDERED)
def test_same_rows(servers: Servers, sql: str) -> None:
    columns, rows = servers.scattered(sql)
    whole_columns, whole_rows = servers.whole(sql)
    assert columns == whole_columns
    assert Counter(rows) == Counter(whole_rows)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "SELECT DISTINCT price * 2 FROM books ORDER BY price * 2",
            "SELECT DISTINCT price * 3 FROM books ORDER BY price * 3",
        ),
        (
            "SELECT price / 10, count(*) FROM books GROUP BY price / 10 ORDER BY 1",
            "SELECT price / 20, count(*) FROM books GROUP BY price / 20 ORDER BY 1",
        ),
        (
            "SELECT price * 2 AS p FROM books ORDER BY price * 2 LIMIT 5",
            "SELECT price * 2 AS p FROM books ORDER BY price * -2 LIMIT 5",
        ),
        ("SELECT isbn FROM books ORDER BY isbn LIMIT 5", "SELECT isbn FROM books ORDER BY isbn LIMIT ALL"),
        ("SELECT count(*) + 1 FROM books HAVING count(*) > 1", "SELECT count(*) + 2 FROM books HAVING count(*) > 3"),
    ],
)
def test_a_cached_plan_serves_other_constants(servers: Servers, first: str, second: str) -> None:
    for sql in (first, second, first):
        assert servers.scattered(sql) == servers.whole(sql)


@pytest.mark.parametrize("sql", ["SELECT isbn FROM books LIMIT 5", "SELECT isbn FROM books LIMIT 4 OFFSET 3"])
def test_a_bare_limit_counts_over_all_shards(servers: Servers, sql: str) -> None:
    _, rows = servers.scattered(sql)
    _, whole = servers.whole("SELECT isbn FROM books")
    assert len(rows) == len(servers.whole(sql)[1])
    assert set(rows) <= set(whole)


WRONG_ON_ANY_SERVER = [
    ("SELECT isbn FROM books ORDER BY 2", "42P10"),
    ("SELECT count(*) FROM books GROUP BY 2", "42P10"),
    ("SELECT nowhere FROM books", "42703"),
    ("SELECT isbn FROM books ORDER BY nowhere", "42703"),
    ("SELECT isbn FROM books WHERE count(*) > 1", "42803"),
    ("SELECT isbn FROM books WHERE branch = 5", "42883"),
]


@pytest.mark.parametrize(("sql", "sqlstate"), WRONG_ON_ANY_SERVER)
def test_the_nodes_refuse_what_a_server_refuses(servers: Servers, sql: str, sqlstate: str) -> None:
    planned = servers.planner.plan(sql)
    assert isinstance(planned.plan, Sharded)
    assert isinstance(planned.plan.scatter, Scatter)
    text = render(bind_shard(planned.plan.scatter.text, planned.plan.table.shards[0]), planned.arguments)
    result = servers.nodes["downtown-library"].pgconn.exec_(text.encode())
    whole = servers.reference.pgconn.exec_(sql.encode())
    sqlstate_field = psycopg.pq.DiagnosticField.SQLSTATE
    assert result.error_field(sqlstate_field) == whole.error_field(sqlstate_field) == sqlstate.encode()
