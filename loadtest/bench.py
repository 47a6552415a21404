"""The benchmark: direct, PgBouncer and pgproxy, alternating in one run, so that only ratios matter.

`make bench`, or `python -m loadtest.bench --help`. docs/benchmarks.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from loadtest.children import conninfo
from loadtest.processes import cpu_us, forget_peak, memory_mb
from loadtest.servers import ACCOUNTS_PER_SHARD, DATABASE, Bench, Target, running
from loadtest.wire_client import drain, log_in
from pgproxy.demo.nodes import HOST, SUPERUSER

_WIDTH = 132
_SELECTS = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """`quick` makes everything small: figures of a quick run show that it works, nothing else."""

    rounds: int
    seconds: int
    rows: int
    idle_connections: int


FULL = Options(rounds=3, seconds=5, rows=1_000_000, idle_connections=10_000)
QUICK = Options(rounds=1, seconds=1, rows=60_000, idle_connections=500)


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement. `work` counts what `cpu_us` is divided by: transactions, rows or connections."""

    work: int
    seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    peak_mb: float | None = None
    resident_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is measured, on which targets. `unit` names one piece of work.

    `last` runs once, after all rounds: it leaves a process larger than it found it.
    """

    name: str
    unit: str
    targets: tuple[Target, ...]
    run: Callable[[Target], Figures]
    last: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians of all rounds of one scenario on one target."""

    scenario: str
    unit: str
    target: str
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_us_per_unit: float | None
    peak_mb: float | None
    resident_kb_per_unit: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit and what was measured against it (None: not measured)."""

    name: str
    limit: float
    unit: str
    measured: float | None

    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        if self.measured <= self.limit:
            return "met"
        return f"missed by {(self.measured / self.limit - 1) * 100:.0f} %"


def scenarios(bench: Bench, options: Options, directory: Path) -> list[Scenario]:
    through = tuple(target for target in (bench.shards[0], bench.pgbouncer, bench.pgproxy) if target is not None)
    every = (*bench.shards, bench.pgproxy)
    pooled = tuple(target for target in (bench.pgbouncer, bench.pgproxy) if target is not None)
    point, first = Pgbench(bench, options, directory), bench.shards[0]

    def events(target: Target) -> str:
        """The table's name on this target: only the proxy knows the logical one."""
        return (
            "events"
            if target is bench.pgproxy
            else f"events_{target.name[-1]}"
            if "direct" in target.name
            else "events_a"
        )

    def accounts(target: Target) -> str:
        return "pgbench_accounts" if target is bench.pgproxy else "pgbench_accounts_a"

    def select(clients: int, mode: str = "simple") -> Callable[[Target], Figures]:
        line = f"\\set aid random(1, {ACCOUNTS_PER_SHARD})\nSELECT abalance FROM {{}} WHERE aid = :aid;\n"
        return lambda target: point.run(target, line.format(accounts(target)), clients, mode)

    def selects(*, pipelined: bool) -> Callable[[Target], Figures]:
        sql = "SELECT abalance FROM {} WHERE aid = %s"
        return lambda target: in_python(target, sql.format(accounts(target)), pipelined=pipelined)

    def limit(target: Target) -> Figures:
        line = "\\set low random(-1000000000, 0)\nSELECT id, value, note FROM {} WHERE value > :low LIMIT 10;\n"
        return point.run(target, line.format(events(target)), 1)

    def search(target: Target) -> Figures:
        line = "\\set digits random(100, 999)\nSELECT id, value, note FROM {} WHERE note ILIKE '%:digits%' LIMIT 10;\n"
        return point.run(target, line.format(events(target)), 1)

    def stream(condition: str, rows: int, tail: str = "") -> Callable[[Target], Figures]:
        sql = f"SELECT id, value, note FROM {{}} WHERE {condition}{tail}"
        return lambda target: streamed(target, sql.format(events(target)), rows)

    prepares = tuple(target for target in through if target is not bench.pgbouncer or bench.pgbouncer_prepares)
    third = len(range(0, bench.rows, 3))
    one_shard, one_part = f"id >= 0 AND id < {bench.rows}", "part = 0"
    return [
        Scenario("point SELECT, 1 client", "transaction", through, select(1)),
        Scenario("point SELECT, 32 clients", "transaction", through, select(32)),
        Scenario("extended, 1 client", "transaction", through, select(1, "extended")),
        Scenario("extended, 32 clients", "transaction", through, select(32, "extended")),
        Scenario("prepared, 1 client", "transaction", prepares, select(1, "prepared")),
        Scenario("prepared, 32 clients", "transaction", prepares, select(32, "prepared")),
        Scenario("psycopg, one by one", "transaction", (first, bench.pgproxy), selects(pipelined=False)),
        Scenario("psycopg, pipeline", "transaction", (first, bench.pgproxy), selects(pipelined=True)),
        Scenario("scatter LIMIT 10", "transaction", every, limit),
        Scenario("scatter search LIMIT 10", "transaction", every, search),
        Scenario("stream one shard", "row", through, stream(one_shard, bench.rows)),
        Scenario("stream a third, direct", "row", (first,), stream(one_part, third)),
        Scenario("stream three shards", "row", (bench.pgproxy,), stream(one_part, 3 * third)),
        Scenario("ORDER BY a third, direct", "row", (first,), stream(one_part, third, " ORDER BY value")),
        Scenario("ORDER BY merge", "row", (bench.pgproxy,), stream(one_part, 3 * third, " ORDER BY value")),
        Scenario("idle connections", "connection", pooled, lambda one: idle(one, options.idle_connections), last=True),
    ]


