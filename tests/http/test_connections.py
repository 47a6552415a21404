"""Idle connections keep nobody out."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack

from pgproxy.demo.nodes import HOST
from pgproxy.http.connections import MOST_CONNECTIONS
from tests.http.conftest import TIMEOUT_S, HttpProxy


def test_idle_connections_make_room(web: HttpProxy) -> None:
    """Those that say nothing, and those that never end what they say; the one at work is not cut off."""
    with ExitStack() as stack:
        watching = http.client.HTTPConnection(HOST, web.port, timeout=TIMEOUT_S)
        stack.callback(watching.close)
        watching.request("GET", "/events")
        events = watching.getresponse()
        for number in range(MOST_CONNECTIONS + 20):
            idle = stack.enter_context(socket.create_connection((HOST, web.port), TIMEOUT_S))
            idle.sendall(b"GET / HTTP/1.1\r\nHost: loc" if number % 2 else b"")
        for _ in range(5):
            assert web.ask("/health").status == 200
        assert events.readline() == b"event: hello\n"
        assert events.readline().startswith(b"data: ")
        assert (events.readline(), events.readline()) == (b"\n", b"event: state\n")
        events.close()
