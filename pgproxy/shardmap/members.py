"""The servers of a node: one, or with `replicas` a primary and its standbys. Each is a member with a key of its own.

Which member is the primary is found by asking them (`cluster.members`), so the file's order says nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pgproxy.shardmap.environment import Report
from pgproxy.shardmap.model import Engine, Node, ShardMap


def members_of(node: Node) -> dict[str, Node]:
    """The members by key. A node without replicas is its own only member, under its own name."""
    if not node.replicas:
        return {node.name: node}
    alone = replace(node, replicas=())
    addresses = [(node.host, node.port), *map(split_address, node.replicas)]
    return {f"{node.name}/{address_text(host, port)}": replace(alone, host=host, port=port) for host, port in addresses}


def all_members(shard_map: ShardMap) -> dict[str, Node]:
    """The members of all nodes by key."""
    return {key: member for node in shard_map.nodes.values() for key, member in members_of(node).items()}


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """`host:port`, an IPv6 address in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError('must be "host:port", an IPv6 address in brackets')
    if not (host and colon and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535):
        raise ValueError('must be "host:port"')
    return host, int(port)


def check_replicas(nodes: Mapping[str, Node], engine: Engine | None, report: Report) -> None:
    """Every address is well formed and stands for one member only."""
    seen: dict[tuple[str, int], str] = {(node.host, node.port): name for name, node in nodes.items()}
    for name, node in nodes.items():
        if node.replicas and engine is Engine.COCKROACHDB:
            report(f"nodes.{name}.replicas", "has no meaning with CockroachDB, which replicates by itself")
        for path, address in _addresses(f"nodes.{name}.replicas", node.replicas or (), report):
            if address in seen:
                report(path, f"{address_text(*address)} is a member of node {seen[address]} already")
            seen[address] = name


def _addresses(path: str, texts: Iterable[str], report: Report) -> Iterable[tuple[str, tuple[str, int]]]:
    for index, text in enumerate(texts):
        try:
            yield f"{path}[{index}]", split_address(text)
        except ValueError as wrong:
            report(f"{path}[{index}]", f"{wrong}, not {text!r}")
