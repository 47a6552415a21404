"""Heartbeats against real servers that are killed, stalled, locked and started again."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.cluster.heartbeat import Heartbeats, NodeState
from pgproxy.demo.nodes import HOST, EmbeddedNode, free_port
from pgproxy.shardmap.model import HeartbeatSettings, Node, Shard, ShardMap
from tests.fix_nodes import LibraryCluster, running_cluster

WEST, NORTH = "west-library", "north-library"
PATIENCE_S = 60.0
QUICK = HeartbeatSettings(interval_s=0.1, timeout_s=20.0)  # for nodes that refuse connections
NOTICES_STALLS = replace(QUICK, timeout_s=2.0)
RARE = HeartbeatSettings(interval_s=3600.0, timeout_s=20.0, down_after=1)

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def cluster() -> Iterator[LibraryCluster]:
    """Nodes that these tests break and mend."""
    with running_cluster() as running:
        yield running


def with_heartbeat(shard_map: ShardMap, settings: HeartbeatSettings) -> ShardMap:
    return replace(shard_map, proxy=replace(shard_map.proxy, heartbeat=settings))


@asynccontextmanager
async def beating(cluster: LibraryCluster, settings: HeartbeatSettings = QUICK) -> AsyncIterator[Heartbeats]:
    async with Heartbeats(with_heartbeat(cluster.shard_map(), settings)) as heartbeats:
        yield heartbeats


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
            await asyncio.sleep(0.01)


@contextmanager
def stalled(node: EmbeddedNode) -> Iterator[None]:
    """SIGSTOP to the server and each of its processes (they all have sessions of their own)."""
    assert node.pid is not None
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    processes = [node.pid, *map(int, children)]
    _signal_all(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_all(processes, signal.SIGCONT)


def _signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # a session may have ended on its own
            os.kill(process, number)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_the_first_round_is_over_when_start_returns(cluster: LibraryCluster) -> None:
    async with beating(cluster, RARE) as heartbeats:
        states = heartbeats.states()
        assert list(states) == list(cluster.nodes)
        for name, state in states.items():
            assert state == heartbeats.state(name)
            assert state.up is True
            assert state.failures == 0
            assert state.error is None
            assert state.last_ok is not None
            assert state.latency_ms is not None
        assert {(event.node, event.up) for event in heartbeats.events} == {(name, True) for name in states}


async def test_before_the_first_round_nothing_is_claimed(cluster: LibraryCluster) -> None:
    heartbeats = Heartbeats(cluster.shard_map())
    assert {state.up for state in heartbeats.states().values()} == {None}
    await heartbeats.stop()


async def test_kill_and_restart(cluster: LibraryCluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    changes: list[NodeState] = []
    async with beating(cluster) as heartbeats:
        heartbeats.on_change(changes.append)
        cluster.kill(WEST)
        try:
            await until(lambda: heartbeats.state(WEST).up is False)
            assert heartbeats.state(NORTH).up is True
            down = heartbeats.state(WEST)
            assert down.failures >= QUICK.down_after
            assert down.error
            assert down.latency_ms is None
            assert down.last_ok is not None
            assert down.since >= down.last_ok
        finally:
            cluster.restart(WEST)
        await until(lambda: heartbeats.state(WEST).up is True)
        assert [(state.name, state.up) for state in changes] == [(WEST, False), (WEST, True)]
        assert [(event.node, event.up) for event in heartbeats.events][-2:] == [(WEST, False), (WEST, True)]
    lines = [record.getMessage() for record in caplog.records]
    (alert,) = [line for line in lines if line.startswith("ALERT")]
    assert re.fullmatch(
        rf"ALERT: node {WEST} is DOWN \(.+; last answer \d\d:\d\d:\d\d\.\d{{3}}; detected after \d+\.\d s\)", alert
    )
    (recovered,) = [line for line in lines if line.startswith("RECOVERED")]
    assert re.fullmatch(rf"RECOVERED: node {WEST} is UP \(was down \d+\.\d s\)", recovered)


async def test_a_stalled_node_is_down_until_it_goes_on(cluster: LibraryCluster) -> None:
    async with beating(cluster, NOTICES_STALLS) as heartbeats:
        with stalled(cluster.nodes[WEST]):
            await until(lambda: heartbeats.state(WEST).up is False)
            assert heartbeats.state(WEST).error == "no answer within 2 s"
            assert heartbeats.state(NORTH).up is True
        await until(lambda: heartbeats.state(WEST).up is True)


async def test_a_proxy_that_is_busy_blames_no_node(cluster: LibraryCluster) -> None:
    """While the loop stands still for longer than the timeout, the answer arrives and waits to be read."""
    async with beating(cluster, HeartbeatSettings(interval_s=0.05, timeout_s=1.0, down_after=1)) as heartbeats:
        for _ in range(3):
            await asyncio.sleep(0.06)
            time.sleep(1.2)  # noqa: ASYNC251 - that is the point
        assert not heartbeats.events or all(event.up for event in heartbeats.events)
        assert all(state.failures == 0 for state in heartbeats.states().values())


async def test_stop_does_not_wait_for_a_stalled_node(cluster: LibraryCluster) -> None:
    patient = HeartbeatSettings(interval_s=0.1, timeout_s=3600.0)
    heartbeats = Heartbeats(with_heartbeat(cluster.shard_map(), patient))
    await heartbeats.start()
    with stalled(cluster.nodes[WEST]):
        await asyncio.sleep(0.5)  # by now a probe is under way
        async with asyncio.timeout(PATIENCE_S / 4):
            await heartbeats.stop()


async def test_neither_connections_nor_tasks_leak(cluster: LibraryCluster) -> None:
    tasks, descriptors = len(asyncio.all_tasks()), open_descriptors()
    async with beating(cluster, replace(QUICK, timeout_s=0.5)) as heartbeats:
        running = len(asyncio.all_tasks())
        opened = open_descriptors()
        for _ in range(2):
            with stalled(cluster.nodes[WEST]):
                await until(lambda: heartbeats.state(WEST).failures >= 4)
                # Each may be in the middle of a new connection; four have failed.
                assert open_descriptors() <= opened + len(cluster.nodes)
            await until(lambda: heartbeats.state(WEST).up is True)
        await until(lambda: open_descriptors() <= opened)
        assert len(asyncio.all_tasks()) <= running + len(cluster.nodes)  # each may be in the middle of a probe
    assert len(asyncio.all_tasks()) == tasks
    assert open_descriptors() == descriptors


async def test_the_heartbeat_uses_one_connection(cluster: LibraryCluster) -> None:
    def backends() -> set[int]:
        with cluster.connect(WEST) as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgproxy heartbeat'")
            return {pid for (pid,) in rows}

    await until(lambda: not backends())
    async with beating(cluster) as heartbeats:
        (before,) = backends()
        seen = heartbeats.state(WEST).last_ok
        await until(lambda: heartbeats.state(WEST).last_ok != seen)
        assert backends() == {before}
    await until(lambda: not backends())


async def test_suspicion_probes_at_once(cluster: LibraryCluster) -> None:
    async with beating(cluster, RARE) as heartbeats:
        seen = heartbeats.state(NORTH).last_ok
        heartbeats.mark_suspect(NORTH, "a connection broke")
        await until(lambda: heartbeats.state(NORTH).last_ok != seen)
        assert heartbeats.state(NORTH).up is True
        cluster.kill(WEST)
        try:
            heartbeats.mark_suspect(WEST, "a connection broke")
            await until(lambda: heartbeats.state(WEST).up is False)
        finally:
            cluster.restart(WEST)


async def test_a_node_that_is_down_at_the_start(cluster: LibraryCluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.kill(WEST)
    try:
        async with beating(cluster) as heartbeats:
            assert heartbeats.state(WEST).up is False
            assert heartbeats.state(WEST).last_ok is None
            assert heartbeats.state(NORTH).up is True
            assert "never answered" in caplog.text
            cluster.restart(WEST)
            await until(lambda: heartbeats.state(WEST).up is True)
    finally:
        cluster.restart(WEST)


async def test_a_server_that_accepts_and_never_answers(cluster: LibraryCluster) -> None:
    with socket.create_server((HOST, 0)) as silent:
        shard_map = with_heartbeat(cluster.shard_map(), NOTICES_STALLS)
        node = Node(WEST, HOST, silent.getsockname()[1])
        async with Heartbeats(replace(shard_map, nodes={**shard_map.nodes, WEST: node})) as heartbeats:
            assert heartbeats.state(WEST).up is False
            assert heartbeats.state(WEST).error == "no answer within 2 s"
            assert heartbeats.state(NORTH).up is True


async def test_thresholds(cluster: LibraryCluster) -> None:
    slow = HeartbeatSettings(interval_s=0.05, timeout_s=20.0, down_after=4, up_after=3)
    shard_map = with_heartbeat(cluster.shard_map(), slow)
    changes: list[NodeState] = []
    async with Heartbeats(shard_map) as heartbeats:
        heartbeats.on_change(changes.append)
        cluster.kill(WEST)
        try:
            await until(lambda: heartbeats.state(WEST).up is False)
            assert changes[0].failures == 4
        finally:
            cluster.restart(WEST)
        await until(lambda: heartbeats.state(WEST).last_ok != changes[0].last_ok)
        first_answer = heartbeats.state(WEST).last_ok
        await until(lambda: heartbeats.state(WEST).up is True)
        assert first_answer is not None
        assert changes[1].since > first_answer  # not on the first answer


async def test_a_locked_table_is_not_a_dead_node(cluster: LibraryCluster) -> None:
    async with beating(cluster, NOTICES_STALLS) as heartbeats:
        with psycopg.connect(cluster.conninfo(WEST)) as connection:
            connection.execute("LOCK TABLE books_b IN ACCESS EXCLUSIVE MODE")
            seen = heartbeats.state(WEST).last_ok
            await until(lambda: (heartbeats.state(WEST).latency_ms or 0) >= 1000)  # it did wait for the lock
            assert heartbeats.state(WEST).last_ok != seen
            assert heartbeats.state(WEST).up is True
            assert heartbeats.state(WEST).failures == 0
            connection.rollback()


async def test_a_missing_table_falls_back_to_a_bare_select(cluster: LibraryCluster) -> None:
    shard_map = with_heartbeat(cluster.shard_map(), QUICK)
    books = shard_map.tables["books"]
    nowhere = replace(books, shards=tuple(Shard(s.index, "nowhere", s.node, s.values) for s in books.shards))
    async with Heartbeats(replace(shard_map, tables={"books": nowhere})) as heartbeats:
        assert {state.up for state in heartbeats.states().values()} == {True}
        seen = heartbeats.state(WEST).last_ok
        await until(lambda: heartbeats.state(WEST).last_ok != seen)
        assert heartbeats.state(WEST).failures == 0


async def test_a_missing_database_is_a_down_node(cluster: LibraryCluster) -> None:
    shard_map = with_heartbeat(cluster.shard_map(), QUICK)
    nowhere = replace(shard_map, cluster=replace(shard_map.cluster, database="nowhere"))
    async with Heartbeats(nowhere) as heartbeats:
        assert "nowhere" in (heartbeats.state(WEST).error or "")


async def test_other_settings_go_on_from_what_is_known(cluster: LibraryCluster) -> None:
    async with beating(cluster, RARE) as heartbeats:
        events, before = list(heartbeats.events), heartbeats.states()
        heartbeats.adopt(await heartbeats.prepare(with_heartbeat(cluster.shard_map(), QUICK)))
        await until(lambda: all(state.last_ok != before[name].last_ok for name, state in heartbeats.states().items()))
        assert list(heartbeats.events) == events, "nothing has gone up or down"
        assert heartbeats.state(WEST).since == before[WEST].since


async def test_what_happens_while_a_reload_is_prepared_is_not_forgotten(cluster: LibraryCluster) -> None:
    async with beating(cluster, RARE) as heartbeats:
        beats = await heartbeats.prepare(with_heartbeat(cluster.shard_map(), QUICK))
        cluster.kill(WEST)
        try:
            heartbeats.mark_suspect(WEST, "a connection broke")
            await until(lambda: heartbeats.state(WEST).up is False)
            heartbeats.adopt(beats)
            assert heartbeats.state(WEST).up is False
        finally:
            cluster.restart(WEST)
        await until(lambda: heartbeats.state(WEST).up is True)
        assert [event.up for event in heartbeats.events if event.node == WEST] == [True, False, True]


async def test_a_reload_that_is_given_up_leaves_nothing_open(cluster: LibraryCluster) -> None:
    """One new node has answered, for the other one nobody waits any longer."""
    async with beating(cluster, RARE) as heartbeats:
        before = open_descriptors()
        with socket.create_server((HOST, 0)) as silent:
            shard_map = with_heartbeat(cluster.shard_map(), replace(RARE, timeout_s=3600.0))
            new = {
                "answers": replace(shard_map.nodes[WEST], name="answers"),
                "silent": Node("silent", HOST, silent.getsockname()[1]),
            }
            preparing = asyncio.create_task(heartbeats.prepare(replace(shard_map, nodes={**shard_map.nodes, **new})))
            await until(lambda: open_descriptors() >= before + 3)
            await asyncio.sleep(0.2)
            preparing.cancel()
            with suppress(asyncio.CancelledError):
                await preparing
        await until(lambda: open_descriptors() <= before)


async def test_a_listeners_bug_does_not_blind_the_heartbeat(
    cluster: LibraryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    def buggy(state: NodeState) -> None:
        raise ZeroDivisionError

    shard_map = with_heartbeat(cluster.shard_map(), QUICK)
    node = Node(WEST, HOST, free_port())
    heartbeats = Heartbeats(replace(shard_map, nodes={**shard_map.nodes, WEST: node}))
    changes: list[NodeState] = []
    heartbeats.on_change(buggy)
    heartbeats.on_change(changes.append)
    async with heartbeats:
        assert {state.name for state in changes} == set(cluster.nodes)
        seen = heartbeats.state(NORTH).last_ok
        await until(lambda: heartbeats.state(NORTH).last_ok != seen)
    assert "a listener failed" in caplog.text
