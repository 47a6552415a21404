"""Pools of Python drivers outlive a restart of the proxy, and the death and return of a node."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import asyncpg
import psycopg2.pool
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.clients.restarts import BRANCHES, Ask, RestartedProxy, live_through
from tests.clients.sides import Side

PATIENCE_S = 90
AskShard = Callable[[str], Any]


def asking(ask_shard: AskShard) -> Ask:
    """'up': each shard until it answers; 'down': each once."""

    def ask(word: str) -> list[str]:
        return [_verdict(ask_shard, branch, PATIENCE_S if word == "up" else 0) for branch in BRANCHES]

    return ask


def _verdict(ask_shard: AskShard, branch: str, patience_s: float) -> str:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            assert ask_shard(branch) > 0
        except Exception as failure:  # noqa: BLE001 - whatever the driver makes of it
            if time.monotonic() >= deadline:
                return repr(failure)
            time.sleep(0.1)
        else:
            return "ok"


@contextmanager
def psycopg_pool(side: Side) -> Iterator[AskShard]:
    with ConnectionPool(side.url(), min_size=1, max_size=2, check=ConnectionPool.check_connection, timeout=60) as pool:

        def ask(branch: str) -> Any:
            with pool.connection() as connection:
                return connection.execute("SELECT count(*) FROM books WHERE branch = %s", (branch,)).fetchone()[0]

        yield ask


@contextmanager
def psycopg_pool_unchecked(side: Side) -> Iterator[AskShard]:
    with ConnectionPool(side.url(), min_size=2, max_size=2, timeout=60) as pool:

        def ask(branch: str) -> Any:
            with pool.connection() as connection:
                return connection.execute("SELECT count(*) FROM books WHERE branch = %s", (branch,)).fetchone()[0]

        yield ask


@contextmanager
def psycopg2_pool(side: Side) -> Iterator[AskShard]:
    pool = psycopg2.pool.SimpleConnectionPool(1, 2, side.url())

    def ask(branch: str) -> Any:
        connection = pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM books WHERE branch = %s", (branch,))
                return cursor.fetchone()[0]
        finally:
            pool.putconn(connection)  # which drops a broken one

    yield ask
    pool.closeall()


@contextmanager
def sqlalchemy_pre_ping(side: Side, dialect: str = "psycopg") -> Iterator[AskShard]:
    engine = create_engine(side.url(f"postgresql+{dialect}"), pool_pre_ping=True, pool_size=2)

    def ask(branch: str) -> Any:
        with engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM books WHERE branch = :b"), {"b": branch})

    yield ask
    engine.dispose()


@contextmanager
def sqlalchemy_pg8000(side: Side) -> Iterator[AskShard]:
    with sqlalchemy_pre_ping(side, "pg8000") as ask:
        yield ask


@contextmanager
def _in_a_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run coroutines in one loop that goes on between them, as an application's does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(180)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def psycopg_async_pool(side: Side) -> Iterator[AskShard]:
    with _in_a_loop() as run:
        check = AsyncConnectionPool.check_connection
        pool = AsyncConnectionPool(side.url(), min_size=1, max_size=2, open=False, check=check, timeout=60)
        run(pool.open())

        async def ask(branch: str) -> Any:
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT count(*) FROM books WHERE branch = %s", (branch,))
                return (await cursor.fetchone())[0]

        yield lambda branch: run(ask(branch))
        run(pool.close())


@contextmanager
def asyncpg_pool(side: Side) -> Iterator[AskShard]:
    with _in_a_loop() as run:

        async def opened() -> asyncpg.Pool:
            return await asyncpg.create_pool(side.url(), min_size=2, max_size=2)

        pool = run(opened())
        yield lambda branch: run(pool.fetchval("SELECT count(*) FROM books WHERE branch = $1", branch))
        run(pool.close())


@contextmanager
def sqlalchemy_asyncpg(side: Side) -> Iterator[AskShard]:
    with _in_a_loop() as run:
        engine = create_async_engine(side.url("postgresql+asyncpg"), pool_pre_ping=True, pool_size=2)

        async def ask(branch: str) -> Any:
            async with engine.connect() as connection:
                return await connection.scalar(text("SELECT count(*) FROM books WHERE branch = :b"), {"b": branch})

        yield lambda branch: run(ask(branch))
        run(engine.dispose())


POOLS = [
    psycopg_pool,
    psycopg_pool_unchecked,
    psycopg_async_pool,
    psycopg2_pool,
    asyncpg_pool,
    sqlalchemy_pre_ping,
    sqlalchemy_pg8000,
    sqlalchemy_asyncpg,
]


def test_pools_reconnect(restarted_proxy: RestartedProxy) -> None:
    with ExitStack() as stack:
        asks = [asking(stack.enter_context(pool(restarted_proxy.side))) for pool in POOLS]
        live_through(restarted_proxy, lambda word: [verdict for ask in asks for verdict in ask(word)])
