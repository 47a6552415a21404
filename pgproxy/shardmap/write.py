"""Writes a shard map as the TOML that `shardmap.load` reads: what must be said, and what is not the default."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pgproxy.shardmap.auth_rules import AuthRule
from pgproxy.shardmap.model import ShardMap, Table
from pgproxy.shardmap.options import SECTIONS


def to_toml(shard_map: ShardMap) -> str:
    """The whole file. Passwords are written as they are; the file's mode is the caller's care."""
    proxy = shard_map.proxy
    top = {"reference_tables": sorted(shard_map.reference_tables), "unmapped_node": shard_map.unmapped_node}
    cluster = {**_facts(shard_map.cluster), "engine": shard_map.cluster.engine.value}
    parts = [
        _lines("", top),
        _section("proxy", "proxy", _facts(proxy)),
        _section("proxy.pool", "proxy.pool", _facts(proxy.pool)),
        _section("proxy.heartbeat", "proxy.heartbeat", _facts(proxy.heartbeat)),
        _section("proxy.tls", "proxy.tls", _facts(proxy.tls)),
        _section("http", "http", _facts(shard_map.http)),
        _section("cluster", "cluster", cluster),
        *(_section("nodes.NAME", f"nodes.{_key(name)}", _facts(node)) for name, node in shard_map.nodes.items()),
        *(f"[[auth]]\n{_lines('auth', _rule(rule))}" for rule in shard_map.auth),
        _section("auth_users", "auth_users", _facts(shard_map.auth_users)),
        *(part for table in shard_map.tables.values() for part in _table(table)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rule(rule: AuthRule) -> dict[str, Any]:
    return {**_facts(rule), "method": rule.method.value, "address": tuple(map(str, rule.address))}


def _table(table: Table) -> Iterator[str]:
    name = f"tables.{_key(table.name)}"
    yield _section("tables.NAME", name, {**_facts(table), "method": table.method.value})
    for shard in table.shards:
        yield f"[[{name}.shards]]\n" + _lines("tables.NAME.shards", _facts(shard))


def _section(section: str, header: str, facts: Mapping[str, Any]) -> str:
    lines = _lines(section, facts)
    return f"[{header}]\n{lines}" if lines else ""


def _lines(section: str, facts: Mapping[str, Any]) -> str:
    plain = (option for option in SECTIONS[section] if option.kind not in ("section", "sections"))
    return "\n".join(
        f"{option.name} = {_toml(facts[option.name])}"
        for option in plain
        if facts[option.name] != option.default and facts[option.name] not in (None, (), [])
    )


def _facts(model: Any) -> dict[str, Any]:
    return {field.name: getattr(model, field.name) for field in fields(model)}


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _toml_string(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_string(value.replace("$", "$$"))
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)


def _toml_string(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
