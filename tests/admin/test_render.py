"""`pgproxy status` against a listener that speaks just enough of the protocol to hold an admin answer."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgproxy.admin.answers import status
from pgproxy.admin.encode import encode
from pgproxy.admin.render import ALL_UP, DEGRADED, UNREACHABLE, Proxy, run_status
from pgproxy.admin.view import NodeView
from pgproxy.demo.nodes import HOST, free_port
from pgproxy.wire import messages as m
from pgproxy.wire.startup import StartupMessage, parse_first_packet
from tests.admin.test_answers import MadeView

UP = NodeView("west", True, 0.0, 1.5, 0.4321)
DOWN = NodeView("north", False, 60.0, 59.0, None, 3, "[bold]no answer[/bold]")


@contextmanager
def admin_listening(nodes: tuple[NodeView, ...]) -> Iterator[int]:
    """Answers every query with STATUS over these nodes; checks what the client asks for."""

    class Conversation(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while True:
                data = self.request.recv(10_000)
                if not data:
                    return
                if data.startswith((b"Q", b"X")):
                    if data[:1] == b"X":
                        return
                    assert m.parse_query(data[5:]) == "STATUS"
                    self.request.sendall(encode(status(MadeView(nodes=nodes))) + m.ready_for_query(b"I"))
                    continue
                parsed = parse_first_packet(data)
                assert parsed is not None
                if not isinstance(parsed[0], StartupMessage):
                    self.request.sendall(b"N")
                    continue
                assert parsed[0].database == "pgproxy"
                settings = {"client_encoding": "UTF8", "DateStyle": "ISO, MDY", "TimeZone": "UTC"}
                statuses = b"".join(m.parameter_status(*item) for item in settings.items())
                self.request.sendall(m.authentication_ok() + statuses + m.ready_for_query(b"I"))

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with Listener((HOST, 0), Conversation) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield listener.server_address[1]
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.parametrize(("nodes", "code"), [((UP,), ALL_UP), ((UP, DOWN), DEGRADED)])
def test_table(nodes: tuple[NodeView, ...], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with admin_listening(nodes) as port:
        assert run_status(Proxy(HOST, port), False, False) == code
    shown = capsys.readouterr().out
    assert "west" in shown
    assert "0.43 ms" in shown


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with admin_listening((UP, DOWN)) as port:
        assert run_status(Proxy(HOST, port), True, False) == DEGRADED
    shown = json.loads(capsys.readouterr().out)
    assert shown["degraded"] is True
    west, north = shown["nodes"]
    assert (west["node"], west["state"], west["latency_ms"]) == ("west", "up", 0.43)
    assert west["shards"] == ["books_w", "p0", "l0"]
    assert north["state"] == "down"
    assert north["detail"].startswith("[bold]no answer[/bold] (last answer")


def test_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_status(Proxy(HOST, free_port()), False, False) == UNREACHABLE
    assert "cannot ask the proxy at 127.0.0.1" in capsys.readouterr().err


def test_exit_codes_are_the_documented_ones() -> None:
    assert (ALL_UP, DEGRADED, UNREACHABLE) == (0, 1, 2)


def test_watch_goes_on_until_interrupted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([None, None])

    def interrupt(_seconds: float) -> None:
        if next(rounds, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("pgproxy.admin.render.time.sleep", interrupt)
    with admin_listening((UP, DOWN)) as port:
        assert run_status(Proxy(HOST, port), True, True) == DEGRADED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(json.loads(line)["degraded"] for line in lines)
