"""Two engines talk to each other: whole, byte by byte, with both ends' data in one piece, and with what breaks them."""

from __future__ import annotations

import ssl

import pytest

from pgproxy.tls.engine import TlsEngine
from pgproxy.tls.serving import load_serving
from tests.fix_tls import Certificates


def _ends(certificates: Certificates, version: ssl.TLSVersion) -> tuple[TlsEngine, TlsEngine]:
    serving = load_serving(certificates.settings())
    assert serving is not None
    context = ssl.create_default_context(cafile=certificates.ca)
    context.maximum_version = version
    return TlsEngine(context, server_side=False, host="localhost"), TlsEngine(serving.context, server_side=True)


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
SIZES = pytest.mark.parametrize("size", [1, 5, 16_384, 16_385, 65_536, 65_537, 1_000_000])


def _shake_hands(client: TlsEngine, server: TlsEngine, step: int) -> None:
    client.begin()
    while not (client.established and server.established):
        for source, sink in ((client, server), (server, client)):
            data = source.outgoing()
            assert not any(sink.feed(data[at : at + step]) for at in range(0, len(data), step))


@VERSIONS
@pytest.mark.parametrize("step", [1, 7, 100_000])
@SIZES
def test_what_goes_in_comes_out(version: ssl.TLSVersion, step: int, size: int, certificates: Certificates) -> None:
    if step == 1 and size > 20_000:
        step = 1_001
    client, server = _ends(certificates, version)
    _shake_hands(client, server, step)
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for source, sink in ((client, server), (server, client)):
        records = source.encrypt(data)
        assert data[:8] not in records or size < 8
        assert b"".join(sink.feed(records[at : at + step]) for at in range(0, len(records), step)) == data
        assert source.outgoing() == sink.outgoing() == b""


@VERSIONS
def test_the_first_data_may_come_with_the_end_of_the_handshake(
    version: ssl.TLSVersion, certificates: Certificates
) -> None:
    client, server = _ends(certificates, version)
    client.begin()
    while not client.established:
        server.feed(client.outgoing())
        client.feed(server.outgoing())
    assert server.feed(client.outgoing() + client.encrypt(b"hello")) == b"hello"
    assert server.established


@VERSIONS
def test_each_end_may_end_while_the_other_goes_on(version: ssl.TLSVersion, certificates: Certificates) -> None:
    client, server = _ends(certificates, version)
    _shake_hands(client, server, 100_000)
    assert server.feed(client.encrypt(b"the last words") + client.farewell()) == b"the last words"
    assert server.ended
    assert server.encrypt(b"an answer")
    assert not client.ended


@VERSIONS
def test_a_changed_record_is_not_believed(version: ssl.TLSVersion, certificates: Certificates) -> None:
    client, server = _ends(certificates, version)
    _shake_hands(client, server, 100_000)
    record = bytearray(client.encrypt(b"transfer 100"))
    record[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        server.feed(bytes(record))
    assert server.outgoing(), "an alert"


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x08\x04\xd2\x16\x2f", b"\x16\x03\x01" + b"\xff" * 40]
)
def test_what_is_no_handshake(data: bytes, certificates: Certificates) -> None:
    _, server = _ends(certificates, ssl.TLSVersion.TLSv1_3)
    with pytest.raises(ssl.SSLError):
        server.feed(data)
