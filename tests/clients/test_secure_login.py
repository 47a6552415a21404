"""Each Python driver logs in by SCRAM over TLS, and hears why when it may not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from pgproxy.demo.library import DATABASE
from tests.clients.fix_secure import READER, SECRET
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates

WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
Ask = Callable[[int, str, str | None], Any]  # port, password, the authority's file or None for no TLS


def _libpq(port: int, password: str, authority: str | None) -> dict[str, Any]:
    encryption = {"sslmode": "disable"} if authority is None else {"sslmode": "verify-full", "sslrootcert": authority}
    return {"host": "localhost", "port": port, "user": READER, "password": password, **encryption}


def _context(authority: str | None) -> ssl.SSLContext | bool:
    return False if authority is None else ssl.create_default_context(cafile=authority)


def by_psycopg(port: int, password: str, authority: str | None) -> Any:
    binding = "disable" if authority is None else "require"
    options = _libpq(port, password, authority) | {"channel_binding": binding, "require_auth": "scram-sha-256"}
    with psycopg.connect(dbname=DATABASE, **options) as connection:
        return connection.execute(WEST).fetchone()


def by_psycopg_async(port: int, password: str, authority: str | None) -> Any:
    async def ask() -> Any:
        async with await psycopg.AsyncConnection.connect(dbname=DATABASE, **_libpq(port, password, authority)) as one:
            return await (await one.execute(WEST)).fetchone()

    return asyncio.run(ask())


def by_psycopg2(port: int, password: str, authority: str | None) -> Any:
    connection = psycopg2.connect(dbname=DATABASE, **_libpq(port, password, authority))
    try:
        with connection.cursor() as cursor:
            cursor.execute(WEST)
            return cursor.fetchone()
    finally:
        connection.close()


def by_asyncpg(port: int, password: str, authority: str | None) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(
            host="localhost", port=port, user=READER, password=password, database=DATABASE,
            ssl=_context(authority),
        )  # fmt: skip
        try:
            return tuple(await connection.fetchrow(WEST))
        finally:
            await connection.close()

    return asyncio.run(ask())


def by_pg8000(port: int, password: str, authority: str | None) -> Any:
    connection = pg8000.dbapi.connect(
        user=READER, host="localhost", port=port, database=DATABASE, password=password, ssl_context=_context(authority)
    )
    try:
        cursor = connection.cursor()
        cursor.execute(WEST)
        return tuple(cursor.fetchone())
    finally:
        connection.close()


def _url(dialect: str, port: int, password: str) -> URL:
    return URL.create(f"postgresql+{dialect}", READER, password, "localhost", port, DATABASE)


def by_sqlalchemy(port: int, password: str, authority: str | None) -> Any:
    engine = create_engine(_url("psycopg", port, password), connect_args=_libpq(port, password, authority))
    try:
        with engine.connect() as connection:
            return tuple(connection.execute(text(WEST)).one())
    finally:
        engine.dispose()


def by_sqlalchemy_asyncpg(port: int, password: str, authority: str | None) -> Any:
    async def ask() -> Any:
        arguments = {"ssl": _context(authority)}
        engine = create_async_engine(_url("asyncpg", port, password), connect_args=arguments)
        try:
            async with engine.connect() as connection:
                return tuple((await connection.execute(text(WEST))).one())
        finally:
            await engine.dispose()

    return asyncio.run(ask())


DRIVERS: list[Ask] = [
    by_psycopg,
    by_psycopg_async,
    by_psycopg2,
    by_asyncpg,
    by_pg8000,
    by_sqlalchemy,
    by_sqlalchemy_asyncpg,
]


@pytest.mark.parametrize("ask", DRIVERS)
def test_logging_in(secure_proxy: RunningProxy, certificates: Certificates, ask: Ask) -> None:
    port = secure_proxy.port
    assert ask(port, SECRET, certificates.ca) == (24,)
    for password, authority, message in (
        ("wrong", certificates.ca, "password authentication failed|28P01"),
        (SECRET, certificates.other_ca, "(?i)certificate.verify.failed"),
        (SECRET, None, "accepts encrypted connections only"),
    ):
        with pytest.raises(Exception, match=message):
            ask(port, password, authority)
