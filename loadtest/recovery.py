"""`make recovery`: kill a node under load, start it again, and say what clients saw and when all was well again.

T_stop: the kill. T_down_detected: the proxy says that the node is down. T_restart: the node is told to start.
T_recovered: the proxy says that it is up. T_stable: the first of five seconds on end without a failure and with
a p99 of at most 1.5 times what it was before the kill.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray
from rich.console import Console

from loadtest.clusters import Cluster
from loadtest.load import Records, load, per_second, quantiles_per_second, read_records
from loadtest.options import add_cluster_options, chosen_cluster
from loadtest.report import Report, milliseconds, seconds
from loadtest.users import RECORD, kinds
from pgproxy.shardmap.model import Engine

STABLE_S = 5
STABLE_FACTOR = 1.5
STABLE_FLOOR_S = 0.05  # below this a p99 is well, whatever it was before: the machine's own noise
_POLL_S = 0.05
_ROWS = 10_000
_LATEST_RECOVERY_S = 60.0


@dataclass(slots=True)
class Times:
    """Seconds from the start of the measurement; None: it did not happen."""

    stop: float
    down_detected: float | None = None
    restart: float | None = None
    recovered: float | None = None
    stable: float | None = None

    @property
    def detection_s(self) -> float | None:
        return None if self.down_detected is None else self.down_detected - self.stop


@dataclass(slots=True)
class Watch:
    """Polls the proxy's own word on one node, in a thread, until `stop` is set."""

    admin: str
    node: str
    began: float
    changes: list[tuple[float, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.admin, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
                    self._poll(connection)
            except psycopg.Error:
                self.stop.wait(_POLL_S)

    def _poll(self, connection: psycopg.Connection) -> None:
        while not self.stop.is_set():
            cursor = connection.execute("SHOW NODES")
            names = [column.name for column in cursor.description or ()]
            for row in cursor:
                if row[names.index("node")] == self.node:
                    self._note(row[names.index("state")])
            self.stop.wait(_POLL_S)

    def _note(self, state: str) -> None:
        if not self.changes or self.changes[-1][1] != state:
            self.changes.append((time.time() - self.began, state))

    def first(self, state: str, after: float) -> float | None:
        return next((at for at, seen in self.changes if seen == state and at >= after), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    times: Times
    records: Records
    length: int
    node: str
    branch: str


@dataclass(frozen=True, slots=True)
class Phases:
    """How many seconds before the kill, from it to the restart, and from there to the end."""

    before_s: float
    down_s: float
    after_s: float

    @property
    def length_s(self) -> float:
        return self.before_s + self.down_s + self.after_s


def measure(cluster: Cluster, branch: str, users: int, phases: Phases, mix: str) -> Outcome:
    console = Console()
    node = cluster.shard_of(branch).node
    length = phases.length_s
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "records")
        names = kinds(mix, cluster.branches)
        with load(cluster.target, users, length + 5, mix, output):
            _await_load(output, users)
            began = time.time()
            watch = Watch(cluster.admin, node, began)
            watcher = threading.Thread(target=watch.run, daemon=True)
            watcher.start()
            times = _disturb(cluster, node, began, phases, output, console)
            _wait_until(began + length, output, console)
            _await_recovery(watch, times)
            watch.stop.set()
            watcher.join()
        records = read_records(output, names, began)
    times.down_detected = watch.first("down", times.stop)
    if times.restart is not None:
        times.recovered = watch.first("up", times.restart)
    records = records.between(0, length)
    times.stable = stable_from(records, times, int(length))
    return Outcome(times, records, int(length), node, branch)


def _disturb(cluster: Cluster, node: str, began: float, phases: Phases, output: Path, console: Console) -> Times:
    _wait_until(began + phases.before_s, output, console)
    times = Times(stop=time.time() - began)
    console.print(f"{times.stop:5.1f} s  kill {node}")
    cluster.nodes[node].kill()
    _wait_until(began + phases.before_s + phases.down_s, output, console)
    times.restart = time.time() - began
    console.print(f"{times.restart:5.1f} s  start {node}")
    cluster.nodes[node].start()
    return times


def _await_recovery(watch: Watch, times: Times) -> None:
    """A node that takes long to start is recovered when the load has ended already."""
    deadline = time.monotonic() + _LATEST_RECOVERY_S
    while times.restart is not None and watch.first("up", times.restart) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _await_load(output: Path, users: int) -> None:
    """Until the users are at work: the first records of all of them, more or less."""
    deadline = time.monotonic() + 60
    while output.stat().st_size < users * RECORD.size:
        if time.monotonic() > deadline:
            raise SystemExit("the users do not get to work; is the proxy there?")
        time.sleep(0.1)


def _wait_until(when: float, output: Path, console: Console) -> None:
    """A line each second: how much was done in it."""
    size = output.stat().st_size
    while (left := when - time.time()) > 0:
        time.sleep(min(1.0, left))
        before, size = size, output.stat().st_size
        console.print(
            f"{left:5.0f} s left in this phase, {(size - before) // RECORD.size:,} statements in the last second"
        )


def stable_from(records: Records, times: Times, length: int) -> float | None:
    """T_stable, by whole seconds; None when it does not come, or the node did not come back."""
    if times.recovered is None:
        return None
    normal = normal_p99_s(records, times)
    _, _, badly = per_second(records, length)
    p99 = quantiles_per_second(records, 0.99, length)
    return first_calm(badly == 0, p99 <= normal, int(np.ceil(times.recovered)))


def first_calm(faultless: NDArray[np.bool_], quick: NDArray[np.bool_], start: int) -> float | None:
    """The first second from `start` that begins STABLE_S good ones."""
    good = faultless & quick
    for at in range(start, len(good) - STABLE_S + 1):
        if good[at : at + STABLE_S].all():
            return float(at)
    return None


def normal_p99_s(records: Records, times: Times) -> float:
    """The highest p99 of a second that still counts as normal."""
    before = quantiles_per_second(records.between(0, times.stop), 0.99, int(times.stop))
    return max(STABLE_FLOOR_S, STABLE_FACTOR * float(np.nanmedian(before)))


def back_to_normal(records: Records, times: Times, length: int) -> float | None:
    """The first second after the kill from which p99 stays normal for three seconds (the node may still be down)."""
    quick = quantiles_per_second(records, 0.99, length) <= normal_p99_s(records, times)
    for at in range(int(times.stop) + 1, length - 2):
        if quick[at : at + 3].all():
            return float(at)
    return None


# The report


def report(outcome: Outcome, engine: Engine, folder: Path | None) -> Report:
    times, records = outcome.times, outcome.records
    page = Report("recovery", f"Recovery: {outcome.node} killed under load ({engine.value})", folder=folder)
    page.heading("When")
    page.table(
        ("", "at", "after T_stop"), [(name, seconds(at), seconds(_after(at, times))) for name, at in _named(times)]
    )
    page.heading("What clients saw")
    page.table(
        ("statements", "count", "failed", "first failure", "last failure", "SQLSTATEs", "slowest failure"),
        [_row(name, part, times) for name, part in _parts(outcome)],
    )
    back = back_to_normal(records, times, outcome.length)
    page.say(
        f"p99 before the kill {milliseconds(records.between(0, times.stop).quantile_s(0.99))}; back to normal "
        f"(at most {milliseconds(normal_p99_s(records, times))}) {seconds(_after(back, times))} after the kill."
    )
    _plots(page, outcome)
    page.figures = _figures(outcome, back)
    return page


def _named(times: Times) -> list[tuple[str, float | None]]:
    return [
        ("T_stop", times.stop),
        ("T_down_detected", times.down_detected),
        ("T_restart", times.restart),
        ("T_recovered", times.recovered),
        ("T_stable", times.stable),
    ]


def _after(at: float | None, times: Times) -> float | None:
    return None if at is None else at - times.stop


def _parts(outcome: Outcome) -> list[tuple[str, Records]]:
    """The killed node's own statements, those of other nodes, and those that ask all."""
    records, branch = outcome.records, outcome.branch
    mine = np.array([name.endswith(f" {branch}") for name in records.kinds])
    others = np.array([" " in name and not name.endswith(f" {branch}") for name in records.kinds])
    reads = np.array(
        [name.startswith(("read_one", "search", "ordered", "count", "by_branch")) for name in records.kinds]
    )
    return [
        (f"for {outcome.node} alone", records.where(mine[records.kind])),
        ("for other nodes alone", records.where(others[records.kind])),
        ("for all nodes", records.where(~(mine | others)[records.kind])),
        ("all reads", records.where(reads[records.kind])),
        ("all writes", records.where(~reads[records.kind])),
    ]


def _row(name: str, part: Records, times: Times) -> tuple[object, ...]:
    bad = part.where(part.failed)
    if not len(bad.at):
        return name, f"{len(part.at):,}", 0, "–", "–", "–", "–"
    states = ", ".join(f"{state} × {count:,}" for state, count in part.failures().items())
    first, last = float(bad.ended.min()) - times.stop, float(bad.ended.max()) - times.stop
    slowest = milliseconds(float(bad.took_s.max()))
    return name, f"{len(part.at):,}", f"{len(bad.at):,}", seconds(first), seconds(last), states, slowest


def _figures(outcome: Outcome, back: float | None) -> dict[str, object]:
    return {
        "node": outcome.node,
        "times": dict(_named(outcome.times)),
        "detection_s": outcome.times.detection_s,
        "p99_normal_after_s": _after(back, outcome.times),
        "parts": {name: {"statements": len(part.at), "failures": part.failures()} for name, part in _parts(outcome)},
    }


def _plots(page: Report, outcome: Outcome) -> None:
    at, well, badly = per_second(outcome.records, outcome.length)
    p50, p99 = (quantiles_per_second(outcome.records, share, outcome.length) * 1000 for share in (0.5, 0.99))

    def throughput(axes: Axes) -> None:
        axes.plot(at, well, label="succeeded", color="tab:green")
        axes.plot(at, badly, label="failed", color="tab:red")
        axes.set_ylabel("statements a second")
        _mark(axes, outcome.times)

    def latency(axes: Axes) -> None:
        axes.plot(at, p50, label="p50", color="tab:blue")
        axes.plot(at, p99, label="p99", color="tab:orange")
        axes.set_yscale("log")
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(LogFormatter(minor_thresholds=(2, 0.5)))
        axes.set_ylabel("milliseconds")
        _mark(axes, outcome.times)

    page.plot("throughput", "Statements that ended in each second", throughput)
    page.plot("latency", "Latency of those that succeeded", latency)


def _mark(axes: Axes, times: Times) -> None:
    axes.set_xlabel("seconds")
    for number, (name, at) in enumerate(_named(times)):
        if at is None:
            continue
        axes.axvline(at, color="grey", linewidth=0.8, linestyle=":")
        where = (at, 1 - number * 0.18)  # some of them stand close together
        axes.annotate(name, where, xycoords=("data", "axes fraction"), rotation=90, fontsize=6, va="top", ha="right")
    axes.legend(loc="lower left", fontsize=8)


# The command line


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.recovery", description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--before", type=float, default=10.0, help="seconds before the kill (default: 10)")
    parser.add_argument("--down", type=float, default=30.0, help="seconds from the kill to the restart (default: 30)")
    parser.add_argument("--after", type=float, default=20.0, help="seconds to watch after the restart (default: 20)")
    parser.add_argument("--mix", choices=("reads", "library"), default="library")
    parser.add_argument("--branch", default="west", help="kill the node that has this branch's books (default: west)")
    add_cluster_options(parser, _ROWS)
    given = parser.parse_args(arguments)
    with chosen_cluster(given) as cluster:
        phases = Phases(given.before, given.down, given.after)
        outcome = measure(cluster, given.branch, given.users, phases, given.mix)
        print(report(outcome, cluster.engine, given.folder).write())
    wrong = outcome.records.failures().get("WRONG", 0)
    return 1 if wrong or outcome.times.stable is None else 0


if __name__ == "__main__":
    sys.exit(main())
