"""Hostile clients in numbers against a running proxy: others are served, and nothing is left of them."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from loadtest.attacks import ATTACKS, Outcome, Target, attack
from loadtest.processes import open_files
from pgproxy.demo.library import DATABASE
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, frame

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files in /proc")

COUNTS = {
    "silent connections": 500,
    "a byte a second": 200,
    "start-up packets of 1 GB": 200,
    "TLS, HTTP and noise": 200,
    "messages of 1 GB": 100,
    "a message in single bytes": 20,
    "statements without a pause": 2,
}
SECONDS = 3.0
ROUTED = "SELECT count(*) FROM books WHERE branch = 'west'"
SCATTERED = "SELECT count(*) FROM books"


@pytest.fixture(scope="module")
def quick_proxy(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """Lets go of who does not log in within two seconds and a half; has room for 100 clients, and 1,000 that log in."""
    directory = tmp_path_factory.mktemp("hostile")
    with running_proxy(library_cluster, directory, startup_timeout_s=2.5, max_clients=100) as proxy:
        yield proxy


@contextmanager
def other_client(proxy: RunningProxy) -> Iterator[list[str]]:
    """Statements on one connection and new connections all the time; gives what failed."""
    stop, failures = threading.Event(), []

    def run() -> None:
        with proxy.connect() as connection:
            while not stop.is_set():
                try:
                    assert connection.execute(ROUTED).fetchone() == expected[0]
                    assert connection.execute(SCATTERED).fetchone() == expected[1]
                    proxy.connect(connect_timeout=90).close()
                except (psycopg.Error, AssertionError) as failure:
                    failures.append(str(failure))
                    return

    with proxy.connect() as before:
        expected = [before.execute(sql).fetchone() for sql in (ROUTED, SCATTERED)]
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join()


def attacked(proxy: RunningProxy, name: str) -> Outcome:
    play, _ = ATTACKS[name]
    return asyncio.run(attack(play, Target(proxy.port, DATABASE), COUNTS[name], SECONDS))


@pytest.mark.parametrize("name", COUNTS)
def test_others_are_served_and_nothing_is_left(name: str, quick_proxy: RunningProxy) -> None:
    proxy = quick_proxy
    with other_client(proxy) as failures:
        before = open_files(proxy.process.pid)
        outcome = attacked(proxy, name)
    assert not failures
    assert outcome.opened == COUNTS[name]
    await_files(proxy, before)
    assert "ended by a bug" not in proxy.log_text()


def test_more_than_the_limit_that_never_log_in(quick_proxy: RunningProxy) -> None:
    """Beyond max_clients and 1,000 more, the oldest that has not logged in makes room for who comes."""
    proxy = quick_proxy
    with ExitStack() as opened:
        before = open_files(proxy.process.pid)
        silent = [opened.enter_context(socket.create_connection((proxy.host, proxy.port))) for _ in range(1_300)]
        with proxy.connect() as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
        assert silent[0].recv(1) == b""
    await_files(proxy, before)


def test_no_file_descriptor_left(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """Who cannot be accepted is closed; who is connected goes on; afterwards all is as before."""
    with running_proxy(library_cluster, tmp_path) as proxy, proxy.connect() as client:
        client.execute(SCATTERED)
        pid = proxy.process.pid
        before = open_files(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (before + 20, before + 20))
        with ExitStack() as opened:
            for _ in range(100):
                opened.enter_context(socket.create_connection((proxy.host, proxy.port)))
            for _ in range(20):
                client.execute(SCATTERED)
            assert open_files(pid) <= before + 20
        for _ in range(900):
            try:
                with proxy.connect(connect_timeout=90) as another:
                    another.execute(SCATTERED)
                return
            except psycopg.OperationalError:  # it may not have noticed yet that the others have left
                time.sleep(0.1)
        pytest.fail("no connection was accepted any more")


def test_a_soft_limit_of_files_is_raised(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with running_proxy(library_cluster, tmp_path, max_clients=400) as proxy:
            now, most = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
            assert now == min(400 + 1_000 + 1_000 + 2 * 20 * 3 + 64, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_memory_is_given_back(quick_proxy: RunningProxy) -> None:
    """A statement of 16 MB prepared under one name again and again, and unnamed: none but the last is kept."""
    proxy = quick_proxy
    before_mb = resident_mb(proxy)
    with RawClient.logged_in(proxy.conninfo) as client:
        for number in range(5):
            sql = f"SELECT length('{number}{'x' * (16 << 20)}')".encode()
            client.send(frame("C", b"Sa\0") + frame("P", b"a\0" + sql + b"\0\0\0") + frame("S"))
            assert client.until_ready()[-1].text == "I"
        assert resident_mb(proxy) < 450
    for _ in range(600):
        if resident_mb(proxy) < before_mb + 150:  # all that was sent is 80 MB, and each copy of it as much
            return
        time.sleep(0.1)
    pytest.fail(f"{resident_mb(proxy)} MB are still resident")


def resident_mb(proxy: RunningProxy) -> float:
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def await_files(proxy: RunningProxy, most: int) -> None:
    """The proxy's pools may keep connections to nodes that it did not have before."""
    most += 3 * 20
    for _ in range(900):
        if open_files(proxy.process.pid) <= most:
            return
        time.sleep(0.1)
    pytest.fail(f"{open_files(proxy.process.pid)} files are open, {most} at most were expected")
