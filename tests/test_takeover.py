"""A second process takes the port over while the first one serves: nobody notices, and nothing fails."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.nodes import free_port
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import HttpSettings
from pgproxy.shardmap.write import to_toml
from tests.activity import await_nothing_open, await_running, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, end, running_proxy, serve

ROOT = Path(__file__).parent.parent
COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
SLEEP = "SELECT pg_sleep(30) FROM books WHERE branch = 'west' LIMIT 1"
TOOK_OVER = "took the port over from process"
PATIENCE_S = 90.0


def start(proxy: RunningProxy, name: str, config: Path | None = None) -> tuple[subprocess.Popen[bytes], Path]:
    """Another process for the same address, and its log."""
    log = proxy.log.parent / f"{name}.log"
    with log.open("wb") as output:
        return serve(config or proxy.config, output, "--take-over", "--port", str(proxy.port)), log


@contextmanager
def successor(proxy: RunningProxy, name: str = "successor") -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another process that has taken over."""
    process, log = start(proxy, name)
    try:
        until(lambda: process.poll() is not None or TOOK_OVER in log.read_text(), "it has taken over")
        assert process.poll() is None, log.read_text()
        yield process, log
    finally:
        end(process)


class Users:
    """A hundred users: half of them stay connected, half come anew for each few statements."""

    def __init__(self, proxy: RunningProxy, count: int = 100) -> None:
        self.failures: list[str] = []
        self.statements: Counter[int] = Counter()
        self._proxy = proxy
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(at,)) for at in range(count)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def await_more(self, each: int = 3) -> None:
        """Until every user has done so many statements more, or something has failed."""
        before = Counter(self.statements)
        deadline = time.monotonic() + PATIENCE_S
        while any(self.statements[at] < before[at] + each for at in range(len(self._threads))):
            assert self.failures == []
            assert time.monotonic() < deadline, "everyone goes on"
            time.sleep(0.05)

    def _run(self, at: int) -> None:
        try:
            while not self._ended.is_set():
                with self._proxy.connect(**({"cursor_factory": psycopg.Cursor} if at % 4 < 2 else {})) as client:
                    self._use(client, at)
        except Exception as failure:  # noqa: BLE001 # whatever a user hears is a failure
            self.failures.append(f"user {at}: {failure!r}")

    def _use(self, client: psycopg.Connection, at: int) -> None:
        stays = at % 2
        done = 0
        while not self._ended.is_set() and (stays or done < 3):
            assert client.execute(COUNT_WEST).fetchone() == (24,)
            assert client.execute("SELECT count(*) FROM books").fetchone() == (72,)
            with client.transaction():
                client.execute(f"UPDATE patrons SET name = name WHERE patron_id = {at}".encode())
                client.execute(f"SELECT name FROM patrons WHERE patron_id = {at}".encode())
            done += 1
            self.statements[at] += 1
            time.sleep(0.02)


def test_nothing_fails_under_load(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path) as proxy, Users(proxy) as users:
        users.await_more()
        with successor(proxy) as (_, log):
            proxy.process.send_signal(signal.SIGTERM)
            users.await_more()
            assert users.failures == []
            assert proxy.process.poll() is None, "half of the users are still connected to it"
            with successor(proxy, "second"), successor(proxy, "third"):
                users.await_more()
                users.__exit__()
                assert users.failures == []
                assert proxy.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in proxy.log_text() + log.read_text()
    await_nothing_open(library_cluster)


def test_who_is_connected_stays_until_he_leaves(proxy: RunningProxy) -> None:
    with proxy.connect() as client:
        client.execute("SET application_name = 'kept'")
        with successor(proxy):
            assert client.execute("SHOW application_name").fetchone() == ("kept",)
            proxy.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert client.execute(COUNT_WEST).fetchone() == (24,)
            with proxy.connect(dbname="pgproxy") as admin:
                assert "kept" not in str(admin.execute("SHOW CLIENTS").fetchall()), "the new process answers"
            client.close()
            assert proxy.process.wait(PATIENCE_S) == 0
            assert "1 clients are served until they leave" in proxy.log_text()


