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
from pgproxy.cluster.members import Members, address_of, ask_role
from pgproxy.cluster.node_state import NodeState, Role
from pgproxy.cluster.seek import Seekers
from pgproxy.shardmap.model import ClusterSettings, Engine, HeartbeatSettings, Node, ShardMap

_EVENT_LIMIT = 1_000
_LEAST_PAUSE_S = 0.05
_TABLE_RETRY_S = 10.0
_SLICES = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """A node went up or down."""

    at: float
    node: str
    up: bool
    reason: str | None


OnChange = Callable[[NodeState], None]

__all__ = ["Event", "Heartbeats", "NodeState"]


class Heartbeats:
    """All nodes' heartbeats. Use as an `async with`, or `start` and `stop`.

    `start` returns when each node has been probed once, at most `timeout_s` later: a node that then
    fails its very first probe is down at once, whatever `down_after` says.
    """

    def __init__(self, shard_map: ShardMap) -> None:
        settings = shard_map.proxy.heartbeat
        self.events: deque[Event] = deque(maxlen=_EVENT_LIMIT)
        self._nodes = tuple(shard_map.nodes)
        self._listeners: list[OnChange] = []
        self._move_listeners: list[Callable[[str], None]] = []
        self.members: dict[str, Members] = {}  # of the nodes with replicas
        self._beats: dict[str, _Heartbeat] = {}  # by member; a node without replicas is its own
        self._seekers = Seekers(settings.timeout_s)
        for name, node in shard_map.nodes.items():
            table = _first_shard_table(shard_map, name)
            if node.replicas:
                self._add_members(node, shard_map.cluster, settings, table)
            else:
                self._beats[name] = _Heartbeat(name, node, shard_map.cluster, settings, table, self._changed)
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
        self._seekers.close()
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
        running ones, a node that is new or elsewhere has been probed once. Where nodes have replicas all nodes are the
        same as before."""
        if self.members:
            return {key: self._again(shard_map, beat) for key, beat in self._beats.items()}
        beats = {name: self._beat_for(shard_map, node) for name, node in shard_map.nodes.items()}
        new = [beat for beat in beats.values() if beat.is_new]
        try:
            await asyncio.gather(*(beat.probe_once() for beat in new))
        except BaseException:  # whoever wanted the reload is gone
            await asyncio.gather(*(beat.close() for beat in new))
            raise
        return beats

    def adopt(self, beats: Beats) -> None:
        """Go on with these; what they found while they were prepared is told now."""
        before, self._beats = self._beats, dict(beats)
        if not self.members:
            self._nodes = tuple(beats)
        for beat in set(before.values()) - set(beats.values()):
            task = self._tasks.pop(beat, None)
            if task is not None:
                task.cancel()
            self._let_go(beat)
        fresh = {name: beat for name, beat in beats.items() if beat not in self._tasks}
        self._run(fresh)
        for beat in fresh.values():
            beat.begin(self._changed)

    def ask_now(self, node: str) -> None:
        """Probe a node now, whatever is known of it."""
        if node in self.members:
            self._ask_all(node)
        else:
            self._beats[node].nudge()

    def _beat_for(self, shard_map: ShardMap, node: Node) -> _Heartbeat:
        running = self._beats.get(node.name)
        if running is not None and (running.node, running.cluster) == (node, shard_map.cluster):
            return self._again(shard_map, running)
        table = _first_shard_table(shard_map, node.name)
        return _Heartbeat(node.name, node, shard_map.cluster, shard_map.proxy.heartbeat, table, _nobody)

    def _again(self, shard_map: ShardMap, running: _Heartbeat) -> _Heartbeat:
        """The running one if nothing has changed for it, else one that goes on for it."""
        table = _first_shard_table(shard_map, running.node.name)
        settings = shard_map.proxy.heartbeat
        beat = _Heartbeat(running.key, running.node, shard_map.cluster, settings, table, _nobody, going_on_for=running)
        return running if running.asks_likewise(beat) else beat

    def _run(self, beats: Beats) -> None:
        for name, beat in beats.items():
            self._tasks[beat] = asyncio.create_task(beat.run(), name=f"heartbeat {name}")

    def _let_go(self, beat: _Heartbeat) -> None:
        task = asyncio.create_task(beat.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def state(self, node: str) -> NodeState:
        """Of a node, or of a member by its key."""
        members = self.members.get(node)
        return self._beats[node].state if members is None else members.state

    def states(self) -> Mapping[str, NodeState]:
        """Every node's state, in the shard map's order."""
        return {name: self.state(name) for name in self._nodes}

    def on_change(self, callback: OnChange) -> None:
        """Have `callback` called with the new state whenever a node goes up or down (the first verdict included), a
        member too, under its key."""
        self._listeners.append(callback)

    def on_move(self, callback: Callable[[str], None]) -> None:
        """Have `callback` called with the key of the former primary when a node has another."""
        self._move_listeners.append(callback)

    def mark_suspect(self, node: str, reason: str) -> None:
        """A connection to the node, or to the member of this key, broke: probe it now rather than at the next
        interval."""
        if node in self._beats:  # or it has left the shard map
            self._beats[node].suspect(reason)

    def seek_primary(self, node: str, found: Callable[[], None]) -> None:
        """Ask all members of a node with replicas at once; `found` is called when they have answered, or not."""
        self._seekers.add(self._ask_all(node), found)

    def _add_members(
        self, node: Node, cluster: ClusterSettings, settings: HeartbeatSettings, table: sql.Composable | None
    ) -> None:
        members = Members(node, cluster, self._changed, self._moved, lambda: self._ask_all(node.name))
        self.members[node.name] = members

        def probed(state: NodeState) -> None:
            members.take(state)
            self._seekers.probed(state.name)

        for key, member in members.nodes.items():
            self._beats[key] = _Heartbeat(key, member, cluster, settings, table, self._changed, probed)

    def _ask_all(self, node: str) -> dict[str, int]:
        """Probe every member now; how many probes of each must end until it has been. One that is under way already
        may know nothing new."""
        beats = [self._beats[key] for key in self.members[node].nodes]
        for beat in beats:
            beat.nudge()
        return {beat.key: 2 if beat.probing else 1 for beat in beats}

    def _moved(self, former: str) -> None:
        for listener in self._move_listeners:
            listener(former)

    def _changed(self, state: NodeState) -> None:
        self.events.append(Event(state.since, state.name, bool(state.up), state.error))
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:  # a listener's bug must not blind the heartbeat
                log.exception("a listener failed on the change of node %s", state.name)


class _Heartbeat:
    """One node's probe loop, or one member's: then it asks for its role too, and `probed` hears the outcome of each
    probe. Only `run` (or `start`'s first round before it) probes, never two at a time. After a reload it may go on for
    another one, with what that one knows when it begins."""

    def __init__(
        self,
        key: str,
        node: Node,
        cluster: ClusterSettings,
        settings: HeartbeatSettings,
        table: sql.Composable | None,
        changed: OnChange,
        probed: OnChange | None = None,
        going_on_for: _Heartbeat | None = None,
    ) -> None:
        self.key = key
        self.probing = False
        self._going_on_for = going_on_for
        self._probed = probed
        self._label = f"node {node.name}" if probed is None else f"member {address_of(key)} of node {node.name}"
        self._role: Role | None = None
        self.node = node
        self.cluster = cluster
        self._settings = settings
        self._table_probe = None if table is None else sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)
        self._table_probe_at = 0.0  # monotonic; not before this
        self._changed = changed
        self._connection: AsyncConnection | None = None
        self._successes = 0
        self._answered = False
        self._nudge = asyncio.Event()
        self.state = NodeState(key, up=None, since=time.time())

    @property
    def is_new(self) -> bool:
        """Nothing is known yet."""
        return self.state.up is None and self._going_on_for is None

    def asks_likewise(self, other: _Heartbeat) -> bool:
        own = (self.node, self.cluster, self._settings, self._table_probe)
        return own == (other.node, other.cluster, other._settings, other._table_probe)

    def begin(self, changed: OnChange) -> None:
        """Have `changed` called from now on, first of all with what is known already and not told yet."""
        self._changed = changed
        former, self._going_on_for = self._going_on_for, None
        if former is not None:
            self.state, self._role, self._successes = former.state, former._role, former._successes
            self._probed, self._label = former._probed, former._label
            self.nudge()  # it may have been about to
        elif self.state.up is not None:
            changed(self.state)

    async def run(self) -> None:
        while True:
            await self._pause()
            await self.probe_once()

    async def probe_once(self) -> None:
        """One probe, its connection included, within `timeout_s`; its verdict goes into `state`."""
        self.probing = True
        await self._probe()
        self.probing = False
        if self._probed is not None:
            self._probed(self.state)

    async def _probe(self) -> None:
        try:
            latency_s = await _within(self._settings.timeout_s, self._ask())
        except TimeoutError:
            await self._failed(f"no answer within {self._settings.timeout_s:g} s")
        except (psycopg.Error, OSError) as broken:
            await self._failed(one_line(broken))
        except Exception as bug:  # whatever goes wrong in a probe, the heartbeat must live on
            log.exception("the probe of %s failed unexpectedly", self._label)
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
        log.info("%s is suspected: %s", self._label, reason)
        self.nudge()

    def nudge(self) -> None:
        """Probe now."""
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
        self._answered = False
        if self._connection is None:
            self._connection = await connect(
                self.node,
                self.cluster,
                application_name="pgproxy heartbeat",
                timeout_s=settings.timeout_s * _SLICES,  # `_within` is the real limit
                lock_timeout_s=settings.timeout_s / 2,
            )
        started = time.monotonic()
        try:
            # Reads a table: a CockroachDB node without a quorum still answers a bare SELECT.
            if self.cluster.engine is Engine.COCKROACHDB:
                await run(self._connection, self._connection.execute("SELECT 1"))
                self._answered = True
            ask = self._table_probe if started >= self._table_probe_at else None
            await run(self._connection, self._connection.execute(ask or "SELECT 1"))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure):
            pass  # DDL holds the table, or on a standby what is replayed comes first: but the node answered
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            # The schema is not loaded yet, or not ours to read; look again later, not to fill the node's log.
            self._table_probe_at = started + _TABLE_RETRY_S
        latency_s = time.monotonic() - started
        if self._probed is not None:
            self._role = await run(self._connection, ask_role(self._connection))
        return latency_s

    def _succeeded(self, latency_ms: float) -> None:
        now = time.time()
        self._successes += 1
        before = self.state
        self.state = replace(before, last_ok=now, latency_ms=latency_ms, failures=0, error=None, role=self._role)
        if before.up or (before.up is False and self._successes < self._settings.up_after):
            return
        self.state = replace(self.state, up=True, since=now)
        if before.up is False:
            log.warning("RECOVERED: %s is UP (was down %.1f s)", self._label, now - before.since)
        self._changed(self.state)

    async def _failed(self, reason: str) -> None:
        await self.close()
        now = time.time()
        self._successes = 0
        before = self.state
        self.state = replace(
            before, failures=before.failures + 1, error=reason, latency_ms=None, answers=self._answered
        )
        undecided = before.up is True and self.state.failures < self._settings.down_after
        if before.up is False or undecided:
            return
        self.state = replace(self.state, up=False, since=now)
        log.error("ALERT: %s is DOWN (%s; %s)", self._label, reason, self._last_answer(now))
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
