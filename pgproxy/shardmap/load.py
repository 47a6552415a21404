"""Reads shardmap.toml into the model, or tells everything that is wrong with it at once.

Which keys there are is `shardmap.options`'; what only the nodes can tell (types, columns) is `cluster.check`'s.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pgproxy.hashing import KEY_TYPES, TEXT_OIDS
from pgproxy.shardmap.auth_rules import (
    NEED_SECRETS,
    AuthMethod,
    AuthRule,
    AuthUsers,
    is_loopback,
    read_rules,
    trust_from_elsewhere,
)
from pgproxy.shardmap.environment import UNSET, Report, expand
from pgproxy.shardmap.files import check_cluster_tls, check_proxy_tls, from_folder
from pgproxy.shardmap.members import check_replicas
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
    TlsSettings,
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
    return from_folder(Path(path).parent, parse(text, os.environ if environ is None else environ))


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
    check_replicas(nodes, None if cluster is None else cluster.engine, report)
    tables = _tables(top["tables"], report)
    auth = _auth(top["auth"], report)
    auth_users = _auth_users(top["auth_users"], auth, report)
    reference_tables = top["reference_tables"] or ()
    if top["nodes"] is not None:
        _check_nodes_known(tables, top["unmapped_node"], list(top["nodes"]), report)
    _check_names(tables, reference_tables, report)
    if cluster is None or proxy is None or auth_users is None or http is None:
        return None
    wrong: tuple[object, ...] = (proxy.listen, proxy.allow_trust_from_anywhere)  # None: reported already
    problem = None if None in wrong else trust_problem(auth, proxy)
    if problem is not None:
        report(*problem)
    tls: TlsSettings | None = proxy.tls
    if tls is not None and tls.client_ca_file is None:
        for index, rule in enumerate(auth):
            if rule.method is AuthMethod.CERT:
                report(f"auth[{index}].method", '"cert" needs proxy.tls.client_ca_file')
    _check_physical_tables(tables, cluster.engine, report)
    return ShardMap(
        proxy=proxy,
        cluster=cluster,
        nodes=nodes,
        tables={table.name: table for table in tables},
        reference_tables=frozenset(reference_tables),
        unmapped_node=top["unmapped_node"],
        http=http,
        auth=auth,
        auth_users=auth_users,
    )


def _proxy(data: Any, report: Report) -> ProxySettings | None:
    if data is None:
        return None
    facts = read_section("proxy", "proxy", data, report)
    for name, model in (("pool", PoolSettings), ("heartbeat", HeartbeatSettings), ("tls", TlsSettings)):
        if facts[name] is not None:
            facts[name] = model(**read_section(f"proxy.{name}", f"proxy.{name}", facts[name], report))
    pool = facts["pool"]
    if pool is not None and None not in (pool.size, pool.min_idle) and pool.min_idle > pool.size:
        report("proxy.pool.min_idle", f"must not exceed proxy.pool.size ({pool.size})")
    if facts["tls"] is not None:
        check_proxy_tls(facts["tls"], report)
    return ProxySettings(**facts)


def trust_problem(auth: tuple[AuthRule, ...], proxy: ProxySettings) -> tuple[str, str] | None:
    """Key path and message when other machines would be let in without a password and nobody said that it is meant."""
    path = trust_from_elsewhere(auth, proxy.listen)
    if path is None or proxy.allow_trust_from_anywhere:
        return None
    which = "" if path == "auth" else f", {path}"
    message = (
        f'"{proxy.listen}" can be reached from other machines and clients log in without a password (trust{which}); '
        "set proxy.allow_trust_from_anywhere = true if that is meant"
    )
    return "proxy.listen", message


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


def _auth(data: Any, report: Report) -> tuple[AuthRule, ...]:
    sections = ((f"auth[{index}]", section) for index, section in enumerate(data or ()))
    read = ((path, read_section("auth", path, section, report)) for path, section in sections)
    return read_rules(read, report)


def _auth_users(data: Any, auth: tuple[AuthRule, ...], report: Report) -> AuthUsers | None:
    if data is None:
        return None
    users = AuthUsers(**read_section("auth_users", "auth_users", data, report))
    if users.query is not None and "$1" not in users.query:
        report("auth_users.query", "must have the user's name as $1")
    for index, rule in enumerate(auth):
        if rule.method in NEED_SECRETS and not (users.file or users.query or data.get("file") or data.get("query")):
            report(f"auth[{index}].method", f'"{rule.method.value}" needs auth_users.file or auth_users.query')
    return users


def _cluster(data: Any, report: Report) -> ClusterSettings | None:
    if data is None:
        return None
    facts = read_section("cluster", "cluster", data, report)
    if facts["engine"] is None:
        return None
    settings = ClusterSettings(**{**facts, "engine": Engine(facts["engine"])})
    check_cluster_tls(settings, report)
    return settings


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
