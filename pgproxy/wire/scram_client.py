"""The client's side of SCRAM-SHA-256 with keys instead of a password: the proxy logging in to a node as its client.

A client's proof and the stored verifier give the ClientKey (RFC 5802, section 9). A node that stores the same
verifier – same salt, same iterations – accepts it.
"""

from __future__ import annotations

import hmac

from pgproxy.wire import scram


class ScramKeyClient:
    """One log-in. The methods are those of scramp's client; each raises ValueError for what the node says wrongly."""

    def __init__(self, keys: scram.ScramKeys, end_point: bytes | None = None, nonce: str | None = None) -> None:
        """`end_point`: the hash of the node's certificate, for SCRAM-SHA-256-PLUS; without it, for SCRAM-SHA-256."""
        self._keys = keys
        self._gs2_header = "n,," if end_point is None else f"p={scram.BINDING_TYPE},,"
        self._binding = scram.encode(self._gs2_header.encode() + (end_point or b""))
        self._nonce = nonce or scram.new_nonce()
        self._server_first = ""
        self._server_nonce = ""
        self._whole = b""

    def get_client_first(self) -> str:
        return self._gs2_header + self._client_first_bare

    def set_server_first(self, message: str) -> None:
        values = dict(part.partition("=")[::2] for part in message.split(","))
        if not {"r", "s", "i"} <= values.keys():
            raise ValueError("the server-first-message is not whole")
        nonce, same_salt = values["r"], scram.decode(values["s"]) == self._keys.salt
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ValueError("the server's nonce does not begin with ours")
        if not same_salt or values["i"] != str(self._keys.iterations):
            raise KeyMismatch
        self._server_first, self._server_nonce = message, nonce

    def get_client_final(self) -> str:
        without_proof = f"c={self._binding},r={self._server_nonce}"
        self._whole = f"{self._client_first_bare},{self._server_first},{without_proof}".encode()
        client_key = self._keys.client_key
        proof = scram.xor(client_key, scram.signature(scram.digest(client_key), self._whole))
        return f"{without_proof},p={scram.encode(proof)}"

    def set_server_final(self, message: str) -> None:
        expected = "v=" + scram.encode(scram.signature(self._keys.server_key, self._whole))
        if not hmac.compare_digest(message.encode(), expected.encode()):
            raise ValueError("the server's signature is wrong")

    @property
    def _client_first_bare(self) -> str:
        return f"n=,r={self._nonce}"


class KeyMismatch(Exception):
    """The node stores another verifier for the user than the proxy knows."""
