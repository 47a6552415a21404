"""What systemd hears: ready when the proxy serves, stopping when it was told to end."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgproxy.notify import READY, in_one_service, notify
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy
from tests.test_takeover import PATIENCE_S, successor


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        path = Path(directory, "notify")
        listening.bind(str(path))
        listening.settimeout(90)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listening


def test_a_run_tells_its_states(supervisor: socket.socket, library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path):
        assert supervisor.recv(100) == b"READY=1"
    assert supervisor.recv(100) == b"STOPPING=1"


def heard(supervisor: socket.socket) -> tuple[int, bytes]:
    """The next message and the process that has sent it, as systemd learns it from the kernel."""
    message, ((_, _, credentials),), _, _ = supervisor.recvmsg(100, socket.CMSG_SPACE(12))
    return struct.unpack("3i", credentials)[0], message


def test_who_is_relieved_names_its_successor_before_it_ends(
    supervisor: socket.socket, library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    """Nothing else is heard of the first one: it does not stop, it only has no successor's place any more."""
    supervisor.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with running_proxy(library_cluster, tmp_path) as first:
        assert heard(supervisor) == (first.process.pid, b"READY=1")
        with successor(first) as (second, _):
            assert heard(supervisor) == (first.process.pid, f"MAINPID={second.pid}".encode())
            assert heard(supervisor) == (second.pid, b"READY=1")
            assert first.process.wait(PATIENCE_S) == 0
            with successor(first, "third") as (third, _):
                assert heard(supervisor) == (second.pid, f"MAINPID={third.pid}".encode())
                assert heard(supervisor) == (third.pid, b"READY=1")
                assert second.wait(PATIENCE_S) == 0
            assert heard(supervisor) == (third.pid, b"STOPPING=1")


def test_a_successor_of_another_service_is_not_ours(tmp_path: Path) -> None:
    """Each version may be a service of its own: the old one ends with its own process."""
    for process, group in (("self", "old"), ("7", "old"), ("8", "new")):
        (tmp_path / process).mkdir()
        (tmp_path / process / "cgroup").write_text(f"0::/system.slice/pgproxy@{group}.service\n")
    assert in_one_service(7, tmp_path)
    assert not in_one_service(8, tmp_path)
    assert not in_one_service(9, tmp_path)
    assert in_one_service(os.getpid())


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0pgproxy-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@pgproxy-test-notify")
        notify(READY)
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "nonsense", "/nowhere/at/all"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify(READY)
