"""Pools for each user, where the proxy logs in to the nodes as the client's user: made when the first session comes,
bounded in number, closed when they are empty and nobody is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

from pgproxy.backend.counts import PoolCounts
from pgproxy.backend.pool import NodePool
from pgproxy.errors import ProxyError
from pgproxy.shardmap.model import ClusterSettings, Node, PoolSettings
from pgproxy.wire.auth import Credential

SWEEP_INTERVAL_S = 30.0

MakePool = Callable[[str, Credential], NodePool]


@dataclass(slots=True)
class _User:
    pools: dict[str, NodePool]
    credential: Credential
    sessions: int = 0
    left_at: float = field(default=0.0)

    @property
    def empty(self) -> bool:
        return not self.sessions and not any(pool.size or pool.waiting for pool in self.pools.values())


class UserPools:
    """`make` opens a pool on a node. `past` counts what closed pools have done."""

    def __init__(
        self, nodes: Mapping[str, object], make: MakePool, max_users: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.past = {name: PoolCounts() for name in nodes}
        self._nodes = tuple(nodes)
        self._make = make
        self._max_users = max_users
        self._loop = loop
        self._users: dict[str, _User] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, credential: Credential) -> Mapping[str, NodePool]:
        """One more session of this user. What it has proved replaces what was known before: a password may have
        changed. Raises 53300 when too many users have sessions."""
        user = self._users.get(credential.user)
        if user is None:
            self._make_room()
            user = _User({node: self._make(node, credential) for node in self._nodes}, credential)
            self._users[credential.user] = user
        if credential != Credential(credential.user):  # a client that proved nothing (trust) takes nothing away
            user.credential = credential
            for pool in user.pools.values():
                pool.credential = credential
        user.sessions += 1
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        return user.pools

    def leave(self, name: str) -> None:
        """One session less."""
        user = self._users[name]
        user.sessions -= 1
        user.left_at = self._loop.time()

    def fail(self, node: str, reason: ProxyError) -> None:
        for user in self._users.values():
            if node in user.pools:
                user.pools[node].fail(reason)

    def of(self, name: str) -> Mapping[str, NodePool]:
        """The pools of a user who has entered."""
        return self._users[name].pools

    def change(
        self, nodes: Mapping[str, Node], cluster: ClusterSettings, settings: PoolSettings, max_users: int
    ) -> list[NodePool]:
        """A shard map was reloaded: pools of new nodes are made, the others follow. Gives those of nodes that are gone,
        for the caller to close when nobody needs them. Sessions that have begun a statement keep their mapping."""
        gone = []
        self._max_users = max_users
        self._nodes = tuple(nodes)
        for name in self._nodes:
            self.past.setdefault(name, PoolCounts())
        for user in self._users.values():
            before = user.pools
            user.pools = {name: before.get(name) or self._make(name, user.credential) for name in self._nodes}
            for name, pool in before.items():
                if name in nodes:
                    pool.change(nodes[name], cluster, settings)
                else:
                    gone.append(pool)
        return gone

    def all(self) -> Iterator[tuple[str, str, NodePool]]:
        """User, node and pool."""
        for name, user in self._users.items():
            for node, pool in user.pools.items():
                yield name, node, pool

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for name in list(self._users):
            self._close(name)

    def _make_room(self) -> None:
        """Close the pools of the user who has been gone for longest, when there are as many as there may be."""
        if len(self._users) < self._max_users:
            return
        gone = [(user.left_at, name) for name, user in self._users.items() if not user.sessions]
        if not gone:
            raise ProxyError(
                "53300",
                "sorry, too many different users are connected already",
                hint="The shard map's proxy.pool.max_users limits them.",
                severity="FATAL",
            )
        self._close(min(gone)[1])

    def _sweep(self) -> None:
        for name in [name for name, user in self._users.items() if user.empty]:
            self._close(name)
        self._timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep) if self._users else None

    def _close(self, name: str) -> None:
        for node, pool in self._users.pop(name).pools.items():
            for each in fields(PoolCounts):
                total = getattr(self.past[node], each.name) + getattr(pool.counts, each.name)
                setattr(self.past[node], each.name, total)
            pool.close()
