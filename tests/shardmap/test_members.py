"""The members of a node, and what the shard map may say of them."""

from __future__ import annotations

import pytest

from pgproxy.shardmap.load import ShardMapErrors, parse, to_toml
from pgproxy.shardmap.members import all_members, members_of
from pgproxy.shardmap.model import Node

TEXT = """
[cluster]
name = "c"
engine = "{engine}"
database = "d"
user = "u"
read_from = "any"
max_lag_s = 2.5
[nodes.west]
host = "10.0.0.1"
port = 5432
locality = "region=west"
replicas = [{replicas}]
[nodes.north]
host = "10.0.0.9"
port = 5432
"""


def problems(replicas: str, engine: str = "postgresql") -> tuple[str, ...]:
    with pytest.raises(ShardMapErrors) as wrong:
        parse(TEXT.format(replicas=replicas, engine=engine), {})
    return wrong.value.problems


def test_each_member_has_a_key_and_the_nodes_name() -> None:
    shard_map = parse(TEXT.format(replicas='"10.0.0.2:5433", "[::1]:5434"', engine="postgresql"), {})
    members = all_members(shard_map)
    assert {key: (member.name, member.host, member.port) for key, member in members.items()} == {
        "west/10.0.0.1:5432": ("west", "10.0.0.1", 5432),
        "west/10.0.0.2:5433": ("west", "10.0.0.2", 5433),
        "west/[::1]:5434": ("west", "::1", 5434),
        "north": ("north", "10.0.0.9", 5432),
    }
    assert all(member.replicas == () for member in members.values())
    assert parse(to_toml(shard_map), {}) == shard_map


def test_without_replicas_a_node_is_its_own_member() -> None:
    node = Node("west", "10.0.0.1", 5432)
    assert members_of(node) == {"west": node}


@pytest.mark.parametrize("address", ["10.0.0.2", ":5432", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:70000", "10.0.0.2:x"])
def test_an_address_has_host_and_port(address: str) -> None:
    assert problems(f'"{address}"') == (f"nodes.west.replicas[0]: must be \"host:port\", not '{address}'",)


def test_ipv6_needs_brackets() -> None:
    assert "in brackets" in problems('"::1:5432"')[0]


@pytest.mark.parametrize(
    ("replicas", "where", "home"),
    [
        ('"10.0.0.1:5432"', 0, "west"),
        ('"10.0.0.2:5432", "10.0.0.2:5432"', 1, "west"),
        ('"10.0.0.9:5432"', 0, "north"),
    ],
)
def test_an_address_stands_for_one_member(replicas: str, where: int, home: str) -> None:
    assert problems(replicas)[0].startswith(f"nodes.west.replicas[{where}]: ")
    assert f"is a member of node {home} already" in problems(replicas)[0]


def test_cockroachdb_replicates_by_itself() -> None:
    assert problems('"10.0.0.2:5432"', "cockroachdb") == (
        "nodes.west.replicas: has no meaning with CockroachDB, which replicates by itself",
    )
