"""The server's side of SCRAM with channel binding, and with the clients of others.

Without TLS every malformed message is compared with PostgreSQL's answer in tests/session/test_authentication.py.
"""

from __future__ import annotations

import hashlib

import pytest
import scramp
from scramp.core import ScramClient

from pgproxy.errors import ProxyError
from pgproxy.wire import scram
from pgproxy.wire.scram import ScramKeys, make_verifier, mock_verifier
from pgproxy.wire.scram_client import KeyMismatch, ScramKeyClient
from pgproxy.wire.scram_server import ScramServer, WrongProof

END_POINT = hashlib.sha256(b"a certificate").digest()
VERIFIER = make_verifier("secret")
BINDING = ("tls-server-end-point", END_POINT)


def initial(mechanism: str, data: str) -> bytes:
    return mechanism.encode() + b"\0" + len(data).to_bytes(4, "big") + data.encode()


def text(message: bytes) -> str:
    """The SCRAM message in an Authentication message."""
    size = int.from_bytes(message[1:5], "big")
    return message[9 : size + 1].decode()


def log_in(server: ScramServer, client: ScramClient | ScramKeyClient, mechanism: str) -> None:
    client.set_server_first(text(server.feed(initial(mechanism, client.get_client_first()))))
    client.set_server_final(text(server.feed(client.get_client_final().encode())))


def test_the_offer() -> None:
    assert ScramServer(VERIFIER, None).offer()[9:] == b"SCRAM-SHA-256\0\0"
    assert ScramServer(VERIFIER, END_POINT).offer()[9:] == b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"


@pytest.mark.parametrize(
    ("mechanism", "binding", "end_point"),
    [
        ("SCRAM-SHA-256", None, None),
        ("SCRAM-SHA-256", None, END_POINT),
        ("SCRAM-SHA-256-PLUS", BINDING, END_POINT),
    ],
)
def test_with_scramps_client(mechanism: str, binding: tuple[str, bytes] | None, end_point: bytes | None) -> None:
    server = ScramServer(VERIFIER, end_point)
    log_in(server, ScramClient([mechanism], "user", "secret", channel_binding=binding), mechanism)
    assert server.done
    assert scram.digest(server.client_key) == VERIFIER.stored_key


@pytest.mark.parametrize("verifier", [VERIFIER, mock_verifier(b"", "user")])
def test_a_wrong_password(verifier: scram.ScramVerifier) -> None:
    server = ScramServer(verifier, None)
    with pytest.raises(WrongProof):
        log_in(server, ScramClient(["SCRAM-SHA-256"], "user", "wrong"), "SCRAM-SHA-256")
    assert not server.done


def test_another_certificate() -> None:
    """Someone between the client and us has a certificate of his own."""
    between = ("tls-server-end-point", hashlib.sha256(b"another certificate").digest())
    client = ScramClient(["SCRAM-SHA-256-PLUS"], "user", "secret", channel_binding=between)
    with pytest.raises(ProxyError, match="SCRAM channel binding check failed") as refused:
        log_in(ScramServer(VERIFIER, END_POINT), client, "SCRAM-SHA-256-PLUS")
    assert (refused.value.sqlstate, refused.value.severity) == ("28000", "FATAL")


@pytest.mark.parametrize(
    ("mechanism", "first", "sqlstate", "said"),
    [
        ("SCRAM-SHA-256", "y,,n=,r=abc", "28000", "However, this server does support channel binding"),
        ("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=abc", "08P01", "includes channel binding data"),
        ("SCRAM-SHA-256-PLUS", "n,,n=,r=abc", "08P01", "does not include channel binding data"),
        ("SCRAM-SHA-256-PLUS", "y,,n=,r=abc", "08P01", "does not include channel binding data"),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=,r=abc", "08P01", 'channel-binding type "tls-unique"'),
        ("SCRAM-SHA-256-PLUS", "p,,n=,r=abc", "08P01", 'Expected character "=" for attribute "p".'),
    ],
)
def test_downgrades(mechanism: str, first: str, sqlstate: str, said: str) -> None:
    with pytest.raises(ProxyError) as refused:
        ScramServer(VERIFIER, END_POINT).feed(initial(mechanism, first))
    assert refused.value.sqlstate == sqlstate
    assert refused.value.severity == "FATAL"
    assert said in refused.value.message + (refused.value.detail or "")


def test_a_binding_that_is_claimed_in_the_end_only() -> None:
    server = ScramServer(VERIFIER, END_POINT)
    server.feed(initial("SCRAM-SHA-256", "n,,n=,r=abc"))
    binding = scram.encode(b"p=tls-server-end-point,," + END_POINT)
    with pytest.raises(ProxyError, match="unexpected SCRAM channel-binding attribute"):
        server.feed(f"c={binding},r=abc,p=abc".encode())


def test_a_client_with_keys_instead_of_a_password() -> None:
    first = ScramServer(VERIFIER, None)
    log_in(first, ScramClient(["SCRAM-SHA-256"], "user", "secret"), "SCRAM-SHA-256")
    keys = ScramKeys(first.client_key, VERIFIER.server_key, VERIFIER.salt, VERIFIER.iterations)
    for end_point, mechanism in ((None, "SCRAM-SHA-256"), (END_POINT, "SCRAM-SHA-256-PLUS")):
        again = ScramServer(VERIFIER, end_point)
        log_in(again, ScramKeyClient(keys, end_point), mechanism)
        assert again.done
    with pytest.raises(ProxyError, match="channel binding check failed"):
        log_in(ScramServer(VERIFIER, END_POINT), ScramKeyClient(keys, bytes(32)), "SCRAM-SHA-256-PLUS")
    with pytest.raises(KeyMismatch):
        log_in(ScramServer(make_verifier("secret"), None), ScramKeyClient(keys), "SCRAM-SHA-256")
    mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
    auth_info = (VERIFIER.salt, VERIFIER.stored_key, VERIFIER.server_key, VERIFIER.iterations)
    assert mechanism.make_auth_info("secret", salt=VERIFIER.salt, iteration_count=VERIFIER.iterations) == auth_info


@pytest.mark.parametrize(
    "message", ["", "r=abc", "e=other-error", "r=zzz,s=c2FsdA==,i=4096", "r=OWN,s=c2FsdA==,i=4096", "r=OWNx,s=?,i=1"]
)
def test_a_key_client_does_not_trust_the_server(message: str) -> None:
    client = ScramKeyClient(ScramKeys(b"k" * 32, b"s" * 32, b"salt", 4096), nonce="OWN")
    with pytest.raises(ValueError):
        client.set_server_first(message)


def test_a_key_client_checks_the_servers_signature() -> None:
    client = ScramKeyClient(ScramKeys(b"k" * 32, b"s" * 32, b"salt", 4096), nonce="OWN")
    client.set_server_first("r=OWNx,s=c2FsdA==,i=4096")
    client.get_client_final()
    with pytest.raises(ValueError, match="signature"):
        client.set_server_final("v=" + scram.encode(bytes(32)))
