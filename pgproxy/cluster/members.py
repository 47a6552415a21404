"""The members of a node with replicas: which one is the primary, and which may be read. Pure: the heartbeats ask.

Never guessed: a primary is used only when no other member claims to be one on the same or a newer timeline.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

from psycopg import AsyncConnection

from pgproxy.cluster.lag import WalHistory
from pgproxy.cluster.node_state import NodeState, Role
from pgproxy.shardmap.members import members_of
from pgproxy.shardmap.model import ClusterSettings, Node

log = logging.getLogger(__name__)

# A primary's timeline is that of the file it writes to, a standby's that of what it receives: the control file tells it
# only after a checkpoint. (What a standby receives is told to members of pg_read_all_stats, and null to others.)
_ASK_ROLE: LiteralString = """
    SELECT recovery.on_, c.timeline, s.system_identifier, pg_catalog.pg_wal_lsn_diff(c.lsn, '0/0')
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS on_) AS recovery
    CROSS JOIN pg_catalog.pg_control_system() AS s
    CROSS JOIN LATERAL (
        SELECT CASE WHEN recovery.on_
            THEN (SELECT greatest(p.timeline_id, r.min_recovery_end_timeline, w.received_tli)
                  FROM pg_catalog.pg_control_checkpoint() AS p CROSS JOIN pg_catalog.pg_control_recovery() AS r
                  LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON true)
            ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int
            END AS timeline,
            CASE WHEN recovery.on_ THEN coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')
            ELSE pg_catalog.pg_current_wal_lsn() END AS lsn
    ) AS c
"""


async def ask_role(connection: AsyncConnection) -> Role:
    """What a member says of itself."""
    cursor = await connection.execute(_ASK_ROLE)
    row = await cursor.fetchone()
    assert row is not None, "a query without a condition gives a row"
    in_recovery, timeline, system, wal = row
    return Role(in_recovery, timeline, system, int(wal))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The key of the primary, or None and why there is none that can be used. `stale`: members that claim to be the
    primary, but are not. `early`: a member may have become the primary since it was asked."""

    primary: str | None
    reason: str | None = None
    stale: tuple[str, ...] = ()
    early: bool = False


def find_primary(states: Mapping[str, NodeState], newest_timeline: int) -> Verdict:
    """Which member writes may go to. A promotion begins a new timeline: whoever is behind the newest one that any
    member has told of is an old primary that has come back, even while the new one does not answer."""
    roles = {key: state.role for key, state in states.items() if state.up and state.role is not None}
    if len({role.system for role in roles.values()}) > 1:
        told = ", ".join(f"{address_of(key)} of {role.system}" for key, role in roles.items())
        return Verdict(None, f"its members are of different database systems: {told}")
    claiming = [key for key, role in roles.items() if not role.in_recovery]
    if not claiming:
        return Verdict(None, "; ".join(_why_not(key, state) for key, state in states.items()), early=True)
    newest = max(newest_timeline, *(role.timeline for role in roles.values()))
    ahead = [key for key in claiming if roles[key].timeline == newest]
    stale = tuple(key for key in claiming if key not in ahead)
    if len(ahead) > 1:
        both = " and ".join(map(address_of, ahead))
        return Verdict(None, f"{both} both claim to be its primary, on timeline {newest}", stale)
    if not ahead:
        told = ", ".join(f"{address_of(key)} on timeline {roles[key].timeline}" for key in stale)
        return Verdict(
            None, f"only an old primary answers ({told}), but there is a timeline {newest}", stale, early=True
        )
    return Verdict(ahead[0], None, stale)


def address_of(key: str) -> str:
    """The address in a member's key."""
    return key.rpartition("/")[2]


def _why_not(key: str, state: NodeState) -> str:
    if not state.up:
        return f"{address_of(key)} does not answer ({state.error})"
    return f"{address_of(key)} is a standby"


