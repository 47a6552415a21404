"""Servers and users that a measurement starts as child processes: wait until one answers, and end it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psycopg

from pgproxy.demo.nodes import HOST, SUPERUSER

_POLL_S = 0.05


def conninfo(port: int, database: str) -> str:
    """How a measurement's clients connect to what listens there."""
    return f"host={HOST} port={port} user={SUPERUSER} dbname={database} sslmode=disable gssencmode=disable"


def await_answer(process: subprocess.Popen[bytes], target: str, log: Path, timeout_s: float = 30.0) -> None:
    """Until a client can log in. Raises SystemExit with the log's text when the process has ended or time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            psycopg.connect(target, connect_timeout=2).close()
            return
        except psycopg.OperationalError as failure:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")
                raise SystemExit(f"{log.stem} did not start: {failure}\n{said}") from None
        time.sleep(_POLL_S)


def end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """As an operator would; by force when it has not ended by then."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
