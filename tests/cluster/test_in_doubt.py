"""What nodes have prepared is ended as the decider says, whoever asks, and only what is this cluster's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg
import pytest

from pgproxy.auth.pending import Pending
from pgproxy.cluster.in_doubt import InDoubt, Timing
from pgproxy.cluster.settling import MOST
from pgproxy.demo.nodes import SUPERUSER
from pgproxy.errors import ProxyError
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import ShardMap
from tests.fix_nodes import LibraryCluster

DOWNTOWN, WEST, NORTH = "downtown-library", "west-library", "north-library"
NAME = "a cluster: of tests/1"
AT_ONCE = Timing(patience_s=0.0, clean_s=3600.0)
READER, OTHER = "recovery_reader", "recovery_other"
PATIENCE_S = 20.0
TABLE = "recovered"

pytestmark = pytest.mark.asyncio


@pytest.fixture
def cluster(library_cluster: LibraryCluster) -> Iterator[LibraryCluster]:
    for name in library_cluster.nodes:
        with library_cluster.connect(name) as node:
            node.execute(f"CREATE TABLE {TABLE} (gid text)")
            node.execute(f"GRANT ALL ON {TABLE} TO PUBLIC")
            node.execute("DELETE FROM pgproxy.commit_log")
    yield library_cluster
    for name in library_cluster.nodes:
        with library_cluster.connect(name) as node:
            for gid in prepared(library_cluster, name):
                node.execute(f"ROLLBACK PREPARED '{gid}'")
            node.execute(f"DROP TABLE {TABLE}")
            node.execute("DELETE FROM pgproxy.commit_log")


@pytest.fixture
def roles(cluster: LibraryCluster) -> Iterator[None]:
    """Two that are no superusers, and know nothing of each other."""
    for name in cluster.nodes:
        with cluster.connect(name) as node:
            node.execute(f"CREATE ROLE {READER} LOGIN; CREATE ROLE {OTHER} LOGIN")
    yield
    for name in cluster.nodes:
        with cluster.connect(name) as node:
            for gid in prepared(cluster, name):
                node.execute(f"ROLLBACK PREPARED '{gid}'")
            node.execute(f"REVOKE ALL ON {TABLE} FROM PUBLIC; DROP ROLE {READER}; DROP ROLE {OTHER}")


def shard_map_of(cluster: LibraryCluster, user: str) -> ShardMap:
    shard_map = cluster.shard_map()
    return replace(shard_map, cluster=replace(shard_map.cluster, name=NAME, user=user))


@asynccontextmanager
async def recovery(
    cluster: LibraryCluster,
    timing: Timing = AT_ONCE,
    is_up: Callable[[str], bool] = lambda _node: True,
    user: str = SUPERUSER,
) -> AsyncIterator[InDoubt]:
    """One whose rounds are the test's."""
    shard_map = shard_map_of(cluster, user)
    in_doubt = InDoubt(asyncio.get_running_loop(), lambda: shard_map, is_up, timing)
    try:
        yield in_doubt
    finally:
        await in_doubt.stop()


def prepare(cluster: LibraryCluster, node: str, gid: str, user: str | None = None) -> None:
    with cluster.connect(node) as connection:
        if user is not None:
            connection.execute(f"SET SESSION AUTHORIZATION {user}".encode())
        connection.execute(f"BEGIN; INSERT INTO {TABLE} VALUES ('{gid}'); PREPARE TRANSACTION '{gid}'".encode())


def decide(connection: psycopg.Connection, gid: str) -> None:
    connection.execute("INSERT INTO pgproxy.commit_log (gid, committed) VALUES (%s, true)", [gid])


def prepared(cluster: LibraryCluster, node: str) -> set[str]:
    with cluster.connect(node) as connection:
        sql = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        return {gid for (gid,) in connection.execute(sql).fetchall()}


def stored(cluster: LibraryCluster, node: str) -> set[str]:
    with cluster.connect(node) as connection:
        return {gid for (gid,) in connection.execute(f"SELECT gid FROM {TABLE}".encode()).fetchall()}


def logged(cluster: LibraryCluster, node: str) -> dict[str, bool]:
    with cluster.connect(node) as connection:
        return dict(connection.execute("SELECT gid, committed FROM pgproxy.commit_log").fetchall())


def alerts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("ALERT")]


def new_id(decider: str = DOWNTOWN, cluster: str = NAME) -> str:
    return commit_log.new_id(cluster, decider)


