"""What nodes say of waits: real locks on a real node, and what one proxy has told another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from pgproxy.cluster.lock_waits import Answers, LockWaits, place_of, telling
from pgproxy.cluster.wait_graph import Process
from tests.activity import until
from tests.fix_nodes import LibraryCluster

NODE = "west-library"


@pytest.fixture
def holder(library_cluster: LibraryCluster) -> Iterator[psycopg.Connection]:
    with psycopg.connect(library_cluster.conninfo(NODE)) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def waiter(library_cluster: LibraryCluster, holder: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with psycopg.connect(library_cluster.conninfo(NODE)) as connection:
        yield connection
        holder.rollback()
        connection.pgconn.finish()


def asked(cluster: LibraryCluster, *tell: str) -> list[Answers]:
    """One proxy's answers, and then another's, asked once the first has told."""

    async def ask() -> list[Answers]:
        shard_map = cluster.shard_map()
        node = shard_map.nodes[NODE]
        place = place_of(node)
        proxies = [LockWaits(lambda: shard_map.cluster) for _ in range(2)]
        try:
            return [await proxy.ask({place: node}, {place: "".join(tell)}) for proxy in proxies]
        finally:
            for proxy in proxies:
                await proxy.close()

    return asyncio.run(ask())


def pid_of(connection: psycopg.Connection) -> int:
    return connection.info.backend_pid


@pytest.mark.parametrize(
    ("locks", "lock"),
    [
        ("UPDATE books_b SET genre = genre", "ShareLock on transaction "),
        ("LOCK TABLE books_b", "AccessExclusiveLock on relation "),
        ("SELECT pg_advisory_xact_lock(7, 8)", "ExclusiveLock on advisory lock ["),
    ],
)
def test_who_waits_for_whom(
    locks: str, lock: str, library_cluster: LibraryCluster, holder: psycopg.Connection, waiter: psycopg.Connection
) -> None:
    holder.execute(locks.encode())
    waiter.execute("SELECT 1")
    waiter.pgconn.send_query(locks.encode())
    until(lambda: asked(library_cluster)[0].waits, "it waits")
    answers = asked(library_cluster)[0]
    (wait,) = answers.waits
    place = place_of(library_cluster.shard_map().nodes[NODE])
    assert (wait.process, wait.blockers) == (Process(place, pid_of(waiter)), (pid_of(holder),))
    assert wait.lock.startswith(lock)
    assert answers.transactions[wait.process] == wait.transaction
    assert Process(place, pid_of(holder)) in answers.transactions


def test_what_is_told_is_heard_while_it_is_true(library_cluster: LibraryCluster, holder: psycopg.Connection) -> None:
    process = Process(place_of(library_cluster.shard_map().nodes[NODE]), pid_of(holder))
    holder.execute("SELECT 1")
    transaction = asked(library_cluster)[0].transactions[process]
    told = telling("1-a0-b1", process.pid, transaction)
    first, second = asked(library_cluster, told)
    assert first.others() == {}  # a question is no news to whoever asks it
    assert second.others() == {process: "1-a0-b1"}
    holder.rollback()
    holder.execute("SELECT 1")
    _, second = asked(library_cluster, told)
    assert second.told[process] == [("1-a0-b1", transaction)]
    assert second.others() == {}


@pytest.mark.parametrize(
    ("question", "heard"),
    [
        ("/* 1-a 12 3/45;*/ SELECT", [("1-a", "3/45")]),
        ("/* 1-a 12 3/45;1-b 12 3/46; */ SELECT", [("1-a", "3/45"), ("1-b", "3/46")]),
        ("/* 1-a 12 3/45;1-b 12 3/4", [("1-a", "3/45")]),
        ("/*  */ SELECT '1-a 12 3/45;'", []),
        ("<insufficient privilege>", []),
        ("", []),
    ],
)
def test_what_is_told_may_be_cut_off(question: str, heard: list[tuple[str, str]]) -> None:
    answers = Answers()
    answers.add(("host", 1), [(99, "", None, None, question)])
    assert answers.told == ({Process(("host", 1), 12): heard} if heard else {})


def test_a_node_that_does_not_answer_says_nothing(library_cluster: LibraryCluster) -> None:
    async def ask() -> Answers:
        shard_map = library_cluster.shard_map()
        nodes = {place_of(node): node for node in shard_map.nodes.values()}
        proxy = LockWaits(lambda: shard_map.cluster)
        try:
            await proxy.ask(nodes, {})
            with library_cluster.connect(NODE) as node:  # the connection is lost: the next question finds out
                node.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1".replace(
                        "$1", "'pgproxy deadlocks'"
                    )
                )
            await proxy.ask(nodes, {})
            return await proxy.ask(nodes, {})
        finally:
            await proxy.close()

    assert {process.place for process in asyncio.run(ask()).transactions} == {
        place_of(node) for node in library_cluster.shard_map().nodes.values()
    }