def test_the_second_sigterm_ends_who_is_idle(proxy: RunningProxy) -> None:
    with proxy.connect() as client, successor(proxy):
        proxy.process.send_signal(signal.SIGTERM)
        assert client.execute(COUNT_WEST).fetchone() == (24,)
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(PATIENCE_S) == 0
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute(COUNT_WEST)
        proxy.connect().close()


def test_the_http_side_changes_hands(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port())
    with running_proxy(library_cluster, tmp_path, http=http) as proxy, proxy.connect(), successor(proxy) as (_, log):
        until(lambda: f"HTTP on http://127.0.0.1:{http.port}/" in log.read_text(), "it has the port")
        with urllib.request.urlopen(f"http://127.0.0.1:{http.port}/ready", timeout=PATIENCE_S) as response:
            assert response.status == 200
        assert proxy.process.poll() is None


def test_the_grace_time(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, takeover_grace_s=0.2) as proxy,
        proxy.connect() as client,
        successor(proxy),
    ):
        assert proxy.process.wait(PATIENCE_S) == 0
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute(COUNT_WEST)


def test_a_cancel_request_reaches_the_process_that_runs_the_statement(
    library_cluster: LibraryCluster, proxy: RunningProxy
) -> None:
    with proxy.connect() as first, successor(proxy), proxy.connect() as second, successor(proxy, "third"):
        with proxy.connect() as third:
            for client in (first, second, third):
                with ThreadPoolExecutor(1) as pool:
                    sleeping = pool.submit(client.execute, SLEEP)
                    await_running(library_cluster, "pg_sleep")
                    client.cancel()
                    assert isinstance(sleeping.exception(), psycopg.errors.QueryCanceled)
        first.close()
        second.close()
    await_nothing_open(library_cluster)


# What does not take over


def test_without_the_flag_the_port_is_taken(proxy: RunningProxy) -> None:
    command = [sys.executable, "-m", "pgproxy", "serve", "--config", str(proxy.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{proxy.port}: " in done.stderr
    assert "ddress already in use" in done.stderr
    proxy.connect().close()


def test_without_a_predecessor_it_just_starts(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    other = replace(proxy, port=free_port())
    process, log = start(other, "alone")
    try:
        until(lambda: "listens on" in log.read_text(), "it listens")
    finally:
        end(process)


def test_who_cannot_plan_does_not_take_over(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    shard_map = load(proxy.config)
    nowhere = {name: replace(node, port=free_port()) for name, node in shard_map.nodes.items()}
    config = proxy.config.with_name("nowhere.toml")
    config.write_text(to_toml(replace(shard_map, nodes=nowhere)), encoding="utf-8")
    process, log = start(proxy, "blind", config)
    assert process.wait(PATIENCE_S) == 1
    assert "cannot take over" in log.read_text()
    with proxy.connect() as client:
        assert client.execute(COUNT_WEST).fetchone() == (24,)
    with successor(proxy):
        proxy.connect().close()


def test_a_successor_that_dies_half_way_changes_nothing(proxy: RunningProxy) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.connect(f"\0pgproxy/127.0.0.1:{proxy.port}")
        other.send(b"t")
        _, handles, _, _ = socket.recv_fds(other, 100, 10)
        assert len(handles) == 1
        for handle in handles:
            os.close(handle)
    for _ in range(20):
        proxy.connect().close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.connect(f"\0pgproxy/127.0.0.1:{proxy.port}")
        other.send(b"nonsense")
        other.send(b"c\x00")
        with suppress(OSError):
            other.send(b"")
    with proxy.connect() as client:
        assert client.execute(COUNT_WEST).fetchone() == (24,)
    assert "Traceback" not in proxy.log_text()


def test_a_stranger_on_the_name(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    other = replace(proxy, port=free_port())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.bind(f"\0pgproxy/127.0.0.1:{other.port}")
        stranger.listen()
        process, log = start(other, "deceived")
        peer, _ = stranger.accept()
        with peer:
            assert peer.recv(10) == b"h"
            peer.send(b"[]")
            assert process.wait(PATIENCE_S) == 1
    assert "what answers there is no pgproxy of this kind" in log.read_text()
