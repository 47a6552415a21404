"""From the first byte to the first ReadyForQuery."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import psycopg
import pytest

from tests.activity import await_running, until
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import (
    GSSENC_REQUEST,
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    SSL_REQUEST,
    Message,
    RawClient,
    cancel_request,
    logged_in_at_last,
    query,
    startup,
)

USER = {"user": "postgres", "database": "library_system"}


def _told(port: int, *data: bytes) -> list[tuple[object, ...]]:
    """The answer up to ReadyForQuery or the close, without BackendKeyData, which is never the same."""
    with RawClient("127.0.0.1", port) as client:
        for piece in data:
            client.send(piece)
        return [message.shown() for message in client.until_ready() if message.kind != "K"]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"application_name": "a name"},
        {"TimeZone": "Asia/Tokyo", "DateStyle": "German"},
        {"options": "-c search_path=a,b -c work_mem=2MB --IntervalStyle=iso_8601"},
        {"options": "-c default_transaction_isolation=serializable"},
        {"client_encoding": "'utf-8'"},
        {"my.parameter": "x"},
        {"_pq_.unheard_of": "1"},
        {"options": "-c nonsense=1"},
        {"options": "-c work_mem=x"},
        {"nonsense": "1"},
        {"server_version": "1"},
        {"role": "nobody"},
    ],
)
def test_settings_are_taken_as_by_postgres(
    parameters: dict[str, str], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    packet = startup(USER | parameters)
    assert _told(shared_proxy.port, packet) == _told(reference_pg.port, packet)
    assert _told(shared_proxy.port, packet) == _told(reference_pg.port, packet), "remembered from the first time"


@pytest.mark.parametrize(
    ("parameters", "state"),
    [
        (USER | {"database": "nothing"}, "3D000"),
        ({"user": "library_system_"}, "3D000"),
        ({"database": "library_system"}, "28000"),
        (USER | {"client_encoding": "LATIN1"}, "0A000"),
        (USER | {"options": "-c client_encoding=LATIN1"}, "0A000"),
        (USER | {"standard_conforming_strings": "off"}, "0A000"),
        (USER | {"options": "-c standard_conforming_strings=0"}, "0A000"),
        (USER | {"options": "nonsense"}, "42601"),
    ],
)
def test_a_refused_client_hears_why(parameters: dict[str, str], state: str, shared_proxy: RunningProxy) -> None:
    *_, (kind, fields) = _told(shared_proxy.port, startup(parameters))
    assert kind == "E"
    assert isinstance(fields, dict)
    assert (fields["S"], fields["V"], fields["C"]) == ("FATAL", "FATAL", state)


@pytest.mark.parametrize("requests", [[SSL_REQUEST], [GSSENC_REQUEST], [SSL_REQUEST, GSSENC_REQUEST]])
def test_encryption_is_declined(requests: list[bytes], shared_proxy: RunningProxy) -> None:
    with RawClient(shared_proxy.host, shared_proxy.port) as client:
        for request in requests:
            client.send(request)
            assert client.byte() == b"N"
        client.send(startup(USER))
        assert client.start_up()[-1] == Message("Z", b"I")


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 9999])
@pytest.mark.parametrize("options", [{}, {"_pq_.x": "1"}, {"_pq_.a": "", "_pq_.b": "2"}])
def test_versions_are_negotiated_as_by_postgres(
    minor: int, options: dict[str, str], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    packet = startup(USER | options, 3 << 16 | minor)
    assert _told(shared_proxy.port, packet) == _told(reference_pg.port, packet)
    assert _key_bytes(shared_proxy.port, packet) == _key_bytes(reference_pg.port, packet)


def _key_bytes(port: int, packet: bytes) -> int:
    with RawClient("127.0.0.1", port) as client:
        client.send(packet)
        client.start_up()
        return len(client.key[1])


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([SSL_REQUEST, SSL_REQUEST], id="SSLRequest twice"),
        pytest.param([GSSENC_REQUEST, GSSENC_REQUEST], id="GSSENCRequest twice"),
        pytest.param([GSSENC_REQUEST, SSL_REQUEST, GSSENC_REQUEST], id="GSSENCRequest again"),
    ],
)
def test_a_request_for_encryption_is_answered_once(
    requests: list[bytes], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    assert _declined(shared_proxy.port, requests) == _declined(reference_pg.port, requests)


def _declined(port: int, requests: list[bytes]) -> list[tuple[object, ...]]:
    with RawClient("127.0.0.1", port) as client:
        for request in requests[:-1]:
            client.send(request)
            assert client.byte() == b"N"
        client.send(requests[-1])
        return [message.shown() for message in client.messages()]


@pytest.mark.parametrize("protocol", [PROTOCOL_3_0, PROTOCOL_3_2])
def test_a_cancel_key_of_either_length_cancels(
    protocol: int, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with RawClient(shared_proxy.host, shared_proxy.port) as client:
        client.send(startup(USER, protocol))
        client.start_up()
        client.send(query("SELECT pg_sleep(60)"))
        await_running(library_cluster, "pg_sleep(60)")
        with RawClient(shared_proxy.host, shared_proxy.port) as other:
            other.send(cancel_request(*client.key))
            assert other.closed()
        (error,) = [message for message in client.until_ready() if message.kind == "E"]
        assert error.fields["C"] == "57014"


def test_the_packet_may_come_byte_by_byte(shared_proxy: RunningProxy) -> None:
    packet = startup(USER)
    pieces = [bytes([byte]) for byte in packet]
    assert _told(shared_proxy.port, *pieces) == _told(shared_proxy.port, packet)


def test_a_query_may_come_with_the_packet(shared_proxy: RunningProxy) -> None:
    with RawClient(shared_proxy.host, shared_proxy.port) as client:
        client.send(startup(USER) + b"Q\0\0\0\x0dSELECT 7\0")
        client.start_up()
        assert client.until_ready()[1].values == (b"7",)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(struct.pack("!II", 10_005, 3 << 16), id="too long"),
        pytest.param(struct.pack("!I", 7), id="too short"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS without SSLRequest"),
        pytest.param(struct.pack("!II", 13, 3 << 16) + b"user\0", id="unterminated"),
        pytest.param(startup(USER, 2 << 16), id="protocol 2.0"),
        pytest.param(startup({"user": "x" * 10_000}), id="enormous user"),
    ],
)
def test_garbage_is_refused_and_the_proxy_goes_on(packet: bytes, shared_proxy: RunningProxy) -> None:
    answer = _told(shared_proxy.port, packet)
    assert [kind for kind, *_ in answer] == ["E"]
    assert _told(shared_proxy.port, startup(USER))[-1] == ("Z", "I")


def test_a_cancel_request_with_a_wrong_key_does_nothing(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        pid, key = client.key
        wrong = bytes([key[0] ^ 1]) + key[1:]
        told = shared_proxy.log_text().count("canceling")
        sleeping = threading.Thread(target=lambda: client.query("SELECT pg_sleep(0.3)"))
        sleeping.start()
        for number, secret in ((pid, wrong), (pid + 1, key), (pid, key + b"x"), (0, b"\0\0\0\0")):
            with RawClient(shared_proxy.host, shared_proxy.port) as other:
                other.send(cancel_request(number, secret))
                assert other.closed()
        sleeping.join()
        assert client.query("SELECT 1")[-1].text == "I"
        assert shared_proxy.log_text().count("canceling") == told


def test_who_sends_nothing_is_let_go(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path, startup_timeout_s=1.0) as proxy:
        with RawClient(proxy.host, proxy.port) as silent, RawClient(proxy.host, proxy.port) as slow:
            slow.send(startup(USER)[:20])
            assert silent.closed()
            assert slow.closed()
        with logged_in_at_last(lambda: RawClient.logged_in(proxy.conninfo)) as ready:
            assert ready.query("SELECT pg_sleep(1.2)")[-1].text == "I"


def test_too_many_clients_are_refused_but_the_admin_database_is_open(
    library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    with (
        running_proxy(library_cluster, tmp_path, max_clients=2) as proxy,
        connected_at_last(proxy),
        connected_at_last(proxy) as leaving,
    ):
        with pytest.raises(psycopg.OperationalError, match="too many clients") as refused:
            proxy.connect()
        assert "sqlstate" not in str(refused.value)
        assert _told(proxy.port, startup(USER))[-1][1]["C"] == "53300"
        admin = _told(proxy.port, startup({"user": "postgres", "database": "pgproxy"}))
        assert admin[-1] == ("Z", "I")
        leaving.close()
        connected_at_last(proxy).close()


def connected_at_last(proxy: RunningProxy) -> psycopg.Connection:
    """The proxy notices a client's end a moment later than the client does."""
    found: list[psycopg.Connection] = []

    def connects() -> bool:
        try:
            found.append(proxy.connect())
        except psycopg.OperationalError as refused:
            if "too many clients" not in str(refused):
                raise
        return bool(found)

    until(connects, "the place of a client that left is given to another")
    return found[0]
