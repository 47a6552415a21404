"""Embedded nodes: where they listen."""

from __future__ import annotations

from pgproxy.demo.nodes import HOST, free_port, listen_problem


def test_ports_that_nobody_listens_on_yet_are_not_given_again() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)
    assert [port for port in ports if listen_problem(HOST, port)] == []
