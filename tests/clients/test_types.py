"""Values of every kind of type, as each Python driver reads them: from one shard, and merged from several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    "'{1,NULL,3}'::int[]", "'{{1,2},{3,4}}'::int8[]", "'[2:3]={7,8}'::int2[]", "'{}'::text[]", "'{\"a,b\",\"\",NULL}'::text[]",
    "'{2020-01-01,infinity}'::date[]", "'{1.50,NaN}'::numeric[]", "'{t,f}'::bool[]", "'{\"{\\\\\"a\\\\\": 1}\"}'::jsonb[]",
    "'[1,5)'::int4range", "'empty'::int8range", "'(,2.5]'::numrange", "'[2020-01-01,infinity)'::daterange",
    "'[\"2020-01-01 00:00\",)'::tsrange", "'[\"1999-01-01 00:00+00\",\"2001-01-01 00:00+00\"]'::tstzrange",
    "'{[1,3),[5,7)}'::int4multirange", "'{}'::nummultirange",
    "'10.1.2.3/8'::inet", "'2001:db8::/32'::cidr", "'08:00:2b:01:02:03'::macaddr",
    "'00112233-4455-6677-8899-aabbccddeeff'::uuid", "B'101'::bit(3)", "B''::varbit", "'(1,2)'::point", "'<(0,0),1>'::circle",
    "'fat & rat'::tsquery", "'a:1 b:2A'::tsvector", "'<a>x</a>'::xml", "'$.a[*]'::jsonpath", "'pg_class'::regclass", "7::oid",
    "'0/16B3748'::pg_lsn", "'10:20:10,14'::txid_snapshot", "ROW(1, 'a', NULL)", "NULL::int", "NULL::text[]", "true",
]  # fmt: skip
Read = Callable[[Side, str], Any]


def seen(value: Any) -> str:
    """What can be compared of a value, which may be of a type that has no equality."""
    return f"{type(value).__name__} {value!r}"


def read_psycopg(binary: bool) -> Read:
    def read(side: Side, sql: str) -> Any:
        with psycopg.connect(side.url(), autocommit=True) as connection:
            cursor = connection.cursor(binary=binary)
            found = cursor.execute(sql)
            return [seen(row) for row in found], [column.type_code for column in found.description]

    return read


def read_psycopg2(side: Side, sql: str) -> Any:
    connection = psycopg2.connect(side.url())
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return [seen(row) for row in cursor.fetchall()], [column.type_code for column in cursor.description]
    finally:
        connection.close()


def read_asyncpg(side: Side, sql: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(side.url())
        try:
            return [seen(tuple(record)) for record in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(ask())


def read_pg8000(side: Side, sql: str) -> Any:
    connection = pg8000.dbapi.connect(user=side.user, host=side.host, port=side.port, database=side.database)
    try:
        cursor = connection.cursor()
        cursor.execute(sql)
        return [seen(row) for row in cursor.fetchall()], [column[1] for column in cursor.description]
    finally:
        connection.close()


READERS: dict[str, Read] = {
    "psycopg text": read_psycopg(binary=False),
    "psycopg binary": read_psycopg(binary=True),
    "psycopg2": read_psycopg2,
    "asyncpg": read_asyncpg,
    "pg8000": read_pg8000,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("value", VALUES, ids=[value[:40] for value in VALUES])
def test_a_driver_reads_the_same(sides: Sides, read: Read, value: str) -> None:
    """Which may be that the driver does not know what to do with it."""
    routed = f"SELECT isbn, {value} AS v FROM books WHERE branch = 'west' ORDER BY isbn LIMIT 3"
    scattered = f"SELECT isbn, branch, {value} AS v FROM books ORDER BY isbn, branch LIMIT 5"

    def program(side: Side) -> list[Any]:
        return [outcome(side, read, sql) for sql in (routed, scattered)]

    sides.alike(program)


def outcome(side: Side, read: Read, sql: str) -> Any:
    try:
        return read(side, sql)
    except Exception as failure:  # the driver's, or the server's
        return type(failure).__name__, getattr(failure, "sqlstate", None) or str(failure)[:60]
