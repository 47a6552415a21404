"""TLS towards clients at the level of bytes: what is said in plain, how it begins, and what an attacker may try."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.activity import await_nothing_open, await_running, connect, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates, tls_proxy, write_pair
from tests.raw_client import SSL_REQUEST, RawClient, cancel_request, logged_in_at_last, query, startup

USER = {"user": "postgres", "database": "library_system"}
ROWS = 144_000  # of 1,200 bytes: more than all buffers on the way hold
TEXT = "repeat('x', 1200)"
GROWTH_BYTES = 14_000_000
WEST = "SELECT count(*) FROM books WHERE branch = 'west'"


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.ca)
    context.set_alpn_protocols(["postgresql"])
    return context


def _encrypted(proxy: RunningProxy, context: ssl.SSLContext, *, direct: bool = False) -> RawClient:
    client = RawClient(proxy.host, proxy.port)
    if not direct:
        client.send(SSL_REQUEST)
        assert client.byte() == b"S"
    client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
    return client


def _logged_in(proxy: RunningProxy, context: ssl.SSLContext) -> RawClient:
    client = _encrypted(proxy, context)
    client.send(startup(USER))
    assert client.start_up()[-1].text == "I"
    return client


def _attempted(proxy: RunningProxy, context: ssl.SSLContext) -> RawClient:
    """Perhaps not logged in: the proxy may have let go of it."""
    client = RawClient(proxy.host, proxy.port)
    with suppress(OSError):
        client.send(SSL_REQUEST)
        if client.byte() == b"S":
            client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
            client.send(startup(USER))
            client.start_up()
    return client


def _refused_version(proxy: RunningProxy, version: ssl.TLSVersion) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError) as refused:
        _encrypted(proxy, context)
    return str(refused.value)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_conversation(
    direct: bool, version: ssl.TLSVersion, shared_tls_proxy: RunningProxy, certificates: Certificates
) -> None:
    context = _context(certificates)
    context.minimum_version = context.maximum_version = version
    with _encrypted(shared_tls_proxy, context, direct=direct) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.selected_alpn_protocol() == "postgresql"
        client.send(startup(USER))
        assert client.start_up()[-1].text == "I"
        for _ in range(3):
            assert client.query(WEST)[1].values == (b"24",)
        assert client.query("SELECT count(*) FROM books")[1].values == (b"72",)
        client.send(b"X\0\0\0\4")
        assert client.closed()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(version: ssl.TLSVersion, shared_tls_proxy: RunningProxy) -> None:
    assert "PROTOCOL_VERSION" in _refused_version(shared_tls_proxy, version)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_the_least_version_can_be_raised(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path: Path
) -> None:
    with tls_proxy(library_cluster, certificates, tmp_path, tls={"min_version": "1.3"}) as proxy:
        assert "PROTOCOL_VERSION" in _refused_version(proxy, ssl.TLSVersion.TLSv1_2)
        _logged_in(proxy, _context(certificates)).socket.close()


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(startup(USER), id="a start-up packet"),
        pytest.param(startup(USER) + query("SELECT 1"), id="and a query"),
        pytest.param(b"\x16", id="one byte"),
    ],
)
def test_plaintext_behind_an_ssl_request_is_an_attack(behind: bytes, shared_tls_proxy: RunningProxy) -> None:
    with RawClient(shared_tls_proxy.host, shared_tls_proxy.port) as client:
        client.send(SSL_REQUEST + behind)
        (error,) = client.messages()
        assert error.fields["C"] == "08P01"
        assert error.fields["M"] == "received unencrypted data after SSL request"


def test_plaintext_instead_of_the_handshake_is_not_read(shared_tls_proxy: RunningProxy) -> None:
    with RawClient(shared_tls_proxy.host, shared_tls_proxy.port) as client:
        client.send(SSL_REQUEST)
        assert client.byte() == b"S"
        client.send(startup(USER))
        answer = client._take(1_000)
        assert answer[:1] in (b"\x15", b""), "a TLS alert at most"
        assert b"server_version" not in answer


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600, id="a broken ClientHello"),
        pytest.param(b"\x16" + b"\xff" * 100, id="direct garbage"),
        pytest.param(SSL_REQUEST, id="nothing"),
    ],
)
def test_what_never_becomes_a_handshake_hurts_nobody(data: bytes, shared_tls_proxy: RunningProxy) -> None:
    with RawClient(shared_tls_proxy.host, shared_tls_proxy.port) as client:
        before = _Before(shared_tls_proxy, client)
        client.send(data)
        client.socket.shutdown(socket.SHUT_WR)
        client._take(1_000)
    until(before.told, "it is logged")
    (line,) = before.told()
    assert "TLS with client" in line
    with shared_tls_proxy.connect(sslmode="require") as other:
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_handshake_that_is_cut_in_its_middle(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = _context(certificates).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    hello = outgoing.read()
    for cut in (1, 5, len(hello) // 2, len(hello)):
        with RawClient(shared_tls_proxy.host, shared_tls_proxy.port) as client:
            before = _Before(shared_tls_proxy, client)
            client.send(SSL_REQUEST)
            assert client.byte() == b"S"
            client.send(hello[:cut])
            if cut == len(hello):
                assert client.byte() == b"\x16"
        until(before.told, "it is logged")
        assert len(before.told()) == 1


class _Before:
    """The log of a proxy before a client does something: others, who have gone, may still be written of."""

    def __init__(self, proxy: RunningProxy, client: RawClient) -> None:
        host, port = client.socket.getsockname()
        self._client = re.compile(rf"\b{re.escape(host)}:{port}\b")
        self._proxy = proxy
        self._size = len(proxy.log_text())

    def told(self) -> list[str]:
        """The lines about this client since."""
        return [line for line in self._proxy.log_text()[self._size :].splitlines() if self._client.search(line)]


def test_a_direct_connection_needs_alpn(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    for protocols in ([], ["h2", "http/1.1"]):
        context.set_alpn_protocols(protocols)
        with _encrypted(shared_tls_proxy, context, direct=True) as client:
            client.send(startup(USER))
            assert client.closed()
        with _encrypted(shared_tls_proxy, context) as negotiated:
            negotiated.send(startup(USER))
            assert negotiated.start_up()[-1].text == "I"


def test_an_ssl_request_within_tls_is_refused(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    with _encrypted(shared_tls_proxy, _context(certificates)) as client:
        client.send(SSL_REQUEST)
        (error,) = client.messages()
        assert (error.fields["C"], error.fields["S"]) == ("0A000", "FATAL")


def test_byte_by_byte(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    """Records that come in pieces of one byte, in both directions of the handshake and after it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = _context(certificates).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with RawClient(shared_tls_proxy.host, shared_tls_proxy.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def exchange() -> None:
            for byte in outgoing.read():
                client.send(bytes([byte]))
            incoming.write(client.socket.recv(65_536))

        client.send(SSL_REQUEST)
        assert client.byte() == b"S"
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                exchange()
        session.write(startup(USER) + query(WEST))
        answer = b""
        while b"SELECT 1" not in answer:
            try:
                answer += session.read(65_536)
            except ssl.SSLWantReadError:
                exchange()
        assert b"\0\x0224" in answer


def test_a_handshake_that_never_ends_is_given_up(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path: Path
) -> None:
    with tls_proxy(library_cluster, certificates, tmp_path, startup_timeout_s=1.0) as proxy:
        with RawClient(proxy.host, proxy.port) as silent, RawClient(proxy.host, proxy.port) as begun:
            silent.send(SSL_REQUEST)
            begun.send(b"\x16\x03\x01\x02\x00")
            assert silent.byte() == b"S"
            assert silent.closed()
            assert begun.closed()
        with logged_in_at_last(lambda: _attempted(proxy, _context(certificates))) as ready:
            assert ready.query("SELECT pg_sleep(1.2)")[-1].text == "I"


def test_a_client_without_tls_is_refused_where_it_is_required(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path: Path
) -> None:
    with tls_proxy(library_cluster, certificates, tmp_path, tls={"mode": "require"}) as proxy:
        with RawClient(proxy.host, proxy.port) as plain:
            plain.send(startup(USER))
            (error,) = plain.messages()
            assert (error.fields["C"], error.fields["S"]) == ("28000", "FATAL")
        with _logged_in(proxy, _context(certificates)) as client, RawClient(proxy.host, proxy.port) as other:
            client.send(query("SELECT pg_sleep(60)"))
            await_running(library_cluster, "pg_sleep(60)")
            other.send(cancel_request(*client.key))  # as an older libpq does it even then
            assert other.closed()
            assert "57014" in [message.fields["C"] for message in client.until_ready() if message.kind == "E"]


def test_a_cancel_request_over_tls(
    shared_tls_proxy: RunningProxy, certificates: Certificates, library_cluster: LibraryCluster
) -> None:
    context = _context(certificates)
    with _logged_in(shared_tls_proxy, context) as client, _encrypted(shared_tls_proxy, context) as other:
        client.send(query("SELECT pg_sleep(60)"))
        await_running(library_cluster, "pg_sleep(60)")
        other.send(cancel_request(*client.key))
        assert other.closed()
        assert "57014" in [message.fields["C"] for message in client.until_ready() if message.kind == "E"]


def _resident_bytes(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def _blocked(cluster: LibraryCluster) -> int:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
    count = 0
    for name in cluster.nodes:
        with connect(cluster, name) as node:
            count += node.execute(sql).fetchone()[0]
    return count


@pytest.mark.parametrize(
    ("sql", "nodes"),
    [
        pytest.param(f"SELECT n, {TEXT} FROM generate_series(1, {ROWS}) AS n", 1, id="one node"),
        pytest.param(f"SELECT isbn, {TEXT}, generate_series(1, {ROWS // 72}) FROM books ORDER BY isbn", 3, id="merge"),
    ],
)
def test_a_slow_client_stops_its_nodes(
    sql: str,
    nodes: int,
    shared_tls_proxy: RunningProxy,
    certificates: Certificates,
    library_cluster: LibraryCluster,
) -> None:
    with _logged_in(shared_tls_proxy, _context(certificates)) as client, shared_tls_proxy.connect() as other:
        other.execute("SELECT count(*) FROM books")
        before = _resident_bytes(shared_tls_proxy.process.pid)
        client.hold_little()
        client.send(query(sql))
        until(lambda: _blocked(library_cluster) == nodes, "the nodes wait for us")
        assert other.execute("SELECT count(*) FROM books").fetchone() == (72,)
        assert _resident_bytes(shared_tls_proxy.process.pid) - before < GROWTH_BYTES
        client.hold_much()
        count, others = client.count_rows()
        assert ([message.kind for message in others], count) == (["T", "C", "Z"], ROWS)
        assert _resident_bytes(shared_tls_proxy.process.pid) - before < GROWTH_BYTES


def test_large_messages_in_both_directions(shared_tls_proxy: RunningProxy, certificates: Certificates) -> None:
    text = "x" * 20_000_000
    with _logged_in(shared_tls_proxy, _context(certificates)) as client:
        kinds = {message.kind: message for message in client.query(f"SELECT '{text}'")}
        assert "E" not in kinds, kinds["E"].fields
        assert kinds["D"].values == (text.encode(),)


def test_a_client_that_says_close_notify_still_gets_its_answer(
    shared_tls_proxy: RunningProxy, certificates: Certificates, library_cluster: LibraryCluster
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = _context(certificates).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with RawClient(shared_tls_proxy.host, shared_tls_proxy.port) as client:
        client.send(SSL_REQUEST)
        assert client.byte() == b"S"
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(client.socket.recv(65_536))
        session.write(startup(USER) + query("SELECT pg_sleep(0.3), 'the answer'"))
        with pytest.raises(ssl.SSLWantReadError):
            session.unwrap()
        client.send(outgoing.read())
        client.socket.shutdown(socket.SHUT_WR)
        while data := client.socket.recv(65_536):
            incoming.write(data)
        answer = session.read(65_536)
        while b"the answer" not in answer:
            answer += session.read(65_536)
        with pytest.raises(ssl.SSLZeroReturnError):  # the proxy has said close_notify, too: nothing was cut off
            list(iter(lambda: session.read(65_536), b""))
    await_nothing_open(library_cluster)


# Reload


def _served(proxy: RunningProxy, certificates: Certificates) -> bytes:
    with _encrypted(proxy, _context(certificates)) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        return client.socket.getpeercert(binary_form=True) or b""


def test_certificates_are_reloaded_on_sighup(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path: Path
) -> None:
    for file in (certificates.server.certificate, certificates.server.key):
        shutil.copy(file, tmp_path / Path(file).name)
    tls = {"certificate_file": "server.pem", "key_file": "server.key"}  # relative to the shard map

    def reload(expected: str) -> None:
        before = proxy.log_text().count(expected)
        proxy.process.send_signal(signal.SIGHUP)
        until(lambda: proxy.log_text().count(expected) == before + 1, expected)

    with tls_proxy(library_cluster, certificates, tmp_path, tls=tls) as proxy:
        first = _served(proxy, certificates)
        with _logged_in(proxy, _context(certificates)) as staying:
            fresh = write_pair(tmp_path, "fresh", certificates.authority.issue_cert("localhost"))
            Path(fresh.certificate).replace(tmp_path / "server.pem")
            reload("the old ones stay in force: proxy.tls.key_file: ")
            assert _served(proxy, certificates) == first
            Path(fresh.key).replace(tmp_path / "server.key")
            reload("certificates are reloaded: certificate of ")
            second = _served(proxy, certificates)
            assert second != first
            (tmp_path / "server.pem").write_text("no certificate")
            reload("the old ones stay in force: proxy.tls.certificate_file: ")
            (tmp_path / "server.pem").unlink()
            reload("server.pem: No such file or directory")
            assert _served(proxy, certificates) == second
            assert staying.query(WEST)[1].values == (b"24",)


def test_sighup_without_tls_ends_nothing(proxy: RunningProxy) -> None:
    with proxy.connect() as client:
        proxy.process.send_signal(signal.SIGHUP)
        until(lambda: "no TLS towards clients" in proxy.log_text(), "it is logged")
        assert client.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
        proxy.connect(sslmode="require")


def test_without_tls_a_direct_connection_hears_what_garbage_hears(proxy: RunningProxy) -> None:
    with RawClient(proxy.host, proxy.port) as client:
        client.send(b"\x16\x03\x01" + struct.pack("!H", 512) + b"\1" * 512)
        assert [message.fields["C"] for message in client.messages()] == ["08P01"]
