"""What a routed statement costs the proxy alone: µs of CPU from the client's message to its answer.

`python -m loadtest.relay_micro [statements]`. No server and no sockets: a client and a node of memory on both sides of
a real session, planner and pool. The floor of what `make bench` measures, and finer than it where two versions differ
by little. Keys are drawn from as many as there, so that nothing that remembers them helps more than it does there.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pgproxy.backend.connection import BackendConnection
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.facts import CatalogFacts, ColumnFacts, TableFacts
from pgproxy.shardmap.model import ClusterSettings, Engine, Method, Node, ProxySettings, Shard, ShardMap, Table
from pgproxy.wire import extended, messages
from pgproxy.wire.rows import Column, data_row, row_description
from pgproxy.worker import Worker

_ROUNDS = 15
_INT4 = 23
_KEYS = 100_000
_DRAWN = 20_000
_ROW = data_row([b"12345"]) + messages.command_complete("SELECT 1") + messages.ready_for_query(b"I")
_ROW_DESCRIPTION = row_description([Column("abalance", type_oid=_INT4, type_size=4)])
_ANSWER = _ROW_DESCRIPTION + _ROW
_BOUND_ANSWER = extended.bind_complete() + _ANSWER
_SQL = "SELECT abalance FROM pgbench_accounts WHERE aid = "
_PREPARE = extended.parse_message("P0", f"{_SQL}$1;", ()) + messages.sync()


def _simple(aid: int) -> bytes:
    return messages.query(f"{_SQL}{aid};")


def _extended(aid: int) -> bytes:
    return extended.parse_message("", f"{_SQL}$1;", ()) + _bound("", aid)


def _prepared(aid: int) -> bytes:
    return _bound("P0", aid)


def _bound(name: str, aid: int) -> bytes:
    bind = extended.bind_message("", name, (), (b"%d" % aid,), ())
    return bind + extended.describe_portal("") + extended.execute_message("", 0) + messages.sync()


# What pgbench -M sends, and what the node answers once it has prepared the statement.
_MODES: dict[str, tuple[Callable[[int], bytes], bytes, bytes]] = {
    "simple": (_simple, b"", _ANSWER),
    "extended": (_extended, b"", _BOUND_ANSWER),
    "prepared": (_prepared, _PREPARE, _BOUND_ANSWER),
}


class Memory(asyncio.Transport):
    """A transport that counts what is written, and drops it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: Any) -> None:
        self.written += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    abort = close


def _worker(loop: asyncio.AbstractEventLoop) -> Worker:
    bounds = [None, str(_KEYS + 1), str(2 * _KEYS + 1), None]
    shards = tuple(
        Shard(index, f"pgbench_accounts_{index}", "one", lower=bounds[index], upper=bounds[index + 1])
        for index in range(3)
    )
    table = Table("pgbench_accounts", "public", "aid", Method.RANGE, shards)
    shard_map = ShardMap(
        ProxySettings(),
        ClusterSettings("micro", Engine.POSTGRESQL, "db", "user"),
        {"one": Node("one", "127.0.0.1", 1)},
        {table.name: table},
    )
    names = ("aid", "bid", "abalance")
    columns = {name: ColumnFacts(name, _INT4) for name in names}
    facts = CatalogFacts(Engine.POSTGRESQL, 180000, {table.name: TableFacts(table.name, columns)})
    worker = Worker(shard_map, loop)
    worker.in_force = replace(worker.in_force, planner=Planner(shard_map, facts, cache_size=100))
    worker.remember_start_up("", {}, {})
    return worker


def _node(worker: Worker, loop: asyncio.AbstractEventLoop) -> BackendConnection:
    """A connection that the pool takes for one that has logged in."""
    pool = worker.pools["one"]
    connection = BackendConnection(pool.node, worker.shard_map.cluster, loop)
    connection.connection_made(Memory())
    connection.data_received(messages.authentication_ok() + messages.ready_for_query(b"I"))
    pool._all.add(connection)
    pool._idle.append(connection)
    return connection


async def measure(mode: str, statements: int) -> float:
    """The least µs of CPU for one statement, of some rounds."""
    loop = asyncio.get_running_loop()
    worker = _worker(loop)
    node = _node(worker, loop)
    client = worker.accept()
    transport = Memory()
    client.connection_made(transport)
    client.data_received(messages.startup_message({"user": "user", "database": "db"}))
    message, before, answer = _MODES[mode]
    sent = [message(random.randint(1, _KEYS)) for _ in range(_DRAWN)]
    if before:
        client.data_received(before)
        described = extended.parameter_description((_INT4,)) + _ROW_DESCRIPTION
        node.data_received(extended.parse_complete() + described + messages.ready_for_query(b"I"))
    least = float("inf")
    for _ in range(_ROUNDS):
        written = transport.written
        began = time.process_time()
        for number in range(statements):
            client.data_received(sent[number % _DRAWN])
            node.data_received(answer)
        least = min(least, (time.process_time() - began) / statements * 1e6)
        assert transport.written - written == statements, "each statement was answered"
    client.connection_lost(None)
    await worker.stop()
    return least


def main() -> None:
    import uvloop

    statements = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for mode in _MODES:
        print(f"routed, {mode}: {uvloop.run(measure(mode, statements)):.2f} µs of CPU each")


if __name__ == "__main__":
    main()
