"""Reads shardmap.toml into the model, or tells everything that is wrong with it at once.

Which keys there are is `shardmap.options`'; what only the nodes can tell (types, columns) is `cluster.check`'s.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pgproxy.hashing import KEY_TYPES, TEXT_OIDS
from pgproxy.shardmap.environment import UNSET, Report, expand
from pgproxy.shardmap.model import (
    ClusterSettings,
    Engine,
    HeartbeatSettings,
    HttpSettings,
    Method,
    Node,
    PoolSettings,
    ProxySettings,
    Shard,
    ShardMap,
    Table,
)
from pgproxy.shardmap.options import did_you_mean, read_section
from pgproxy.shardmap.placement import PlacementError, placement_problems
from pgproxy.shardmap.write import to_toml

__all__ = ["ShardMapErrors", "load", "parse", "to_toml"]

_SHORTEST_TOKEN = 16


class ShardMapErrors(Exception):
    """Everything that is wrong with a shard map, each problem a line `key.path: what is wrong`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def load(path: Path | str, environ: Mapping[str, str] | None = None) -> ShardMap:
    """The shard map in a file; ShardMapErrors when it cannot be read or is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as failed:
        raise ShardMapErrors([f"{path}: {failed.strerror or failed}"]) from failed
    except UnicodeDecodeError as failed:
        raise ShardMapErrors([f"{path}: not UTF-8 text (byte {failed.start})"]) from failed
    return parse(text, os.environ if environ is None else environ)


def parse(text: str, environ: Mapping[str, str]) -> ShardMap:
    """The shard map in a text; ShardMapErrors when it is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as failed:
        raise ShardMapErrors([f"not valid TOML: {failed}"]) from failed
    problems: list[str] = []

    def report(path: str, message: str) -> None:
        problems.append(f"{path}: {message}")

    shard_map = _shard_map(expand(data, environ, report), report)
    if problems:
        raise ShardMapErrors(problems)
    assert shard_map is not None
    return shard_map


def _shard_map(data: dict[str, Any], report: Report) -> ShardMap | None:
    """The model of the whole file. Parts that were reported as wrong are left out of it, or all is None."""
    top = read_section("", "", data, report)
    proxy = _proxy(top["proxy"], report)
    http = _http(top["http"], report)
    cluster = _cluster(top["cluster"], report)
    nodes = _nodes(top["nodes"], report)
    tables = _tables(top["tables"], report)
    reference_tables = top["reference_tables"] or ()
    if top["nodes"] is not None:
        _check_nodes_known(tables, top["unmapped_node"], list(top["nodes"]), report)
    _check_names(tables, reference_tables, report)
    if cluster is None or proxy is None or http is None:
        return None
    _check_physical_tables(tables, cluster.engine, report)
    return ShardMap(
        proxy=proxy,
        cluster=cluster,
        nodes=nodes,
        tables={table.name: table for table in tables},
        reference_tables=frozenset(reference_tables),
        unmapped_node=top["unmapped_node"],
        http=http,
    )


def _proxy(data: Any, report: Report) -> ProxySettings | None:
    if data is None:
        return None
    facts = read_section("proxy", "proxy", data, report)
    for name, model in (("pool", PoolSettings), ("heartbeat", HeartbeatSettings)):
        if facts[name] is not None:
            facts[name] = model(**read_section(f"proxy.{name}", f"proxy.{name}", facts[name], report))
    pool = facts["pool"]
    if pool is not None and None not in (pool.size, pool.min_idle) and pool.min_idle > pool.size:
        report("proxy.pool.min_idle", f"must not exceed proxy.pool.size ({pool.size})")
    listen = facts["listen"]
    if listen is not None and not is_loopback(listen) and facts["allow_trust_from_anywhere"] is False:
        report(
            "proxy.listen",
            f'"{listen}" can be reached from other machines and clients log in without a password (trust); '
            "set proxy.allow_trust_from_anywhere = true if that is meant",
        )
    return ProxySettings(**facts)


def _http(data: Any, report: Report) -> HttpSettings | None:
    if data is None:
        return None
    facts = read_section("http", "http", data, report)
    listen, token = facts["listen"], facts["token"]
    if listen is not None and not is_loopback(listen) and token is None and "token" not in data:
        report("http.listen", f'"{listen}" can be reached from other machines: set http.token')
    if token is not None and len(token) < _SHORTEST_TOKEN:
        report("http.token", f"must have at least {_SHORTEST_TOKEN} characters")
    return HttpSettings(**facts)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cluster(data: Any, report: Report) -> ClusterSettings | None:
    if data is None:
        return None
    facts = read_section("cluster", "cluster", data, report)
    if facts["engine"] is None:
        return None
    return ClusterSettings(**{**facts, "engine": Engine(facts["engine"])})


