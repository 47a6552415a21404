"""What is known of a client's TLS session: rules of authentication and channel binding ask for it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ClientTls:
    """`peer_certificate` is the client's certificate in DER if it gave one, verified against the root certificates;
    `server_end_point` the hash of our own certificate for SCRAM's `tls-server-end-point` (RFC 5929), None when
    its algorithm has none: then there is no channel binding."""

    version: str
    cipher: str
    server_end_point: bytes | None
    peer_certificate: bytes | None = field(default=None, repr=False)
    peer_common_name: str | None = None
    peer_distinguished_name: str | None = None  # as RFC 2253 writes it
