"""Drivers over TLS: libpq's modes, client certificates, direct negotiation, asyncpg and pg8000."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import asyncpg
import pg8000.dbapi
import psycopg
import pytest

from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import SUPERUSER
from tests.activity import await_running, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates, Pair, tls_proxy

WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
PLAIN = {"disable": True, "allow": True}


@pytest.fixture(scope="module")
def strict_proxy(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    """TLS required, and a client certificate with it."""
    tls = {"mode": "require", "client_ca_file": certificates.ca, "client_certificates": "required"}
    with tls_proxy(library_cluster, certificates, tmp_path_factory.mktemp("strict"), tls=tls) as running:
        yield running


def _connect(proxy: RunningProxy, **options: Any) -> psycopg.Connection:
    return proxy.connect(**({"hostaddr": "127.0.0.1", "host": "localhost"} | options))


def _client(pair: Pair) -> dict[str, str]:
    return {"sslcert": pair.certificate, "sslkey": pair.key}


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("cursors", [psycopg.ClientCursor, psycopg.Cursor])
def test_each_sslmode(
    mode: str, cursors: type[psycopg.Cursor], shared_tls_proxy: RunningProxy, certificates: Certificates
) -> None:
    with _connect(
        shared_tls_proxy, sslmode=mode, sslrootcert=certificates.ca, cursor_factory=cursors, prepare_threshold=0
    ) as connection:
        assert connection.pgconn.ssl_in_use is (mode not in PLAIN)
        for _ in range(3):
            assert connection.execute(WEST).fetchone() == (24,)
        assert len(connection.execute("SELECT isbn FROM books ORDER BY isbn").fetchall()) == 72


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sslmode": "verify-ca", "ca": "other_ca"}, "certificate verify failed"),
        ({"sslmode": "verify-full", "ca": "other_ca"}, "certificate verify failed"),
        ({"sslmode": "verify-full", "ca": "ca", "host": "elsewhere.example"}, "does not match host name"),
    ],
)
def test_a_proxy_that_is_not_the_right_one_is_not_believed(
    options: dict[str, str], message: str, shared_tls_proxy: RunningProxy, certificates: Certificates
) -> None:
    options = dict(options)
    root = getattr(certificates, options.pop("ca"))
    with pytest.raises(psycopg.OperationalError, match=message):
        _connect(shared_tls_proxy, sslrootcert=root, **options)
    with _connect(shared_tls_proxy, sslmode="verify-full", sslrootcert=certificates.ca) as other:
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_require_against_a_proxy_without_tls(shared_proxy: RunningProxy) -> None:
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL, but SSL was required"):
        _connect(shared_proxy, sslmode="require")
    with _connect(shared_proxy, sslmode="prefer") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_disable_against_a_proxy_that_requires_tls(strict_proxy: RunningProxy) -> None:
    with pytest.raises(psycopg.OperationalError, match="accepts encrypted connections only"):
        _connect(strict_proxy, sslmode="disable")


@pytest.mark.parametrize("protocol", ["3.0", "3.2"])
def test_direct_negotiation(protocol: str, shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    options = {"sslnegotiation": "direct", "min_protocol_version": protocol, "max_protocol_version": protocol}
    with _connect(shared_tls_proxy, sslmode="verify-full", sslrootcert=certificates.ca, **options) as connection:
        assert connection.execute(WEST).fetchone() == (24,)
        assert str(connection.pgconn.full_protocol_version) == protocol.replace(".", "000")


@pytest.mark.parametrize("protocol", ["3.0", "3.2"])
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
def test_cancel(
    way: str, encrypted: bool, protocol: str, shared_tls_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    """`cancel_safe` goes over TLS when the connection does, `cancel` never."""
    mode = "require" if encrypted else "disable"
    options = {"min_protocol_version": protocol, "max_protocol_version": protocol}
    with _connect(shared_tls_proxy, sslmode=mode, **options) as connection:
        pgconn = connection.pgconn
        pgconn.send_query(b"SELECT pg_sleep(60)")
        await_running(library_cluster, "pg_sleep(60)")
        getattr(connection, way)()
        while (result := pgconn.get_result()) is not None:
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        assert state == b"57014"


def test_a_client_certificate_is_accepted(strict_proxy: RunningProxy, certificates: Certificates) -> None:
    with _connect(
        strict_proxy, sslmode="verify-full", sslrootcert=certificates.ca, **_client(certificates.client)
    ) as connection:
        assert connection.execute(WEST).fetchone() == (24,)


def test_a_missing_client_certificate(strict_proxy: RunningProxy, shared_tls_proxy: RunningProxy) -> None:
    with pytest.raises(psycopg.OperationalError, match="connection requires a valid client certificate"):
        _connect(strict_proxy, sslmode="require", sslcertmode="disable")
    with _connect(shared_tls_proxy, sslmode="require", sslcertmode="disable") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def _why_not(proxy: RunningProxy, certificates: Certificates) -> str:
    with pytest.raises(psycopg.OperationalError) as refused:
        _connect(proxy, sslmode="require", **_client(certificates.other_client))
    return str(refused.value)


def test_a_client_certificate_of_another_authority(
    strict_proxy: RunningProxy, shared_tls_proxy: RunningProxy, certificates: Certificates
) -> None:
    for proxy in (strict_proxy, shared_tls_proxy):
        # In TLS 1.3 the handshake is over for libpq by then: when it writes before it reads, all it sees is the end.
        until(lambda proxy=proxy: "alert unknown ca" in _why_not(proxy, certificates), "the reason is seen")
        until(lambda proxy=proxy: "certificate verify failed" in proxy.log_text(), "it is logged")


def test_asyncpg(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    async def work(**options: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            host="localhost", port=shared_tls_proxy.port, user=SUPERUSER, database=DATABASE, **options
        )
        try:
            await connection.execute("SET work_mem = '5MB'")
            return await connection.fetch("SELECT isbn FROM books WHERE branch = $1 ORDER BY isbn", "west")
        finally:
            await connection.close()

    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client.certificate, certificates.client.key)
    assert len(asyncio.run(work(ssl=context))) == 24
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(work(ssl=ssl.create_default_context(cafile=certificates.other_ca)))


def test_pg8000(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    connection = pg8000.dbapi.connect(
        user=SUPERUSER, host="localhost", port=shared_tls_proxy.port, database=DATABASE, ssl_context=context
    )
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT isbn FROM books WHERE branch = %s", ("west",))
        assert len(cursor.fetchall()) == 24
    finally:
        connection.close()
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        pg8000.dbapi.connect(
            user=SUPERUSER,
            host="localhost",
            port=shared_tls_proxy.port,
            database=DATABASE,
            ssl_context=ssl.create_default_context(cafile=certificates.other_ca),
        )