class Pgbench:
    """Runs pgbench with a script of one statement, distinct literals each time."""

    def __init__(self, bench: Bench, options: Options, directory: Path) -> None:
        self._program = bench.programs / "pgbench"
        self._seconds = options.seconds
        self._directory = directory

    def run(self, target: Target, script: str, clients: int, mode: str = "simple") -> Figures:
        with tempfile.TemporaryDirectory(dir=self._directory) as folder:
            file, log = Path(folder, "script.sql"), Path(folder, "latency")
            file.write_text(script)
            command: list[str | Path] = [
                self._program,
                "-n",
                "-M",
                mode,
                "-f",
                file,
                "-c",
                str(clients),
                "-j",
                str(min(2, clients)),
            ]
            command += ["-T", str(self._seconds), "-l", "--sampling-rate=0.25", f"--log-prefix={log}"]
            command += ["-h", HOST, "-p", str(target.port), "-U", SUPERUSER, DATABASE]
            forget_peak(target.pid)
            before, started = cpu_us(target.pid), time.perf_counter()
            finished = subprocess.run(command, capture_output=True, text=True, timeout=self._seconds + 60)
            seconds, after = time.perf_counter() - started, cpu_us(target.pid)
            if finished.returncode != 0:
                raise RuntimeError(f"pgbench against {target.name} failed: {finished.stderr.strip()[-800:]}")
            return self._figures(target, finished.stdout, _latencies(Path(folder)), before, after, seconds)

    def _figures(
        self,
        target: Target,
        report: str,
        latencies: list[float],
        before: float | None,
        after: float | None,
        seconds: float,
    ) -> Figures:
        lines = report.splitlines()
        done = next(line for line in lines if line.startswith("number of transactions actually processed"))
        tps = next((line for line in lines if line.startswith("tps")), None)
        work = int(done.split(":")[1].split("/")[0])
        return Figures(
            work,
            work / float(tps.split()[2]) if tps else seconds,
            percentile(latencies, 50),
            percentile(latencies, 99),
            None if before is None or after is None else after - before,
            memory_mb(target.pid, "VmHWM"),
        )


def _latencies(folder: Path) -> list[float]:
    """Milliseconds of each logged transaction (third field, in microseconds)."""
    return [int(line.split()[2]) / 1000 for file in folder.glob("latency.*") for line in file.read_text().splitlines()]


def percentile(latencies: Sequence[float], share: int) -> float | None:
    if len(latencies) < 2:
        return None
    return statistics.quantiles(latencies, n=100, method="inclusive")[share - 1]


def streamed(target: Target, sql: str, rows: int) -> Figures:
    """One large result, thrown away by the client."""
    with log_in(target.port, DATABASE) as connection:
        forget_peak(target.pid)
        before = cpu_us(target.pid)
        drained = drain(connection, sql)
        after = cpu_us(target.pid)
    if drained.tag.partition("\0")[0] != f"SELECT {rows}":
        raise RuntimeError(f"{target.name} answered {drained.tag!r} instead of {rows} rows to {sql}")
    used = None if before is None or after is None else after - before
    return Figures(rows, drained.seconds, cpu_us=used, peak_mb=memory_mb(target.pid, "VmHWM"))