async def test_each_is_ended_as_its_decider_says(cluster: LibraryCluster) -> None:
    """One that has no row there can never be committed afterwards."""
    yes, no = new_id(), new_id()
    for node in (WEST, NORTH):
        prepare(cluster, node, yes)
        prepare(cluster, node, no)
    with cluster.connect(DOWNTOWN) as decider:
        decide(decider, yes)
    async with recovery(cluster) as in_doubt:
        await in_doubt.round()
        for node in (WEST, NORTH):
            counts = in_doubt.counts_of(node)
            assert (counts.in_doubt, counts.committed, counts.rolled_back) == (0, 1, 1)
    for node in (WEST, NORTH):
        assert prepared(cluster, node) == set()
        assert stored(cluster, node) == {yes}
    assert logged(cluster, DOWNTOWN) == {yes: True, no: False}
    with cluster.connect(DOWNTOWN) as decider, pytest.raises(psycopg.errors.UniqueViolation):
        decide(decider, no)


async def test_young_ones_are_left_to_their_sessions(cluster: LibraryCluster) -> None:
    gid = new_id()
    prepare(cluster, WEST, gid)
    async with recovery(cluster, replace(AT_ONCE, patience_s=3600.0)) as in_doubt:
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).in_doubt == 0
    assert prepared(cluster, WEST) == {gid}
    assert logged(cluster, DOWNTOWN) == {}


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_a_decider_still_in_its_transaction_has_the_last_word(end: str, cluster: LibraryCluster) -> None:
    gid = new_id()
    prepare(cluster, WEST, gid)
    async with recovery(cluster) as in_doubt:
        with cluster.connect(DOWNTOWN) as decider:
            decider.execute("BEGIN")
            decide(decider, gid)
            await in_doubt.round()
            assert prepared(cluster, WEST) == {gid}
            assert in_doubt.counts_of(WEST).in_doubt == 1
            decider.execute(end)
        await in_doubt.round()
    assert prepared(cluster, WEST) == set()
    assert stored(cluster, WEST) == ({gid} if end == "COMMIT" else set())


@pytest.mark.parametrize("other", [NAME + "0", NAME[:-1], "library", NAME.replace(":", "%3A"), NAME + ":" + DOWNTOWN])
async def test_other_clusters_transactions_are_left_alone(other: str, cluster: LibraryCluster) -> None:
    """And the user's own, whatever they are called."""
    gids = {new_id(cluster=other), "mine", f"pgproxy:{NAME}", "pgproxy:"}
    for gid in gids:
        prepare(cluster, WEST, gid)
    async with recovery(cluster) as in_doubt:
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).in_doubt == 0
    assert prepared(cluster, WEST) == gids
    assert logged(cluster, DOWNTOWN) == {}


async def test_transactions_of_another_database_are_left_alone(cluster: LibraryCluster) -> None:
    gid = new_id()
    with psycopg.connect(cluster.nodes[WEST].conninfo("postgres"), autocommit=True) as elsewhere:
        elsewhere.execute(f"BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '{gid}'".encode())
        try:
            async with recovery(cluster) as in_doubt:
                await in_doubt.round()
                assert in_doubt.counts_of(WEST).in_doubt == 0
        finally:
            elsewhere.execute(f"ROLLBACK PREPARED '{gid}'".encode())


async def test_several_proxies_at_the_same_time(cluster: LibraryCluster) -> None:
    gids = [new_id(decider) for decider in (DOWNTOWN, NORTH) for _ in range(15)]
    for gid in gids:
        prepare(cluster, WEST, gid)
    for name, some in ((DOWNTOWN, gids[:15:2]), (NORTH, gids[15::2])):
        with cluster.connect(name) as decider:
            for gid in some:
                decide(decider, gid)
    async with recovery(cluster) as one, recovery(cluster) as two:
        await asyncio.gather(one.round(), two.round(), *(asyncio.sleep(0) for _ in range(3)))
        await asyncio.gather(one.round(), two.round())
        counts = [each.counts_of(WEST) for each in (one, two)]
    assert sum(each.committed for each in counts) == 16
    assert sum(each.rolled_back for each in counts) == 14
    assert prepared(cluster, WEST) == set()
    assert stored(cluster, WEST) == {*gids[:15:2], *gids[15::2]}


async def test_nobody_guesses_for_a_decider_that_has_left(
    cluster: LibraryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    gid = new_id("a node that was")
    prepare(cluster, WEST, gid)
    async with recovery(cluster) as in_doubt:
        await in_doubt.round()
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).in_doubt == 1
    assert prepared(cluster, WEST) == {gid}
    (alert,) = alerts(caplog)
    assert gid in alert
    assert WEST in alert


