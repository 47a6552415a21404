"""Tells of nodes that go down or come back while someone sits at the prompt: asks the admin database each second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg

from pgproxy.shell.connection import Rows, ShellConnection, Target

ADMIN_DATABASE = "pgproxy"
_INTERVAL_S = 1.0


class Alerts:
    """A thread of its own with a connection of its own. `tell(severity, text)` is called from that thread."""

    def __init__(self, target: Target, tell: Callable[[str, str], None]) -> None:
        self._target = replace(target, database=ADMIN_DATABASE)
        self._tell = tell
        self._ended = threading.Event()
        self._states: dict[str, str] | None = None
        self._answering = True
        self._thread = threading.Thread(target=self._watch, name="alerts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=_INTERVAL_S)

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                connection = ShellConnection(self._target, lambda _severity, _text: None)
            except psycopg.OperationalError as failure:
                if self._states is None:  # the shell itself has just been let in, so this is for want of a right
                    self._tell("WARNING", f"no alerts: {str(failure).splitlines()[0]}")
                    return
                self._lost()
                self._ended.wait(_INTERVAL_S)
                continue
            try:
                self._poll(connection)
            except psycopg.OperationalError:
                self._lost()
            finally:
                connection.close()

    def _poll(self, connection: ShellConnection) -> None:
        while not self._ended.is_set():
            for answer in connection.run("SHOW NODES", None):
                if isinstance(answer, Rows):
                    self._compare(answer)
            if connection.lost:
                raise psycopg.OperationalError("the proxy is gone")
            self._ended.wait(_INTERVAL_S)

    def _compare(self, answer: Rows) -> None:
        name, state, error = (answer.names.index(column) for column in ("node", "state", "error"))
        if not self._answering:
            self._answering = True
            self._tell("RECOVERED", "the proxy answers again")
        before, self._states = self._states, {str(row[name]): str(row[state]) for row in answer.rows}
        if before is None:
            return
        for row in answer.rows:
            node, now = str(row[name]), str(row[state])
            if before.get(node, now) != now:
                severity, text = _news(before[node], now, row[error])
                self._tell(severity, f"node {node} {text}")

    def _lost(self) -> None:
        if self._answering:
            self._answering = False
            self._tell("ALERT", "the proxy does not answer")


def _news(before: str, now: str, error: str | None) -> tuple[str, str]:
    """Severity and text. A pause is an operator's own wish, and no alert."""
    if now == "paused":
        return "NOTICE", "is paused: statements for it wait for RESUME"
    if now == "up":
        return ("NOTICE", "goes on") if before == "paused" else ("RECOVERED", "is UP")
    return "ALERT", f"is {now.upper()} ({error or 'no reason known'})"
