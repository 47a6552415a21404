"""The admin database: what `SHOW NODES`, `STATUS` and their kin answer, as a table of handlers.

Pure: the running proxy is seen through `View`; sending the answer is the session's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum

from pgproxy.admin.view import MemberView, NodeView, View
from pgproxy.errors import ProxyError
from pgproxy.metrics import Histogram, Metrics, NodeMetrics
from pgproxy.shardmap.model import Method, Shard, Table

BOOL, INT8, TEXT, FLOAT8, TIMESTAMPTZ, NUMERIC = 16, 20, 25, 701, 1184, 1700

Row = tuple[str | None, ...]
Columns = tuple[tuple[str, int], ...]  # name, type OID


@dataclass(frozen=True, slots=True)
class AdminResult:
    """An answer in PostgreSQL's text format. No columns: only the tag is sent; an empty tag: an empty query."""

    columns: Columns
    rows: list[Row]
    tag: str


@dataclass(frozen=True, slots=True)
class Show:
    """One SHOW command."""

    help: str
    columns: Columns
    rows: Callable[[View], Iterator[Row]]


def answer(sql: str, view: View) -> AdminResult:
    """The answer to one statement. Raises ProxyError 42601 for what the admin database does not know."""
    words = words_of(sql)
    statement = " ".join(words).upper()
    if not statement:
        return AdminResult((), [], "")
    if statement == "STATUS":
        return status(view)
    verb, _, rest = statement.partition(" ")
    if verb == "SHOW" and rest in SHOWS:
        show = SHOWS[rest]
        return AdminResult(show.columns, list(show.rows(view)), "SHOW")
    if statement in _SELECTS:
        columns, value = _SELECTS[statement]
        return AdminResult(columns, [(value(view),)], "SELECT 1")
    if verb in _ACCEPTED:
        return AdminResult((), [], _ACCEPTED[verb])
    raise ProxyError("42601", f'unknown admin command: "{" ".join(words)[:80]}"', hint="SHOW HELP lists the commands.")


def words_of(sql: str) -> list[str]:
    """The words of a statement, without comments and the semicolon."""
    return _COMMENT.sub(" ", sql).strip(" \t\r\n\f\v;").split()


def status(view: View) -> AdminResult:
    """The answer to `STATUS;`, in any database: one row for each node, and for each member of one with replicas."""
    rows: list[Row] = []
    for node in view.nodes:
        shards = ", ".join(shard.table for _, shard in _shards(view) if shard.node == node.name)
        rows.append(_status_row(node, shards, _detail(node)))
        rows += [_status_row(member.node, "", _member_detail(member)) for member in node.members]
    return AdminResult(_STATUS_COLUMNS, rows, "STATUS")


def _status_row(node: NodeView, shards: str, detail: str | None) -> Row:
    latency = None if node.latency_ms is None else f"{node.latency_ms:.2f}"
    return node.name, _state(node), _time(node.since), latency, shards, detail


# The SHOW commands


def _nodes(view: View) -> Iterator[Row]:
    """A node with replicas is followed by its members."""
    for node in view.nodes:
        yield (*_node_row(node, view), None, None)
        for member in node.members:
            lag = None if member.lag_s is None else f"{member.lag_s:.1f}"
            yield (*_node_row(member.node, view), member.role, lag)


def _node_row(node: NodeView, view: View) -> Row:
    place = node.place or view.shard_map.nodes[node.name]
    return (
        node.name,
        place.host,
        str(place.port),
        place.locality,
        _state(node),
        _time(node.since),
        None if node.last_ok is None else _time(node.last_ok),
        None if node.latency_ms is None else f"{node.latency_ms:.2f}",
        str(node.failures),
        _trouble(node),
    )


def _show_shards(view: View) -> Iterator[Row]:
    states = {node.name: _state(node) for node in view.nodes}
    for table, shard in _shards(view):
        yield (
            table.name,
            table.method.value,
            table.key,
            str(shard.index),
            shard.table,
            shard.node,
            holds(table, shard),
            states.get(shard.node),
        )


def _pools(view: View) -> Iterator[Row]:
    for pool in view.pools:
        wait = None if pool.oldest_wait_s is None else f"{pool.oldest_wait_s:.3f}"
        counts = (pool.size, pool.idle, pool.in_use, pool.waiting, pool.max_size)
        yield (pool.node, *map(str, counts), wait, pool.user, str(pool.pinned), "t" if pool.paused else "f")


