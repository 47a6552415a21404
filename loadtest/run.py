"""`make loadtest`: a demo cluster, Locust headless against it, and a table of what came out.

Users and their statements are `locustfile`'s. The HTML report goes to loadtest/reports/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.children import await_answer, conninfo, end
from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import free_port

REPORTS = Path(__file__).parent / "reports"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_ROWS = 10_000


@contextmanager
def demo_cluster(rows: int) -> Iterator[str]:
    """A demo of its own on a free port; gives the connection string of its proxy."""
    port = free_port()
    command = [sys.executable, "-m", "pgproxy", "demo", "--port", str(port), "--rows", str(rows)]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "demo.log")
        with log.open("wb") as output:
            demo = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            target = conninfo(port, DATABASE)
            await_answer(demo, target, log, _START_TIMEOUT_S)
            yield target
        finally:
            end(demo, _STOP_TIMEOUT_S)


def run_locust(target: str, users: int, spawn: int, duration: str) -> list[dict[str, Any]]:
    """Run Locust to its end; gives its statistics, one entry per task."""
    REPORTS.mkdir(exist_ok=True)
    report = REPORTS / f"{time.strftime('%Y%m%d-%H%M%S')}.html"
    with tempfile.TemporaryDirectory() as directory:
        statistics = Path(directory, "statistics")
        command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).parent / "locustfile.py"), "--headless"]
        command += ["--host", target, "-u", str(users), "-r", str(spawn), "-t", duration, "--stop-timeout", "10"]
        command += ["--html", str(report), "--json-file", str(statistics), "--only-summary", "--loglevel", "WARNING"]
        subprocess.run([*command, "--exit-code-on-error", "0"], check=True, stdout=subprocess.DEVNULL)
        found: list[dict[str, Any]] = json.loads(Path(f"{statistics}.json").read_text())
    print(f"report: {report}")
    return found


def table_of(statistics: list[dict[str, Any]]) -> Table:
    table = Table(title="load test")
    table.add_column("task", no_wrap=True)
    for header in ("requests", "failures", "RPS", "p50 ms", "p99 ms", "max ms"):
        table.add_column(header, justify="right")
    for entry in statistics:
        if entry["name"] == "known_books":
            continue
        seconds = max(entry["last_request_timestamp"] - entry["start_time"], 1e-9)
        times = {float(time_ms): count for time_ms, count in entry["response_times"].items()}
        table.add_row(
            f"{entry['method']} {entry['name']}",
            f"{entry['num_requests']:,}",
            f"{entry['num_failures']:,}",
            f"{entry['num_requests'] / seconds:,.1f}",
            f"{percentile(times, 0.50):,.0f}",
            f"{percentile(times, 0.99):,.0f}",
            f"{entry['max_response_time']:,.0f}",
        )
    return table


def percentile(times: dict[float, int], share: float) -> float:
    """From Locust's histogram: the time that `share` of the requests did not exceed."""
    wanted = sum(times.values()) * share
    seen = 0
    for time_ms in sorted(times):
        seen += times[time_ms]
        if seen >= wanted:
            return time_ms
    return 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when any request failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.run", description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--spawn", type=int, default=20, help="users started per second (default: 20)")
    parser.add_argument("--time", default="60s", help="how long, such as 60s or 5m (default: 60s)")
    parser.add_argument("--rows", type=int, default=_ROWS, help=f"books in the demo cluster (default: {_ROWS})")
    parser.add_argument("--target", help="a libpq connection string: use this server instead of a demo cluster")
    given = parser.parse_args(arguments)
    if given.target:
        statistics = run_locust(given.target, given.users, given.spawn, given.time)
    else:
        with demo_cluster(given.rows) as target:
            statistics = run_locust(target, given.users, given.spawn, given.time)
    Console().print(table_of(statistics))
    return 1 if not statistics or any(entry["num_failures"] for entry in statistics) else 0


if __name__ == "__main__":
    sys.exit(main())
