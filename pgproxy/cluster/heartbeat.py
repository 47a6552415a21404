"""Which nodes are up: one heartbeat per node, on a connection of its own that no pool can starve.

Owns the probes, the up/down thresholds, the ALERT and RECOVERED log lines. What to do about a down node is
left to those who ask `state` or listen through `on_change`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection, sql

from pgproxy.cluster.connect import connect, one_line, run
from pgproxy.shardmap.model import ClusterSettings, HeartbeatSettings, Node, ShardMap

_EVENT_LIMIT = 1_000
_LEAST_PAUSE_S = 0.05
_TABLE_RETRY_S = 10.0
_SLICES = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is known of one node. Times are epoch seconds; `up` is None until the first verdict.

    `since` is when `up` last changed, `failures` counts the probes that failed one after another.
    """

    name: str
    up: bool | None
    since: float
    last_ok: float | None = None
    latency_ms: float | None = None
    failures: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A node went up or down."""

    at: float
    node: str
    up: bool
    reason: str | None


OnChange = Callable[[NodeState], None]


class Heartbeats:
    """All nodes' heartbeats. Use as an `async with`, or `start` and `stop`.

    `start` returns when each node has been probed once, at most `timeout_s` later: a node that then
    fails its very first probe is down at once, whatever `down_after` says.
    """

    def __init__(self, shard_map: ShardMap) -> None:
        settings = shard_map.proxy.heartbeat
        self.events: deque[Event] = deque(maxlen=_EVENT_LIMIT)
        self._listeners: list[OnChange] = []
        self._beats = {
            name: _Heartbeat(node, shard_map.cluster, settings, _first_shard_table(shard_map, name), self._changed)
            for name, node in shard_map.nodes.items()
        }
        self._tasks: dict[_Heartbeat, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await asyncio.gather(*(beat.probe_once() for beat in self._beats.values()))
        self._run(self._beats)

    async def stop(self) -> None:
        tasks, self._tasks = [*self._tasks.values(), *self._leaving], {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(beat.close() for beat in self._beats.values()))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def prepare(self, shard_map: ShardMap) -> Beats:
        """The heartbeats of another shard map, for `adopt`: those of nodes of which nothing has changed are the
        running ones, a node that is new or elsewhere has been probed once."""
        beats = {name: self._beat_for(shard_map, node) for name, node in shard_map.nodes.items()}
        await asyncio.gather(*(beat.probe_once() for beat in beats.values() if beat.state.up is None))
        return beats

    def adopt(self, beats: Beats) -> None:
        """Go on with these; what they found while they were prepared is told now."""
        before, self._beats = self._beats, dict(beats)
        for beat in set(before.values()) - set(beats.values()):
            task = self._tasks.pop(beat, None)
            if task is not None:
                task.cancel()
            self._let_go(beat)
        fresh = {name: beat for name, beat in beats.items() if beat not in self._tasks}
        self._run(fresh)
        for beat in fresh.values():
            beat.tell(self._changed)

    def ask_now(self, node: str) -> None:
        """Probe a node now, whatever is known of it."""
        self._beats[node].ask_now()

    def _beat_for(self, shard_map: ShardMap, node: Node) -> _Heartbeat:
        table = _first_shard_table(shard_map, node.name)
        beat = _Heartbeat(node, shard_map.cluster, shard_map.proxy.heartbeat, table, _nobody)
        running = self._beats.get(node.name)
        if running is None or not running.asks_the_same_node(beat):
            return beat
        if running.asks_likewise(beat):
            return running
        beat.state = running.state
        return beat

    def _run(self, beats: Beats) -> None:
        for name, beat in beats.items():
            self._tasks[beat] = asyncio.create_task(beat.run(), name=f"heartbeat {name}")

    def _let_go(self, beat: _Heartbeat) -> None:
        task = asyncio.create_task(beat.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def state(self, node: str) -> NodeState:
        return self._beats[node].state

    def states(self) -> Mapping[str, NodeState]:
        """Every node's state, in the shard map's order."""
        return {name: beat.state for name, beat in self._beats.items()}

    def on_change(self, callback: OnChange) -> None:
        """Have `callback` called with the new state whenever a node goes up or down (the first verdict included)."""
        self._listeners.append(callback)

    def mark_suspect(self, node: str, reason: str) -> None:
        """A connection to the node broke: probe it now rather than at the next interval."""
        if node in self._beats:  # or it has left the shard map
            self._beats[node].suspect(reason)

    def _changed(self, state: NodeState) -> None:
        self.events.append(Event(state.since, state.name, bool(state.up), state.error))
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:  # a listener's bug must not blind the heartbeat
                log.exception("a listener failed on the change of node %s", state.name)


class _Heartbeat:
    """One node's probe loop. Only `run` (or `start`'s first round before it) probes, never two at a time."""

    def __init__(
        self,
        node: Node,
        cluster: ClusterSettings,
        settings: HeartbeatSettings,
        table: sql.Composable | None,
        changed: OnChange,
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._settings = settings
        self._table_probe = None if table is None else sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)
        self._table_probe_at = 0.0  # monotonic; not before this
        self._changed = changed
        self._connection: AsyncConnection | None = None
        self._successes = 0
        self._nudge = asyncio.Event()
        self.state = NodeState(node.name, up=None, since=time.time())

    def asks_the_same_node(self, other: _Heartbeat) -> bool:
        return (self._node, self._cluster) == (other._node, other._cluster)

    def asks_likewise(self, other: _Heartbeat) -> bool:
        return (self._settings, self._table_probe) == (other._settings, other._table_probe)

    def tell(self, changed: OnChange) -> None:
        """Have `changed` called from now on, first of all with what is known already."""
        self._changed = changed
        if self.state.up is not None:
            changed(self.state)

    def ask_now(self) -> None:
        self._nudge.set()

    async def run(self) -> None:
        while True:
            await self._pause()
            await self.probe_once()

    async def probe_once(self) -> None:
        """One probe, its connection included, within `timeout_s`; its verdict goes into `state`."""
        try:
            latency_s = await _within(self._settings.timeout_s, self._ask())
        except TimeoutError:
            await self._failed(f"no answer within {self._settings.timeout_s:g} s")
        except (psycopg.Error, OSError) as broken:
            await self._failed(one_line(broken))
        except Exception as bug:  # whatever goes wrong in a probe, the heartbeat must live on
            log.exception("the probe of node %s failed unexpectedly", self._node.name)
            await self._failed(one_line(bug))
        else:
            self._succeeded(latency_s * 1000)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def suspect(self, reason: str) -> None:
        if self.state.up is False or self._nudge.is_set():
            return
        log.info("node %s is suspected: %s", self._node.name, reason)
        self._nudge.set()

    async def _pause(self) -> None:
        # A failed probe below the threshold is repeated sooner: the verdict should not take `down_after` intervals.
        undecided = 0 < self.state.failures < self._settings.down_after
        interval_s = self._settings.interval_s / 5 if undecided else self._settings.interval_s
        await asyncio.sleep(min(_LEAST_PAUSE_S, interval_s))  # however many suspicions there are
        try:
            async with asyncio.timeout(interval_s - _LEAST_PAUSE_S):
                await self._nudge.wait()
        except TimeoutError:
            pass
        self._nudge.clear()

    async def _ask(self) -> float:
        """One question and its answer, in seconds (not counting the connecting)."""
        settings = self._settings
        if self._connection is None:
            self._connection = await connect(
                self._node,
                self._cluster,
                application_name="pgproxy heartbeat",
                timeout_s=settings.timeout_s * _SLICES,  # `_within` is the real limit
                lock_timeout_s=settings.timeout_s / 2,
            )
        started = time.monotonic()
        try:
            # Reads a table: a CockroachDB node without a quorum still answers a bare SELECT.
            ask = self._table_probe if started >= self._table_probe_at else None
            await run(self._connection, self._connection.execute(ask or "SELECT 1"))
        except psycopg.errors.LockNotAvailable:
            pass  # DDL holds the table, but the node answered
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            # The schema is not loaded yet, or not ours to read; look again later, not to fill the node's log.
            self._table_probe_at = started + _TABLE_RETRY_S
        return time.monotonic() - started

    def _succeeded(self, latency_ms: float) -> None:
        now = time.time()
        self._successes += 1
        before = self.state
        self.state = replace(before, last_ok=now, latency_ms=latency_ms, failures=0, error=None)
        if before.up or (before.up is False and self._successes < self._settings.up_after):
            return
        self.state = replace(self.state, up=True, since=now)
        if before.up is False:
            log.warning("RECOVERED: node %s is UP (was down %.1f s)", self._node.name, now - before.since)
        self._changed(self.state)

    async def _failed(self, reason: str) -> None:
        await self.close()
        now = time.time()
        self._successes = 0
        before = self.state
        self.state = replace(before, failures=before.failures + 1, error=reason, latency_ms=None)
        undecided = before.up is True and self.state.failures < self._settings.down_after
        if before.up is False or undecided:
            return
        self.state = replace(self.state, up=False, since=now)
        log.error("ALERT: node %s is DOWN (%s; %s)", self._node.name, reason, self._last_answer(now))
        self._changed(self.state)

    def _last_answer(self, now: float) -> str:
        if self.state.last_ok is None:
            return "never answered"
        clock = datetime.fromtimestamp(self.state.last_ok).astimezone().isoformat("T", "milliseconds")[11:23]
        return f"last answer {clock}; detected after {now - self.state.last_ok:.1f} s"


async def _within(timeout_s: float, work: Coroutine[Any, Any, float]) -> float:
    """Await `work` for so long at most. Time in which this process did not come to run counts in slices only: a
    proxy that is busy, and finds an answer waiting, has not seen a silent node."""
    task = asyncio.ensure_future(work)
    try:
        for _ in range(_SLICES):
            await asyncio.wait({task}, timeout=timeout_s / _SLICES)
            if task.done():
                return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


Beats = Mapping[str, _Heartbeat]
"""By node."""


def _nobody(_state: NodeState) -> None:
    """Until a heartbeat is adopted."""


def _first_shard_table(shard_map: ShardMap, node: str) -> sql.Composable | None:
    """The first shard on this node; on a node without one any reference table will do."""
    for table in shard_map.tables.values():
        for shard in table.shards:
            if shard.node == node:
                return sql.Identifier(table.schema, shard.table)
    return next((sql.Identifier(*name.split(".")) for name in sorted(shard_map.reference_tables)), None)
