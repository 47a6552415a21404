"""A load of users in a process of its own, and what it left behind: records as arrays, second by second."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.children import end
from loadtest.users import OK, RECORD

_STOP_TIMEOUT_S = 60.0
_TYPE = np.dtype([("at", "<f8"), ("took_s", "<f4"), ("kind", "u1"), ("sqlstate", "S5")])
assert _TYPE.itemsize == RECORD.size


@dataclass(frozen=True, slots=True)
class Records:
    """One entry a statement. `at` counts seconds from the start of the measurement, `kinds` names its numbers."""

    at: NDArray[np.float64]
    took_s: NDArray[np.float32]
    kind: NDArray[np.uint8]
    sqlstate: NDArray[np.bytes_]
    kinds: Sequence[str]

    @property
    def ended(self) -> NDArray[np.float64]:
        return self.at + self.took_s

    @property
    def failed(self) -> NDArray[np.bool_]:
        return self.sqlstate != OK

    def where(self, mask: NDArray[np.bool_]) -> Records:
        return Records(self.at[mask], self.took_s[mask], self.kind[mask], self.sqlstate[mask], self.kinds)

    def of(self, *names: str) -> Records:
        """Of the kinds that begin with one of these words."""
        numbers = [number for number, kind in enumerate(self.kinds) if kind.startswith(names)]
        return self.where(np.isin(self.kind, numbers))

    def between(self, start: float, end: float) -> Records:
        return self.where((self.at >= start) & (self.at < end))

    def failures(self) -> dict[str, int]:
        """How many for each SQLSTATE."""
        states, counts = np.unique(self.sqlstate[self.failed], return_counts=True)
        return {state.decode(): int(count) for state, count in zip(states, counts, strict=True)}

    def quantile_s(self, share: float) -> float | None:
        """Of those that succeeded."""
        took = self.took_s[~self.failed]
        return float(np.quantile(took, share)) if len(took) else None


def read_records(path: Path, kinds: Sequence[str], start: float) -> Records:
    raw = np.fromfile(path, dtype=_TYPE, count=path.stat().st_size // _TYPE.itemsize)
    return Records(raw["at"] - start, raw["took_s"], raw["kind"], raw["sqlstate"], kinds)


def per_second(records: Records, until: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The seconds 0, 1, …, and how many statements ended in each, well and badly."""
    edges = np.arange(0, until + 1)
    well, _ = np.histogram(records.ended[~records.failed], edges)
    badly, _ = np.histogram(records.ended[records.failed], edges)
    return edges[:-1].astype(np.float64), well, badly


def quantiles_per_second(records: Records, share: float, until: int) -> NDArray[np.float64]:
    """In seconds, by when they ended; NaN where nothing did."""
    well = records.where(~records.failed)
    second = np.floor(well.ended).astype(np.int64)
    return np.array(
        [np.quantile(well.took_s[second == at], share) if (second == at).any() else np.nan for at in range(until)]
    )


@contextmanager
def load(
    target: str, users: int, seconds: float, mix: str, output: Path, seed: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """Users in a child process, for so long at most. Leaving ends them."""
    command = [sys.executable, "-m", "loadtest.users", "--target", target, "--output", str(output)]
    command += ["--users", str(users), "--seconds", str(seconds), "--mix", mix, "--seed", str(seed)]
    output.touch()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        end(process, _STOP_TIMEOUT_S)