def in_python(target: Target, sql: str, *, pipelined: bool) -> Figures:
    """1,000 point SELECTs by psycopg, each waited for or all in one pipeline. The second time counts."""
    with psycopg.connect(conninfo(target.port, DATABASE), autocommit=True) as connection, connection.cursor() as cursor:

        def select() -> None:
            for aid in range(1, _SELECTS + 1):
                cursor.execute(sql, (aid,))

        for _ in range(2):
            before, started = cpu_us(target.pid), time.perf_counter()
            with connection.pipeline() if pipelined else nullcontext():
                select()
            seconds, after = time.perf_counter() - started, cpu_us(target.pid)
    return Figures(_SELECTS, seconds, cpu_us=None if before is None or after is None else after - before)


def idle(target: Target, count: int) -> Figures:
    """Clients that log in and then say nothing: what each costs in memory and in CPU time to accept."""
    connections: list[socket.socket] = []
    rested, before, started = memory_mb(target.pid) or 0.0, cpu_us(target.pid), time.perf_counter()
    try:
        connections.extend(log_in(target.port, DATABASE) for _ in range(count))
        seconds, after = time.perf_counter() - started, cpu_us(target.pid)
        resident = (memory_mb(target.pid) or 0.0) - rested
        used = None if before is None or after is None else after - before
        return Figures(count, seconds, cpu_us=used, peak_mb=memory_mb(target.pid), resident_mb=resident)
    finally:
        for connection in connections:
            connection.close()
        time.sleep(1.0)  # let the process see them go before something else is measured


def measure(planned: list[Scenario], rounds: int, console: Console) -> list[Summary]:
    """Every scenario on every target in turn, round after round; then the medians."""
    found: dict[tuple[str, str], list[Figures]] = {}
    for number, scenario, target in _turns(planned, rounds):
        console.print(f"round {number}/{rounds}: {scenario.name}, {target.name} …", style="dim")
        try:
            figures = scenario.run(target)
        except (OSError, RuntimeError) as failure:
            console.print(f"{scenario.name}, {target.name}: {failure}", style="red", markup=False)
            continue
        found.setdefault((scenario.name, target.name), []).append(figures)
    return [
        summarise(scenario, target, found[scenario.name, target.name])
        for scenario in planned
        for target in scenario.targets
        if (scenario.name, target.name) in found
    ]


def _turns(planned: list[Scenario], rounds: int) -> Iterator[tuple[int, Scenario, Target]]:
    """The order of the targets turns with the rounds, so that none always comes first."""
    for number in range(rounds):
        for scenario in planned:
            if not scenario.last:
                at = number % len(scenario.targets)
                yield from ((number + 1, scenario, one) for one in (*scenario.targets[at:], *scenario.targets[:at]))
    yield from ((rounds, scenario, one) for scenario in planned if scenario.last for one in scenario.targets)


def summarise(scenario: Scenario, target: Target, rounds: list[Figures]) -> Summary:
    return Summary(
        scenario.name,
        scenario.unit,
        target.name,
        statistics.median(figures.work / figures.seconds for figures in rounds),
        _median(figures.p50_ms for figures in rounds),
        _median(figures.p99_ms for figures in rounds),
        _median(None if figures.cpu_us is None else figures.cpu_us / figures.work for figures in rounds),
        _median(figures.peak_mb for figures in rounds),
        _median(
            None if figures.resident_mb is None else figures.resident_mb * 1024 / figures.work for figures in rounds
        ),
    )


