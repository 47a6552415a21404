"""What systemd hears: ready when the proxy serves, stopping when it was told to end."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgproxy.notify import READY, notify
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        path = Path(directory, "notify")
        listening.bind(str(path))
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listening


def test_a_run_tells_its_states(supervisor: socket.socket, library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path):
        assert supervisor.recv(100) == b"READY=1"
    assert supervisor.recv(100) == b"STOPPING=1"


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
