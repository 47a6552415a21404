"""`pgproxy demo`: three nodes with the library and a proxy in front, all stopped together, on every path.

The proxy is a child process, as an operator would start it. Nodes and data are `demo.nodes` and `demo.library`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pgproxy.cluster.schema import SchemaError
from pgproxy.demo.library import DATABASE, generate_rows, library_map, load_library
from pgproxy.demo.nodes import (
    HOST,
    NODE_NAMES,
    STOP_SIGNALS,
    SUPERUSER,
    EmbeddedNode,
    NodeError,
    die_with_parent,
    free_port,
    last_line,
    listen_problem,
    programs_folder,
    start_nodes,
    stop_nodes,
    undisturbed,
)
from pgproxy.shardmap.model import HttpSettings
from pgproxy.shardmap.write import to_toml

EXIT_OK, EXIT_FAILURE = 0, 1
_PROXY_START_TIMEOUT_S = 60.0
_PROXY_STOP_TIMEOUT_S = 35.0
_POLL_S = 0.05
_HTTP_PORT = 8088
_LOCK = "demo.lock"


class DemoError(Exception):
    """The demo cannot start or go on; the text is one line for the user."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM arrived."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line said. Without a `data_dir` the data lasts as long as the demo."""

    port: int = 6432
    rows: int = 0
    data_dir: Path | None = None
    reset: bool = False
    statements: tuple[str, ...] = ()


def run(options: DemoOptions) -> int:
    """Run the demo to its end and give the exit code. Whatever was started is stopped before it returns."""
    console = Console(stderr=True, quiet=bool(options.statements), highlight=False)
    stack = ExitStack()
    _on_stop_signals(_raise_stopped)
    try:
        demo = _start(options, stack, console)
        return demo.run_statements(options.statements) if options.statements else demo.stay()
    except Stopped:
        return _complain("stopped before it was ready")
    except (DemoError, NodeError, SchemaError, psycopg.Error, OSError) as failure:
        return _complain(" ".join(str(failure).split()))
    finally:
        _on_stop_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        stack.close()
        _on_stop_signals(signal.SIG_DFL)


@dataclass(frozen=True, slots=True)
class _Demo:
    """A demo that is up: what it can do until it is stopped."""

    port: int
    http_port: int
    proxy: subprocess.Popen[bytes]
    log: Path
    psql: Path
    console: Console

    def stay(self) -> int:
        """Print how to connect, pass the proxy's log on, and wait for Ctrl-C or SIGTERM."""
        print(_welcome(self.port, self.http_port, self.psql), flush=True)
        try:
            with self.log.open(encoding="utf-8", errors="replace") as log:
                while self.proxy.poll() is None:
                    _pass_on(log)
                    time.sleep(_POLL_S)
                _pass_on(log)
        except Stopped:
            self.console.print("stopping …")
            return EXIT_OK
        raise DemoError(f"the proxy ended with exit code {self.proxy.returncode}")

    def run_statements(self, statements: Sequence[str]) -> int:
        """psql itself prints the rows, and its exit code is ours."""
        commands = [part for statement in statements for part in ("-c", statement)]
        target = f"host={HOST} port={self.port} user={SUPERUSER} dbname={DATABASE}"
        environment = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
        try:
            code = subprocess.run(
                [self.psql, "-X", "-P", "pager=off", "-d", target, *commands], env=environment
            ).returncode
        except Stopped:
            raise DemoError("stopped while a statement was running") from None
        if self.proxy.poll() is not None:
            sys.stderr.write(self.log.read_text(errors="replace"))
        return code


def _start(options: DemoOptions, stack: ExitStack, console: Console) -> _Demo:
    """Start everything in order; each step leaves on the stack what undoes it."""
    if problem := listen_problem(HOST, options.port):
        raise DemoError(f"cannot listen on port {options.port} of {HOST}: {problem}; choose another with --port")
    directory = _data_directory(options, stack)
    console.print(f"starting {', '.join(NODE_NAMES)} …")
    nodes = [EmbeddedNode(name, directory / name) for name in NODE_NAMES]
    stack.callback(stop_nodes, nodes)
    start_nodes(nodes)
    load_library(nodes)
    if options.rows:
        _generate(nodes, options.rows, console)
    config, log = directory / "shardmap.toml", directory / "proxy.log"
    http = HttpSettings(port=_http_port(), write=True)
    config.write_text(to_toml(replace(library_map(nodes, options.port), http=http)), encoding="utf-8")
    proxy = _start_proxy(config, log, stack)
    _await_proxy(proxy, options.port, log)
    return _Demo(options.port, http.port or 0, proxy, log, programs_folder(directory) / "psql", console)


