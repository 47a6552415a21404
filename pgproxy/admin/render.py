"""`pgproxy status` and `pgproxy reload`: ask a running proxy's admin database, and show nodes as a table or as JSON."""

from __future__ import annotations

import getpass
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import psycopg
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

ALL_UP, DEGRADED, UNREACHABLE = 0, 1, 2

_CONNECT_TIMEOUT_S = 5
_WATCH_INTERVAL_S = 1.0
_STYLES = {"up": "green", "down": "bold red", "unknown": "yellow", "paused": "yellow"}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One row of `STATUS;`."""

    node: str
    state: str
    since: str
    latency_ms: float | None
    shards: tuple[str, ...]
    detail: str | None


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is, and as whom to log in; a password comes from PGPASSWORD, ~/.pgpass or a prompt."""

    host: str
    port: int
    user: str = "pgproxy"
    password: str | None = None


def run_status(proxy: Proxy, as_json: bool, watch: bool) -> int:
    """Print the status once, or every second until Ctrl-C. Gives the exit code: ALL_UP, DEGRADED or UNREACHABLE."""
    show = _watch if watch else _once
    try:
        try:
            return show(proxy, as_json)
        except psycopg.OperationalError as refused:
            return show(_with_password(proxy, refused), as_json)
    except psycopg.Error as failure:
        return _unreachable(proxy, failure)


def run_reload(proxy: Proxy) -> int:
    """Have the proxy read its shard map again, and print what it says. Gives the exit code."""
    try:
        try:
            _reload(proxy)
        except psycopg.OperationalError as refused:
            _reload(_with_password(proxy, refused))
    except psycopg.errors.ConfigFileError as refused:
        print(f"pgproxy: {refused.diag.message_primary}", file=sys.stderr)
        for problem in (refused.diag.message_detail or "").splitlines():
            print(f"  {problem}", file=sys.stderr)
        return 1
    except psycopg.Error as failure:
        return _unreachable(proxy, failure)
    print("the shard map is reloaded")
    return 0


def fetch_status(proxy: Proxy) -> list[NodeStatus]:
    """One row for each node. Raises psycopg.Error when the proxy cannot be asked."""
    with _connect(proxy, "pgproxy status") as connection:
        return [_node_status(row) for row in connection.execute("STATUS")]


def _reload(proxy: Proxy) -> None:
    with _connect(proxy, "pgproxy reload") as connection:
        connection.add_notice_handler(lambda notice: print(f"warning: {notice.message_primary}", file=sys.stderr))
        connection.execute("RELOAD")


def _connect(proxy: Proxy, name: str) -> psycopg.Connection:
    return psycopg.connect(
        host=proxy.host,
        port=proxy.port,
        dbname="pgproxy",
        user=proxy.user,
        password=proxy.password,
        application_name=name,
        connect_timeout=_CONNECT_TIMEOUT_S,
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,  # the simple query protocol
    )


def _unreachable(proxy: Proxy, failure: psycopg.Error) -> int:
    reason = (str(failure).splitlines() or [type(failure).__name__])[0]
    print(f"pgproxy: cannot ask the proxy at {proxy.host}:{proxy.port}: {reason}", file=sys.stderr)
    return UNREACHABLE


def exit_code(nodes: list[NodeStatus]) -> int:
    return ALL_UP if all(node.state == "up" for node in nodes) else DEGRADED


def status_table(nodes: list[NodeStatus]) -> Table:
    table = Table("node", "state", "since", "latency", "shards", "detail")
    for column in table.columns[:4]:
        column.no_wrap = True
    table.columns[3].justify = "right"
    for node in nodes:
        latency = "" if node.latency_ms is None else f"{node.latency_ms:.2f} ms"
        cells = (node.node, "", node.since[5:19], latency, ", ".join(node.shards), node.detail or "")
        texts = [Text(cell) for cell in cells]  # never read as markup
        texts[1] = Text(node.state, style=_STYLES.get(node.state, ""))
        table.add_row(*texts)
    return table


def status_json(nodes: list[NodeStatus]) -> str:
    return json.dumps({"nodes": [asdict(node) for node in nodes], "degraded": exit_code(nodes) != ALL_UP})


def _with_password(proxy: Proxy, refused: psycopg.OperationalError) -> Proxy:
    """Ask for a password when that is what was missing, and somebody is there to ask."""
    if "no password supplied" not in str(refused) or not sys.stdin.isatty():
        raise refused
    return replace(proxy, password=getpass.getpass(f"Password for user {proxy.user}: "))


def _once(proxy: Proxy, as_json: bool) -> int:
    nodes = fetch_status(proxy)
    if as_json:
        print(status_json(nodes))
    else:
        Console().print(status_table(nodes))
    return exit_code(nodes)


def _watch(proxy: Proxy, as_json: bool) -> int:
    """A line of JSON, or the table drawn anew, every second. Ctrl-C ends it with the last code."""
    code = ALL_UP
    try:
        if as_json:
            while True:
                code = _once(proxy, as_json)
                sys.stdout.flush()
                time.sleep(_WATCH_INTERVAL_S)
        with Live(auto_refresh=False) as live:
            while True:
                nodes = fetch_status(proxy)
                code = exit_code(nodes)
                live.update(status_table(nodes), refresh=True)
                time.sleep(_WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        return code


def _node_status(row: tuple[Any, ...]) -> NodeStatus:
    node, state, since, latency_ms, shards, detail = row
    at = since.astimezone().isoformat(" ", "seconds")
    return NodeStatus(node, state, at, latency_ms, tuple(name for name in shards.split(", ") if name), detail)
