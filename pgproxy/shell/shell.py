"""The shell's loop: read a line, run what is complete, show the answers; alerts are printed above the prompt."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path

import psycopg
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console
from rich.text import Text

from pgproxy.shell.alerts import ADMIN_DATABASE, Alerts
from pgproxy.shell.commands import COMMANDS, Options, is_command, react
from pgproxy.shell.completion import NAMES_QUERY, SqlCompleter
from pgproxy.shell.connection import Failure, Rows, ShellConnection, Target
from pgproxy.shell.show import show, show_notice
from pgproxy.shell.statements import is_blank, script, take_statements

OK, STATEMENT_FAILED, UNREACHABLE = 0, 1, 2
PROMPT = "SQL> "
_MORE = "...> "
_WIDTH_OF_A_FILE = 1_000

_Notice = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class ShellOptions:
    target: Target
    statements: tuple[str, ...] = ()
    stop_on_error: bool = False


def run_shell(options: ShellOptions) -> int:
    """Run until the user leaves, or the given statements or standard input are through. The exit code."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    try:
        connection = _open(options.target, lambda severity, text: show_notice(console, severity, text))
    except psycopg.OperationalError as failure:
        print(f"pgproxy: {_reason(failure)}", file=sys.stderr)
        return UNREACHABLE
    shell = Shell(connection, console)
    try:
        if options.statements:
            return shell.run_scripts(options.statements, options.stop_on_error)
        if not sys.stdin.isatty():
            return shell.run_scripts([sys.stdin.read()], options.stop_on_error)
        shell.converse()
        return OK
    finally:
        shell.close()


class Shell:
    """One user's shell over one connection."""

    def __init__(self, connection: ShellConnection, console: Console) -> None:
        self._connection = connection
        self._console = console
        self._options = Options()
        self._names: list[str] = []
        self._failed = False

    def close(self) -> None:
        self._connection.close()

    def run_scripts(self, texts: Iterable[str], stop_on_error: bool) -> int:
        """Statements and commands without a prompt; the exit code."""
        for statement in chain.from_iterable(map(script, texts)):
            if is_command(statement):
                if self._react(statement):
                    break
            else:
                self._run(statement)
            if self._failed and stop_on_error:
                break
        return STATEMENT_FAILED if self._failed else OK

    def converse(self) -> None:
        """Prompt until exit, quit, \\q or Ctrl-D. Ctrl-C forgets what was typed, or cancels what runs."""
        self._fetch_names()
        prompt: PromptSession[str] = PromptSession(
            history=_history(), completer=SqlCompleter(lambda: self._names, COMMANDS), complete_while_typing=False
        )
        alerts = Alerts(self._connection.target, lambda severity, text: show_notice(self._console, severity, text))
        self._console.print(Text("\\? lists the commands; a statement ends with a semicolon.", style="dim"))
        with patch_stdout(raw=True):
            alerts.start()
            try:
                self._converse(prompt)
            finally:
                alerts.stop()

    def _converse(self, prompt: PromptSession[str]) -> None:
        typed = ""
        while True:
            try:
                line = prompt.prompt(_MORE if typed else PROMPT)
            except KeyboardInterrupt:
                typed = ""
                continue
            except EOFError:
                return
            if not typed and is_command(line):
                if self._react(line):
                    return
                continue
            statements, typed = take_statements(f"{typed}\n{line}" if typed else line)
            try:
                for statement in statements:
                    self._run(statement)
            except KeyboardInterrupt:  # between two statements, or while one is shown: those behind it do not run
                continue
            if is_blank(typed):
                typed = ""

    def _react(self, line: str) -> bool:
        """Carry out a command; whether the shell ends."""
        reaction = react(line, self._options)
        if reaction.text:
            self._console.print(Text(reaction.text))
        if reaction.sql:
            self._run(reaction.sql)
        return reaction.end

    def _run(self, sql: str) -> None:
        """Run one statement and show what comes back; a lost connection is made anew for the next one."""
        started = time.monotonic()
        try:
            for answer in self._connection.run(sql, self._options.limit):
                self._failed = self._failed or isinstance(answer, Failure)
                show(self._console, answer, sql, self._options.expanded)
            if self._connection.lost:
                self._reconnect()
        except psycopg.OperationalError as failure:
            self._failed = True
            show_notice(self._console, "FATAL", str(failure).strip())
            self._reconnect()
        if self._options.timing:
            self._console.print(Text(f"Time: {(time.monotonic() - started) * 1000:.3f} ms", style="dim"))

    def _reconnect(self) -> None:
        try:
            self._connection.reconnect()
        except psycopg.OperationalError as failure:
            show_notice(self._console, "FATAL", _reason(failure))
        else:
            show_notice(self._console, "NOTICE", "connected again; what the session had set is gone")

    def _fetch_names(self) -> None:
        """For completion; without them it knows keywords only."""
        for answer in self._connection.run(NAMES_QUERY, None):
            if isinstance(answer, Rows):
                self._names += sorted({cell for row in answer.rows for cell in row if cell is not None})


def _open(target: Target, on_notice: _Notice) -> ShellConnection:
    """Connect; ask for a password when the server wants one, for the database when none is named."""
    try:
        return _connect(target, on_notice)
    except psycopg.OperationalError as failure:
        if target.password is not None or not _wants_password(failure) or not sys.stdin.isatty():
            raise
    return _connect(replace(target, password=getpass.getpass()), on_notice)


def _connect(target: Target, on_notice: _Notice) -> ShellConnection:
    if target.database is None and "PGDATABASE" not in os.environ:
        target = replace(target, database=_only_database(target))
    return ShellConnection(target, on_notice)


def _only_database(target: Target) -> str | None:
    """A proxy serves one database: its admin database tells the name. None: libpq's own rule."""
    try:
        admin = ShellConnection(replace(target, database=ADMIN_DATABASE), lambda _severity, _text: None)
    except psycopg.OperationalError:
        return None
    try:
        for answer in admin.run("SHOW CONFIG", None):
            if isinstance(answer, Rows):
                return next((row[1] for row in answer.rows if row[0] == "cluster.database"), None)
    finally:
        admin.close()
    return None


def _reason(failure: psycopg.OperationalError) -> str:
    """What the server or libpq says of its first attempt (a second one is without TLS), with the server's hint."""
    first, *others = str(failure).splitlines() or [type(failure).__name__]
    return "\n".join([first, *takewhile(lambda line: line.startswith(("DETAIL:", "HINT:")), others)])


def _wants_password(failure: psycopg.OperationalError) -> bool:
    return "password" in str(failure)


def _history() -> History:
    """Kept between runs, for this user alone to read."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pgproxy"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = state / "history"
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))
