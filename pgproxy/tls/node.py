"""TLS towards the nodes: what libpq's `sslmode` means, for the connections that the proxy makes itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from struct import pack
from typing import cast

from pgproxy.shardmap.model import ClusterSettings
from pgproxy.tls.certificate import server_end_point
from pgproxy.tls.engine import TlsEngine
from pgproxy.tls.serving import ALPN, check_pair, load_pair, load_roots
from pgproxy.tls.stream import TlsStream

_SSL_REQUEST = pack("!II", 8, 80877103)


@dataclass(frozen=True, slots=True)
class NodeTls:
    """In force for the connections that are made from now on."""

    context: ssl.SSLContext


def load_node_tls(cluster: ClusterSettings) -> NodeTls | None:
    """None when TLS is disabled. Raises serving.TlsFileError."""
    if cluster.tls == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])
    context.check_hostname = cluster.tls == "verify-full"
    if cluster.tls_ca_file is None:
        context.verify_mode = ssl.CERT_NONE  # sslmode require: encrypted, but to whom is not asked
    else:
        load_roots(context, "cluster.tls_ca_file", cluster.tls_ca_file)
    if cluster.tls_certificate_file is not None and cluster.tls_key_file is not None:
        check_pair("cluster.tls_", cluster.tls_certificate_file, cluster.tls_key_file)
        load_pair(context, "cluster.tls_", cluster.tls_certificate_file, cluster.tls_key_file)
    return NodeTls(context)


class NodeUpgrade(asyncio.Protocol):
    """Asks a node for TLS; `protocol` begins when the connection is encrypted, and its transport is the stream.

    `on_failure` hears why that could not be; the connection is closed then.
    """

    def __init__(self, tls: NodeTls, host: str, protocol: asyncio.Protocol, on_failure: Callable[[str], None]) -> None:
        self._tls = tls
        self._host = host
        self._protocol = protocol
        self._on_failure = on_failure
        self._transport: asyncio.Transport | None = None
        self._stream: TlsStream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_SSL_REQUEST)

    def data_received(self, data: bytes) -> None:
        transport = cast(asyncio.Transport, self._transport)
        if data != b"S":
            transport.abort()
            self._on_failure(_no_tls(data))
            return
        engine = TlsEngine(self._tls.context, server_side=False, host=self._host)
        self._stream = TlsStream(transport, self._protocol, engine, self._changed)
        self._stream.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def _changed(self) -> None:
        stream = self._stream
        assert stream is not None
        if stream.failure is not None:
            self._on_failure(stream.failure)
        else:
            self._protocol.connection_made(stream)


def end_point(transport: asyncio.BaseTransport) -> bytes | None:
    """The channel binding of an encrypted connection to a node."""
    if not isinstance(transport, TlsStream):
        return None
    certificate = transport.engine.session.getpeercert(binary_form=True)
    return None if certificate is None else server_end_point(certificate)


def _no_tls(answer: bytes) -> str:
    if answer[:1] == b"N":
        return "the server does not support TLS"
    if answer[:1] == b"S":
        return "received unencrypted data after the answer to SSLRequest"
    return "the server did not understand the request for TLS"
