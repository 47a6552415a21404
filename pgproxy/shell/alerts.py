"""Tells of nodes that go down or come back while someone sits at the prompt: asks the admin database each second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg

from pgproxy.shell.connection import Rows, ShellConnection, Target

ADMIN_DATABASE = "pgproxy"
_INTERVAL_S = 1.0
_NO_RIGHT = ("28000", "28P01", "3D000", "42501")


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
                if getattr(failure.diag, "sqlstate", None) in _NO_RIGHT:
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
            if before.get(str(row[name]), row[state]) == row[state]:
                continue
            if row[state] == "up":
                self._tell("RECOVERED", f"node {row[name]} is UP")
            else:
                self._tell(
                    "ALERT", f"node {row[name]} is {str(row[state]).upper()} ({row[error] or 'no reason known'})"
                )

    def _lost(self) -> None:
        if self._answering:
            self._answering = False
            self._tell("ALERT", "the proxy does not answer")