def _http_port() -> int:
    """The usual one, if nothing else listens there."""
    return free_port() if listen_problem(HOST, _HTTP_PORT) else _HTTP_PORT


def _data_directory(options: DemoOptions, stack: ExitStack) -> Path:
    """The directory of this run, locked against a second demo."""
    if options.data_dir is None:
        directory = Path(tempfile.mkdtemp(prefix="pgproxy-demo-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o755)  # root runs PostgreSQL as a system user, who must get in
        return directory
    directory = options.data_dir.expanduser().absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not (directory / _LOCK).exists():
            raise DemoError(f"{directory} is not empty and was not made by a demo")
        _lock(directory, stack)
        if options.reset:
            _empty(directory)
    except OSError as failure:
        raise DemoError(f"cannot use {directory}: {failure.strerror}") from None
    return directory


def _lock(directory: Path, stack: ExitStack) -> None:
    """Hold the directory for as long as the demo runs; the kernel lets go of it whatever happens to us."""
    lock = stack.enter_context((directory / _LOCK).open("a+", encoding="utf-8"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise DemoError(f"another demo (process {lock.read().strip() or '?'}) is using {directory}") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _generate(nodes: Sequence[EmbeddedNode], rows: int, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("generating rows", total=rows + rows // 10)
        generate_rows(nodes, rows, lambda count: progress.advance(task, count))


def _start_proxy(config: Path, log: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    with log.open("wb") as output, undisturbed() as before:
        proxy = subprocess.Popen(
            [sys.executable, "-m", "pgproxy", "serve", "--config", str(config), "--log-format", "human"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is ours alone: we stop the proxy before its nodes
            preexec_fn=lambda: die_with_parent(signal.SIGTERM, before),
        )
        stack.callback(_stop_proxy, proxy)
    return proxy


def _stop_proxy(proxy: subprocess.Popen[bytes]) -> None:
    proxy.terminate()
    try:
        proxy.wait(_PROXY_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        proxy.kill()
        proxy.wait()


def _await_proxy(proxy: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PROXY_START_TIMEOUT_S
    target = f"host={HOST} port={port} user={SUPERUSER} dbname={DATABASE} sslmode=disable gssencmode=disable"
    while True:
        if proxy.poll() is not None:
            raise DemoError(f"the proxy did not start: {last_line(log)}")
        try:
            psycopg.connect(target, connect_timeout=2).close()
            return
        except psycopg.OperationalError as failure:
            if time.monotonic() > deadline:
                raise DemoError(f"the proxy did not answer: {failure}") from None
        time.sleep(_POLL_S)


def _welcome(port: int, http_port: int, psql: Path) -> str:
    program = "psql" if shutil.which("psql") else psql
    target = f"host={HOST} port={port} user={SUPERUSER} dbname={DATABASE}"
    return f"""
pgproxy is listening on {HOST}:{port}. Connect with

    {program} -h {HOST} -p {port} -U {SUPERUSER} {DATABASE}

    import psycopg
    connection = psycopg.connect("{target}")
    print(connection.execute("SELECT book_name, branch FROM books ORDER BY book_name LIMIT 5").fetchall())

The live page: http://{HOST}:{http_port}/

Ctrl-C stops everything.
"""


def _pass_on(log: TextIO) -> None:
    if text := log.read():
        sys.stderr.write(text)
        sys.stderr.flush()


def _complain(text: str) -> int:
    print(f"pgproxy demo: {text}", file=sys.stderr)
    return EXIT_FAILURE


def _raise_stopped(_number: int, _frame: object) -> None:
    _on_stop_signals(signal.SIG_IGN)
    raise Stopped


def _on_stop_signals(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, handler)
