"""Messages other than Query, and bytes that are no messages at all."""

from __future__ import annotations

import struct

import pytest

from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, frame, query
from tests.session.conftest import Converse


def _told(conninfo: str, *data: bytes) -> list[tuple[object, ...]]:
    """The answer to these bytes and a Terminate, up to the close."""
    with RawClient.logged_in(conninfo) as client:
        client.send(b"".join(data) + frame("X"))
        return [message.shown() for message in client.messages()]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame("S"), id="Sync"),
        pytest.param(frame("H"), id="Flush"),
        pytest.param(frame("d", b"x") + frame("c") + frame("f", b"no\0"), id="what is left of a COPY"),
        pytest.param(frame("Q", b"SELECT 1"), id="Query without NUL"),
        pytest.param(frame("Q"), id="Query without anything"),
        pytest.param(frame("y"), id="unknown type"),
        pytest.param(frame("R", b"\0\0\0\0"), id="a server's message"),
        pytest.param(frame("p", b"secret\0"), id="password after log-in"),
    ],
)
def test_a_message_is_answered_as_by_postgres(
    data: bytes, shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    assert _told(shared_proxy.conninfo, data, query("SELECT 1")) == _told(
        reference_pg.conninfo, data, query("SELECT 1")
    )


@pytest.mark.parametrize("header", [b"Q\0\0\0\3", b"Q\0\0\0\0", b"Q\x7f\xff\xff\xff", b"Q\xff\xff\xff\xff"])
def test_an_impossible_length_ends_this_connection_alone(header: bytes, shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as other, RawClient.logged_in(shared_proxy.conninfo) as client:
        other.query("BEGIN; SELECT count(*) FROM books")
        client.send(header)
        (error,) = client.messages()
        assert error.fields["S"] == "FATAL"
        assert error.fields["C"] == "08P01"
        assert other.query("COMMIT")[-1].text == "I"


def test_a_message_as_large_as_allowed_passes(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        answer = client.query(f"SELECT length('{'x' * 8_000_000}')")
    assert [message.values for message in answer if message.kind == "D"] == [(b"8000000",)]


def test_a_refused_parse_fails_the_transaction(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.query("BEGIN")
        client.send(frame("P", b"\0SELECT * FROM books CROSS JOIN patrons\0\0\0") + frame("S"))
        error, ready = client.until_ready()
        assert (error.fields["C"], ready.text) == ("0A000", "E")
        assert client.query("SELECT 1")[0].fields["C"] == "25P02"
        assert client.query("ROLLBACK")[-1].text == "I"


def test_a_function_call_is_refused(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.send(frame("F", struct.pack("!IHHH", 1, 0, 0, 0)))
        error, ready = client.until_ready()
    assert (error.fields["C"], ready.text) == ("0A000", "I")


def test_a_query_byte_by_byte(shared_proxy: RunningProxy, with_proxy: Converse) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        for byte in query("SELECT 'ü'"):
            client.send(bytes([byte]))
        assert [message.shown() for message in client.until_ready()] == with_proxy("SELECT 'ü'")[0]
