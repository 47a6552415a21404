"""`GET /events`: the stream that the live page shows."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.demo.nodes import NODE_NAMES, free_port
from pgproxy.http.history import KEPT, History
from pgproxy.http.live import MOST_LISTENERS
from pgproxy.metrics import Metrics
from pgproxy.metrics import count as count_statement
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import HttpSettings, ShardMap
from pgproxy.shardmap.write import to_toml
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy
from tests.http.conftest import TIMEOUT_S, HttpProxy


@contextmanager
def events(web: HttpProxy) -> Iterator[Iterator[tuple[str, Any]]]:
    connection = _connection(web)
    try:
        connection.request("GET", "/events")
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type") == "text/event-stream"
        yield _parsed(response)
        response.close()
    finally:
        connection.close()


def _connection(web: HttpProxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", web.port, timeout=TIMEOUT_S)


def _parsed(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    while True:
        name = response.readline().decode().removeprefix("event: ").strip()
        data = json.loads(response.readline().decode().removeprefix("data: "))
        assert response.readline() == b"\n"
        yield name, data


def test_the_first_event_says_who_and_what(web: HttpProxy) -> None:
    with events(web) as stream:
        name, hello = next(stream)
    assert name == "hello"
    assert hello["about"]["cluster"] == "library"
    assert [table["name"] for table in hello["about"]["tables"]] == ["books", "patrons"]
    assert [node["name"] for node in hello["nodes"]] == list(NODE_NAMES)
    assert {node["state"] for node in hello["nodes"]} == {"up"}


def test_a_state_each_second_with_what_was_done(web: HttpProxy) -> None:
    with events(web) as stream, web.proxy.connect() as connection:
        next(stream)
        for number in range(40):
            connection.execute(
                "SELECT author AS live_page FROM books WHERE branch = 'west' AND isbn = %s", (9780062315007 + number,)
            ).fetchall()
        rate = 0.0
        for _ in range(TIMEOUT_S):
            name, state = next(stream)
            assert name == "state"
            rate += state["point"]["route"]
            found = [known for known in state["templates"] if "live_page" in known["template"]]
            if rate > 20 and found and found[0]["calls"] == 40:
                break
        assert rate > 20  # a point is a second; the rest of a second may be in the point before
        [template] = found
    assert template["template"] == "SELECT author AS live_page FROM books WHERE branch = $1 AND isbn = $2"
    assert (template["way"], template["calls"], template["rows"], template["errors"]) == ("route", 40, 1, 0)
    assert 0 < template["mean_ms"] <= template["total_ms"]
    assert template["p99_ms"] > 0
    assert state["clients"] >= 1


def test_slow_statements_by_template(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    settings = {"slow_statement_ms": 500, "http": HttpSettings(port=free_port())}
    with running_proxy(library_cluster, tmp_path, **settings) as proxy:  # type: ignore[arg-type]
        web = HttpProxy(proxy, settings["http"].port or 0)  # type: ignore[attr-defined]
        with proxy.connect() as connection:
            connection.execute("SELECT pg_sleep(0.6), 'a secret'").fetchall()
            connection.execute("SELECT pg_sleep(0.6) FROM books WHERE branch = 'west' LIMIT 1").fetchall()
        with psycopg.connect(proxy.conninfo, autocommit=True) as connection:
            connection.execute("SELECT pg_sleep(%s)", (0.6,)).fetchall()
        web.rows("SELECT pg_sleep(0.6) AS by_http")
        with events(web) as stream:
            slow = next(stream)[1]["slow"]
    assert [statement["way"] for statement in slow] == ["node", "node", "route", "node"]
    assert slow[2]["template"] == "SELECT pg_sleep($1) FROM books WHERE branch = $2 LIMIT $3"
    assert slow[0]["template"] == "SELECT pg_sleep($1) AS by_http"
    assert all(statement["took_ms"] >= 600 for statement in slow)
    assert "a secret" not in json.dumps(slow)
    assert proxy.log_text().count("slow statement: ") == 4
    assert "a secret" not in proxy.log_text()


def test_a_node_going_down_and_back_is_told_at_once(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    http_settings = HttpSettings(port=free_port())
    with (
        running_proxy(own_cluster, tmp_path, http=http_settings) as proxy,
        events(HttpProxy(proxy, http_settings.port or 0)) as stream,
    ):
        next(stream)
        own_cluster.kill("west-library")
        down = _until(stream, "west-library", "down")
        assert down["alerts"][0]["node"] == "west-library"
        assert down["alerts"][0]["up"] is False
        assert down["alerts"][0]["reason"]
        own_cluster.restart("west-library")
        back = _until(stream, "west-library", "up")
        assert back["alerts"][0] | {"at": 0} == {"at": 0, "node": "west-library", "up": True, "reason": None}


def _until(stream: Iterator[tuple[str, Any]], node: str, wanted: str) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    for _name, state in stream:
        if {"name": node, "state": wanted}.items() <= next(
            known for known in state["nodes"] if known["name"] == node
        ).items():
            return state
        assert time.monotonic() < deadline
    raise AssertionError("the stream ended")


def test_a_reload_and_a_pause_are_told(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    def with_fourth(shard_map: ShardMap) -> ShardMap:
        west = shard_map.nodes["west-library"]
        return replace(shard_map, nodes={**shard_map.nodes, "fourth": replace(west, name="fourth")})

    http_settings = HttpSettings(port=free_port())
    with (
        running_proxy(library_cluster, tmp_path, http=http_settings) as proxy,
        events(HttpProxy(proxy, http_settings.port or 0)) as stream,
        proxy.connect(dbname="pgproxy") as admin,
    ):
        for change, nodes in ((with_fourth, [*NODE_NAMES, "fourth"]), (_without_fourth, list(NODE_NAMES))):
            proxy.config.write_text(to_toml(change(load(proxy.config))), encoding="utf-8")
            admin.execute("RELOAD")
            while (event := next(stream))[0] != "hello" or len(event[1]["nodes"]) != len(nodes):
                pass
            assert [node["name"] for node in event[1]["nodes"]] == nodes
            while "point" not in (event := next(stream))[1]:
                pass
            assert (event[0], list(event[1]["point"]["heartbeat_ms"])) == ("state", nodes)
        admin.execute('PAUSE "west-library"')
        _until(stream, "west-library", "paused")
        admin.execute('RESUME "west-library"')
        _until(stream, "west-library", "up")


def _without_fourth(shard_map: ShardMap) -> ShardMap:
    return replace(shard_map, nodes={name: node for name, node in shard_map.nodes.items() if name != "fourth"})


def test_listeners_are_bounded_and_end_with_the_proxy(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http_settings = HttpSettings(port=free_port())
    with running_proxy(library_cluster, tmp_path, http=http_settings) as proxy:
        web = HttpProxy(proxy, http_settings.port or 0)
        connections = [
            http.client.HTTPConnection("127.0.0.1", web.port, timeout=TIMEOUT_S) for _ in range(MOST_LISTENERS)
        ]
        responses = []
        for connection in connections:
            connection.request("GET", "/events")
            responses.append(connection.getresponse())
        assert web.ask("/events").status == 503
        responses.pop().close()
        connections.pop().close()
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            with_room = _connection(web)
            with_room.request("GET", "/events")
            status = with_room.getresponse().status
            with_room.close()
            if status == 200:
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        proxy.process.terminate()
        assert proxy.process.wait(TIMEOUT_S) == 0
        for response, connection in zip(responses, connections, strict=True):
            response.close()
            connection.close()


@pytest.mark.parametrize("count", [1, KEPT + 50])
def test_the_history_is_bounded(count: int) -> None:
    metrics = Metrics(["a", "b"])
    history = History(metrics)
    for _ in range(count):
        count_statement(metrics.nodes["a"].routed, None, 1_000, 1)
        count_statement(metrics.nodes["b"].routed, None, 1_000, 1)
        count_statement(metrics.scattered, None, 100_000, 1)
        metrics.count_error("22012")
        history.sample(metrics, {"a": 1.234, "b": None})
    assert len(history.points) == min(count, KEPT)
    point = history.points[-1]
    assert point["route"] > point["scatter"] > 0 == point["node"]
    assert point["errors"] > 0
    assert 0.8 < point["p50_ms"] < 1.1
    assert 80 < point["p99_ms"] < 120
    assert point["heartbeat_ms"] == {"a": 1.23, "b": None}


def test_a_quiet_second_has_no_latency() -> None:
    metrics = Metrics(["a"])
    history = History(metrics)
    point = history.sample(metrics, {"a": 1.0})
    assert (point["p50_ms"], point["p99_ms"], point["route"]) == (None, None, 0)