class Members:
    """What is known of one node's members. `take` every probe's outcome.

    `state` is the node's own: up as long as there is a primary. `changed` hears when that changes, `moved` the key of
    the former primary when there is another and it may still take writes; `ask_again` makes all members be probed now,
    and tells how many probes of each must end until it has been asked anew.
    """

    def __init__(
        self,
        node: Node,
        cluster: ClusterSettings,
        changed: Callable[[NodeState], None],
        moved: Callable[[str], None],
        ask_again: Callable[[], dict[str, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.nodes = members_of(node)
        self.states = {key: NodeState(key, up=None, since=time.time()) for key in self.nodes}
        self.state = NodeState(node.name, up=None, since=time.time())
        self.primary: str | None = None
        self.lags: dict[str, float | None] = dict.fromkeys(self.nodes)
        self._read_from = cluster.read_from
        self._max_lag_s = cluster.max_lag_s
        self._changed = changed
        self._moved = moved
        self._ask_again = ask_again
        self._due: dict[str, int] | None = None  # the probes that must still end before there is no primary
        self._clock = clock
        self._wal = WalHistory(cluster.max_lag_s)
        self._former: str | None = None  # the last primary that there was
        self._newest_timeline = 0
        self._stale: tuple[str, ...] = ()
        self._readers: Sequence[str] = ()
        self._turn = 0

    @property
    def last_primary(self) -> str:
        """The member that was the primary last; any one as long as there was none."""
        return self._former or next(iter(self.nodes))

    def reader(self, other_than: str | None = None) -> str | None:
        """The member that the next read goes to, in turns; None: to the primary."""
        readers = self._readers
        if other_than in readers:
            readers = [key for key in readers if key != other_than]
        if not readers:
            return None
        self._turn += 1
        return readers[self._turn % len(readers)]

    def take(self, state: NodeState) -> None:
        """A probe has ended. No verdict until every member has been probed: an old primary may answer first."""
        self.states[state.name] = state
        if any(known.up is None for known in self.states.values()):
            return
        roles = [known.role for known in self.states.values() if known.up and known.role is not None]
        verdict = find_primary(self.states, self._newest_timeline)
        self._newest_timeline = max(self._newest_timeline, *(role.timeline for role in roles), 0)
        self._tell_stale(verdict)
        self._measure(state, verdict.primary)
        if not self._may_be_too_early(verdict, state.name):
            self._use(verdict)
        self._readers = self._fit_for_reading()

    # Inside

    def _may_be_too_early(self, verdict: Verdict, told_by: str) -> bool:
        """Another member may be the primary since the last time it was asked: there is none only when all others have
        been asked again. But an old primary that insists takes writes that will be lost: that is not waited for."""
        insists = told_by == self.primary and told_by in verdict.stale and not self.states[told_by].failures
        if not verdict.early or self.primary is None or insists:
            self._due = None
            return False
        if self._due is None:
            self._due = self._ask_again()
            del self._due[told_by]
        elif told_by in self._due:
            self._due[told_by] -= 1
            if not self._due[told_by]:
                del self._due[told_by]
        return bool(self._due)

    def _use(self, verdict: Verdict) -> None:
        used, self.primary = self.primary, verdict.primary
        key, before, now = verdict.primary, self.state, time.time()
        if key is None:
            if used in verdict.stale:
                self._moved(used)
            self.state = replace(before, up=False, latency_ms=None, error=verdict.reason)
            if before.up is not False:
                self.state = replace(self.state, since=now)
                log.error("ALERT: node %s is DOWN (%s)", self.node.name, verdict.reason)
                self._changed(self.state)
            return
        known = self.states[key]
        since = before.since if before.up else now
        self.state = replace(known, name=self.node.name, up=True, since=since)
        former, self._former = self._former, key
        if former not in (None, key):
            log.warning("node %s: %s is its primary now", self.node.name, address_of(key))
            assert former is not None
            if not self._is_standby(former):  # there, nothing could be written any more
                self._moved(former)
        if before.up is False:
            log.warning("RECOVERED: node %s is UP (was down %.1f s)", self.node.name, now - before.since)
        if not before.up:
            self._changed(self.state)

    def _tell_stale(self, verdict: Verdict) -> None:
        for key in verdict.stale:
            if key not in self._stale:
                log.error(
                    "ALERT: node %s: %s claims to be the primary, but is on an old timeline: it is not used",
                    self.node.name,
                    address_of(key),
                )
        self._stale = verdict.stale

    def _measure(self, state: NodeState, primary: str | None) -> None:
        """How far the member that has just answered is behind the primary; all of them, when that is a new one."""
        if primary in (None, self._former):
            self._measure_one(state, primary)
            return
        self._wal = WalHistory(self._max_lag_s)
        for key in sorted(self.states, key=lambda key: key != primary):
            self.lags[key] = None
            self._measure_one(self.states[key], primary)

    def _measure_one(self, state: NodeState, primary: str | None) -> None:
        role = state.role
        if not state.up or state.failures or role is None:
            return
        if state.name == primary:
            self._wal.note(self._clock(), role.wal)
            self.lags[state.name] = 0.0
        elif role.in_recovery:
            self.lags[state.name] = self._wal.lag_s(role.wal)

    def _fit_for_reading(self) -> tuple[str, ...]:
        if self._read_from == "primary":
            return ()
        replicas = tuple(key for key in self.nodes if self._is_fit(key))
        both = self._read_from == "any" and self.primary is not None
        return (*replicas, self.primary) if both and self.primary is not None else replicas

    def _is_fit(self, key: str) -> bool:
        lag_s = self.lags[key]
        answers = self._is_standby(key) and not self.states[key].failures
        return answers and lag_s is not None and lag_s <= self._max_lag_s

    def _is_standby(self, key: str) -> bool:
        state = self.states[key]
        return bool(state.up) and state.role is not None and state.role.in_recovery
