"""The untyped first packets: whole, byte by byte, with trailing data, and broken ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProxyError
from pgproxy.wire.messages import cancel_request, startup_message
from pgproxy.wire.startup import (
    MAX_STARTUP_BYTES,
    CancelRequest,
    FirstPacket,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    parse_first_packet,
    startup_settings,
)

SSL = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSSENC = b"\0\0\0\x08\x04\xd2\x16\x30"


def packet(code: int, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body


def startup(body: bytes, version: int = 0x0003_0000) -> bytes:
    return packet(version, body)


PACKETS: list[tuple[bytes, FirstPacket]] = [
    (SSL, SslRequest()),
    (GSSENC, GssEncRequest()),
    (cancel_request(7, b"abcd"), CancelRequest(7, b"abcd")),
    (cancel_request(2**32 - 1, b"k" * 256), CancelRequest(2**32 - 1, b"k" * 256)),
    (startup_message({"user": "u"}), StartupMessage(3, 0, {"user": "u"})),
    (startup_message({"user": "é", "database": ""}), StartupMessage(3, 0, {"user": "é", "database": ""})),
    (startup(b"user\0a\0user\0b\0\0"), StartupMessage(3, 0, {"user": "b"})),
    (startup(b"user\0u\0\0", 0x0003_0002), StartupMessage(3, 2, {"user": "u"})),
    (
        startup(b"_pq_.x\0on\0user\0u\0_pq_.y\0\0\0"),
        StartupMessage(3, 0, {"user": "u"}, ("_pq_.x", "_pq_.y")),
    ),
    (startup(b"user\0u\0replication\0off\0\0"), StartupMessage(3, 0, {"user": "u", "replication": "off"})),
]


@pytest.mark.parametrize(("data", "expected"), PACKETS)
@pytest.mark.parametrize("trailing", [b"", b"Q\0\0\0\5\0", b"\0"])
def test_whole_and_with_trailing_data(data: bytes, expected: FirstPacket, trailing: bytes) -> None:
    assert parse_first_packet(data + trailing) == (expected, len(data))


@pytest.mark.parametrize(("data", "expected"), PACKETS)
def test_byte_by_byte(data: bytes, expected: FirstPacket) -> None:
    assert all(parse_first_packet(data[:end]) is None for end in range(len(data)))
    assert parse_first_packet(data) == (expected, len(data))


names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=30)


@given(st.dictionaries(names.filter(lambda n: n != "replication" and not n.startswith("_pq_.")), names, max_size=20))
def test_parameters_round_trip(parameters: dict[str, str]) -> None:
    parameters["user"] = parameters.get("user", "someone")
    parsed = parse_first_packet(startup_message(parameters))
    assert parsed is not None
    assert parsed[0] == StartupMessage(3, 0, parameters)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_waited_for_or_a_fatal_error(data: bytes) -> None:
    parsed: tuple[FirstPacket, int] | None = None
    severity = "FATAL"
    try:
        parsed = parse_first_packet(data)
    except ProxyError as error:
        severity = error.severity
    assert severity == "FATAL"
    assert parsed is None or 8 <= parsed[1] <= len(data)


@pytest.mark.parametrize(
    ("data", "sqlstate", "message"),
    [
        (b"\0\0\0\0", "08P01", "invalid length of startup packet"),
        (b"\0\0\0\x07", "08P01", "invalid length of startup packet"),
        ((MAX_STARTUP_BYTES + 5).to_bytes(4, "big"), "08P01", "invalid length of startup packet"),
        (b"GET / HTTP/1.1\r\n", "08P01", "invalid length of startup packet"),
        (packet(80877103, b"x"), "08P01", "invalid length of startup packet"),
        (packet(80877102, b"\0\0\0\1abc"), "08P01", "invalid length of query cancel packet"),
        (packet(80877102, b"\0\0\0\1" + b"k" * 257), "08P01", "invalid length of query cancel packet"),
        (startup(b"", 0x0002_0000), "0A000", "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"),
        (startup(b"", 0x0004_0001), "0A000", "unsupported frontend protocol 4.1: server supports 3.0 to 3.2"),
        (startup(b"\0"), "28000", "no PostgreSQL user name specified in startup packet"),
        (startup(b"user\0\0\0"), "28000", "no PostgreSQL user name specified in startup packet"),
        (startup(b"database\0d\0\0"), "28000", "no PostgreSQL user name specified in startup packet"),
        (startup(b"user\0\xff\0\0"), "22021", 'invalid byte sequence for encoding "UTF8": 0xff'),
        (startup(b"user\0u\0replication\0database\0\0"), "0A000", "replication connections are not supported"),
        *[
            (startup(body), "08P01", "invalid startup packet layout: expected terminator as last byte")
            for body in (b"", b"user", b"user\0", b"user\0u", b"user\0u\0", b"user\0u\0\0x", b"user\0u\0\0\0")
        ],
    ],
)
def test_refused(data: bytes, sqlstate: str, message: str) -> None:
    with pytest.raises(ProxyError) as caught:
        parse_first_packet(data)
    assert (caught.value.sqlstate, caught.value.message, caught.value.severity) == (sqlstate, message, "FATAL")


def test_the_largest_packet() -> None:
    largest = startup(b"user\0" + b"u" * (MAX_STARTUP_BYTES - 4 - 7) + b"\0\0")
    assert len(largest) == MAX_STARTUP_BYTES + 4
    parsed = parse_first_packet(largest)
    assert parsed is not None
    assert parsed[1] == len(largest)


@pytest.mark.parametrize(
    ("minor", "options", "due", "agreed", "key_bytes"),
    [
        (0, (), False, 0, 4),
        (1, (), False, 1, 4),
        (2, (), False, 2, 32),
        (3, (), True, 2, 32),
        (9999, (), True, 2, 32),
        (0, ("_pq_.x",), True, 0, 4),
        (2, ("_pq_.x",), True, 2, 32),
    ],
)
def test_negotiation(minor: int, options: tuple[str, ...], due: bool, agreed: int, key_bytes: int) -> None:
    message = StartupMessage(3, minor, {"user": "u"}, options)
    assert (message.must_negotiate, message.agreed_minor, message.cancel_key_bytes) == (due, agreed, key_bytes)


@pytest.mark.parametrize(
    ("parameters", "database"), [({}, "u"), ({"database": ""}, "u"), ({"database": "library_system"}, "library_system")]
)
def test_the_database_is_the_users_unless_said(parameters: dict[str, str], database: str) -> None:
    assert StartupMessage(3, 0, {"user": "u"} | parameters).database == database


@pytest.mark.parametrize(
    ("parameters", "settings"),
    [
        ({"database": "d", "replication": "no"}, {}),
        ({"TimeZone": "UTC", "application_name": "psql"}, {"timezone": "UTC", "application_name": "psql"}),
        ({"options": "-c geqo=off"}, {"geqo": "off"}),
        ({"options": "  -cgeqo=off\t--work-mem=4MB "}, {"geqo": "off", "work_mem": "4MB"}),
        ({"options": r"-c search_path=a,\ b -c x.y=\\"}, {"search_path": "a, b", "x.y": "\\"}),
        ({"options": "-c timezone=Asia/Tokyo", "TimeZone": "UTC"}, {"timezone": "UTC"}),
        ({"options": "-c application_name="}, {"application_name": ""}),
    ],
)
def test_settings(parameters: dict[str, str], settings: dict[str, str]) -> None:
    assert startup_settings(StartupMessage(3, 0, {"user": "u"} | parameters)) == settings


@pytest.mark.parametrize("options", ["-x", "geqo=off", "-c", "-c geqo", "-c =off", "--", "-c geqo=off stray"])
def test_bad_switches(options: str) -> None:
    with pytest.raises(ProxyError) as caught:
        startup_settings(StartupMessage(3, 0, {"user": "u", "options": options}))
    assert caught.value.severity == "FATAL"
