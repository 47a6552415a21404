"""COPY FROM STDIN and TO STDOUT through the proxy, next to a direct COPY of the same rows into one node.

    python -m loadtest.copy_speed --rows 1000000

Starts three nodes and a proxy of its own, and removes them. Each figure is the best of three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import psycopg

from loadtest.clusters import Cluster, open_cluster

_BLOCK = 64 * 1024
_REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with open_cluster("postgresql", 0) as cluster:
        measure(cluster, rows)


def measure(cluster: Cluster, rows: int) -> None:
    through, nodes = _connect(cluster.target), [_connect(cluster.node_conninfo(name)) for name in cluster.nodes]
    direct = nodes[0]
    direct.execute("CREATE TABLE whole (LIKE patrons INCLUDING ALL)")
    for options, data in (("", _text(rows)), ("(FORMAT csv)", _csv(rows))):
        one = _best(lambda data=data, options=options: _copy_in(direct, "whole", options, data, [direct]))
        all_of = _best(lambda data=data, options=options: _copy_in(through, "patrons", options, data, nodes))
        _show(f"COPY FROM {options}", rows, one, all_of)
    _show("COPY TO", rows, _best(lambda: _copy_out(direct, "whole")), _best(lambda: _copy_out(through, "patrons")))
    for connection in (through, *nodes):
        connection.close()


def _connect(conninfo: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor)


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
