"""The benchmark's arithmetic; its figures are nobody's to assert."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loadtest.bench import Bar, Figures, Scenario, Summary, bars, parse, percentile, summarise
from loadtest.processes import cpu_us, memory_mb
from loadtest.servers import Target
from loadtest.wire_client import command_tag


def summary(scenario: str, target: str, **figures: float) -> Summary:
    blank = dict.fromkeys(("p50_ms", "p99_ms", "cpu_us_per_unit", "peak_mb", "resident_kb_per_unit"))
    return Summary(scenario, "row", target, **({"per_second": 1.0} | blank | figures))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [(None, "not measured"), (0.0, "met"), (2.0, "met"), (2.5, "missed by 25 %"), (6.0, "missed by 200 %")],
)
def test_verdicts(measured: float | None, verdict: str) -> None:
    assert Bar("bar", 2.0, "ms", measured).verdict() == verdict


def test_bars_take_ratios_of_one_run() -> None:
    found = bars(
        [
            summary("point SELECT, 32 clients", "PgBouncer", cpu_us_per_unit=20.0),
            summary("point SELECT, 32 clients", "pgproxy", cpu_us_per_unit=30.0),
            summary("prepared, 32 clients", "PgBouncer", cpu_us_per_unit=20.0),
            summary("prepared, 32 clients", "pgproxy", cpu_us_per_unit=40.0),
            summary("psycopg, one by one", "pgproxy", per_second=1_000.0),
            summary("psycopg, pipeline", "pgproxy", per_second=8_000.0),
            summary("scatter LIMIT 10", "direct a", p50_ms=0.2),
            summary("scatter LIMIT 10", "direct b", p50_ms=0.5),
            summary("scatter LIMIT 10", "pgproxy", p50_ms=0.75),
            summary("ORDER BY merge", "pgproxy", cpu_us_per_unit=1.2, peak_mb=90.0),
        ],
        rested_mb=50.0,
    )
    measured = {bar.name: bar.measured for bar in found}
    assert measured == {
        "CPU of a point SELECT, 1 client": None,
        "CPU of a point SELECT, 32 clients": 1.5,
        "CPU of extended, 1 client": None,
        "CPU of extended, 32 clients": None,
        "CPU of prepared, 1 client": None,
        "CPU of prepared, 32 clients": 2.0,
        "1,000 SELECTs in a pipeline": 0.125,
        "p50 of scatter LIMIT 10": 1.5,
        "p50 of search LIMIT 10": None,
        "streaming one shard": None,
        "streaming three shards": None,
        "ORDER BY merge": 1.2,
        "ORDER BY merge, memory": 40.0,
    }


def test_without_pgbouncer_there_is_no_ratio() -> None:
    found = bars([summary("point SELECT, 1 client", "pgproxy", cpu_us_per_unit=30.0)], rested_mb=None)
    assert {bar.measured for bar in found} == {None}


def test_medians_per_piece_of_work() -> None:
    target = Target("pgproxy", 1, 2)
    scenario = Scenario("stream", "row", (target,), lambda _: Figures(1, 1.0))
    rounds = [Figures(1_000, 0.5, cpu_us=300.0), Figures(1_000, 1.0, cpu_us=500.0), Figures(1_000, 4.0, cpu_us=100.0)]
    found = summarise(scenario, target, rounds)
    assert (found.per_second, found.cpu_us_per_unit, found.p50_ms) == (1_000.0, 0.3, None)


def test_percentiles() -> None:
    assert percentile([1.0], 50) is None
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([float(n) for n in range(101)], 99) == 99.0


@pytest.mark.parametrize(
    ("tail", "tag"),
    [
        (b"xxC\0\0\0\x0fSELECT 1000\0Z\0\0\0\5I", "SELECT 1000"),
        (b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\5I", "SELECT 0"),
    ],
)
def test_tags(tail: bytes, tag: str) -> None:
    assert command_tag(tail) == tag


def test_options() -> None:
    quick, given = parse(["--quick"])
    full, _ = parse([])
    chosen, _ = parse(["--quick", "--rounds", "7", "--rows", "10"])
    assert given.json is None
    assert given.only == ""
    assert quick.rows < full.rows == 1_000_000
    assert (chosen.rounds, chosen.rows, chosen.seconds) == (7, 10, quick.seconds)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_processes_are_read() -> None:
    resident, peak, used = memory_mb(os.getpid()), memory_mb(os.getpid(), "VmHWM"), cpu_us(os.getpid())
    assert resident is not None
    assert peak is not None
    assert peak >= resident > 1
    assert used is not None
    assert used > 0
    assert cpu_us(None) is None
