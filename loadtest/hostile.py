"""`python -m loadtest.hostile`: hostile clients by the thousand against a proxy, and what another client notices.

The attackers are processes of their own. It ends by itself after some two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest import servers
from loadtest.attacks import ATTACKS, Outcome, Target, attack
from loadtest.processes import memory_mb, open_files
from loadtest.wire_client import drain, log_in

SECONDS = 15.0  # longer than startup_timeout_s
_ROWS = 50_000
_PAUSE_S = 0.01
_SETTLE_S = 20.0


@dataclass(slots=True)
class Victim:
    """A client that means well: statements on one connection all the time, and now and then a new connection."""

    target: Target
    sql: str
    latencies_s: list[float] = field(default_factory=list)
    log_ins_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with log_in(self.target.port, self.target.database) as connection:
            while not self._stop.wait(_PAUSE_S):
                self._time(self.latencies_s, lambda: drain(connection, self.sql))
                if len(self.latencies_s) % 10 == 0:
                    self._time(self.log_ins_s, lambda: log_in(self.target.port, self.target.database).close())

    def stop(self) -> None:
        self._stop.set()

    def _time(self, times: list[float], step: Callable[[], object]) -> None:
        started = time.perf_counter()
        try:
            step()
        except (OSError, RuntimeError) as failure:
            self.failures.append(str(failure))
        times.append(time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Figures:
    attack: str
    connections: int
    opened: int
    closed_by_proxy: int
    statements: int
    failures: int
    p50_ms: float
    worst_ms: float
    worst_log_in_ms: float
    mb_before: float | None
    mb_most: float | None
    mb_after: float | None
    files_before: int
    files_most: int
    files_after: int


def run(name: str, target: Target, sql: str, pid: int, connections: int, seconds: float) -> Figures:
    """One attack beside one well-meaning client, and what remains a while after."""
    victim = Victim(target, sql)
    client = threading.Thread(target=victim.run)
    mb_before, files_before = memory_mb(pid), open_files(pid)
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    attacker = context.Process(target=_attack, args=(name, target, connections, seconds, theirs))
    client.start()
    attacker.start()
    mb_most, files_most = mb_before or 0.0, files_before
    while attacker.is_alive() and not ours.poll():
        time.sleep(0.1)
        mb_most, files_most = max(mb_most, memory_mb(pid) or 0.0), max(files_most, open_files(pid))
    outcome: Outcome = ours.recv()
    attacker.join()
    victim.stop()
    client.join()
    files_after = _settled(pid, files_before)
    latencies = sorted(victim.latencies_s) or [0.0]
    return Figures(
        name,
        connections,
        outcome.opened,
        outcome.closed_by_proxy,
        len(victim.latencies_s) + len(victim.log_ins_s),
        len(victim.failures),
        latencies[len(latencies) // 2] * 1000,
        latencies[-1] * 1000,
        max(victim.log_ins_s, default=0.0) * 1000,
        mb_before,
        mb_most,
        memory_mb(pid),
        files_before,
        files_most,
        files_after,
    )


def _settled(pid: int, before: int) -> int:
    """Open files once they are as few as before, or after a while."""
    deadline = time.monotonic() + _SETTLE_S
    while (now := open_files(pid)) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


def _attack(name: str, target: Target, connections: int, seconds: float, result: Connection) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    play, _ = ATTACKS[name]
    result.send(asyncio.run(attack(play, target, connections, seconds)))


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options().parse_args(arguments)
    console = Console(width=150)
    with servers.running(_ROWS) as bench:
        assert bench.pgproxy.pid is not None
        target = Target(bench.pgproxy.port, servers.DATABASE, "SELECT e.*, repeat('x', 1000) FROM events e")
        found = [
            run(name, target, "SELECT abalance FROM pgbench_accounts WHERE aid = 7", bench.pgproxy.pid, many, SECONDS)
            for name, (_, many) in ATTACKS.items()
            if not options.attack or name in options.attack
        ]
    console.print(table(found))
    if options.json:
        options.json.write_text(json.dumps([asdict(figures) for figures in found], indent=2))


def table(found: Sequence[Figures]) -> Table:
    shown = Table("attack", title="Another client, and the proxy's memory and files, during each attack")
    for heading in ("connections", "statements", "failed", "p50 ms", "worst ms", "worst log-in ms", "MB", "files"):
        shown.add_column(heading, justify="right")
    for one in found:
        shown.add_row(
            one.attack,
            f"{one.opened:,}",
            f"{one.statements:,}",
            str(one.failures),
            f"{one.p50_ms:.1f}",
            f"{one.worst_ms:.0f}",
            f"{one.worst_log_in_ms:.0f}",
            f"{one.mb_before or 0:.0f} → {one.mb_most or 0:.0f} → {one.mb_after or 0:.0f}",
            f"{one.files_before} → {one.files_most} → {one.files_after}",
        )
    return shown


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="this one only; may be repeated")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    main()
