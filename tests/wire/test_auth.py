"""Logging in to a real PostgreSQL by every method, and the ways in which a log-in must fail."""

from __future__ import annotations

import socket

import pytest
import scramp

from pgproxy.demo.nodes import EmbeddedNode
from pgproxy.errors import ProxyError
from pgproxy.wire import messages as m
from pgproxy.wire.auth import Credential, Login
from pgproxy.wire.frames import FrameReader
from tests.session.fix_authentication import ADMITTED, PASSWORD

ASKED = [user for user in ADMITTED if user != "by_trust"]


def log_in(node: EmbeddedNode, login: Login, user: str) -> dict[str, str] | None:
    """Talk to the server until it is ready (None) or refuses (the error's fields)."""
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(m.startup_message({"user": user, "database": "postgres"}))
        reader = FrameReader(100_000)
        while True:
            frame = reader.take()
            if frame is None:
                data = connection.recv(10_000)
                assert data, "the server hung up"
                reader.feed(data)
                continue
            kind, payload = frame
            if kind == m.ERROR_RESPONSE:
                return m.parse_error_fields(payload)
            if kind == m.READY_FOR_QUERY:
                connection.sendall(m.terminate())
                return None
            if kind == m.AUTHENTICATION and (answer := login.respond(payload)) is not None:
                connection.sendall(answer)


@pytest.mark.parametrize("user", ADMITTED)
def test_every_method(guarded_pg: EmbeddedNode, user: str) -> None:
    login = Login(Credential(user, PASSWORD))
    assert log_in(guarded_pg, login, user) is None
    assert login.done


@pytest.mark.parametrize("user", ASKED)
def test_a_wrong_password_is_the_servers_28p01(guarded_pg: EmbeddedNode, user: str) -> None:
    login = Login(Credential(user, "wrong"))
    fields = log_in(guarded_pg, login, user)
    assert fields is not None
    assert fields["C"] == "28P01"
    assert not login.done


@pytest.mark.parametrize("user", ASKED)
def test_a_missing_password_is_said_before_anything_is_sent(guarded_pg: EmbeddedNode, user: str) -> None:
    with pytest.raises(ProxyError, match="none is configured") as caught:
        log_in(guarded_pg, Login(Credential(user, None)), user)
    assert caught.value.sqlstate == "28P01"
    assert caught.value.hint is not None


def test_md5_arithmetic() -> None:
    # SELECT 'md5' || md5(md5('secret' || 'alice') || 'salt')
    answer = Login(Credential("alice", "secret")).respond(b"\0\0\0\5salt")
    assert answer == m.password_message(b"md5986e2194384c07f4fd1df4b1351b3e68")


@pytest.mark.parametrize(
    ("payload", "sqlstate", "text"),
    [
        (b"\0\0\0\7", "28000", "GSSAPI"),
        (b"\0\0\0\x09", "28000", "SSPI"),
        (b"\0\0\0\x63", "28000", "method 99"),
        (b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0", "28000", "SCRAM-SHA-256-PLUS"),
        (b"\0\0\0\x0a\0", "28000", "none"),
        (b"\0\0\0\5abc", "08P01", "MD5"),
        (b"\0\0\0\x0br=x", "08P01", "SASLContinue"),
        (b"\0\0\0\x0cv=x", "08P01", "SASLFinal"),
    ],
)
def test_what_a_login_refuses(payload: bytes, sqlstate: str, text: str) -> None:
    with pytest.raises(ProxyError, match=text) as caught:
        Login(Credential("u", "p")).respond(payload)
    assert caught.value.sqlstate == sqlstate


class ScramServer:
    """The server's side of SCRAM, knowing `password`."""

    def __init__(self, password: str) -> None:
        mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
        secret = mechanism.make_auth_info(password)
        self.server = mechanism.make_server(lambda _user: secret)

    def first(self, initial: bytes) -> bytes:
        self.server.set_client_first(initial[5:].split(b"\0", 1)[1][4:].decode())
        return m.authentication(m.AUTHENTICATION_SASL_CONTINUE, self.server.get_server_first().encode())[5:]

    def final(self, response: bytes) -> bytes:
        self.server.set_client_final(response[5:].decode())
        return m.authentication(m.AUTHENTICATION_SASL_FINAL, self.server.get_server_final().encode())[5:]


OFFER = m.authentication(m.AUTHENTICATION_SASL, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")[5:]
OK = m.authentication_ok()[5:]


def test_scram_as_a_conversation() -> None:
    login, server = Login(Credential("u", "secret")), ScramServer("secret")
    initial = login.respond(OFFER)
    assert initial is not None
    response = login.respond(server.first(initial))
    assert response is not None
    assert login.respond(server.final(response)) is None
    assert not login.done
    assert login.respond(OK) is None
    assert login.done


def test_a_forged_server_signature() -> None:
    login, server = Login(Credential("u", "secret")), ScramServer("secret")
    response = login.respond(server.first(login.respond(OFFER) or b""))
    genuine = server.final(response or b"")
    forged = genuine[:8] + (b"B" if genuine[8:9] != b"B" else b"C") + genuine[9:]
    with pytest.raises(ProxyError, match="did not prove") as caught:
        login.respond(forged)
    assert caught.value.sqlstate == "28P01"


@pytest.mark.parametrize("answers", [0, 1])
def test_a_server_that_skips_its_proof(answers: int) -> None:
    login, server = Login(Credential("u", "secret")), ScramServer("secret")
    initial = login.respond(OFFER)
    if answers:
        login.respond(server.first(initial or b""))
    with pytest.raises(ProxyError, match="without proving its identity"):
        login.respond(OK)
    assert not login.done


def test_a_server_nonce_that_is_not_ours() -> None:
    login = Login(Credential("u", "secret"))
    login.respond(OFFER)
    strange = m.authentication(m.AUTHENTICATION_SASL_CONTINUE, b"r=abc,s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096")[5:]
    with pytest.raises(ProxyError, match="malformed SCRAM") as caught:
        login.respond(strange)
    assert caught.value.sqlstate == "08P01"


@pytest.mark.parametrize("data", [b"", b"\xff", b"nonsense"])
def test_malformed_scram(data: bytes) -> None:
    login = Login(Credential("u", "secret"))
    login.respond(OFFER)
    with pytest.raises(ProxyError) as caught:
        login.respond(m.authentication(m.AUTHENTICATION_SASL_CONTINUE, data)[5:])
    assert caught.value.sqlstate == "08P01"
