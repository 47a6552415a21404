"""CPU time and memory of a process, from /proc (Linux only; elsewhere every figure is None)."""

from __future__ import annotations

import os
from pathlib import Path

_MICROSECONDS_PER_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_us(pid: int | None) -> float | None:
    """User and system time used so far, in microseconds; the clock ticks every 10 ms."""
    stat = _read(pid, "stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _MICROSECONDS_PER_TICK


def memory_mb(pid: int | None, what: str = "VmRSS") -> float | None:
    """Resident memory now (`VmRSS`) or at its highest (`VmHWM`)."""
    status = _read(pid, "status")
    if status is None:
        return None
    kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith(f"{what}:")), None)
    return None if kilobytes is None else int(kilobytes) / 1024


def forget_peak(pid: int | None) -> None:
    """Let `VmHWM` start again from what is resident now."""
    if pid is not None and Path(f"/proc/{pid}/clear_refs").exists():
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def _read(pid: int | None, name: str) -> str | None:
    file = Path(f"/proc/{pid}/{name}")
    return file.read_text() if pid is not None and file.exists() else None
