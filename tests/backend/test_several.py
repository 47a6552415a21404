"""Several statements up to one Sync on one connection, and what counts as prepared there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import BOUND, ENDED, PARSED, Exchange, ServerError
from pgproxy.backend.prepared import MOST_PREPARED, PreparedStatements
from pgproxy.wire import extended as x
from tests.fix_nodes import LibraryCluster

NAMES = {id(PARSED): "parsed", id(BOUND): "bound", id(ENDED): "ended"}


def run(cluster: LibraryCluster, work: Callable[[BackendConnection], Awaitable[None]]) -> None:
    async def connected() -> None:
        shard_map = cluster.shard_map(1)
        node = next(iter(shard_map.nodes.values()))
        loop = asyncio.get_running_loop()
        connection = await BackendConnection.open(node, shard_map.cluster, loop, timeout_s=20)
        try:
            await work(connection)
        finally:
            connection.close()

    asyncio.run(connected())


async def answer(connection: BackendConnection, data: bytes) -> tuple[Exchange, list[str]]:
    finished = asyncio.Event()
    exchange = connection.run_several(data, lambda: None)
    exchange.wake = lambda: finished.set() if exchange.finished else None
    async with asyncio.timeout(30):
        await finished.wait()
    chunks = []
    while exchange.chunks:
        chunk = exchange.take()
        assert isinstance(chunk, bytes)
        chunks.append(NAMES.get(id(chunk)) or "".join(_kinds(chunk)))
    assert exchange.buffered_bytes == 0
    return exchange, chunks


def _kinds(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        found.append(chr(data[at]))
        at += 1 + int.from_bytes(data[at + 1 : at + 5], "big")
    return found


def statement(sql: str, *values: bytes) -> bytes:
    bound = x.bind_message("", "", (), values, ())
    return x.parse_message("", sql, ()) + bound + x.describe_portal("") + x.execute_message("", 0)


def test_answers_are_told_apart(library_cluster: LibraryCluster) -> None:
    async def work(connection: BackendConnection) -> None:
        data = statement("SELECT 1") + statement("SET work_mem = '2MB'") + statement("") + statement("SELECT 2")
        exchange, chunks = await answer(connection, data)
        assert exchange.error is None
        assert chunks == [
            *("parsed", "bound", "TDC", "ended"),
            *("parsed", "bound", "nC", "ended"),
            *("parsed", "bound", "nI", "ended"),
            *("parsed", "bound", "TDC", "ended"),
        ]

    run(library_cluster, work)


@pytest.mark.parametrize(
    ("wrong", "left"),
    [
        (statement("SELEC"), []),
        (statement("SELECT $1::int", b"x"), ["parsed"]),
        (statement("SELECT 1 / n FROM generate_series(0, $1::int) n", b"0"), ["parsed", "bound", "T"]),
    ],
)
def test_what_is_behind_an_error_is_skipped(wrong: bytes, left: list[str], library_cluster: LibraryCluster) -> None:
    async def work(connection: BackendConnection) -> None:
        exchange, chunks = await answer(connection, statement("SELECT 1") + wrong + statement("SELECT 2"))
        assert isinstance(exchange.error, ServerError)
        assert chunks == ["parsed", "bound", "TDC", "ended", *left]

    run(library_cluster, work)


def test_a_statement_is_prepared_the_second_time() -> None:
    prepared = PreparedStatements()
    first, second, third = (prepared.open("SELECT 1", (), lasting=False) for _ in range(3))
    assert (first.names, first.key, first.parses) == (b"\0\0", None, True)
    assert second.parses
    assert second.data == x.parse_message("pgproxy_1", "SELECT 1", ())
    assert second.replies == x.parse_complete()
    assert (third.names, third.data, third.replies, third.parses) == (b"\0pgproxy_1\0", b"", b"", False)
    assert third.key == second.key == ("SELECT 1", (), ())


def test_the_least_recently_used_is_closed_with_the_next() -> None:
    prepared = PreparedStatements()
    for number in range(MOST_PREPARED + 1):
        opened = prepared.open(str(number), (), lasting=True)
    assert opened.closes == (x.close_statement("pgproxy_1"),)
    assert opened.replies == x.close_complete() + x.parse_complete()
    assert opened.data.startswith(x.close_statement("pgproxy_1"))
    assert prepared.open(str(MOST_PREPARED), (), lasting=True).closes == ()
    prepared.close_again(opened)
    known = prepared.open(str(MOST_PREPARED), (), lasting=True)
    assert (known.data, known.parses) == (x.close_statement("pgproxy_1"), False)
