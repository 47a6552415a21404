"""Accounts on three nodes, and a look at them past the proxy: what commits across nodes left everywhere."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import psycopg
import pytest

from pgproxy.cluster.in_doubt import InDoubt, Timing
from pgproxy.demo.nodes import NODE_NAMES
from pgproxy.shardmap.model import Method, Shard, ShardMap, Table
from tests.fix_nodes import LibraryCluster, running_cluster

T = TypeVar("T")

PLACES = ("downtown", "west", "north")
NODE_OF = dict(zip(PLACES, NODE_NAMES, strict=True))
SHARD_OF = dict(zip(PLACES, ("accounts_a", "accounts_b", "accounts_c"), strict=True))
TIMEOUT_S = 60.0
_COLUMNS = "id int NOT NULL, place text NOT NULL, amount int NOT NULL, PRIMARY KEY (id, place)"
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
_LOCKS = """SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid IS DISTINCT FROM pg_backend_pid()
            AND relation = to_regclass(%s)"""


class AccountsCluster(LibraryCluster):
    """The nodes with `accounts`, sharded by place."""

    def shard_map(self, port: int = 6432) -> ShardMap:
        library = super().shard_map(port)
        shards = tuple(
            Shard(index, SHARD_OF[place], NODE_OF[place], values=(place,)) for index, place in enumerate(PLACES)
        )
        accounts = Table("accounts", "public", "place", Method.LIST, shards)
        return replace(library, tables={**library.tables, "accounts": accounts})

    def stored(self) -> dict[str, set[int]]:
        """By place, the ids."""
        found = {}
        for place in PLACES:
            with self.connect(NODE_OF[place]) as node:
                rows = node.execute(f"SELECT id FROM {SHARD_OF[place]}".encode()).fetchall()
                found[place] = {id_ for (id_,) in rows}
        return found

    def prepared(self) -> set[str]:
        """On any node."""
        found = set()
        for name in self.nodes:
            with self.connect(name) as node:
                found |= {gid for (gid,) in node.execute(_PREPARED).fetchall()}
        return found

    def locks(self) -> int:
        """That somebody holds on the accounts, prepared transactions too."""
        count = 0
        for place in PLACES:
            with self.connect(NODE_OF[place]) as node:
                count += (node.execute(_LOCKS, [SHARD_OF[place]]).fetchone() or (0,))[0]
        return count

    def on(self, place: str, *statements: str) -> list[tuple[object, ...]]:
        """What the last of them says."""
        with self.connect(NODE_OF[place]) as node:
            cursor = node.execute(f"SET lock_timeout = '{TIMEOUT_S:g}s'".encode())
            for statement in statements:
                cursor = node.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        for place in PLACES:
            self.on(place, f"TRUNCATE {SHARD_OF[place]}", "TRUNCATE pgproxy.commit_log")

    def recover(self) -> None:
        """As the next proxy does, without its patience: until nothing is left in doubt."""
        asyncio.run(_recover(self))


async def _recover(cluster: AccountsCluster) -> None:
    shard_map = cluster.shard_map()
    in_doubt = InDoubt(
        asyncio.get_running_loop(), lambda: shard_map, lambda _node: True, Timing(patience_s=0.0, clean_s=3600.0)
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while cluster.prepared():
                await in_doubt.round()
    finally:
        await in_doubt.stop()


@contextmanager
def running_accounts() -> Iterator[AccountsCluster]:
    with running_cluster() as running:
        cluster = AccountsCluster(running.nodes)
        for place in PLACES:
            cluster.on(place, *(f"CREATE TABLE {table} ({_COLUMNS})" for table in ("accounts", SHARD_OF[place])))
        yield cluster


@pytest.fixture(scope="module")
def accounts_cluster() -> Iterator[AccountsCluster]:
    """Nodes that a module's tests break and mend."""
    with running_accounts() as cluster:
        yield cluster


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, however long a loaded machine takes."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S:g} s: {what}"
        time.sleep(0.02)


def in_background(work: Callable[[], T]) -> Future[T]:
    """`result` waits for it; a test that fails before leaves it behind."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as failure:  # noqa: BLE001 - the test's own thread raises it
            future.set_exception(failure)

    threading.Thread(target=run, daemon=True).start()
    return future


@dataclass(frozen=True)
class Moment:
    """A point in COMMIT at which a node waits for the test: in which statement, and how it is brought about."""

    place: str
    statement: str  # words of it
    hold: str
    before: tuple[str, ...] = ()
    prepared: bool = True  # the others have prepared their parts by then

    @contextmanager
    def held(self, cluster: AccountsCluster) -> Iterator[Callable[[], None]]:
        """Gives what waits until a session is there. At the end it may go on, if the node is still there."""
        cluster.on(self.place, *NO_MORE, *self.before)
        holder = cluster.connect(NODE_OF[self.place])
        try:
            holder.execute("BEGIN")
            holder.execute(self.hold.encode())
            yield lambda: until(lambda: self._waits(cluster), f"a session waits in {self.statement}")
        finally:
            with suppress(psycopg.OperationalError):
                holder.execute("ROLLBACK")
            holder.close()

    def _waits(self, cluster: AccountsCluster) -> bool:
        sql = f"""SELECT 1 FROM pg_stat_activity
                  WHERE wait_event_type = 'Lock' AND application_name <> 'pgproxy recovery'
                    AND query LIKE '%{self.statement}%'"""
        return bool(cluster.on(self.place, sql)) and (not self.prepared or bool(cluster.prepared()))


def deferred(place: str, body: str) -> tuple[str, ...]:
    """What is done by PREPARE TRANSACTION and COMMIT when rows were inserted: `body` in PL/pgSQL."""
    return (
        f"CREATE FUNCTION at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body}; RETURN NULL; END$$",
        f"""CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON {SHARD_OF[place]} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION at_the_end()""",
    )


NO_MORE = ("DROP FUNCTION IF EXISTS at_the_end CASCADE",)


def at_its_end(place: str, statement: str) -> Moment:
    wait = "PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7)"
    return Moment(place, statement, "SELECT pg_advisory_lock(7)", deferred(place, wait), statement == "COMMIT")