async def test_a_decider_that_is_down_is_asked_later(cluster: LibraryCluster) -> None:
    gid = new_id()
    prepare(cluster, WEST, gid)
    down = {DOWNTOWN}
    async with recovery(cluster, is_up=lambda node: node not in down) as in_doubt:
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).in_doubt == 1
        down.clear()
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).rolled_back == 1
    assert prepared(cluster, WEST) == set()


async def test_what_is_in_doubt_for_long_is_an_alert(cluster: LibraryCluster, caplog: pytest.LogCaptureFixture) -> None:
    """One for a node, and one line when it is over."""
    for _ in range(2):
        prepare(cluster, WEST, new_id())
    down = {DOWNTOWN}
    caplog.set_level(logging.WARNING)
    async with recovery(cluster, replace(AT_ONCE, alert_s=0.0), lambda node: node not in down) as in_doubt:
        await in_doubt.round()
        await in_doubt.round()
        (alert,) = alerts(caplog)
        assert alert.startswith(f"ALERT: 2 transactions are in doubt on node {WEST}, the oldest for ")
        assert alert.endswith(f"(node {DOWNTOWN} is down)")
        down.clear()
        await in_doubt.round()
        assert caplog.messages[-2:] == [
            f"of the transactions in doubt on node {WEST} 0 were committed, 2 rolled back",
            f"RECOVERED: no transaction is in doubt for long on node {WEST} any more",
        ]
        await in_doubt.round()
        assert len(caplog.messages) == 3


@pytest.mark.usefixtures("roles")
async def test_a_part_of_another_role_is_ended_as_that_role(cluster: LibraryCluster) -> None:
    gid = new_id()
    with cluster.connect(WEST) as node:
        node.execute(f"GRANT {OTHER} TO {READER}")
    prepare(cluster, WEST, gid, OTHER)
    async with recovery(cluster, user=READER) as in_doubt:
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).rolled_back == 1
        prepare(cluster, WEST, gid, READER)
        await in_doubt.round()
        assert in_doubt.counts_of(WEST).rolled_back == 2
    assert prepared(cluster, WEST) == set()