def _clients(view: View) -> Iterator[Row]:
    for client in view.clients:
        yield (
            str(client.id),
            client.user,
            client.database,
            client.application_name,
            client.address,
            client.state,
            _time(client.connected_at),
            str(client.statements),
            ", ".join(client.nodes),
            ", ".join(client.pinned) or None,
        )


def _stats(view: View) -> Iterator[Row]:
    metrics = view.metrics
    yield "uptime_s", None, f"{view.uptime_s:.0f}"
    yield from ((name, None, str(getattr(metrics, name))) for name in _PROXY_COUNTERS)
    rate = metrics.plan_cache_hit_rate
    yield "plan_cache_hit_rate", None, None if rate is None else f"{rate:.4f}"
    yield from _quantiles(metrics.latency, None)
    yield from ((f"errors_{sqlstate}", None, str(count)) for sqlstate, count in sorted(metrics.errors.items()))
    for node, figures in metrics.nodes.items():
        yield from ((name, node, str(getattr(figures, name))) for name in _NODE_COUNTERS)
        yield from _quantiles(figures.latency, node)


def _plans(view: View) -> Iterator[Row]:
    for plan in view.plans:
        yield plan.template, plan.way, plan.table, str(plan.uses)


def _config(view: View) -> Iterator[Row]:
    shard_map = view.shard_map
    yield from _settings("proxy", shard_map.proxy)
    yield from _settings("http", shard_map.http)
    yield from _settings("cluster", shard_map.cluster)
    for name, node in shard_map.nodes.items():
        yield from _settings(f"nodes.{name}", node)
    for index, rule in enumerate(shard_map.auth):
        yield from _settings(f"auth[{index}]", rule)
    yield from _settings("auth_users", shard_map.auth_users)


def _version(view: View) -> Iterator[Row]:
    cluster = view.shard_map.cluster
    yield view.version, cluster.name, cluster.engine.value, view.engine_version


def _help(_view: View) -> Iterator[Row]:
    yield from ((f"SHOW {name}", show.help) for name, show in SHOWS.items())
    yield from ORDERS.items()
    yield "STATUS", "the nodes in short; works in every database"


SHOWS: Mapping[str, Show] = {
    "NODES": Show(
        "the nodes and their health",
        (
            ("node", TEXT),
            ("host", TEXT),
            ("port", INT8),
            ("locality", TEXT),
            ("state", TEXT),
            ("since", TIMESTAMPTZ),
            ("last_ok", TIMESTAMPTZ),
            ("latency_ms", FLOAT8),
            ("failures", INT8),
            ("error", TEXT),
            ("role", TEXT),
            ("lag_s", FLOAT8),
        ),
        _nodes,
    ),
    "SHARDS": Show(
        "which physical table holds what, and where",
        (
            ("table", TEXT),
            ("method", TEXT),
            ("key", TEXT),
            ("shard", INT8),
            ("physical_table", TEXT),
            ("node", TEXT),
            ("holds", TEXT),
            ("state", TEXT),
        ),
        _show_shards,
    ),
    "POOLS": Show(
        "connections to the nodes",
        (
            ("node", TEXT),
            ("size", INT8),
            ("idle", INT8),
            ("in_use", INT8),
            ("waiting", INT8),
            ("max_size", INT8),
            ("oldest_wait_s", FLOAT8),
            ("user", TEXT),
            ("pinned", INT8),
            ("paused", BOOL),
        ),
        _pools,
    ),
    "CLIENTS": Show(
        "client sessions",
        (
            ("id", INT8),
            ("user", TEXT),
            ("database", TEXT),
            ("application_name", TEXT),
            ("address", TEXT),
            ("state", TEXT),
            ("connected", TIMESTAMPTZ),
            ("statements", INT8),
            ("nodes", TEXT),
            ("pinned", TEXT),
        ),
        _clients,
    ),
    "STATS": Show(
        "counters since the start; latencies in milliseconds",
        (("name", TEXT), ("node", TEXT), ("value", NUMERIC)),
        _stats,
    ),
    "PLANS": Show(
        "the plan cache, most used first",
        (("template", TEXT), ("way", TEXT), ("table", TEXT), ("uses", INT8)),
        _plans,
    ),
    "CONFIG": Show("the settings in force, without passwords", (("setting", TEXT), ("value", TEXT)), _config),
    "VERSION": Show(
        "versions of the proxy and of the nodes",
        (("version", TEXT), ("cluster", TEXT), ("engine", TEXT), ("engine_version", TEXT)),
        _version,
    ),
    "HELP": Show("this list", (("command", TEXT), ("shows", TEXT)), _help),
}