def _nodes(data: Any, report: Report) -> dict[str, Node]:
    if data is not None and not data:
        report("nodes", "at least one node is needed")
    return {
        name: Node(name, **read_section("nodes.NAME", f"nodes.{name}", facts, report))
        for name, facts in (data or {}).items()
    }


def _tables(data: Any, report: Report) -> list[Table]:
    read = (_table(name, facts, report) for name, facts in (data or {}).items())
    return [table for table in read if table is not None]


def _table(name: str, data: Any, report: Report) -> Table | None:
    path = f"tables.{name}"
    facts = read_section("tables.NAME", path, data, report)
    if "." in name:
        report(path, 'the name must not hold a dot; the schema is the key "schema"')
    if facts["method"] is None or facts["shards"] is None:
        return None
    method = Method(facts["method"])
    told_of_shards = _Counting(report)
    shards = tuple(
        _shard(index, f"{path}.shards[{index}]", shard, method, told_of_shards)
        for index, shard in enumerate(facts["shards"])
    )
    table = Table(name, facts["schema"], facts["key"], method, shards, bool(facts["gaps"]))
    if facts["gaps"] and method is not Method.RANGE:
        report(f"{path}.gaps", f"has no meaning with method {method.value}")
    if told_of_shards.count == 0:
        _check_layout(table, facts["shards"], report)
    return table


class _Counting:
    """A report that remembers whether it was used."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.count = 0

    def __call__(self, path: str, message: str) -> None:
        self.count += 1
        self._report(path, message)


# The keys that a shard must have and must not have, by the table's method.
_SHARD_KEYS: dict[Method, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Method.LIST: (("values",), ("lower", "upper")),
    Method.HASH: ((), ("values", "lower", "upper")),
    Method.RANGE: ((), ("values",)),
}


def _shard(index: int, path: str, data: Any, method: Method, report: Report) -> Shard:
    facts = read_section("tables.NAME.shards", path, data, report)
    needed, senseless = _SHARD_KEYS[method]
    if isinstance(data, dict):
        for key in needed:
            if key not in data or data[key] == []:
                report(f"{path}.{key}", f"is needed with method {method.value}")
        for key in senseless:
            if key in data:
                report(f"{path}.{key}", f"has no meaning with method {method.value}")
    return Shard(index, **{**facts, "values": facts["values"] or ()})


def _check_layout(table: Table, shards: list[dict[str, Any]], report: Report) -> None:
    """Values and bounds must make sense for at least one type that the key could have.

    The file does not say the key's type, and `"10"` is below `"9"` as text but not as a number: what is wrong
    only for the true type is found when the nodes are asked.
    """
    said = [item for shard in shards for item in (*shard.get("values", ()), shard.get("lower"), shard.get("upper"))]
    if UNSET in said:
        return
    only_text = all(item is None or isinstance(item, str) for item in said)
    attempts = [placement_problems(table, oid) for oid in KEY_TYPES if only_text or oid not in TEXT_OIDS]
    fewest: list[PlacementError] = min(attempts, key=len)
    for problem in fewest:
        report(problem.key_path, problem.reason)


def _check_nodes_known(tables: list[Table], unmapped_node: str | None, nodes: list[str], report: Report) -> None:
    said = [
        (f"tables.{table.name}.shards[{shard.index}].node", shard.node) for table in tables for shard in table.shards
    ]
    for path, node in [*said, ("unmapped_node", unmapped_node)]:
        if node is not None and node not in nodes:
            report(path, f'there is no node "{node}"{did_you_mean(node, nodes)}')


def _check_names(tables: list[Table], reference_tables: Iterable[str], report: Report) -> None:
    logical = {table.name for table in tables}
    physical = {shard.table for table in tables for shard in table.shards}
    seen: set[str] = set()
    for index, name in enumerate(reference_tables):
        path = f"reference_tables[{index}]"
        if name in logical:
            report(path, f'"{name}" is a sharded table too (tables.{name})')
        if name in physical:
            report(path, f'"{name}" is the physical table of a shard too')
        if name in seen:
            report(path, f'"{name}" is given twice')
        seen.add(name)


def _check_physical_tables(tables: list[Table], engine: Engine, report: Report) -> None:
    """No two shards in one physical table, and none in a table that clients see.

    In a CockroachDB cluster the nodes share all tables, so the node does not tell two apart.
    """
    logical = {(table.schema, table.name): f"tables.{table.name}" for table in tables}
    homes: dict[tuple[str | None, ...], str] = {}
    for table in tables:
        for shard in table.shards:
            path = f"tables.{table.name}.shards[{shard.index}].table"
            if (table.schema, shard.table) in logical:
                report(path, f'"{shard.table}" is the name of a logical table ({logical[table.schema, shard.table]})')
            node = shard.node if engine is Engine.POSTGRESQL else None
            first = homes.setdefault((node, table.schema, shard.table), path)
            if first != path and shard.table is not None:
                report(path, f'"{shard.table}" is {first} already')
