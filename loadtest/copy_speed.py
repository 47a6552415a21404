"""COPY FROM STDIN and TO STDOUT through the proxy, next to a direct COPY of the same rows into one node.

    python loadtest/copy_speed.py --rows 1000000

Starts three nodes and a proxy of its own, and removes them. Each figure is the best of three.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg

from pgproxy.demo.library import DATABASE, library_map, load_library
from pgproxy.demo.nodes import HOST, NODE_NAMES, SUPERUSER, EmbeddedNode, free_port, start_nodes, stop_nodes
from pgproxy.shardmap.write import to_toml

_BLOCK = 64 * 1024
_REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="pgproxy-copy-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        nodes = [EmbeddedNode(node, directory / node) for node in NODE_NAMES]
        start_nodes(nodes)
        try:
            load_library(nodes)
            measure(nodes, directory, rows)
        finally:
            stop_nodes(nodes)


def measure(nodes: list[EmbeddedNode], directory: Path, rows: int) -> None:
    port = free_port()
    config = directory / "shardmap.toml"
    shard_map = library_map(nodes, port)
    config.write_text(to_toml(replace(shard_map, proxy=replace(shard_map.proxy, port=port))), encoding="utf-8")
    proxy = subprocess.Popen([sys.executable, "-m", "pgproxy", "serve", "--config", str(config)], cwd=Path.cwd())
    try:
        through = _connect(f"host={HOST} port={port} user={SUPERUSER} dbname={DATABASE}")
        direct = _connect(nodes[0].conninfo(DATABASE))
        direct.execute("CREATE TABLE whole (LIKE patrons INCLUDING ALL)")
        empty = [_connect(node.conninfo(DATABASE)) for node in nodes]
        for options, data in (("", _text(rows)), ("(FORMAT csv)", _csv(rows))):
            one = _best(lambda data=data, options=options: _copy_in(direct, "whole", options, data, [direct]))
            all_of = _best(lambda data=data, options=options: _copy_in(through, "patrons", options, data, empty))
            _show(f"COPY FROM {options}", rows, one, all_of)
        _show("COPY TO", rows, _best(lambda: _copy_out(direct, "whole")), _best(lambda: _copy_out(through, "patrons")))
    finally:
        proxy.terminate()
        proxy.wait()


def _connect(conninfo: str) -> psycopg.Connection:
    deadline = time.monotonic() + 20
    while True:
        try:
            return psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _text(rows: int) -> list[bytes]:
    return _blocks(
        f"{10_000_000 + at}\tReader number {at}\treader{at}@example.org\twest\t2024-05-01\n" for at in range(rows)
    )


def _csv(rows: int) -> list[bytes]:
    return _blocks(
        f'{10_000_000 + at},"Reader, number {at}",reader{at}@example.org,west,2024-05-01\n' for at in range(rows)
    )


def _blocks(lines: object) -> list[bytes]:
    data = "".join(lines).encode()  # type: ignore[call-overload]
    return [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)]


def _copy_in(
    connection: psycopg.Connection, table: str, options: str, data: list[bytes], emptied: list[psycopg.Connection]
) -> float:
    for node, letter in zip(emptied, "abc", strict=False):
        node.execute(f"TRUNCATE {table}" if node is connection else f"TRUNCATE {table}_{letter}")
        node.execute("CHECKPOINT")
    begin = time.perf_counter()
    with connection.cursor().copy(f"COPY {table} FROM STDIN {options}") as copy:
        for block in data:
            copy.write(block)
    return time.perf_counter() - begin


def _copy_out(connection: psycopg.Connection, table: str) -> float:
    begin = time.perf_counter()
    with connection.cursor().copy(f"COPY {table} TO STDOUT") as copy:
        for _ in copy:
            pass
    return time.perf_counter() - begin


def _best(run: Callable[[], float]) -> float:
    return min(run() for _ in range(_REPEATS))


def _show(what: str, rows: int, direct_s: float, proxy_s: float) -> None:
    print(
        f"{what:24} direct {rows / direct_s:>9,.0f} rows/s   proxy {rows / proxy_s:>9,.0f} rows/s   "
        f"{direct_s / proxy_s:.2f} of direct"
    )


if __name__ == "__main__":
    main()
