"""`make soak`: everything that clients do, and random faults, for minutes or hours; memory must stay flat.

The verdict: no wrong answer, resident memory at the end within 5 % of what it was after the warm-up, no more
descriptors and threads than then, and no connection of a pool that is never given back.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from matplotlib.axes import Axes
from rich.console import Console

from loadtest.clusters import Cluster, open_cluster
from loadtest.load import Records, load, per_second, read_records
from loadtest.options import add_own_cluster_options
from loadtest.processes import memory_mb, open_files, threads
from loadtest.report import Report, seconds
from loadtest.users import RECORD, WRONG, kinds

_ROWS = 5_000
_SAMPLE_S = 1.0
_FIRST_FAULT_S = (3.0, 8.0)
_FAULT_EVERY_S = (10.0, 25.0)
_DOWN_S = (2.0, 6.0)
_REST_S = 12.0  # at the end without faults and load, before the last look
WARM_UP_SHARE = 0.25
MOST_GROWTH = 0.05
_MORE_DESCRIPTORS = 8


@dataclass(slots=True)
class Samples:
    """One a second. `faults`: when a node was killed, and which."""

    at: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`growth`: of the memory, as a share of what it was after the warm-up."""

    growth: float
    descriptors: tuple[int, int]
    leased: int
    wrong: int

    @property
    def problems(self) -> list[str]:
        found = []
        if self.growth > MOST_GROWTH:
            found.append(f"resident memory grew by {self.growth:.1%}")
        if self.descriptors[1] > self.descriptors[0] + _MORE_DESCRIPTORS:
            found.append(f"descriptors went from {self.descriptors[0]} to {self.descriptors[1]}")
        if self.leased:
            found.append(f"{self.leased} connections are still leased with no client left")
        if self.wrong:
            found.append(f"{self.wrong} wrong answers")
        return found


def sample(pid: int, began: float, samples: Samples) -> None:
    samples.at.append(time.time() - began)
    samples.memory_mb.append(memory_mb(pid) or 0.0)
    samples.descriptors.append(open_files(pid))
    samples.threads.append(threads(pid))


def verdict(samples: Samples, leased: int, wrong: int) -> Verdict:
    """Medians of the window behind the warm-up and of the last one, each a tenth of the whole."""
    count = len(samples.at)
    width = max(1, count // 10)
    early = slice(int(count * WARM_UP_SHARE), int(count * WARM_UP_SHARE) + width)
    late = slice(count - width, count)
    before, after = (float(np.median(samples.memory_mb[window])) for window in (early, late))
    most = int(np.max(samples.descriptors[early])), int(np.median(samples.descriptors[late]))
    return Verdict(after / before - 1, most, leased, wrong)


def measure(cluster: Cluster, users: int, length_s: float, seed: int) -> tuple[Samples, Records]:
    """Load and faults for so long."""
    assert cluster.pid is not None
    dice, samples, console = random.Random(seed), Samples(), Console()
    names = kinds("everything", cluster.branches)
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "records")
        began = time.time()
        with load(cluster.target, users, length_s, "everything", output, seed):
            faults = _Faults(cluster, dice, began)
            while (now := time.time() - began) < length_s:
                faults.step(now, samples, last=length_s - _REST_S)
                sample(cluster.pid, began, samples)
                if len(samples.at) % 10 == 0:
                    console.print(_progress(samples, output, length_s))
                time.sleep(_SAMPLE_S)
        return samples, read_records(output, names, began)


class _Faults:
    """Now and then a node is killed, and started again some seconds later; never two at a time."""

    def __init__(self, cluster: Cluster, dice: random.Random, began: float) -> None:
        self._cluster = cluster
        self._dice = dice
        self._next = dice.uniform(*_FIRST_FAULT_S)
        self._down: str | None = None

    def step(self, now: float, samples: Samples, *, last: float) -> None:
        if now < self._next and not (self._down and now > last):
            return
        if self._down is not None:
            self._cluster.nodes[self._down].start()
            self._down = None
            self._next = now + self._dice.uniform(*_FAULT_EVERY_S)
        elif now < last - _DOWN_S[1]:
            self._down = self._dice.choice(sorted(self._cluster.nodes))
            samples.faults.append((now, self._down))
            self._cluster.nodes[self._down].kill()
            self._next = now + self._dice.uniform(*_DOWN_S)


