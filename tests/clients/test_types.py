"""Values of every kind of type, as each Python driver reads them: from one shard, and merged from several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import pytest

from tests.clients.sides import Side, Sides

VALUES = [
    "'infinity'::date", "'-infinity'::date", "'0044-03-15 BC'::date", "'1582-10-15'::date", "'5874897-12-31'::date",
    "'infinity'::timestamp", "'-infinity'::timestamptz", "'0001-01-01 00:00:00 BC'::timestamp",
    "'1883-11-18 12:03:57.5+00'::timestamptz", "'294276-12-31 23:59:59.999999'::timestamp",
    "'24:00:00'::time", "'12:34:56.789+05:30'::timetz", "'1 year 2 mons -3 days 04:05:06.7'::interval",
    "'NaN'::numeric", "'-Infinity'::numeric", "'1e-20'::numeric", "'12345678901234567890123456789.0100'::numeric",
    "'NaN'::float8", "'-0'::float8", "'1e-310'::float8", "'Infinity'::float4", "16777217::float4", "'12.34'::money",
    "repeat('ü', 200000)", "''::text", "'a'::\"char\"", "'ab'::char(5)", "'x'::name", "'\\x00ff'::bytea", "''::bytea",
    "'{\"a\": [1, null, {\"b\": 1e3}]}'::jsonb", "'{\"a\": 1, \"a\": 2}'::json", "'null'::jsonb", "'[]'::json",
    "'{1,NULL,3}'::int[]", "'{{1,2},{3,4}}'::int8[]", "'[2:3]={7,8}'::int2[]", "'{}'::text[]",
    "'{\"a,b\",\"\",NULL}'::text[]",
    "'{2020-01-01,infinity}'::date[]", "'{1.50,NaN}'::numeric[]", "'{t,f}'::bool[]",
    "'{\"{\\\\\"a\\\\\": 1}\"}'::jsonb[]",
    "'[1,5)'::int4range", "'empty'::int8range", "'(,2.5]'::numrange", "'[2020-01-01,infinity)'::daterange",
    "'[\"2020-01-01 00:00\",)'::tsrange", "'[\"1999-01-01 00:00+00\",\"2001-01-01 00:00+00\"]'::tstzrange",
    "'{[1,3),[5,7)}'::int4multirange", "'{}'::nummultirange",
    "'10.1.2.3/8'::inet", "'2001:db8::/32'::cidr", "'08:00:2b:01:02:03'::macaddr",
    "'00112233-4455-6677-8899-aabbccddeeff'::uuid", "B'101'::bit(3)", "B''::varbit", "'(1,2)'::point",
    "'<(0,0),1>'::circle",
    "'fat & rat'::tsquery", "'a:1 b:2A'::tsvector", "'<a>x</a>'::xml", "'$.a[*]'::jsonpath", "7::oid",
    "'0/16B3748'::pg_lsn", "'10:20:10,14'::txid_snapshot", "ROW(1, 'a', NULL)", "NULL::int", "NULL::text[]", "true",
]  # fmt: skip
# What a scatter gives in text only; it is refused to those who want it in binary.
TEXT_ONLY = ("money", "point", "circle", "tsquery", "tsvector", "jsonpath", "pg_lsn", "txid_snapshot", "NULL)")
Fetch = Callable[[str], Any]


def seen(row: Any) -> str:
    """What can be compared of values, which may be of a type that has no equality."""
    return repr([(type(value).__name__, bytes(value) if isinstance(value, memoryview) else value) for value in row])


def _described(cursor: Any) -> Any:
    return [seen(row) for row in cursor.fetchall()], [column[1] for column in cursor.description]


@contextmanager
def psycopg_text(side: Side, *, binary: bool = False) -> Iterator[Fetch]:
    with psycopg.connect(side.url(), autocommit=True) as connection:
        yield lambda sql: _described(connection.cursor(binary=binary).execute(sql))


def psycopg_binary(side: Side) -> AbstractContextManager[Fetch]:
    return psycopg_text(side, binary=True)


@contextmanager
def psycopg2_text(side: Side) -> Iterator[Fetch]:
    connection = psycopg2.connect(side.url())
    connection.autocommit = True

    def fetch(sql: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return _described(cursor)

    yield fetch
    connection.close()


@contextmanager
def pg8000_text(side: Side) -> Iterator[Fetch]:
    connection = pg8000.dbapi.connect(user=side.user, host=side.host, port=side.port, database=side.database)
    connection.autocommit = True

    def fetch(sql: str) -> Any:
        cursor = connection.cursor()
        cursor.execute(sql)
        return _described(cursor)

    yield fetch
    connection.close()


@contextmanager
def asyncpg_binary(side: Side) -> Iterator[Fetch]:
    with asyncio.Runner() as runner:

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(side.url())

        connection = runner.run(connect())

        async def fetch(sql: str) -> Any:
            return [seen(record) for record in await connection.fetch(sql)]

        yield lambda sql: runner.run(fetch(sql))
        runner.run(connection.close())


def outcome(fetch: Fetch, sql: str) -> Any:
    """It may be that the driver does not know what to do with a value."""
    try:
        return fetch(sql)
    except Exception as failure:  # noqa: BLE001 - the driver's, or the server's
        return type(failure).__name__, getattr(failure, "sqlstate", None) or str(failure)[:60]


def everything(fetch: Fetch, sql: str) -> dict[str, Any]:
    return {value: outcome(fetch, sql.format(value)) for value in VALUES}


DRIVERS = [psycopg_text, psycopg_binary, psycopg2_text, asyncpg_binary, pg8000_text]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_reads_the_same_of_one_shard(sides: Sides, driver: Any) -> None:
    def program(side: Side) -> dict[str, Any]:
        with driver(side) as fetch:
            return everything(fetch, "SELECT isbn, {0} AS v FROM books WHERE branch = 'west' ORDER BY isbn LIMIT 3")

    found = sides.alike(program)
    assert sum(not isinstance(answer[0], str) or answer[0].startswith("[") for answer in found.values()) > 50


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_reads_the_same_of_several_shards(sides: Sides, driver: Any) -> None:
    sql = "SELECT isbn, branch, {0} AS v FROM books ORDER BY isbn, branch LIMIT 5"
    with driver(sides.reference) as fetch:
        expected = everything(fetch, sql)
    with driver(sides.proxy) as fetch:
        given = everything(fetch, sql)
    if driver in (psycopg_binary, asyncpg_binary):
        for value in VALUES:
            if value.endswith(TEXT_ONLY) and given[value] != expected[value]:
                assert given[value] == ("FeatureNotSupported" + ("Error" if driver is asyncpg_binary else ""), "0A000")
                expected[value] = given[value]
    assert given == expected
