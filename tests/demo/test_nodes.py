"""Embedded nodes: where they listen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pgproxy.demo.nodes import HOST, free_port, listen_problem

ROOT = Path(__file__).parent.parent.parent


def test_ports_that_nobody_listens_on_yet_are_not_given_again() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)
    assert [port for port in ports if listen_problem(HOST, port)] == []


def test_nor_to_another_process() -> None:
    port = free_port()
    code = f"from pgproxy.demo import nodes; nodes._PORTS_IN_TURN = iter([{port}, {port}]); nodes.free_port()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "no free port on 127.0.0.1" in ended.stderr
