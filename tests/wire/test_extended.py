"""The extended protocol's messages against the bytes of "Message Formats", against a server, and back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire import extended as x
from pgproxy.wire.messages import parse_error_fields, startup_message, sync
from tests.fix_nodes import ReferencePostgres

names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
oids = st.lists(st.integers(0, 2**32 - 1), max_size=20).map(tuple)
codes = st.integers(0, 1)
all_values = st.lists(st.none() | st.binary(max_size=20), max_size=10).map(tuple)
MOST = 65_535


@st.composite
def binds(draw: st.DrawFn) -> x.Bind:
    values = draw(all_values)
    formats = draw(st.sampled_from((0, 1, len(values))))
    return x.Bind(
        draw(names),
        draw(names),
        draw(st.tuples(*[codes] * formats)),
        values,
        draw(st.lists(st.integers(-(2**15), 2**15 - 1), max_size=5).map(tuple)),
    )


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (x.parse_message("", "", ()), b"P\0\0\0\x08\0\0\0\0"),
        (x.parse_message("s", "é", (23, 2**32 - 1)), b"P\0\0\0\x13s\0\xc3\xa9\0\0\2\0\0\0\x17\xff\xff\xff\xff"),
        (x.bind_message("", "", (), (), ()), b"B\0\0\0\x0c\0\0\0\0\0\0\0\0"),
        (
            x.bind_message("p", "s", (0, 1, 1), (b"1", None, b""), (1,)),
            b"B\0\0\0\x23p\0s\0\0\3\0\0\0\1\0\1\0\3\0\0\0\x011\xff\xff\xff\xff\0\0\0\0\0\1\0\1",
        ),
        (x.describe_statement("s"), b"D\0\0\0\7Ss\0"),
        (x.describe_portal(""), b"D\0\0\0\6P\0"),
        (x.execute_message("p", 0), b"E\0\0\0\x0ap\0\0\0\0\0"),
        (x.execute_message("", 258), b"E\0\0\0\x09\0\0\0\1\2"),
        (x.close_statement("s"), b"C\0\0\0\7Ss\0"),
        (x.close_portal(""), b"C\0\0\0\6P\0"),
        (x.flush(), b"H\0\0\0\4"),
        (x.parse_complete(), b"1\0\0\0\4"),
        (x.bind_complete(), b"2\0\0\0\4"),
        (x.close_complete(), b"3\0\0\0\4"),
        (x.no_data(), b"n\0\0\0\4"),
        (x.portal_suspended(), b"s\0\0\0\4"),
        (x.parameter_description(()), b"t\0\0\0\6\0\0"),
        (x.parameter_description((25, 2**32 - 1)), b"t\0\0\0\x0e\0\2\0\0\0\x19\xff\xff\xff\xff"),
    ],
)
def test_bytes(message: bytes, wire: bytes) -> None:
    assert message == wire
    assert int.from_bytes(wire[1:5], "big") == len(wire) - 1


@given(names, names, oids)
def test_parse_round_trip(name: str, sql: str, types: tuple[int, ...]) -> None:
    assert x.parse_parse(x.parse_message(name, sql, types)[5:]) == x.Parse(name, sql, types)


@given(binds())
def test_bind_round_trip(bind: x.Bind) -> None:
    assert x.parse_bind(_encode(bind)[5:]) == bind


@given(st.sampled_from((x.STATEMENT, x.PORTAL)), names)
def test_describe_and_close_round_trip(kind: str, name: str) -> None:
    describe, close = {
        x.STATEMENT: (x.describe_statement, x.close_statement),
        x.PORTAL: (x.describe_portal, x.close_portal),
    }[kind]
    assert x.parse_describe(describe(name)[5:]) == x.Describe(kind, name)
    assert x.parse_close(close(name)[5:]) == x.Close(kind, name)


@given(names, st.integers(-(2**31), 2**31 - 1))
def test_execute_round_trip(portal: str, max_rows: int) -> None:
    assert x.parse_execute(x.execute_message(portal, max_rows)[5:]) == x.Execute(portal, max(max_rows, 0))


@given(oids)
def test_parameter_description_round_trip(types: tuple[int, ...]) -> None:
    assert x.parse_parameter_description(x.parameter_description(types)[5:]) == types


def test_as_many_parameters_as_there_can_be() -> None:
    formats, values, types = (1, *(0,) * (MOST - 1)), (b"x",) * MOST, (20,) * MOST
    bind = x.parse_bind(x.bind_message("", "", formats, values, (1,) * 1_600)[5:])
    assert (bind.parameter_formats, bind.values, len(bind.result_formats)) == (formats, values, 1_600)
    assert x.parse_parse(x.parse_message("", "", types)[5:]).parameter_types == types
    assert x.parse_parameter_description(x.parameter_description(types)[5:]) == types


@pytest.mark.parametrize(
    ("formats", "wanted"), [((), [0, 0, 0]), ((0,), [0, 0, 0]), ((1,), [1, 1, 1]), ((0, 1, 0), [0, 1, 0])]
)
def test_formats_as_sent_hold_for_each(formats: tuple[int, ...], wanted: list[int]) -> None:
    bind = x.Bind("", "", formats, (None,) * 3, formats)
    assert [bind.format_of(index) for index in range(3)] == wanted
    assert [bind.result_format(index) for index in range(3)] == wanted


def test_result_formats_fit_the_columns() -> None:
    for formats in ((), (1,), (1, 0, 1)):
        x.check_result_formats(formats, 3)
    with pytest.raises(ProxyError) as refused:
        x.check_result_formats((0, 1), 3)
    assert _shown(refused.value) == ("08P01", "bind message has 2 result formats but query has 3 columns")


BIND = b"\0s\0"  # the unnamed portal, and a statement of three text parameters
THREE = b"\0\3\xff\xff\xff\xff\0\0\0\1a\0\0\0\0"
SHORT, FORMAT, STRING = "insufficient data left in message", "invalid message format", "invalid string in message"
MALFORMED = [
    (b"P", b"", "08P01", STRING),
    (b"P", b"a", "08P01", STRING),
    (b"P", b"\0SELECT 1", "08P01", STRING),
    (b"P", b"\0SELECT 1\0", "08P01", SHORT),
    (b"P", b"\0SELECT 1\0\0", "08P01", SHORT),
    (b"P", b"\0SELECT 1\0\0\1", "08P01", SHORT),
    (b"P", b"\0SELECT 1\0\0\2\0\0\0\x17\0\0\0", "08P01", SHORT),
    (b"P", b"\0SELECT 1\0\xff\xff\0\0\0\x17", "08P01", SHORT),
    (b"P", b"\0SELECT 1\0\0\0\0", "08P01", FORMAT),
    (b"P", b"\xff\0SELECT 1\0\0\0", "22021", 'invalid byte sequence for encoding "UTF8": 0xff'),
    (b"P", b"\0SELECT '\xc3'\0\0\0", "22021", 'invalid byte sequence for encoding "UTF8": 0xc3 0x27'),
    (b"P", b"\0SELECT '\xed\xa0\x80'\0", "22021", 'invalid byte sequence for encoding "UTF8": 0xed 0xa0 0x80'),
    (b"B", b"", "08P01", STRING),
    (b"B", b"\0s", "08P01", STRING),
    (b"B", b"\xff\0s\0", "22021", 'invalid byte sequence for encoding "UTF8": 0xff'),
    (b"B", BIND, "08P01", SHORT),
    (b"B", BIND + b"\0\1\0", "08P01", SHORT),
    (b"B", BIND + b"\0\0", "08P01", SHORT),
    (b"B", BIND + b"\0\0\0\3", "08P01", SHORT),
    (b"B", BIND + b"\0\0\0\3\0\0\0\2a", "08P01", SHORT),
    (b"B", BIND + b"\0\0\0\3\x7f\xff\xff\xffa", "08P01", SHORT),
    (b"B", BIND + b"\0\0\0\3\xff\xff\xff\xfe", "08P01", SHORT),
    (b"B", BIND + b"\0\0\0\3\x80\0\0\0", "08P01", SHORT),
    (b"B", BIND + b"\0\0" + THREE, "08P01", SHORT),
    (b"B", BIND + b"\0\0" + THREE + b"\0\2\0\0", "08P01", SHORT),
    (b"B", BIND + b"\0\0" + THREE + b"\0\0\0", "08P01", FORMAT),
    (b"B", BIND + b"\0\2\0\0\0\0" + THREE, "08P01", "bind message has 2 parameter formats but 3 parameters"),
    (b"B", BIND + b"\0\2\0\7\0\0\0\3", "08P01", "bind message has 2 parameter formats but 3 parameters"),
    (b"B", BIND + b"\0\1\0\7" + THREE, "22023", "unsupported format code: 7"),
    (b"B", BIND + b"\0\1\xff\xff" + THREE, "22023", "unsupported format code: -1"),
    (b"B", BIND + b"\0\3\0\0\0\1\0\2" + THREE, "22023", "unsupported format code: 2"),
    (b"B", BIND + b"\0\3\0\0\0\0\0\2\0\3\xff\xff\xff\xff", "08P01", SHORT),
    (b"D", b"", "08P01", "no data left in message"),
    (b"D", b"S", "08P01", STRING),
    (b"D", b"Ss", "08P01", STRING),
    (b"D", b"Ss\0\0", "08P01", FORMAT),
    (b"D", b"Q\0", "08P01", "invalid DESCRIBE message subtype 81"),
    (b"D", b"Q\0\0", "08P01", FORMAT),
    (b"D", b"S\xff\0", "22021", 'invalid byte sequence for encoding "UTF8": 0xff'),
    (b"C", b"", "08P01", "no data left in message"),
    (b"C", b"P", "08P01", STRING),
    (b"C", b"\0\0", "08P01", "invalid CLOSE message subtype 0"),
    (b"C", b"Pp\0\0", "08P01", FORMAT),
    (b"E", b"", "08P01", STRING),
    (b"E", b"\0\0\0\0", "08P01", SHORT),
    (b"E", b"\0\0\0\0\0\0", "08P01", FORMAT),
]
READERS: dict[bytes, Callable[[bytes], Any]] = {
    b"P": x.parse_parse,
    b"B": x.parse_bind,
    b"D": x.parse_describe,
    b"C": x.parse_close,
    b"E": x.parse_execute,
}


@pytest.mark.parametrize(("kind", "payload", "sqlstate", "message"), MALFORMED)
def test_malformed(kind: bytes, payload: bytes, sqlstate: str, message: str) -> None:
    with pytest.raises(ProxyError) as refused:
        READERS[kind](payload)
    assert (*_shown(refused.value), refused.value.severity) == (sqlstate, message, "ERROR")


@pytest.fixture(scope="module")
def server(reference_pg: ReferencePostgres) -> Iterator[socket.socket]:
    options = dict(part.split("=", 1) for part in reference_pg.conninfo.split())
    with socket.create_connection((reference_pg.host, reference_pg.port), timeout=30) as server:
        server.sendall(startup_message({"user": options["user"], "database": options["dbname"]}))
        assert _errors(server) == []
        server.sendall(x.parse_message("s", "SELECT $1, $2, $3", (25, 25, 25)) + sync())
        assert _errors(server) == []
        yield server


@pytest.mark.parametrize(("kind", "payload", "sqlstate", "message"), MALFORMED)
def test_a_server_says_the_same(
    server: socket.socket, kind: bytes, payload: bytes, sqlstate: str, message: str
) -> None:
    server.sendall(kind + (len(payload) + 4).to_bytes(4, "big") + payload + sync())
    assert _errors(server) == [(sqlstate, message)]


def test_a_server_ignores_formats_of_no_parameters(server: socket.socket) -> None:
    bind = x.bind_message("", "", (7,), (), ())
    server.sendall(x.parse_message("", "SELECT 1", ()) + bind + sync())
    assert _errors(server) == []
    assert x.parse_bind(bind[5:]).parameter_formats == (7,)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=60))
def test_any_payload_is_read_or_refused(kind: bytes, payload: bytes) -> None:
    assert _outcome(kind, payload) in ("read", "08P01", "22021", "22023")


@given(binds())
def test_no_cut_bind_is_read(bind: x.Bind) -> None:
    payload = _encode(bind)[5:]
    for end in range(len(payload)):
        with pytest.raises(ProxyError):
            x.parse_bind(payload[:end])
    with pytest.raises(ProxyError, match=FORMAT):
        x.parse_bind(payload + b"\0")


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\1", b"\0\1\0\0\0", b"\0\0\0", b"\0\1\0\0\0\x17\0"])
def test_malformed_parameter_description(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="malformed ParameterDescription"):
        x.parse_parameter_description(payload)


def _encode(bind: x.Bind) -> bytes:
    return x.bind_message(bind.portal, bind.statement, bind.parameter_formats, bind.values, bind.result_formats)


def _outcome(kind: bytes, payload: bytes) -> str:
    try:
        READERS[kind](payload)
    except ProxyError as refused:
        return refused.sqlstate
    return "read"


def _shown(refused: ProxyError) -> tuple[str, str]:
    return refused.sqlstate, refused.message


def _errors(server: socket.socket) -> Sequence[tuple[str, str]]:
    """(SQLSTATE, message) of each error up to the next ReadyForQuery."""
    errors = []
    with server.makefile("rb") as stream:
        while True:
            kind, size = stream.read(1), int.from_bytes(stream.read(4), "big")
            payload = stream.read(size - 4)
            if kind == b"E":
                fields = parse_error_fields(payload)
                errors.append((fields["C"], fields["M"]))
            elif kind in (b"Z", b""):
                return errors