def _median(figures: Iterator[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def bars(summaries: list[Summary], rested_mb: float | None) -> list[Bar]:
    """The limits that the project sets itself, beside what was measured."""

    def figure(scenario: str, target: str, name: str) -> float | None:
        found = (one for one in summaries if one.scenario == scenario and one.target == target)
        return next((getattr(one, name) for one in found), None)

    def ratio(figure: float | None, base: float | None) -> float | None:
        return None if figure is None or not base else figure / base

    def versus_pgbouncer(scenario: str) -> float | None:
        ours, theirs = (figure(scenario, target, "cpu_us_per_unit") for target in ("pgproxy", "PgBouncer"))
        return ratio(ours, theirs)

    def versus_slowest_shard(scenario: str) -> float | None:
        slowest = max(figure(scenario, f"direct {shard}", "p50_ms") or 0.0 for shard in "abc")
        return ratio(figure(scenario, "pgproxy", "p50_ms"), slowest)

    def versus_one_by_one() -> float | None:
        pipeline, alone = (figure(f"psycopg, {way}", "pgproxy", "per_second") for way in ("pipeline", "one by one"))
        return ratio(alone, pipeline)

    peak = figure("ORDER BY merge", "pgproxy", "peak_mb")
    over = None if peak is None or rested_mb is None else peak - rested_mb
    return [
        Bar("CPU of a point SELECT, 1 client", 1.8, "× PgBouncer's", versus_pgbouncer("point SELECT, 1 client")),
        Bar("CPU of a point SELECT, 32 clients", 1.8, "× PgBouncer's", versus_pgbouncer("point SELECT, 32 clients")),
        *(
            Bar(f"CPU of {mode}, {clients}", 1.8, "× PgBouncer's", versus_pgbouncer(f"{mode}, {clients}"))
            for mode in ("extended", "prepared")
            for clients in ("1 client", "32 clients")
        ),
        Bar("1,000 SELECTs in a pipeline", 0.2, "× the time one by one", versus_one_by_one()),
        Bar("p50 of scatter LIMIT 10", 2.0, "× the slowest shard's", versus_slowest_shard("scatter LIMIT 10")),
        Bar("p50 of search LIMIT 10", 2.0, "× the slowest shard's", versus_slowest_shard("scatter search LIMIT 10")),
        Bar("streaming one shard", 0.3, "µs CPU per row", figure("stream one shard", "pgproxy", "cpu_us_per_unit")),
        Bar(
            "streaming three shards", 0.3, "µs CPU per row", figure("stream three shards", "pgproxy", "cpu_us_per_unit")
        ),
        Bar("ORDER BY merge", 1.5, "µs CPU per row", figure("ORDER BY merge", "pgproxy", "cpu_us_per_unit")),
        Bar("ORDER BY merge, memory", 64.0, "MB over idle", over),
    ]


def table_of(summaries: list[Summary]) -> Table:
    table = Table(title="medians of all rounds")
    for header in ("scenario", "target"):
        table.add_column(header)
    for header in ("per second", "p50 ms", "p99 ms", "CPU µs each", "peak MB", "KB each", "CPU × PgBouncer"):
        table.add_column(header, justify="right")
    theirs = {one.scenario: one.cpu_us_per_unit for one in summaries if one.target == "PgBouncer"}
    for one in summaries:
        base = theirs.get(one.scenario)
        against = one.cpu_us_per_unit / base if base and one.cpu_us_per_unit is not None else None
        table.add_row(
            one.scenario,
            one.target,
            f"{one.per_second:,.0f}",
            *(
                _shown(figure)
                for figure in (
                    *(one.p50_ms, one.p99_ms, one.cpu_us_per_unit, one.peak_mb, one.resident_kb_per_unit),
                    against,
                )
            ),
        )
    return table


def _shown(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:,.2f}"


def table_of_bars(found: list[Bar]) -> Table:
    table = Table(title="bars")
    for header in ("what", "limit", "measured", "verdict"):
        table.add_column(header)
    for bar in found:
        table.add_row(bar.name, f"≤ {bar.limit} {bar.unit}", _shown(bar.measured), bar.verdict())
    return table


def parse(arguments: Sequence[str] | None) -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it works")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default: 3)")
    parser.add_argument("--seconds", type=int, help="how long each pgbench run lasts (default: 5)")
    parser.add_argument("--rows", type=int, help="rows of the large results (default: 1000000)")
    parser.add_argument("--pgbouncer", type=Path, metavar="PROGRAM", help="another PgBouncer than the installed one")
    parser.add_argument("--only", default="", metavar="WORD", help="only the scenarios with this in their names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    given = parser.parse_args(arguments)
    base = QUICK if given.quick else FULL
    options = Options(
        given.rounds or base.rounds, given.seconds or base.seconds, given.rows or base.rows, base.idle_connections
    )
    return options, given


def main(arguments: Sequence[str] | None = None) -> int:
    options, given = parse(arguments)
    file: Path | None = given.json
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    console = Console()
    console.width = max(console.width, _WIDTH)
    with (
        running(options.rows, given.pgbouncer) as bench,
        tempfile.TemporaryDirectory(prefix="pgproxy-bench-") as directory,
    ):
        if bench.pgbouncer is None:
            console.print("PgBouncer is not installed: no ratios against it", style="yellow")
        rested_mb = memory_mb(bench.pgproxy.pid)
        chosen = [one for one in scenarios(bench, options, Path(directory)) if given.only in one.name]
        summaries = measure(chosen, options.rounds, console)
    found = bars(summaries, rested_mb)
    console.print(table_of(summaries), table_of_bars(found))
    console.print(f"pgproxy at rest: {_shown(rested_mb)} MB; {options}; {platform.platform()}")
    if file is not None:
        facts = {"options": asdict(options), "rested_mb": rested_mb, "medians": [asdict(one) for one in summaries]}
        file.write_text(json.dumps(facts | {"bars": [asdict(bar) for bar in found]}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
