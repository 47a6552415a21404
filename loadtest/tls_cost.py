"""What TLS towards clients costs: point SELECTs by pgbench in plain and encrypted, and the proxies' CPU.

python -m loadtest.tls_cost [--clients 32] [--seconds 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
from pathlib import Path

from loadtest.processes import cpu_us
from loadtest.servers import ACCOUNTS_PER_SHARD, DATABASE, Target, running
from pgproxy.demo.nodes import HOST, NODE_NAMES, SUPERUSER

_SCRIPT = f"""\\set aid random(1, {ACCOUNTS_PER_SHARD * len(NODE_NAMES)})
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
"""
_TRANSACTIONS = re.compile(r"number of transactions actually processed: (\d+)")


def main() -> None:
    options = _options()
    pgbench = shutil.which("pgbench")
    if pgbench is None:
        raise SystemExit("pgbench is missing: the one that comes with the nodes has no TLS")
    with running(100, tls=True) as bench:
        script = bench.directory / "point.sql"
        script.write_text(_SCRIPT)
        targets = [target for target in (bench.pgbouncer, bench.pgproxy) if target is not None]
        figures: dict[tuple[str, str], list[float]] = {}
        for _ in range(options.rounds):
            for target in targets:
                for mode in ("disable", "require"):
                    figure = _one(pgbench, script, target, mode, options)
                    figures.setdefault((target.name, mode), []).append(figure)
    for (name, mode), found in figures.items():
        print(f"{name:10} sslmode={mode:8} {statistics.median(found):6.1f} µs CPU per transaction")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What TLS towards clients costs.")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _one(pgbench: str, script: Path, target: Target, mode: str, options: argparse.Namespace) -> float:
    """CPU µs of the target's process per transaction, connecting included."""
    command = [pgbench, "-n", "-M", "simple", "-f", str(script), "-c", str(options.clients), "-T", str(options.seconds)]
    before = cpu_us(target.pid)
    run = subprocess.run(
        [*command, "-h", HOST, "-p", str(target.port), "-U", SUPERUSER, DATABASE],
        env=os.environ | {"PGSSLMODE": mode, "PGGSSENCMODE": "disable"},
        capture_output=True,
        text=True,
        check=True,
    )
    after, count = cpu_us(target.pid), _TRANSACTIONS.search(run.stdout)
    assert before is not None
    assert after is not None
    assert count is not None, run.stderr
    return (after - before) / int(count[1])


if __name__ == "__main__":
    main()
