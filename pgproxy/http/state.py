"""What the live page shows, as JSON: who and what does not change (`about`), and what does every second (`state`)."""

from __future__ import annotations

from typing import Any

from pgproxy.admin.answers import holds
from pgproxy.admin.view import NodeView, PlanView, PoolView
from pgproxy.http.view import ProxyView
from pgproxy.shardmap.model import Node

TEMPLATES_SHOWN = 25
SLOW_SHOWN = 25
ALERTS_SHOWN = 50
_TEMPLATE_CHARACTERS = 500


def about(view: ProxyView) -> dict[str, Any]:
    shard_map = view.shard_map
    return {
        "version": view.version,
        "engine_version": view.engine_version,
        "cluster": shard_map.cluster.name,
        "engine": shard_map.cluster.engine.value,
        "database": shard_map.cluster.database,
        "slow_statement_ms": shard_map.proxy.slow_statement_ms,
        "tables": [
            {
                "name": table.name,
                "key": table.key,
                "method": table.method.value,
                "shards": [
                    {"table": shard.table, "node": shard.node, "holds": holds(table, shard)} for shard in table.shards
                ],
            }
            for table in shard_map.tables.values()
        ],
    }


def state(view: ProxyView) -> dict[str, Any]:
    metrics = view.metrics
    return {
        "uptime_s": round(view.uptime_s),
        "draining": view.draining,
        "clients": metrics.clients,
        "max_clients": view.shard_map.proxy.max_clients,
        "statements": metrics.statements,
        "errors": sum(metrics.errors.values()),
        "plan_cache_hit_rate": metrics.plan_cache_hit_rate,
        "nodes": _nodes(view),
        "templates": [_template(plan) for plan in view.busiest_plans(TEMPLATES_SHOWN)],
        "slow": [
            {
                "at": slow.at,
                "took_ms": round(slow.took_ms, 1),
                "way": slow.way,
                "node": slow.node,
                "template": _short(slow.template),
                "client": slow.client,
            }
            for slow in reversed(view.slow_statements[-SLOW_SHOWN:])
        ],
        "alerts": [
            {"at": alert.at, "node": alert.node, "up": alert.up, "reason": alert.reason}
            for alert in reversed(view.alerts[-ALERTS_SHOWN:])
        ],
    }


def readiness(view: ProxyView) -> dict[str, Any]:
    """Ready: statements can be planned, a node is up to run them, and the proxy is not shutting down."""
    nodes = {node.name: node_state(node) for node in view.nodes}
    ready = view.can_plan and "up" in nodes.values() and not view.draining
    return {"ready": ready, "catalog": view.can_plan, "draining": view.draining, "nodes": nodes}


def node_state(node: NodeView) -> str:
    return {True: "up", False: "down", None: "unknown"}[node.up]


def _nodes(view: ProxyView) -> list[dict[str, Any]]:
    pools: dict[str, list[PoolView]] = {node.name: [] for node in view.nodes}
    for pool in view.pools:
        pools[pool.home or pool.node].append(pool)
    metrics = view.metrics.nodes
    places = view.shard_map.nodes
    return [
        {
            "name": node.name,
            "place": _place(node.place or places[node.name]),
            "state": "paused" if node.paused else node_state(node),
            "avoided": node.avoided,
            "since": node.since,
            "last_ok": node.last_ok,
            "latency_ms": None if node.latency_ms is None else round(node.latency_ms, 2),
            "error": node.error,
            "in_use": sum(pool.in_use for pool in pools[node.name]),
            "size": sum(pool.size for pool in pools[node.name]),
            "max_size": sum(pool.max_size for pool in pools[node.name]),
            "waiting": sum(pool.waiting for pool in pools[node.name]),
            "statements": metrics[node.name].statements,
        }
        for node in view.nodes
    ]


def _place(node: Node) -> str:
    return f"{node.host}:{node.port}"


def _template(plan: PlanView) -> dict[str, Any]:
    figures = plan.figures
    mean_us, p99_us = figures.mean_us, figures.quantile_us(0.99)
    return {
        "template": _short(plan.template),
        "way": plan.way,
        "calls": figures.count + figures.errors + figures.cancelled,
        "errors": figures.errors + figures.cancelled,
        "total_ms": round(figures.total_us / 1000, 1),
        "mean_ms": None if mean_us is None else round(mean_us / 1000, 3),
        "p99_ms": None if p99_us is None else round(p99_us / 1000, 3),
        "rows": figures.rows,
    }


def _short(template: str) -> str:
    text = " ".join(template.split())
    return text if len(text) <= _TEMPLATE_CHARACTERS else text[: _TEMPLATE_CHARACTERS - 1] + "…"
