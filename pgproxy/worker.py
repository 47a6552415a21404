"""What the sessions of one process share: pools, heartbeats, planner, and the sessions themselves.

Nothing here is shared between processes: a cancel key names its worker, so several may serve one day.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from pgproxy.admin.answers import answer, status
from pgproxy.admin.encode import encode
from pgproxy.admin.view import SlowStatement
from pgproxy.auth.password_check import PasswordChecks
from pgproxy.auth.pending import Pending
from pgproxy.auth.stored import Stored
from pgproxy.auth.users import LOOKUP_TIMEOUT_S, Users
from pgproxy.auth.users_file import UsersFile
from pgproxy.backend.pool import NodePool
from pgproxy.backend.retired import Retired
from pgproxy.backend.user_pools import UserPools
from pgproxy.cluster.auth_query import AuthQuery
from pgproxy.cluster.catalog import read_facts
from pgproxy.cluster.deadlocks import Deadlocks
from pgproxy.cluster.gateways import Gateways
from pgproxy.cluster.heartbeat import Beats, Heartbeats, NodeState
from pgproxy.cluster.in_doubt import InDoubt
from pgproxy.cluster.members import address_of
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.metrics import Figures, Metrics, NodeMetrics
from pgproxy.orders import Orders
from pgproxy.planner.planner import Planner
from pgproxy.session.client import Client
from pgproxy.session.description import Description, DescriptionKey
from pgproxy.session.in_force import InForce
from pgproxy.session.newcomers import Newcomers
from pgproxy.session.recent import Recent
from pgproxy.session.services import Services
from pgproxy.session.session import Session
from pgproxy.session.suspects import suspects
from pgproxy.session.time_limits import TimeLimits
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.members import all_members
from pgproxy.shardmap.model import Engine, Node, PoolSettings, ShardMap
from pgproxy.statement_log import StatementLog
from pgproxy.tls.certificates import Certificates, load_certificates
from pgproxy.tls.serving import ServingTls
from pgproxy.view import WorkerView
from pgproxy.wire.auth import Credential
from pgproxy.wire.messages import error_response

log = logging.getLogger("pgproxy.server")

FACTS_INTERVAL_S = 60.0
FACTS_RETRY_S = 1.0
START_UPS_REMEMBERED = 1_000
DESCRIPTIONS_REMEMBERED = 5_000
CANCEL_KEY_BYTES = 32  # the session cuts it for older protocols
WORKER_NUMBERS = 128  # a process id is a positive number of 32 bits to some clients
WORKER_BITS = 24  # a cancel key's process id is worker << 24 | number, so any worker knows whose it is


class Worker:
    """What the sessions of one process share. Satisfies `session.services.Services`.

    Creating one raises TlsFileError for certificate files that cannot be used.
    """

    def __init__(
        self,
        shard_map: ShardMap,
        loop: asyncio.AbstractEventLoop,
        *,
        number: int = 0,
        users_file: UsersFile | None = None,
    ) -> None:
        self.loop = loop
        self.shard_map = shard_map
        self.metrics = Metrics(shard_map.nodes)
        self.draining = False
        self.certificates = load_certificates(shard_map)
        self.heartbeats = Heartbeats(shard_map)
        self.members = all_members(shard_map)
        self.any_replicas = bool(self.heartbeats.members)
        self.paused: set[str] = set()
        self.gateways = Gateways(
            shard_map.nodes,
            interchangeable=shard_map.cluster.engine is Engine.COCKROACHDB,
            stable_s=shard_map.proxy.failover_stable_s,
            clock=loop.time,
            paused=self.paused,
        )
        self.in_force = InForce(shard_map, {key: self._make_pool(key, shard_map.proxy.pool) for key in self.members})
        self.orders = Orders(self, loop)
        self._retired = Retired(loop, self._anyone_needs)
        self.statement_log = StatementLog()
        self._change_logging(shard_map)
        self.user_pools = UserPools(self.members, self._make_user_pool, shard_map.proxy.pool.max_users, loop)
        self._auth_query = _auth_query(shard_map, self.any_node)
        stored_in = shard_map.auth_users
        self.users = Users(
            users_file, self._auth_query, loop, cache_s=stored_in.cache_s, cache_size=stored_in.cache_size
        )
        salt_secret = stored_in.salt_secret
        self.salt_secret = secrets.token_bytes(32) if salt_secret is None else salt_secret.encode()
        self._password_checks = PasswordChecks(loop)
        self._newcomers = Newcomers(
            shard_map.proxy.max_unauthenticated, shard_map.proxy.max_unauthenticated_per_address
        )
        self.sessions: dict[int, Session] = {}
        self._unready: dict[int, Session] = {}  # oldest first; some of them may have become ready
        self._on_empty: Callable[[], None] = lambda: None
        self.number = number
        self.on_foreign_cancel: Callable[[int, bytes], None] = lambda pid, key: None
        self._last_pid = 0
        self.http_planner: Planner | None = None
        self.facts: CatalogFacts | None = None
        self._facts_wanted = asyncio.Event()
        self._down: dict[str, NodeState] = {}
        self.descriptions: Recent[DescriptionKey, Description] = Recent(DESCRIPTIONS_REMEMBERED)
        self._start_ups: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = OrderedDict()
        self.heartbeats.on_change(self._node_changed)
        self.heartbeats.on_move(self._primary_moved)
        self.in_doubt = InDoubt(loop, self._as_it_stands, lambda node: node not in self._down)
        self._time_limits = TimeLimits(self.sessions, shard_map.proxy, loop)
        self._deadlocks = Deadlocks(
            lambda: suspects(self.sessions.values()), self._nodes_up, lambda: self.shard_map.cluster
        )

    # Life

    async def start(self) -> None:
        """Probe the nodes and read the catalog, as far as they are up."""
        await self.heartbeats.start()
        await self._read_facts()
        self.in_doubt.start()
        self._time_limits.start()
        if not self.gateways.interchangeable:  # one cluster sees its deadlocks itself
            self._deadlocks.start()

    async def keep_facts_fresh(self) -> None:
        """Read the catalog again now and then, when a node comes back, and until it could be read at all."""
        while True:
            try:
                async with asyncio.timeout(FACTS_INTERVAL_S if self.facts is not None else FACTS_RETRY_S):
                    await self._facts_wanted.wait()
            except TimeoutError:
                pass
            self._facts_wanted.clear()
            await self._read_facts()

    async def stop(self) -> None:
        self._time_limits.stop()
        await self.in_doubt.stop()
        await self._deadlocks.stop()
        await self.orders.close()
        for pool in self.pools.values():
            pool.close()
        self._retired.close()
        self.user_pools.close()
        self.users.close()
        self._password_checks.close()
        if self._auth_query is not None:
            await self._auth_query.close()
        await self.heartbeats.stop()

    def drain(self, on_empty: Callable[[], None]) -> None:
        """No new statements: idle sessions end now, busy ones when they are through; then `on_empty`."""
        self.draining = True
        self.when_empty(on_empty)
        for session in list(self.sessions.values()):
            session.client.wake()

    def when_empty(self, on_empty: Callable[[], None]) -> None:
        """Have `on_empty` called when the last session has ended, now if there is none."""
        self._on_empty = on_empty
        if not self.sessions:
            on_empty()

    def end_sessions(self) -> None:
        """The grace time is over."""
        error = ProxyError("57P01", "terminating connection due to administrator command", severity="FATAL")
        for session in list(self.sessions.values()):
            session.client.send(error_response(error.fields()))
            session.client.close()
            session.client.wake()

    # Certificates

    @property
    def serving_tls(self) -> ServingTls | None:
        return self.certificates.serving

    def use_certificates(self, certificates: Certificates) -> None:
        """For the connections that come and are made from now on; those that are open stay as they are."""
        self.certificates = certificates
        for pool in self.pools.values():
            pool.tls = certificates.node
        for _, _, pool in self.user_pools.all():
            pool.tls = certificates.node

    # The shard map

    @property
    def pools(self) -> Mapping[str, NodePool]:
        return self.in_force.pools

    def pools_of(self, node_user: str) -> Mapping[str, NodePool]:
        return self.user_pools.of(node_user) if node_user else self.in_force.pools

    def put_in_force(self, change: Change) -> None:
        """All at once, for what begins now; what has begun is finished with what it began with."""
        shard_map = self.shard_map = change.shard_map
        self.use_certificates(change.certificates)
        self._change_users(change)
        self._change_logging(shard_map)
        for name in shard_map.nodes:  # what has left is counted still: counters only grow
            self.metrics.nodes.setdefault(name, NodeMetrics())
        self.members = all_members(shard_map)
        self.gateways.change(shard_map.nodes, shard_map.proxy.failover_stable_s)
        self._time_limits.change(shard_map.proxy)
        self._newcomers.change(shard_map.proxy.max_unauthenticated, shard_map.proxy.max_unauthenticated_per_address)
        self.paused.intersection_update(shard_map.nodes)
        gone = {key: pool for key, pool in self.pools.items() if key not in self.members}
        pools = self._changed_pools(shard_map)
        settings = shard_map.proxy.pool
        gone_of_users = self.user_pools.change(
            self.members, shard_map.cluster, replace(settings, min_idle=0), settings.max_users
        )
        known = {*shard_map.nodes, *self.members}
        self._down = {name: state for name, state in self._down.items() if name in known}
        self._plan_by(change.facts, pools)
        self.heartbeats.adopt(change.beats)
        for session in self.sessions.values():
            if session.ready:
                session.move_on()
        self._retired.add([*gone.values(), *gone_of_users])

    def _changed_pools(self, shard_map: ShardMap) -> dict[str, NodePool]:
        pools = {}
        for key, member in self.members.items():
            pool = self.pools.get(key)
            if pool is None:
                pool = self._make_pool(key, shard_map.proxy.pool)
            else:
                pool.change(member, shard_map.cluster, shard_map.proxy.pool)
            pools[key] = pool
        return pools

    def _change_logging(self, shard_map: ShardMap) -> None:
        self.statement_log.logged = shard_map.proxy.log_statements
        self.logs_statements = shard_map.proxy.log_statements == "all"
        self.slow_us = shard_map.proxy.slow_statement_ms * 1_000 or sys.maxsize

    def _change_users(self, change: Change) -> None:
        stored_in = change.shard_map.auth_users
        self.salt_secret = self.salt_secret if stored_in.salt_secret is None else stored_in.salt_secret.encode()
        if not change.new_users:
            self.users.forget()
            return
        users, query = self.users, self._auth_query
        self._auth_query = _auth_query(change.shard_map, self.any_node)
        self.users = Users(
            change.users_file, self._auth_query, self.loop, cache_s=stored_in.cache_s, cache_size=stored_in.cache_size
        )
        self.orders.later(
            LOOKUP_TIMEOUT_S, _close_users(users, query)
        )  # log-ins that wait are answered by the old ones

    def _anyone_needs(self, pool: NodePool) -> bool:
        """A session in the middle of something might still come to a pool that has left the shard map."""
        return any(
            pool is known
            for session in self.sessions.values()
            if session.under_way
            for known in session.backends.pools.values()
        )

    def _plan_by(self, facts: CatalogFacts, pools: Mapping[str, NodePool]) -> None:
        settings = self.shard_map.proxy
        planner = Planner(
            self.shard_map, facts, cache_size=settings.plan_cache_size, default_limit=settings.default_limit
        )
        self.facts = facts
        self.in_force = InForce(self.shard_map, pools, planner, facts=facts)
        self.descriptions.clear()
        self._start_ups.clear()

    # Clients

    def accept(self) -> Client:
        """A protocol for a connection that comes in."""
        return Client(self._converse)

    async def _converse(self, client: Client) -> None:
        await self.converse(client, self)

    async def converse(self, client: Client, services: Services) -> None:
        """One client's session from start to end."""
        if not self._enter(client):
            self.metrics.clients_refused += 1
            client.abort()
            return
        client.keep_alive(self.shard_map.proxy.keepalive_s)
        pid = self._new_pid()
        session = Session(client, services, pid, secrets.token_bytes(CANCEL_KEY_BYTES))
        self.sessions[pid] = self._unready[pid] = session
        timer = self.loop.call_later(self.shard_map.proxy.startup_timeout_s, self._give_up, session)
        try:
            await session.converse()
        finally:
            timer.cancel()
            self._newcomers.leave(client)
            del self.sessions[pid]
            self._unready.pop(pid, None)
            if not self.sessions:
                self._on_empty()
            if session.admitted:
                self.metrics.clients -= 1

    def admit(self, client: Client, *, admin: bool) -> None:
        """A client has logged in. Raises 53300 when there are `max_clients`; the admin database stays open."""
        self._newcomers.leave(client)
        if self.metrics.clients >= self.shard_map.proxy.max_clients and not admin:
            self.metrics.clients_refused += 1
            raise ProxyError(
                "53300", "sorry, too many clients already", hint="The shard map's proxy.max_clients limits them."
            )
        self.metrics.clients += 1
        self.metrics.clients_total += 1

    def settle(self, gid: str, wake: Callable[[], None]) -> Pending[bool]:
        return self.in_doubt.settle(gid, wake)

    def cancel(self, pid: int, key: bytes) -> None:
        session = self.sessions.get(pid)
        if session is not None and secrets.compare_digest(session.key, key):
            session.cancel()
        elif session is None and pid >> WORKER_BITS != self.number:
            self.on_foreign_cancel(pid, key)

    def _new_pid(self) -> int:
        numbers = 1 << WORKER_BITS
        while True:
            self._last_pid = (self._last_pid + 1) % numbers
            pid = self.number << WORKER_BITS | self._last_pid
            if pid and pid not in self.sessions:
                return pid

    def _enter(self, client: Client) -> bool:
        """Whether it may stay among those that have not logged in."""
        if self._newcomers.full and not self._make_room():
            return False
        return self._newcomers.enter(client)

    def _make_room(self) -> bool:
        """Let the one go that has been about to log in for longest: who means to log in has done so by then."""
        while self._unready:
            oldest = self._unready.pop(next(iter(self._unready)))
            if not oldest.ready:
                self.metrics.clients_refused += 1
                self._give_up(oldest)
                return True
        return False

    def _give_up(self, session: Session) -> None:
        if session.ready or session.client.gone:
            return
        if session.admitted and self.paused:  # it waits for a node that is paused, as its statements would
            self.loop.call_later(self.shard_map.proxy.startup_timeout_s, self._give_up, session)
            return
        log.info("client %s has not logged in in time", session.client.address)
        session.client.abort()
        session.client.wake()

    def slow(self, ran: Figures, template: Figures | None, microseconds: int, client: str) -> None:
        """A slow statement is told by its template: constants may be secrets."""
        way, node = self.metrics.way_of(ran)
        known = (planner.template_of(template) for planner in self.planners if template is not None)
        text = next(filter(None, known), "(a statement that is not kept)")
        self.statement_log.slow(SlowStatement(time.time(), microseconds / 1000, way, node, text, client))

    def log_statement(self, sql: str, client: str) -> None:
        self.statement_log.statement(sql, client)

    def log_error(self, error: ProxyError, client: str, sql: str) -> None:
        self.statement_log.error(error, client, sql)

    # Users

    def check_password(self, stored: Stored, user: str, password: bytes, wake: Callable[[], None]) -> Pending[bool]:
        return self._password_checks.check(stored, user, password, wake)

    def enter_pools(self, credential: Credential) -> Mapping[str, NodePool]:
        return self.user_pools.enter(credential)

    def leave_pools(self, user: str) -> None:
        self.user_pools.leave(user)

    def _make_user_pool(self, key: str, credential: Credential) -> NodePool:
        # A user who is gone must leave nothing open.
        return self._make_pool(key, replace(self.shard_map.proxy.pool, min_idle=0), credential)

    def _make_pool(self, key: str, settings: PoolSettings, credential: Credential | None = None) -> NodePool:
        """A pool of connections to one member of a node."""
        member = self.members[key]
        pool = NodePool(
            member,
            self.shard_map.cluster,
            settings,
            self.loop,
            on_failure=lambda _node, reason: self.heartbeats.mark_suspect(key, reason),
            on_trouble=self.gateways.in_trouble,
            tls=self.certificates.node,
            credential=credential,
        )
        pool.routed = self.metrics.nodes[member.name].routed
        if member.name in self.paused:
            pool.pause()
        return pool

    def pools_on(self, node: str) -> list[NodePool]:
        """Every pool on a node, of whichever user."""
        pools = (*self.pools.values(), *(pool for _, _, pool in self.user_pools.all()))
        return [pool for pool in pools if pool.node.name == node]

    def is_primary(self, pool: NodePool) -> bool:
        """Statements for its node go there."""
        return self.members.get(self.place(pool.node.name)) == pool.node

    # Nodes

    @property
    def planners(self) -> list[Planner]:
        return [planner for planner in (self.current_planner, self.http_planner) if planner is not None]

    @property
    def current_planner(self) -> Planner | None:
        return self.in_force.planner

    def bytewise_default(self) -> bool:
        return self.facts is not None and self.facts.bytewise_default

    def why_down(self, node: str) -> NodeFailure | None:
        if node not in self._down:
            return None
        name = self.members[node].name if node in self.members else node
        return None if name in self.paused else self._why_down(node)

    def _why_down(self, node: str) -> NodeFailure:
        state = self._down[node]
        if node not in self.shard_map.nodes:
            return self._why_member_down(node, state)
        shards = [
            shard.table for table in self.shard_map.tables.values() for shard in table.shards if shard.node == node
        ]
        failure = NodeFailure(
            node,
            f"node {node} is down (shards {', '.join(shards) or 'none'})",
            hint="Statements for other shards go on. STATUS; shows the nodes.",
        )
        failure.detail = f"Down since {time.strftime('%H:%M:%S', time.localtime(state.since))}: {state.error}"
        return failure

    def _why_member_down(self, key: str, state: NodeState) -> NodeFailure:
        name = self.members[key].name
        return NodeFailure(name, f"{address_of(key)} of node {name} is down: {state.error}")

    def place(self, node: str, *, reads: bool = False, other_than: str | None = None) -> str:
        members = self.heartbeats.members.get(node)
        if members is None:
            return node
        primary = members.primary or (members.last_primary if node in self.paused else None)
        return (members.reader(other_than) if reads else None) or primary or node

    def seek_primary(self, node: str, wake: Callable[[], None]) -> Pending[None]:
        pending: Pending[None] = Pending(wake)
        self.heartbeats.seek_primary(node, lambda: pending.finish(None))
        return pending

    def gateway_for(self, node: str, failed: Collection[str] = ()) -> str:
        gateway = self.gateways.node_for(node, failed)
        if gateway is None:
            raise self._all_down(node) if self.gateways.interchangeable else self._why_down(node)
        return gateway

    def any_node(self) -> str:
        home = self.shard_map.home_of_unmapped
        if self.gateways.interchangeable:
            return self.gateways.node_for(home) or home  # whoever needs a connection hears that all are down
        if home not in self._down or home in self.paused:
            return home
        for name in self.shard_map.nodes:
            if name not in self._down:
                return name
        raise self._all_down(home)

    def _all_down(self, node: str) -> NodeFailure:
        hint = 'SHOW NODES in the database "pgproxy" tells since when and why.'
        return NodeFailure(node, "all nodes are down", hint=hint)

    def start_up_parameters(self, user: str, settings: Mapping[str, str]) -> dict[str, str] | None:
        return self._start_ups.get((user, tuple(settings.items())))

    def remember_start_up(self, user: str, settings: Mapping[str, str], parameters: dict[str, str]) -> None:
        self._start_ups[user, tuple(settings.items())] = parameters
        if len(self._start_ups) > START_UPS_REMEMBERED:
            self._start_ups.popitem(last=False)

    def _node_changed(self, state: NodeState) -> None:
        if state.up:
            self._down.pop(state.name, None)
            if state.name in self.shard_map.nodes:
                self.gateways.came_up(state.name)
            self._facts_wanted.set()
            self.in_doubt.ask_soon()
            return
        self._down[state.name] = state
        if state.name in self.shard_map.nodes:
            self.gateways.went_down(state.name)
        if state.answers:
            return  # what runs there waits for the cluster as it would elsewhere, and may well succeed
        reason = self._why_down(state.name)
        if state.name in self.members:  # no connection is to a node with replicas itself
            self._fail_pools(state.name, reason)

    def _primary_moved(self, former: str) -> None:
        """What still runs on the former primary would be lost: it is no part of the new one's history."""
        name = self.members[former].name
        reason = NodeFailure(name, f"node {name} has another primary now", hint="Run the transaction again.")
        self._fail_pools(former, reason)
        self._facts_wanted.set()

    def _fail_pools(self, key: str, reason: NodeFailure) -> None:
        self.pools[key].fail(reason)
        self.user_pools.fail(key, reason)

    async def _read_facts(self) -> None:
        """Without the nodes that are down the picture is not whole: it only serves when there is none yet."""
        down = tuple(name for name in self.shard_map.nodes if name in self._down)
        if down and self.facts is not None:
            return
        shard_map = self.shard_map
        try:
            facts = await read_facts(self._as_it_stands(), skip=down)
        except ProxyError as failure:
            why = ": ".join(filter(None, (failure.message, failure.detail)))
            log.warning("the catalog could not be read: %s", why)
            if failure.sqlstate == "F0000":  # wrong answers are worse than none
                self.in_force, self.facts = InForce(shard_map, self.pools), None
            self._cannot_plan(why)
            return
        except Exception as bug:  # whatever goes wrong in reading it, the proxy must live on
            self._cannot_plan(f"{type(bug).__name__}: {bug}")
            log.exception("the catalog could not be read")
            return
        if facts == self.facts or shard_map is not self.shard_map:
            return
        if self.facts is not None:
            log.info("the nodes' catalog has changed: plans are made anew")
        self._plan_by(facts, self.pools)

    def _cannot_plan(self, why: str) -> None:
        if self.in_force.planner is None:
            self.in_force = replace(self.in_force, why_no_planner=why)

    def _nodes_up(self) -> list[Node]:
        return [node for name, node in self._as_it_stands().nodes.items() if name not in self._down]

    def _as_it_stands(self) -> ShardMap:
        """The shard map with the primaries' addresses."""
        nodes = {name: self.members.get(self.place(name), node) for name, node in self.shard_map.nodes.items()}
        return replace(self.shard_map, nodes=nodes)

    # Admin

    def order(self, sql: str, wake: Callable[[], None]) -> Pending[bytes] | None:
        return self.orders.begin(sql, wake)

    def give_up_order(self, order: Pending[bytes]) -> None:
        self.orders.give_up(order)

    def admin(self, sql: str) -> bytes:
        return encode(answer(sql, WorkerView(self)))

    def status(self) -> bytes:
        return encode(status(WorkerView(self)))


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that a reloaded shard map needs, checked and ready to be put in force."""

    shard_map: ShardMap
    facts: CatalogFacts
    beats: Beats
    certificates: Certificates
    new_users: bool
    users_file: UsersFile | None


async def _close_users(users: Users, query: AuthQuery | None) -> None:
    users.close()
    if query is not None:
        await query.close()


def _auth_query(shard_map: ShardMap, any_node: Callable[[], str]) -> AuthQuery | None:
    sql = shard_map.auth_users.query
    return None if sql is None else AuthQuery(shard_map, sql, any_node)
