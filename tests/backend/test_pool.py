"""Pooled connections: limits and queues, and that only clean ones are handed on, whatever their last client did."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange
from pgproxy.backend.pool import NodePool
from pgproxy.shardmap.model import PoolSettings
from tests.activity import await_nothing_open, await_running, connect, connections, lock_waits, locked, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query
from tests.test_reload import reload, with_pool

PATIENCE_S = 60.0

WEST = "west-library"
COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"


def test_who_waits_too_long_for_a_connection_hears_so(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=2)) as proxy:
        with proxy.connect() as one, proxy.connect() as two, proxy.connect() as three:
            three.execute("SELECT count(*) FROM books")
            for holder in (one, two):
                holder.execute("BEGIN")
                holder.execute(COUNT_WEST)
            reload(proxy, with_pool(queue_timeout_s=0.1))  # now that all connections are open
            for sql in (COUNT_WEST, "SELECT count(*) FROM books", f"SELECT 1; {COUNT_WEST}"):
                with pytest.raises(psycopg.errors.TooManyConnections, match=WEST):
                    three.execute(sql)
            assert three.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone()
            one.execute("COMMIT")
            assert three.execute(COUNT_WEST).fetchone()
        await_nothing_open(library_cluster)


def test_the_queue_is_limited(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    pool = PoolSettings(size=1, queue_limit=1)
    with (
        running_proxy(library_cluster, tmp_path, pool=pool) as proxy,
        proxy.connect() as holder,
        proxy.connect() as waiting,
        proxy.connect() as refused,
    ):
        holder.execute("BEGIN")
        holder.execute(COUNT_WEST)
        thread = threading.Thread(target=lambda: waiting.execute(COUNT_WEST))
        thread.start()
        with proxy.connect(dbname="pgproxy") as admin:
            until(lambda: "waiting" in str(admin.execute("SHOW CLIENTS").fetchall()), "one waits")
        with pytest.raises(psycopg.errors.TooManyConnections, match="too many statements wait"):
            refused.execute(COUNT_WEST)
        holder.execute("COMMIT")
        thread.join()


def test_no_more_connections_than_the_pool_s_size(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    before = connections(library_cluster, WEST)
    with running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=3)) as proxy, ThreadPoolExecutor(12) as pool:

        def work(_: int) -> None:
            with proxy.connect() as client:
                for _ in range(20):
                    client.execute(COUNT_WEST)
                    client.execute("SELECT count(*) FROM books")

        list(pool.map(work, range(12)))
        own = connections(library_cluster, WEST) - before
        assert 1 <= len(own) <= 3 + 2, "the pool's, the heartbeat's and that of recovery"
    until(lambda: not (connections(library_cluster, WEST) & own), "the connections are closed with the proxy")


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([COUNT_WEST], id="routed"),
        pytest.param(["SELECT count(*) FROM books"], id="scattered"),
        pytest.param(["SELECT isbn FROM books"], id="rows"),
        pytest.param(["BEGIN", "SELECT 1", COUNT_WEST], id="in a transaction"),
        pytest.param(["BEGIN", "SET work_mem = '77MB'", "SELECT count(*) FROM books"], id="with settings"),
        pytest.param(["UPDATE books SET genre = 'gone' WHERE branch = 'west'"], id="a write"),
        pytest.param([f"SELECT 1; {COUNT_WEST}"], id="several"),
        pytest.param(["EXPLAIN ANALYZE SELECT count(*) FROM books"], id="EXPLAIN ANALYZE"),
    ],
)
def test_a_client_that_vanishes_leaves_nothing_running(
    statements: list[str], small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    """The statement waits for a lock when its client goes: it must end although the lock stays."""
    with locked(library_cluster, WEST, "books_b"):
        client = RawClient.logged_in(small_proxy.conninfo)
        *first, last = statements
        for sql in first:
            client.query(sql)
        client.send(query(last))
        await_running(library_cluster, "books_b")
        client.vanish()
        until(lambda: not lock_waits(library_cluster, WEST), "the statement has been cancelled")
        with small_proxy.connect() as other:
            assert other.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone()
    with small_proxy.connect() as other:
        assert other.execute("SHOW work_mem").fetchone() == ("4MB",)
        assert other.execute("SELECT count(*) FROM books WHERE genre = 'gone'").fetchone() == (0,)
    await_nothing_open(library_cluster)


@pytest.fixture(scope="module")
def small_proxy(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    pool = PoolSettings(size=2)
    with running_proxy(library_cluster, tmp_path_factory.mktemp("small"), pool=pool) as proxy:
        yield proxy


def test_clients_that_vanish_in_the_middle_of_their_results(
    small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    sql = "SELECT number, repeat('x', 1000) FROM generate_series(1, 1000000) AS number"
    for _ in range(6):
        client = RawClient.logged_in(small_proxy.conninfo)
        client.send(query(sql))
        assert client.message().kind == "T"
        client.socket.close()
    with small_proxy.connect() as other:
        for number in range(20):
            assert other.execute(f"SELECT {number}").fetchone() == (number,)
    await_nothing_open(library_cluster)


def test_a_limit_does_not_wait_for_a_slow_shard_s_rest(
    small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    """Without ORDER BY any rows will do: those of two shards answer while the third waits for a lock."""
    with small_proxy.connect() as client, locked(library_cluster, WEST, "books_b"):
        for _ in range(5):
            assert len(client.execute("SELECT isbn FROM books LIMIT 4").fetchall()) == 4
        until(lambda: not lock_waits(library_cluster, WEST), "the slow shard's statements have been cancelled")
    with small_proxy.connect() as client:
        assert client.execute("SELECT count(*) FROM books").fetchone()[0] > 10
    await_nothing_open(library_cluster)


def test_an_error_on_one_shard_does_not_wait_for_another(
    small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    sql = "SELECT 1 / (isbn - isbn) FROM books"
    with small_proxy.connect() as client, locked(library_cluster, WEST, "books_b"):
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute(sql)
        until(lambda: not lock_waits(library_cluster, WEST), "the other shard's statement has been cancelled")
        assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone()
    await_nothing_open(library_cluster)


def test_old_connections_are_replaced(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=2, lifetime_s=0.1)) as proxy,
        proxy.connect() as client,
    ):
        look = "SELECT pg_backend_pid() FROM books WHERE branch = 'west' LIMIT 1"
        first = client.execute(look).fetchone()[0]
        until(lambda: client.execute(look).fetchone()[0] != first, "another connection serves")
        until(lambda: first not in connections(library_cluster, WEST), "the old one is closed")


def test_idle_connections_are_closed(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=2, idle_timeout_s=0.1)) as proxy,
        proxy.connect() as client,
    ):
        look = "SELECT pg_backend_pid() FROM books WHERE branch = 'west' LIMIT 1"
        first = client.execute(look).fetchone()[0]
        until(lambda: first not in connections(library_cluster, WEST), "the idle connection is closed")
        assert client.execute(look).fetchone()[0] != first


def test_a_node_with_fewer_connections_than_the_pool_wants(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """The node refuses more: those that it gave serve everyone."""
    with connect(library_cluster, WEST) as node:
        node.execute("CREATE ROLE limited SUPERUSER LOGIN")
        node.execute("ALTER ROLE limited NOSUPERUSER CONNECTION LIMIT 3")
        node.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO limited")
    for name in ("downtown-library", "north-library"):
        with connect(library_cluster, name) as node:
            node.execute("CREATE ROLE limited SUPERUSER LOGIN")
    try:
        with running_proxy(_as_limited(library_cluster), tmp_path, pool=PoolSettings(size=10)) as proxy:

            def work(_: int) -> None:
                with proxy.connect() as client:
                    for _ in range(5):
                        client.execute(COUNT_WEST + " AND pg_sleep(0.005) IS NOT NULL")

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(work, range(8)))
            assert "too many connections for role" in proxy.log_text()
    finally:
        for name in library_cluster.nodes:
            with connect(library_cluster, name) as node:
                node.execute("DROP OWNED BY limited")
                node.execute("DROP ROLE limited")


def _as_limited(cluster: LibraryCluster) -> LibraryCluster:
    """The cluster with a shard map that logs in to the nodes as that role."""

    class Limited(LibraryCluster):
        def shard_map(self, port: int = 6432):  # type: ignore[no-untyped-def]
            whole = super().shard_map(port)
            return replace(whole, cluster=replace(whole.cluster, user="limited"))

    return Limited(cluster.nodes)


# A connection whose statement was answered whole


class Answered:
    """A statement sent by `relay`, the short way."""

    def __init__(self, connection: BackendConnection) -> None:
        self._come = asyncio.Event()
        connection.relay(query("SELECT 1"), self)

    async def wait(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._come.wait()

    def answered(self, connection: BackendConnection, answer: bytes) -> None:
        self._come.set()

    def handed_over(self, exchange: Exchange) -> None:
        raise AssertionError("the answer is plain")

    def wake(self) -> None:
        raise AssertionError("the answer is plain")


@asynccontextmanager
async def pool_of_one(cluster: LibraryCluster) -> AsyncIterator[tuple[NodePool, BackendConnection]]:
    """A pool with room for one connection, and that one, which has just been used."""
    shard_map = cluster.shard_map()
    pool = NodePool(shard_map.nodes[WEST], shard_map.cluster, PoolSettings(size=1), asyncio.get_running_loop())
    try:
        come = asyncio.Event()
        lease = pool.request(come.set)
        async with asyncio.timeout(PATIENCE_S):
            await come.wait()
        assert lease.connection is not None
        await Answered(lease.connection).wait()
        yield pool, lease.connection
    finally:
        pool.close()


async def eventually(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited happens on the node
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_it_is_idle_when_it_is_taken_back(library_cluster: LibraryCluster) -> None:
    async with pool_of_one(library_cluster) as (pool, connection):
        pool.take_back(connection)
        assert (pool.size, pool.idle) == (1, 1)
        assert pool.try_lease() is connection
        assert pool.try_lease() is None


@pytest.mark.asyncio
async def test_who_waits_is_served_with_it(library_cluster: LibraryCluster) -> None:
    async with pool_of_one(library_cluster) as (pool, connection):
        served: list[str] = []
        first, second = (pool.request(lambda name=name: served.append(name)) for name in ("first", "second"))  # type: ignore[misc]
        pool.take_back(connection)
        assert served == ["first"]
        assert first.connection is connection
        assert (pool.idle, pool.waiting) == (0, 1)
        pool.take_back(connection)
        assert served == ["first", "second"]
        assert second.connection is connection


@pytest.mark.asyncio
async def test_one_that_is_to_be_replaced_is_closed(library_cluster: LibraryCluster) -> None:
    async with pool_of_one(library_cluster) as (pool, connection):
        pool.replace_connections()
        assert not connection.closed
        pool.take_back(connection)
        assert connection.closed
        assert (pool.size, pool.idle) == (0, 0)


@pytest.mark.asyncio
async def test_one_that_the_node_has_closed_is_forgotten(library_cluster: LibraryCluster) -> None:
    async with pool_of_one(library_cluster) as (pool, connection):
        with connect(library_cluster, WEST) as node:
            node.execute("SELECT pg_terminate_backend(%s)", (connection.pid,))
        await eventually(lambda: connection.closed)
        pool.take_back(connection)
        assert (pool.size, pool.idle) == (0, 0)
        assert pool.try_lease() is None


@pytest.mark.asyncio
async def test_one_that_a_cancel_may_still_reach_serves_nobody(library_cluster: LibraryCluster) -> None:
    """The request came just when the answer did: the next statement must not meet it."""
    async with pool_of_one(library_cluster) as (pool, connection):
        cancelling = asyncio.create_task(connection.cancel())
        pool.take_back(connection)
        assert pool.idle == 0
        waiting = pool.request(lambda: None)
        assert not waiting.done
        await cancelling
        assert waiting.connection is connection
        assert not connection.cancels_running
        await Answered(connection).wait()
