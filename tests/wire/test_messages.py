"""Each message against the bytes that the documentation's "Message Formats" gives, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire import messages as m

no_nul = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
field_maps = st.dictionaries(st.sampled_from("SVCMDHPpqWstcdnFLR"), no_nul)


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (m.authentication_ok(), b"R\0\0\0\x08\0\0\0\0"),
        (m.authentication(5, b"salt"), b"R\0\0\0\x0c\0\0\0\5salt"),
        (m.parameter_status("TimeZone", "UTC"), b"S\0\0\0\x11TimeZone\0UTC\0"),
        (m.backend_key_data(1, b"\1\2\3\4"), b"K\0\0\0\x0c\0\0\0\1\1\2\3\4"),
        (m.backend_key_data(2**32 - 1, b"abcd"), b"K\0\0\0\x0c\xff\xff\xff\xffabcd"),
        (m.ready_for_query(b"I"), b"Z\0\0\0\5I"),
        (m.ready_for_query(b"T"), b"Z\0\0\0\5T"),
        (m.ready_for_query(b"E"), b"Z\0\0\0\5E"),
        (m.error_response({"S": "ERROR", "M": "é"}), b"E\0\0\0\x10SERROR\0M\xc3\xa9\0\0"),
        (m.error_response({}), b"E\0\0\0\5\0"),
        (m.notice_response({"M": "cut"}), b"N\0\0\0\x0aMcut\0\0"),
        (m.command_complete("SELECT 5"), b"C\0\0\0\x0dSELECT 5\0"),
        (m.empty_query_response(), b"I\0\0\0\4"),
        (m.negotiate_protocol_version(0, []), b"v\0\0\0\x0c\0\3\0\0\0\0\0\0"),
        (m.negotiate_protocol_version(0, ["_pq_.a"]), b"v\0\0\0\x13\0\3\0\0\0\0\0\1_pq_.a\0"),
        (m.startup_message({"user": "u"}), b"\0\0\0\x10\0\3\0\0user\0u\0\0"),
        (m.cancel_request(7, b"abcd"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\7abcd"),
        (m.query("SELECT 'é'"), b"Q\0\0\0\x10SELECT '\xc3\xa9'\0"),
        (m.query(""), b"Q\0\0\0\5\0"),
        (m.sync(), b"S\0\0\0\4"),
        (m.terminate(), b"X\0\0\0\4"),
        (m.password_message(b"md5abc"), b"p\0\0\0\x0bmd5abc\0"),
        (m.sasl_initial("SCRAM-SHA-256", b"n,,"), b"p\0\0\0\x19SCRAM-SHA-256\0\0\0\0\3n,,"),
        (m.sasl_response(b"c=biws"), b"p\0\0\0\x0ac=biws"),
    ],
)
def test_bytes(message: bytes, wire: bytes) -> None:
    assert message == wire
    if wire[0] != 0:  # a typed message: its length says where it ends
        assert int.from_bytes(wire[1:5], "big") == len(wire) - 1


def test_every_type_has_one_name() -> None:
    assert m.FRONTEND_NAMES[m.QUERY] == "Query"
    assert m.BACKEND_NAMES[m.DATA_ROW] == "DataRow"
    assert len(set(m.FRONTEND_NAMES.values())) == len(m.FRONTEND_NAMES) == 14
    assert len(set(m.BACKEND_NAMES.values())) == len(m.BACKEND_NAMES) == 24


@given(no_nul)
def test_query_round_trip(sql: str) -> None:
    assert m.parse_query(m.query(sql)[5:]) == sql


@given(field_maps)
def test_error_fields_round_trip(fields: dict[str, str]) -> None:
    assert m.parse_error_fields(m.error_response(fields)[5:]) == fields


@given(no_nul, no_nul)
def test_parameter_status_round_trip(name: str, value: str) -> None:
    assert m.parse_parameter_status(m.parameter_status(name, value)[5:]) == (name, value)


@given(st.integers(0, 2**32 - 1), st.binary(min_size=4, max_size=256))
def test_backend_key_data_round_trip(pid: int, key: bytes) -> None:
    assert m.parse_backend_key_data(m.backend_key_data(pid, key)[5:]) == (pid, key)


@given(no_nul)
def test_command_complete_round_trip(tag: str) -> None:
    assert m.parse_command_complete(m.command_complete(tag)[5:]) == tag


@given(st.integers(0, 2**31 - 1), st.binary())
def test_authentication_round_trip(code: int, data: bytes) -> None:
    assert m.parse_authentication(m.authentication(code, data)[5:]) == (code, data)


def test_proxy_error_fields_survive_the_wire() -> None:
    error = ProxyError("42601", "wrong", hint="write it right", detail="there", position=7)
    assert m.parse_error_fields(m.error_response(error.fields())[5:]) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42601",
        "M": "wrong",
        "D": "there",
        "H": "write it right",
        "P": "7",
    }


def test_error_fields_in_a_foreign_encoding_are_readable() -> None:
    assert m.parse_error_fields(b"Mcaf\xe9\0\0") == {"M": "caf\ufffd"}


@pytest.mark.parametrize(
    ("parse", "payload"),
    [
        (m.parse_error_fields, b""),
        (m.parse_error_fields, b"Mx"),
        (m.parse_error_fields, b"Mx\0"),
        (m.parse_error_fields, b"Mx\0\0\0"),
        (m.parse_error_fields, b"\0\0"),
        (m.parse_parameter_status, b""),
        (m.parse_parameter_status, b"a\0b"),
        (m.parse_parameter_status, b"a\0b\0c"),
        (m.parse_parameter_status, b"a\0b\0\0"),
        (m.parse_backend_key_data, b"\0\0\0\1abc"),
        (m.parse_command_complete, b""),
        (m.parse_command_complete, b"SELECT 1"),
        (m.parse_command_complete, b"SELECT\0 1\0"),
        (m.parse_authentication, b"\0\0\0"),
    ],
)
def test_malformed_payloads(parse: object, payload: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse(payload)
    assert caught.value.sqlstate == "08P01"
    assert caught.value.severity == "FATAL"


@pytest.mark.parametrize("payload", [b"", b"SELECT 1", b"SELECT\0 1\0", b"SELECT 1\0\0"])
def test_a_malformed_query_is_an_error_that_the_connection_survives(payload: bytes) -> None:
    with pytest.raises(ProxyError) as caught:
        m.parse_query(payload)
    assert (caught.value.sqlstate, caught.value.severity) == ("08P01", "ERROR")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"\xff", "0xff"),
        (b"SELECT '\xc3('", "0xc3 0x28"),
        (b"a\xe2\x82", "0xe2 0x82"),
        (b"\xed\xa0\x80", "0xed 0xa0 0x80"),
        (b"\xf0\x9f\x98z.", "0xf0 0x9f 0x98 0x7a"),
        (b"\x80abc", "0x80"),
        (b"\xc0\x80", "0xc0 0x80"),
    ],
)
def test_invalid_utf8_in_postgresqls_words(text: bytes, shown: str) -> None:
    with pytest.raises(ProxyError) as caught:
        m.parse_query(text + b"\0")
    assert caught.value.sqlstate == "22021"
    assert caught.value.message == f'invalid byte sequence for encoding "UTF8": {shown}'
    assert caught.value.severity == "ERROR"


def test_a_notification_keeps_its_texts_under_another_process_id() -> None:
    payload = (7).to_bytes(4, "big") + b"channel\0what it says\0"
    assert m.parse_notification(payload) == (7, b"channel\0what it says\0")
    encoded = m.notification_response(70_000, b"channel\0what it says\0")
    assert encoded[:5] == b"A" + (len(encoded) - 1).to_bytes(4, "big")
    assert m.parse_notification(encoded[5:]) == (70_000, b"channel\0what it says\0")


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\1", b"\0\0\0\1x\0y"])
def test_a_malformed_notification(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        m.parse_notification(payload)
