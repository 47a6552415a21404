"""Logging in over TLS: channel binding, client certificates, and rules that tell encrypted from plain connections."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import asyncpg
import pg8000.native
import psycopg
import pytest

from pgproxy.demo.nodes import HOST
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.wire.scram import encode, make_verifier
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates, tls_proxy
from tests.raw_client import SSL_REQUEST, RawClient, frame, startup
from tests.session.fix_authentication import PASSWORD, with_rules, write_users
from tests.session.test_authentication import CLIENT_FIRST, initial

READER = "reader, é"  # the common name of the tests' client certificate


@pytest.fixture(scope="module")
def encrypted(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("tls-auth")
    write_users(directory / "users.txt", {"alice": str(make_verifier(PASSWORD)), "told": str(make_verifier(PASSWORD))})
    change = with_rules(
        AuthRule(AuthMethod.SCRAM, (), ("alice",)),
        AuthRule(AuthMethod.PASSWORD, (), ("told",), tls=True),
        AuthRule(AuthMethod.CERT, (), (READER, "someone"), tls=True),
        AuthRule(AuthMethod.TRUST, (), ("plain",), tls=False),
        file=directory / "users.txt",
    )
    tls = {"client_ca_file": certificates.ca}
    with tls_proxy(library_cluster, certificates, directory, tls=tls, change=change) as proxy:
        yield proxy


def connect(proxy: RunningProxy, user: str, **options: Any) -> psycopg.Connection:
    own = {"user": user, "password": PASSWORD, "sslmode": "require", "gssencmode": "disable"}
    return psycopg.connect(proxy.conninfo, **(own | options))


@pytest.mark.parametrize("binding", ["require", "prefer", "disable"])
def test_channel_binding(binding: str, encrypted: RunningProxy) -> None:
    with connect(encrypted, "alice", channel_binding=binding) as connection:
        assert connection.execute("SELECT 7").fetchone() == (7,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(encrypted, "alice", channel_binding=binding, password="wrong")


def test_without_tls_there_is_no_channel_binding(encrypted: RunningProxy) -> None:
    connect(encrypted, "alice", sslmode="disable").close()
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        connect(encrypted, "alice", sslmode="disable", channel_binding="require")


@pytest.mark.asyncio
async def test_other_drivers(encrypted: RunningProxy, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    common = {"user": "alice", "password": PASSWORD, "host": "localhost", "port": encrypted.port}
    other = pg8000.native.Connection(**common, database="library_system", ssl_context=context)
    assert other.run("SELECT 7") == [[7]]
    other.close()
    connection = await asyncpg.connect(**common, database="library_system", ssl=context)
    assert await connection.fetchval("SELECT 7") == 7
    await connection.close()


def sasl_error(port: int, certificates: Certificates, *pieces: bytes) -> dict[str, str]:
    """What the server at last says to these messages over TLS."""
    context = ssl.create_default_context(cafile=certificates.ca)
    with RawClient(HOST, port) as client:
        client.send(SSL_REQUEST)
        assert client.byte() == b"S"
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.send(startup({"user": "alice", "database": "library_system"}))
        for piece in pieces:
            message = client.message()
            assert message is not None
            assert message.kind == "R"
            client.send(piece)
        return client.until_ready()[-1].fields


PLUS_FIRST = b"p=tls-server-end-point,,n=,r=abcdefgh"
PROOF = b",r=abcdefgh,p=" + b"A" * 43 + b"="
ATTACKS = {
    "y: someone has taken the offer away": [initial(b"SCRAM-SHA-256", b"y,,n=,r=abcdefgh")],
    "binding without PLUS": [initial(b"SCRAM-SHA-256", PLUS_FIRST)],
    "PLUS without binding": [initial(b"SCRAM-SHA-256-PLUS", CLIENT_FIRST)],
    "PLUS with y": [initial(b"SCRAM-SHA-256-PLUS", b"y,,n=,r=abcdefgh")],
    "another kind of binding": [initial(b"SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=abcdefgh")],
    "a forged binding": [
        initial(b"SCRAM-SHA-256-PLUS", PLUS_FIRST),
        frame("p", b"c=" + encode(b"p=tls-server-end-point,," + bytes(32)).encode() + PROOF),
    ],
    "no binding in the end": [initial(b"SCRAM-SHA-256-PLUS", PLUS_FIRST), frame("p", b"c=biws" + PROOF)],
    "binding in the end only": [
        initial(b"SCRAM-SHA-256", CLIENT_FIRST),
        frame("p", b"c=" + encode(b"p=tls-server-end-point,," + bytes(32)).encode() + PROOF),
    ],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_on_channel_binding(attack: str, encrypted: RunningProxy, certificates: Certificates) -> None:
    fields = sasl_error(encrypted.port, certificates, *ATTACKS[attack])
    assert fields["S"] == "FATAL"
    assert fields["C"] in ("28000", "08P01")


@pytest.mark.system_postgres
@pytest.mark.parametrize("attack", ATTACKS)
def test_they_are_answered_as_by_postgres(
    attack: str, encrypted: RunningProxy, certificates: Certificates, secure_alice: int
) -> None:
    ours = sasl_error(encrypted.port, certificates, *ATTACKS[attack])
    assert ours == sasl_error(secure_alice, certificates, *ATTACKS[attack])


@pytest.fixture(scope="module")
def secure_alice(secure_cluster: Any) -> int:
    """The port of a PostgreSQL with TLS that asks alice for SCRAM."""
    node = secure_cluster.nodes["west-library"]
    with psycopg.connect(node.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE alice LOGIN PASSWORD '{make_verifier(PASSWORD)}'".encode())
    secure_cluster.secure("hostssl all all all scram-sha-256\n")
    return int(node.port)


def test_certificates(encrypted: RunningProxy, certificates: Certificates) -> None:
    pair = {"sslcert": certificates.client.certificate, "sslkey": certificates.client.key, "password": None}
    with connect(encrypted, READER, **pair) as connection:
        assert connection.execute("SELECT 7").fetchone() == (7,)
    with pytest.raises(psycopg.OperationalError, match='certificate authentication failed for user "someone"'):
        connect(encrypted, "someone", **pair)
    with pytest.raises(psycopg.OperationalError, match="connection requires a valid client certificate"):
        connect(encrypted, READER, sslcert="/nonexistent", password=None)
    with pytest.raises(psycopg.OperationalError, match=r"no authentication rule .* no encryption"):
        connect(encrypted, READER, sslmode="disable")


def test_rules_for_one_kind_of_connection(encrypted: RunningProxy) -> None:
    connect(encrypted, "told").close()
    connect(encrypted, "plain", sslmode="disable").close()
    with pytest.raises(psycopg.OperationalError, match=r'user "told", .* no encryption'):
        connect(encrypted, "told", sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match=r'user "plain", .* SSL encryption'):
        connect(encrypted, "plain")
