"""The running proxy as the admin database and the live page see it: facts put together when somebody asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Protocol

import pgproxy
from pgproxy.admin.view import AlertView, ClientView, MemberView, NodeView, PlanView, PoolView, SlowStatement
from pgproxy.backend.counts import PoolCounts
from pgproxy.backend.pool import NodePool
from pgproxy.backend.user_pools import UserPools
from pgproxy.cluster.gateways import Gateways
from pgproxy.cluster.heartbeat import Heartbeats, NodeState
from pgproxy.cluster.members import Members
from pgproxy.metrics import Metrics
from pgproxy.planner.cache import PlanUse
from pgproxy.planner.planner import Planner
from pgproxy.session.session import Session
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import Node, ShardMap
from pgproxy.statement_log import StatementLog


class Watched(Protocol):
    """The worker, as far as it is looked at."""

    loop: asyncio.AbstractEventLoop
    shard_map: ShardMap
    metrics: Metrics
    heartbeats: Heartbeats
    gateways: Gateways
    members: dict[str, Node]
    paused: set[str]
    user_pools: UserPools
    sessions: dict[int, Session]
    statement_log: StatementLog
    facts: CatalogFacts | None
    draining: bool

    @property
    def pools(self) -> Mapping[str, NodePool]: ...

    @property
    def planners(self) -> list[Planner]: ...

    @property
    def current_planner(self) -> Planner | None: ...

    def place(self, node: str) -> str: ...


class WorkerView:
    """A worker as the admin database sees it (`admin.view.View`)."""

    def __init__(self, worker: Watched) -> None:
        self._worker = worker

    @property
    def shard_map(self) -> ShardMap:
        return self._worker.shard_map

    @property
    def version(self) -> str:
        return pgproxy.__version__

    @property
    def engine_version(self) -> str | None:
        return None if self._worker.facts is None else self._worker.facts.parameter_status.get("server_version")

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._worker.metrics.started_monotonic

    @property
    def nodes(self) -> Sequence[NodeView]:
        worker = self._worker
        return [
            replace(
                _node_view(state, worker.members.get(worker.place(name), self.shard_map.nodes[name])),
                paused=name in worker.paused,
                avoided=worker.gateways.is_avoided(name),
                members=tuple(_member_views(worker.heartbeats.members.get(name))),
            )
            for name, state in worker.heartbeats.states().items()
        ]

    @property
    def pools(self) -> Sequence[PoolView]:
        return [
            PoolView(
                name,
                pool.size,
                pool.idle,
                pool.size - pool.idle,
                pool.waiting,
                pool.settings.size,
                pool.oldest_wait_s,
                user,
                pool.pinned,
                pool.node.name,
                pool.paused,
            )
            for user, name, pool in self._pools()
        ]

    def _pools(self) -> Iterator[tuple[str, str, NodePool]]:
        """User, node and pool of all that there are."""
        worker = self._worker
        if not self.shard_map.cluster.as_client:
            yield from ((self.shard_map.cluster.user, name, pool) for name, pool in worker.pools.items())
        yield from worker.user_pools.all()

    @property
    def clients(self) -> Sequence[ClientView]:
        return [self._client_view(pid, session) for pid, session in self._worker.sessions.items() if session.ready]

    @property
    def plans(self) -> Sequence[PlanView]:
        uses = [use for planner in self._worker.planners for use in planner.entries()]
        return [self._plan_view(use) for use in sorted(uses, key=lambda use: use.calls, reverse=True)]

    def busiest_plans(self, count: int) -> Sequence[PlanView]:
        uses = [use for planner in self._worker.planners for use in planner.busiest(count)]
        uses.sort(key=lambda use: use.figures.total_us, reverse=True)
        return [self._plan_view(use) for use in uses[:count]]

    def _plan_view(self, use: PlanUse) -> PlanView:
        way, _node = self._worker.metrics.way_of(use.figures.ran)
        return PlanView(use.template, way or use.way, uses=use.calls, figures=use.figures)

    @property
    def slow_statements(self) -> Sequence[SlowStatement]:
        return tuple(self._worker.statement_log.slow_statements)

    @property
    def alerts(self) -> Sequence[AlertView]:
        return [AlertView(event.at, event.node, event.up, event.reason) for event in self._worker.heartbeats.events]

    @property
    def can_plan(self) -> bool:
        return self._worker.current_planner is not None

    @property
    def draining(self) -> bool:
        return self._worker.draining

    def _client_view(self, pid: int, session: Session) -> ClientView:
        return ClientView(
            pid,
            session.identity.user,
            session.identity.database,
            session.backends.reported.values.get("application_name", session.identity.application_name),
            session.client.address,
            session.state,
            time.time() - (self._worker.loop.time() - session.connected_at),
            session.statements,
            tuple(sorted({*session.backends.pins.by_node, *(leased.node.name for leased in session.backends.held)})),
            tuple(pin.value for pin in session.backends.pins.reasons),
        )

    @property
    def metrics(self) -> Metrics:
        """The figures that others count for themselves are fetched when someone asks."""
        metrics, planner = self._worker.metrics, self._worker.current_planner
        if planner is not None:
            cache = planner.cache
            metrics.plan_cache_hits = cache.hits
            metrics.plan_cache_misses = cache.misses
            metrics.plan_cache_evictions = cache.evictions
        for name, node in metrics.nodes.items():
            pools = [pool for _, _, pool in self._pools() if pool.node.name == name]
            past = self._worker.user_pools.past
            gone = [past[key] for key, member in self._worker.members.items() if member.name == name]
            counts = _sum([pool.counts for pool in pools] + gone)
            node.leases, node.waits, node.queue_timeouts = counts.leases, counts.waits, counts.queue_timeouts
            node.connects, node.connect_failures = counts.connects, counts.connect_failures
            node.failures, node.breaker_trips = counts.lost, counts.breaker_trips
            node.failovers = self._worker.gateways.failovers[name]
            node.in_use = sum(pool.size - pool.idle for pool in pools)
        return metrics


def _node_view(state: NodeState, server: Node) -> NodeView:
    figures = (state.name, state.up, state.since, state.last_ok, state.latency_ms, state.failures, state.error)
    return NodeView(*figures, server)


def _member_views(members: Members | None) -> Iterator[MemberView]:
    if members is not None:
        for key, state in members.states.items():
            yield MemberView(_node_view(state, members.nodes[key]), _role(state), members.lags[key])


def _role(state: NodeState) -> str | None:
    if state.role is None or not state.up:
        return None
    return "standby" if state.role.in_recovery else "primary"


def _sum(counts: Sequence[PoolCounts]) -> PoolCounts:
    return PoolCounts(*(sum(getattr(each, field.name) for each in counts) for field in fields(PoolCounts)))