def leased(cluster: Cluster) -> int:
    """Connections that the pools count as in use, once no client is left; they are given some seconds to settle."""
    deadline = time.monotonic() + _REST_S
    while True:
        with psycopg.connect(cluster.admin, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            cursor = connection.execute("SHOW POOLS")
            at = [column.name for column in cursor.description or ()].index("in_use")
            in_use = sum(int(row[at]) for row in cursor)
        if not in_use or time.monotonic() > deadline:
            return in_use
        time.sleep(0.2)


def _progress(samples: Samples, output: Path, length_s: float) -> str:
    done = output.stat().st_size // RECORD.size
    return (
        f"{samples.at[-1]:6.0f} of {length_s:.0f} s  {done:9,} statements  {samples.memory_mb[-1]:6.1f} MB"
        f"  {samples.descriptors[-1]:4d} descriptors  {len(samples.faults)} faults"
    )


def report(samples: Samples, records: Records, judged: Verdict, folder: Path | None) -> Report:
    page = Report("soak", f"Soak: {samples.at[-1] / 60:.0f} minutes", folder=folder)
    page.say("**Flat.**" if not judged.problems else "**Not flat:** " + "; ".join(judged.problems) + ".")
    page.table(
        ("", ""),
        [
            ("statements", f"{len(records.at):,}"),
            ("failed (nodes were killed)", f"{int(records.failed.sum()):,}"),
            ("nodes killed", len(samples.faults)),
            ("resident memory, growth after the warm-up", f"{judged.growth:+.1%}"),
            ("descriptors after the warm-up, at the end", f"{judged.descriptors[0]}, {judged.descriptors[1]}"),
            ("connections leased with no client left", judged.leased),
            ("wrong answers", judged.wrong),
        ],
    )
    page.table(("SQLSTATE", "count"), sorted(records.failures().items()))
    page.table(
        ("statement", "count", "failed", "p50 ms", "p99 ms"),
        [_kind_row(records, name) for name in sorted({kind.split(" ")[0] for kind in records.kinds})],
    )

    wrong = records.where(records.sqlstate == WRONG)
    if len(wrong.at):
        page.table(
            ("wrong answer to", "began at", "took"),
            [
                (wrong.kinds[kind], seconds(at), seconds(took))
                for kind, at, took in zip(wrong.kind, wrong.at, wrong.took_s, strict=True)
            ],
        )

    def memory(axes: Axes) -> None:
        axes.plot(samples.at, samples.memory_mb)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("MB resident")
        _mark(axes, samples)

    def descriptors(axes: Axes) -> None:
        axes.plot(samples.at, samples.descriptors)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("open descriptors")
        _mark(axes, samples)

    def statements(axes: Axes) -> None:
        at, well, badly = per_second(records, int(samples.at[-1]))
        axes.plot(at, well, label="succeeded", color="tab:green", linewidth=0.7)
        axes.plot(at, badly, label="failed", color="tab:red", linewidth=0.7)
        axes.set_ylabel("statements a second")
        axes.legend(loc="upper right", fontsize=8)
        _mark(axes, samples)

    for name, title, draw in (
        ("memory", "Memory of the proxy", memory),
        ("descriptors", "Descriptors of the proxy", descriptors),
        ("statements", "Statements that ended in each second; dotted: a node is killed", statements),
    ):
        page.plot(name, title, draw)
    page.figures = {
        "minutes": samples.at[-1] / 60,
        "statements": len(records.at),
        "failures": records.failures(),
        "faults": samples.faults,
        "growth": judged.growth,
        "descriptors": judged.descriptors,
        "memory_mb": samples.memory_mb,
        "problems": judged.problems,
    }
    return page


def _kind_row(records: Records, name: str) -> tuple[object, ...]:
    part = records.of(name)
    p50, p99 = (part.quantile_s(share) for share in (0.5, 0.99))
    shown = ["–" if value is None else f"{value * 1000:.1f}" for value in (p50, p99)]
    return name, f"{len(part.at):,}", f"{int(part.failed.sum()):,}", *shown


def _mark(axes: Axes, samples: Samples) -> None:
    axes.set_xlabel("seconds")
    for at, _node in samples.faults:
        axes.axvline(at, color="grey", linewidth=0.5, linestyle=":")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when it is not flat, or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1, help="of the users' choices and of the faults (default: 1)")
    add_own_cluster_options(parser, _ROWS)
    given = parser.parse_args(arguments)
    with open_cluster(given.engine, given.rows) as cluster:
        samples, records = measure(cluster, given.users, given.minutes * 60, given.seed)
        judged = verdict(samples, leased(cluster), records.failures().get(WRONG.decode(), 0))
    print(report(samples, records, judged, given.folder).write())
    for problem in judged.problems:
        print(f"soak: {problem}", file=sys.stderr)
    return 1 if judged.problems else 0


if __name__ == "__main__":
    sys.exit(main())
