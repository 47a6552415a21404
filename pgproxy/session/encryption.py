"""Whether a client's connection is encrypted: SSLRequest, TLS from the first byte, and what the shard map asks for."""

from __future__ import annotations

import logging

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.session.client import Client, ClientGone
from pgproxy.session.client_tls import ClientTls
from pgproxy.session.services import Services
from pgproxy.tls.certificate import common_name, distinguished_name
from pgproxy.tls.serving import ALPN, ServingTls
from pgproxy.tls.stream import TlsStream
from pgproxy.wire.startup import GssEncRequest, SslRequest

log = logging.getLogger("pgproxy.session")

_CUT = "the connection was closed in the middle of it"
TLS_HANDSHAKE = 0x16  # a TLS record's first byte, which no length of a packet begins with


class Encryption:
    """What one client may still ask for. Like PostgreSQL: each request once, and none over TLS."""

    def __init__(self, client: Client, services: Services) -> None:
        self._client = client
        self._serving = services.serving_tls  # one that is loaded in the meantime is for connections after this one
        self._answered: set[type[SslRequest | GssEncRequest]] = set()

    async def answer(self, request: SslRequest | GssEncRequest) -> None:
        """Raises ProtocolViolation for a request too many, ClientGone when TLS fails."""
        kind = type(request)
        if kind in self._answered:
            code = 5679 if kind is SslRequest else 5680
            raise ProxyError("0A000", f"unsupported frontend protocol 1234.{code}: server supports 3.0 to 3.2")
        self._answered.add(kind)
        if kind is SslRequest and self._serving is not None:
            await self._begin(self._serving)
        else:
            self._client.send(b"N")
            self._client.flush()

    async def begin_directly(self) -> None:
        """TLS from the first byte. ALPN must name our protocol: a client of another one may have been sent to us."""
        assert self._serving is not None
        client = self._client
        first = bytes(client.untyped)
        client.untyped.clear()
        stream = await self._shake_hands(self._serving, first)
        if stream.engine.session.selected_alpn_protocol() != ALPN:
            _log_failure(client, "a direct TLS connection without the ALPN protocol postgresql")
            raise ClientGone

    async def _begin(self, serving: ServingTls) -> None:
        client = self._client
        if client.untyped:
            # Whoever sits between may have put it there, for us to read it as if it had come encrypted.
            _log_failure(client, "received unencrypted data after SSL request")
            error = ProtocolViolation("received unencrypted data after SSL request")
            error.detail = (
                "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."
            )
            raise error
        client.send(b"S")
        client.flush()
        await self._shake_hands(serving, b"")

    async def _shake_hands(self, serving: ServingTls, first: bytes) -> TlsStream:
        client = self._client
        stream = client.encrypt(serving.context, first)
        while not stream.established:
            if stream.failure is not None or client.ended:
                _log_failure(client, stream.failure or _CUT)
                raise ClientGone
            try:
                await client.wait()
            except ClientGone:
                _log_failure(client, _CUT)
                raise
        self._answered = {SslRequest, GssEncRequest}
        try:
            client.tls = _facts(stream, serving)
        except (ValueError, TypeError) as broken:  # signed by one of our roots, but nothing that we can read
            _log_failure(client, str(broken))
            raise ClientGone from None
        return stream


def check_encryption(client: Client, services: Services) -> None:
    """Raises 28000 when the connection is less than the shard map asks for."""
    settings = services.shard_map.proxy.tls
    if settings.mode == "require" and client.tls is None:
        raise ProxyError(
            "28000",
            "the proxy accepts encrypted connections only",
            hint='Connect with sslmode=require or better (the shard map has proxy.tls.mode = "require").',
        )
    required = settings.mode != "disable" and settings.client_certificates == "required"
    if required and (client.tls is None or client.tls.peer_certificate is None):
        raise ProxyError("28000", "connection requires a valid client certificate")


def _facts(stream: TlsStream, serving: ServingTls) -> ClientTls:
    session = stream.engine.session
    certificate = session.getpeercert(binary_form=True)
    cipher = session.cipher()
    return ClientTls(
        version=session.version() or "",
        cipher=cipher[0] if cipher else "",
        server_end_point=serving.server_end_point,
        peer_certificate=certificate,
        peer_common_name=None if certificate is None else common_name(certificate),
        peer_distinguished_name=None if certificate is None else distinguished_name(certificate),
    )


def _log_failure(client: Client, reason: str) -> None:
    log.info("TLS with client %s failed: %s", client.address, reason)
