"""What is fuzzed, and what must hold whatever comes in: the tests and the fuzzer run the same functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pgproxy.backend.exchange import ServerError
from pgproxy.errors import ProxyError
from pgproxy.wire import extended, messages, rows, startup
from pgproxy.wire.auth import Credential, Login
from pgproxy.wire.frames import FrameReader, scan_rows
from tests.hostile.clients import STATEMENTS, USER, conversation, message
from tests.hostile.draw import Draw
from tests.hostile.nodes import Hostile, Node, Plausible, absent, whims
from tests.hostile.stand import Stand, StreamEnd, VirtualLoop
from tests.raw_client import query
from tests.raw_client import startup as startup_packet

LARGEST_MESSAGE = 1_000
_LOGIN_STEPS = 3

# Every decoder takes any bytes, and raises nothing but ProxyError.
DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "parse": extended.parse_parse,
    "bind": extended.parse_bind,
    "bound": extended.bound_statement,
    "describe": extended.parse_describe,
    "execute": extended.parse_execute,
    "close": extended.parse_close,
    "parameter description": extended.parse_parameter_description,
    "query": messages.parse_query,
    "error": lambda data: ServerError(messages.parse_error_fields(data), "node").fields(),
    "parameter status": messages.parse_parameter_status,
    "key": messages.parse_backend_key_data,
    "complete": messages.parse_command_complete,
    "authentication": messages.parse_authentication,
    "row description": rows.parse_row_description,
    "row": lambda data: rows.fields_of(b"D" + (len(data) + 4).to_bytes(4, "big") + data),
}


def check_decoders(data: bytes) -> None:
    """The first byte chooses the decoder; without one, all of them read it."""
    for decode in DECODERS.values():
        _only_proxy_errors(decode, data)
    _only_proxy_errors(_first_packets, data)
    _only_proxy_errors(_frames, data)
    _only_proxy_errors(_log_in, data)
    _only_proxy_errors(_rows, data)


def _only_proxy_errors(decode: Callable[[bytes], Any], data: bytes) -> None:
    try:
        decode(data)
    except ProxyError as error:
        messages.error_response(error.fields())  # it can be told


def _first_packets(data: bytes) -> None:
    parsed = startup.parse_first_packet(data)
    if parsed is not None:
        packet, size = parsed
        assert 8 <= size <= len(data)
        if isinstance(packet, startup.StartupMessage):
            startup.startup_settings(packet)


def _rows(data: bytes) -> None:
    """What is stepped over is split into as many rows."""
    at, count = scan_rows(data, 0)
    assert at <= len(data)
    assert len(rows.split_rows(data[:at])) == count


def _frames(data: bytes) -> None:
    """Cut in two anywhere, a stream gives the same messages."""
    cut = data[0] % len(data) if data else 0
    halves, whole = FrameReader(LARGEST_MESSAGE), FrameReader(LARGEST_MESSAGE)
    found = []
    halves.feed(data[:cut])
    while (frame := halves.take()) is not None:
        found.append(frame)
    halves.feed(data[cut:])
    whole.feed(data)
    for frame in found:
        assert whole.take() == frame
    while (frame := whole.take()) is not None:
        assert halves.take() == frame
    assert halves.take() is None
    assert halves.waiting_bytes == whole.waiting_bytes


def _log_in(data: bytes) -> None:
    login = Login(Credential("user", "secret"))
    for code in (messages.AUTHENTICATION_SASL, messages.AUTHENTICATION_SASL_CONTINUE, messages.AUTHENTICATION_MD5):
        _only_proxy_errors(login.respond, code.to_bytes(4, "big") + data)
    _only_proxy_errors(login.respond, data)


def check_client(draw: Draw) -> None:
    """A client sends anything: the answer is made of whole messages, and nothing is left of it afterwards."""
    node = draw.pick(_NODES)
    pieces = [(piece, draw.pick((0.0, 0.001, 0.3))) for piece in conversation(draw)]
    with Stand(node) as stand:
        client = stand.connect()
        for piece, wait_s in pieces:
            client.deliver(piece)
            stand.loop.pass_time(wait_s)
        stand.loop.pass_time(0.3)
        wrong = stand.close()
    assert not wrong, "\n".join(wrong)
    check_answer(bytes(client.written))


def _plausible(loop: VirtualLoop, protocol: asyncio.Protocol) -> StreamEnd:
    return Plausible(loop, protocol).stream


_NODES: tuple[Node, ...] = (_plausible, _plausible, absent)


def check_node(draw: Draw) -> None:
    """Nodes answer anything: clients are answered or cut off, and nothing is left of them afterwards."""
    whim = whims(draw)
    asked = [query(draw.pick(STATEMENTS)) if draw.number(0, 1) else message(draw) for _ in range(draw.number(1, 6))]
    with Stand(lambda loop, protocol: Hostile(whim, loop, protocol).stream) as stand:
        client = stand.connect()
        client.deliver(startup_packet(USER))
        for piece in asked:
            stand.loop.pass_time(0.3)
            client.deliver(piece)
        stand.loop.pass_time(0.3)
        wrong = stand.close()
    assert not wrong, "\n".join(wrong)


def check_answer(data: bytes) -> None:
    """Whole messages of known types, behind the refusals of encryption."""
    data = data.lstrip(b"N") if data[1:2] in (b"R", b"E", b"N", b"v", b"") else data
    reader = FrameReader(1 << 30)
    reader.feed(data)
    while (frame := reader.take()) is not None:
        kind, payload = frame
        assert kind in messages.BACKEND_NAMES, data
        if kind == messages.ERROR_RESPONSE:
            fields = messages.parse_error_fields(payload)
            assert fields["C"] != "XX000", fields
    assert reader.empty, f"cut in the middle: {data[-60:]!r}"