_STATUS_COLUMNS: Columns = (
    ("node", TEXT),
    ("state", TEXT),
    ("since", TIMESTAMPTZ),
    ("latency_ms", FLOAT8),
    ("shards", TEXT),
    ("detail", TEXT),
)

ORDERS: Mapping[str, str] = {
    "RELOAD": "reads the shard map, the users file and the certificates again",
    "PAUSE [node]": "waits for statements and transactions to end there; new ones wait for RESUME",
    "RESUME [node]": "lets statements go on",
    "RECONNECT [node]": "replaces the connections to the node, those in use when they are given back",
}

# What drivers and psql send on their own account: accepted, without effect.
_ACCEPTED: Mapping[str, str] = {
    "SET": "SET",
    "RESET": "RESET",
    "BEGIN": "BEGIN",
    "START": "START TRANSACTION",
    "COMMIT": "COMMIT",
    "END": "COMMIT",
    "ROLLBACK": "ROLLBACK",
    "ABORT": "ROLLBACK",
    "DISCARD": "DISCARD ALL",
    "DEALLOCATE": "DEALLOCATE ALL",
}
_SELECTS: Mapping[str, tuple[Columns, Callable[[View], str]]] = {
    "SELECT 1": ((("?column?", 23),), lambda _view: "1"),
    "SELECT VERSION()": ((("version", TEXT),), lambda view: f"pgproxy {view.version}"),
    "SELECT CURRENT_DATABASE()": ((("current_database", TEXT),), lambda _view: "pgproxy"),
}

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def _counters(kind: type[Metrics | NodeMetrics], apart: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in kind.__slots__ if name not in apart)


_PROXY_COUNTERS = _counters(Metrics, frozenset({"errors", "here", "nodes", "scattered", "started_monotonic"}))
_NODE_COUNTERS = (*_counters(NodeMetrics, frozenset({"routed", "to_node"})), "statements")


def _quantiles(latency: Histogram, node: str | None) -> Iterator[Row]:
    for name, fraction in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
        microseconds = latency.quantile_us(fraction)
        yield name, node, None if microseconds is None else f"{microseconds / 1000:.3f}"


def _settings(path: str, value: object) -> Iterator[Row]:
    """The fields of a dataclass of settings, nested ones too, by their path."""
    if not is_dataclass(value):
        yield path, _setting(path, value)
        return
    for field in fields(value):
        yield from _settings(f"{path}.{field.name}", getattr(value, field.name))


def _setting(path: str, value: object) -> str | None:
    if value is None:
        return None
    if path.endswith(("password", "secret", "token")):
        return "********"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value.value) if isinstance(value, Enum) else str(value)


def _shards(view: View) -> Iterator[tuple[Table, Shard]]:
    for table in view.shard_map.tables.values():
        yield from ((table, shard) for shard in table.shards)


def holds(table: Table, shard: Shard) -> str:
    if table.method is Method.LIST:
        return ", ".join(shard.values)
    if table.method is Method.HASH:
        return f"modulus {len(table.shards)}, remainder {shard.index}"
    return f"from {shard.lower or 'MINVALUE'} to {shard.upper or 'MAXVALUE'}"


def _state(node: NodeView) -> str:
    if node.paused:
        return "paused"
    return {True: "up", False: "down", None: "unknown"}[node.up]


def _member_detail(member: MemberView) -> str | None:
    if member.role is None:
        return _detail(member.node)
    behind = "" if member.lag_s is None or member.role == "primary" else f", {member.lag_s:.1f} s behind"
    return member.role + behind


_AVOIDED = "statements go through other nodes: it drains, has refused a connection, or was down a moment ago"


def _trouble(node: NodeView) -> str | None:
    in_doubt = f"transactions in doubt: {node.in_doubt}" if node.in_doubt else None
    said = (_AVOIDED if node.avoided else None, in_doubt, node.error)
    return "; ".join(filter(None, said)) or None


def _detail(node: NodeView) -> str | None:
    trouble = _trouble(node)
    if node.error is None:
        return trouble
    last = "never answered" if node.last_ok is None else f"last answer {_time(node.last_ok)}"
    return f"{trouble} ({last})"


def _time(epoch_s: float) -> str:
    """timestamptz text, in UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "+00"