@pytest.mark.usefixtures("roles")
async def test_a_part_that_may_not_be_ended_is_an_alert(
    cluster: LibraryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    gid, own = new_id(), new_id()
    prepare(cluster, WEST, gid, OTHER)
    prepare(cluster, WEST, own, READER)
    with cluster.connect(DOWNTOWN) as decider:
        decide(decider, gid)
    async with recovery(cluster, user=READER) as in_doubt:
        await in_doubt.round()
        await in_doubt.round()
        assert (in_doubt.counts_of(WEST).in_doubt, in_doubt.counts_of(WEST).rolled_back) == (1, 1)
    assert prepared(cluster, WEST) == {gid}
    (alert,) = alerts(caplog)
    assert f"COMMIT PREPARED '{gid}' is for its owner {OTHER}" in alert


async def test_old_decisions_are_deleted(cluster: LibraryCluster) -> None:
    """But not while a part is prepared anywhere, and never those of other clusters."""
    old, needed, young, foreign, refusal, old_refusal = (new_id(cluster=NAME + "0" * (at == 3)) for at in range(6))
    with cluster.connect(DOWNTOWN) as decider:
        for gid in (old, needed, young, foreign, refusal, old_refusal):
            decide(decider, gid)
        decider.execute("UPDATE pgproxy.commit_log SET decided_at = now() - '2 h'::interval WHERE gid <> %s", [young])
        decider.execute(
            "UPDATE pgproxy.commit_log SET committed = false WHERE gid = ANY (%s)", [[refusal, old_refusal]]
        )
        decider.execute(
            "UPDATE pgproxy.commit_log SET decided_at = now() - '8 d'::interval WHERE gid = %s", [old_refusal]
        )
    prepare(cluster, WEST, needed)
    down = {NORTH}
    timing = replace(AT_ONCE, patience_s=3600.0, clean_s=0.0)
    async with recovery(cluster, timing, lambda node: node not in down) as in_doubt:
        await in_doubt.round()
        assert len(logged(cluster, DOWNTOWN)) == 6  # the node that is down may have any of them
        down.clear()
        await in_doubt.round()
    assert logged(cluster, DOWNTOWN).keys() == {needed, young, foreign, refusal}


async def test_many_old_decisions_are_deleted_in_batches(cluster: LibraryCluster) -> None:
    with cluster.connect(DOWNTOWN) as decider:
        sql = """INSERT INTO pgproxy.commit_log SELECT %s || n, true, now() - '2 h'::interval
                 FROM generate_series(1, 2500) n"""
        decider.execute(sql, [commit_log.prefix(NAME, DOWNTOWN)])
    async with recovery(cluster, replace(AT_ONCE, clean_s=0.0)) as in_doubt:
        await in_doubt.round()
    assert logged(cluster, DOWNTOWN) == {}


# What a session wants to know at once


async def answered(pending: Pending[bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not pending.done:  # noqa: ASYNC110 - `wake` is the test's
            await asyncio.sleep(0.01)


async def until_nothing_is_prepared(cluster: LibraryCluster) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(prepared(cluster, node) for node in cluster.nodes):  # noqa: ASYNC110 - servers cannot wake us
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("committed", [True, False])
async def test_a_session_hears_what_the_decider_says(committed: bool, cluster: LibraryCluster) -> None:
    gid = new_id()
    for node in (WEST, NORTH):
        prepare(cluster, node, gid)
    if committed:
        with cluster.connect(DOWNTOWN) as decider:
            decide(decider, gid)
    woken = []
    async with recovery(cluster, Timing()) as in_doubt:
        first, second = (in_doubt.settle(gid, lambda: woken.append(1)) for _ in range(2))
        assert not woken
        await answered(first)
        await answered(second)
        assert (first.value, second.value, len(woken)) == (committed, committed, 2)
        third = in_doubt.settle(gid, lambda: None)
        await answered(third)
        assert third.value is committed
        await until_nothing_is_prepared(cluster)
    for node in (WEST, NORTH):
        assert stored(cluster, node) == ({gid} if committed else set())


async def test_a_part_that_is_prepared_late_is_found(cluster: LibraryCluster) -> None:
    """The client was gone before PREPARE had ended."""
    gid = new_id()
    async with recovery(cluster, Timing()) as in_doubt:
        pending = in_doubt.settle(gid, lambda: None)
        await answered(pending)
        prepare(cluster, WEST, gid)
        await until_nothing_is_prepared(cluster)
    assert stored(cluster, WEST) == set()


async def test_a_session_waits_only_so_long(cluster: LibraryCluster) -> None:
    """The rest goes on without it."""
    gid = new_id()
    prepare(cluster, WEST, gid)
    async with recovery(cluster, Timing()) as in_doubt:
        with cluster.connect(DOWNTOWN) as decider:
            decider.execute("BEGIN")
            decide(decider, gid)
            pending = in_doubt.settle(gid, lambda: None)
            await answered(pending)
            with pytest.raises(ProxyError) as unknown:
                _ = pending.value
            assert unknown.value.sqlstate == "40003"
            decider.execute("COMMIT")
        await until_nothing_is_prepared(cluster)
    assert stored(cluster, WEST) == {gid}


async def test_more_than_can_be_settled_at_once_are_left_to_the_rounds(cluster: LibraryCluster) -> None:
    async with recovery(cluster, Timing(), lambda _node: False) as in_doubt:
        several = [in_doubt.settle(new_id(), lambda: None) for _ in range(MOST + 1)]
        await answered(several[-1])
        assert not any(pending.done for pending in several[:-1])
        assert several[-1].error is not None
    assert all(pending.done for pending in several), "nobody waits for ever"


async def test_what_cannot_be_decided_is_said_at_once(cluster: LibraryCluster) -> None:
    async with recovery(cluster) as in_doubt:
        pending = in_doubt.settle(new_id("a node that was"), lambda: None)
        await answered(pending)
        assert pending.error is not None
    late = in_doubt.settle(new_id(), lambda: None)  # it has stopped
    await answered(late)
    assert late.error is not None


async def test_the_first_round_is_at_the_start_and_nobody_hangs_at_the_end(cluster: LibraryCluster) -> None:
    gid = new_id()
    prepare(cluster, WEST, gid)
    async with recovery(cluster, replace(AT_ONCE, interval_s=3600.0)) as in_doubt:
        in_doubt.start()
        await until_nothing_is_prepared(cluster)
        prepare(cluster, WEST, gid)
        in_doubt.ask_soon()
        await until_nothing_is_prepared(cluster)
        with cluster.connect(DOWNTOWN) as decider:
            decider.execute("BEGIN")
            decide(decider, other := new_id())
            prepare(cluster, WEST, other)
            in_doubt.settle(other, lambda: None)
            in_doubt.ask_soon()
            await asyncio.sleep(0.1)
            async with asyncio.timeout(PATIENCE_S):
                await in_doubt.stop()
