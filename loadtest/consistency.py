"""`make consistency`: how long a write takes until it is seen elsewhere.

Through the proxy, and on the row's own node; then the others are asked until they show it. Independent PostgreSQL
nodes hold each row once: there the delay between writing through the proxy and reading through it is measured, and
between the proxy and the node itself.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from matplotlib.axes import Axes
from rich.console import Console
from rich.progress import track

from loadtest.clusters import BOOKS, Cluster
from loadtest.options import add_cluster_options, chosen_cluster
from loadtest.report import Report, milliseconds
from pgproxy.shardmap.model import Engine

_GIVE_UP_S = 20.0
_ROWS = 1_000
_READ = "SELECT updated_at FROM {table} WHERE branch = %s AND isbn = %s"
_WRITE = "UPDATE {table} SET updated_at = clock_timestamp() WHERE branch = %s AND isbn = %s RETURNING updated_at"
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one can write or read: the proxy, or a node that can reach the row. `table` is its name there."""

    name: str
    connection: psycopg.Connection
    table: str

    def read(self, book: tuple[str, int]) -> object:
        row = self.connection.execute(_READ.format(table=self.table).encode(), book).fetchone()
        return row and row[0]

    def write(self, book: tuple[str, int]) -> object:
        row = self.connection.execute(_WRITE.format(table=self.table).encode(), book).fetchone()
        assert row is not None, "the books stay where they are"
        return row[0]


@dataclass(frozen=True, slots=True)
class Trial:
    """`delays_s`: from the write's answer until the reader's first answer that shows it, by the reader's name.
    `polls`: how often each was asked."""

    writer: str
    delays_s: dict[str, float]
    polls: dict[str, int]


def run_trials(cluster: Cluster, trials: int, seed: int) -> list[Trial]:
    """Half of them write through the proxy, half on the row's home node."""
    dice = random.Random(seed)
    proxy = psycopg.connect(cluster.target, autocommit=True)
    nodes = {name: psycopg.connect(cluster.node_conninfo(name), autocommit=True) for name in cluster.shard_map.nodes}
    try:
        books = proxy.execute("SELECT branch, isbn FROM books ORDER BY isbn LIMIT 1000").fetchall()
        done = []
        for number in track(range(trials), "trials", console=Console(stderr=True)):
            book = dice.choice(books)
            places = _places(cluster, proxy, nodes, book[0])
            writer = places[0] if number % 2 == 0 else places[1]
            done.append(_one_trial(writer, places, book))
        return done
    finally:
        for connection in (proxy, *nodes.values()):
            connection.close()


def _places(
    cluster: Cluster, proxy: psycopg.Connection, nodes: dict[str, psycopg.Connection], branch: str
) -> list[Place]:
    """The proxy, the row's home, and with gateways every other node too."""
    shard = cluster.shard_of(branch)
    home = Place(shard.node, nodes[shard.node], shard.table)
    others = [Place(name, nodes[name], shard.table) for name in nodes if name != shard.node]
    return [Place("proxy", proxy, BOOKS), home, *(others if cluster.engine is Engine.COCKROACHDB else [])]


def _one_trial(writer: Place, places: Sequence[Place], book: tuple[str, int]) -> Trial:
    written = writer.write(book)
    at = time.perf_counter()
    delays, polls = {}, {}
    waiting = {place.name: place for place in places if place is not writer}
    while waiting and time.perf_counter() - at < _GIVE_UP_S:
        for name, place in list(waiting.items()):
            polls[name] = polls.get(name, 0) + 1
            if place.read(book) == written:
                delays[name] = time.perf_counter() - at
                del waiting[name]
    return Trial(writer.name, delays | dict.fromkeys(waiting, NEVER), polls)


# The report


def report(trials: Sequence[Trial], cluster: Cluster, given: argparse.Namespace) -> Report:
    page = Report("consistency", f"Consistency delay ({cluster.engine.value})", folder=given.folder)
    if cluster.engine is Engine.POSTGRESQL:
        page.say(
            "The nodes are independent PostgreSQL servers: a row lives on one node only, so that there is no other "
            "copy that could lag. What is measured is the time from the answer to a write until the answer to the "
            "first read that shows it: one round trip when the very first read does."
        )
    parts = {
        "write through the proxy": [trial for trial in trials if trial.writer == "proxy"],
        "write on the row's node": [trial for trial in trials if trial.writer != "proxy"],
    }
    rows = []
    for name, some in parts.items():
        delays = delays_of(some)
        rows.append(
            (name, len(some), *_quantiles(delays), _share_at_once(some), sum(delay == NEVER for delay in delays))
        )
    page.table(
        ("", "trials", "median", "p99", "longest", "seen by the first read", f"never within {_GIVE_UP_S:g} s"), rows
    )
    page.plot("delay", "Until a write is seen everywhere", lambda axes: _curves(axes, parts))
    page.figures = {
        name: {
            "trials": len(some),
            "median_s": _quantile(delays_of(some), 0.5),
            "p99_s": _quantile(delays_of(some), 0.99),
            "never": sum(delay == NEVER for delay in delays_of(some)),
        }
        for name, some in parts.items()
    }
    return page


def delays_of(trials: Sequence[Trial]) -> list[float]:
    """Of each trial, the last reader's."""
    return [max(trial.delays_s.values()) for trial in trials]


def _quantile(delays: Sequence[float], share: float) -> float | None:
    seen = [delay for delay in delays if delay != NEVER]
    return float(np.quantile(seen, share)) if seen else None


def _quantiles(delays: Sequence[float]) -> list[str]:
    return [milliseconds(_quantile(delays, share)) for share in (0.5, 0.99, 1.0)]


def _share_at_once(trials: Sequence[Trial]) -> str:
    first = sum(all(count == 1 for count in trial.polls.values()) for trial in trials)
    return f"{first / len(trials):.1%}" if trials else "–"


def _curves(axes: Axes, parts: dict[str, list[Trial]]) -> None:
    for name, some in parts.items():
        delays = sorted(delay * 1000 for delay in delays_of(some) if delay != NEVER)
        axes.plot(delays, np.arange(1, len(delays) + 1) / max(1, len(delays)), label=name)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of the trials")
    axes.set_xscale("log")
    axes.legend(loc="lower right", fontsize=8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when a write was not seen."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.consistency", description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    add_cluster_options(parser, _ROWS)
    given = parser.parse_args(arguments)
    with chosen_cluster(given) as cluster:
        trials = run_trials(cluster, given.trials, given.seed)
        print(report(trials, cluster, given).write())
    return 1 if any(NEVER in trial.delays_s.values() for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
