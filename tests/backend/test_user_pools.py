"""Pools of users: made, shared, closed when nobody is left; no node is needed for that."""

from __future__ import annotations

import asyncio

import pytest

from pgproxy.backend import user_pools as module
from pgproxy.backend.pool import NodePool
from pgproxy.backend.user_pools import UserPools
from pgproxy.errors import ProxyError
from pgproxy.shardmap.model import ClusterSettings, Engine, Node, PoolSettings
from pgproxy.wire.auth import Credential

NODES = {name: Node(name, "127.0.0.1", 1) for name in ("west", "north")}
CLUSTER = ClusterSettings("c", Engine.POSTGRESQL, "d", "u")


@pytest.fixture
def short_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_INTERVAL_S", 0.005)


def made(max_users: int = 2) -> UserPools:
    loop = asyncio.get_running_loop()

    def make(node: str, credential: Credential) -> NodePool:
        return NodePool(NODES[node], CLUSTER, PoolSettings(), loop, credential=credential)

    return UserPools(NODES, make, max_users, loop)


def users(pools: UserPools) -> set[str]:
    return {user for user, _, _ in pools.all()}


@pytest.mark.asyncio
async def test_a_users_sessions_share_pools() -> None:
    pools = made()
    one = pools.enter(Credential("alice", "first"))
    assert set(one) == {"west", "north"}
    assert pools.enter(Credential("alice", "second")) is one
    assert one["west"].credential == Credential("alice", "second")
    pools.enter(Credential("alice"))
    assert one["west"].credential == Credential("alice", "second"), "trust proves nothing new"
    assert pools.enter(Credential("bob"))["west"] is not one["west"]
    pools.close()
    assert users(pools) == set()


@pytest.mark.asyncio
async def test_room_is_made_by_who_has_been_gone_longest() -> None:
    pools = made(max_users=2)
    for user in ("alice", "bob"):
        pools.enter(Credential(user))
    with pytest.raises(ProxyError, match="too many different users") as refused:
        pools.enter(Credential("carol"))
    assert (refused.value.sqlstate, refused.value.severity) == ("53300", "FATAL")
    pools.leave("bob")
    await asyncio.sleep(0.001)
    pools.leave("alice")
    pools.enter(Credential("carol"))
    assert users(pools) == {"alice", "carol"}
    pools.close()


@pytest.mark.asyncio
async def test_empty_pools_of_users_who_left_are_closed_and_their_figures_kept(short_sweeps: None) -> None:
    pools = made()
    west = pools.enter(Credential("alice"))["west"]
    pools.enter(Credential("bob"))
    west.counts.leases = 7
    pools.leave("alice")
    for _ in range(4_000):
        if users(pools) == {"bob"}:
            break
        await asyncio.sleep(0.005)
    assert users(pools) == {"bob"}
    assert pools.past["west"].leases == 7
    again = pools.enter(Credential("alice"))["west"]
    assert again is not west
    pools.close()
    assert pools.past["west"].leases == 7
