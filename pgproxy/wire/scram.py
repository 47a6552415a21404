"""SCRAM-SHA-256's arithmetic (RFC 5802, RFC 7677), and the verifiers as which PostgreSQL stores passwords.

Own code because scramp's server wants a user name inside the SCRAM messages, where libpq sends none, and its client
wants the password itself. SASLprep is scramp's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import scramp
import scramp.utils

# scramp has no annotations.
_saslprep: Callable[[str], str] = scramp.utils.saslprep

MECHANISM = "SCRAM-SHA-256"
MECHANISM_PLUS = "SCRAM-SHA-256-PLUS"
BINDING_TYPE = "tls-server-end-point"

KEY_BYTES = 32
DEFAULT_ITERATIONS = 4096
MAX_ITERATIONS = 10_000_000  # more would keep a core busy for many seconds
_SALT_BYTES = 16
_NONCE_BYTES = 18
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d{1,8}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What a server keeps of a password. As text it is what pg_authid.rolpassword holds."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __str__(self) -> str:
        keys = f"{encode(self.stored_key)}:{encode(self.server_key)}"
        return f"{MECHANISM}${self.iterations}:{encode(self.salt)}${keys}"


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """With these and the same salt and iterations one logs in like someone who knows the password."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    salt: bytes
    iterations: int


def parse_verifier(text: str) -> ScramVerifier | None:
    """None for a text that is no verifier."""
    found = _VERIFIER.fullmatch(text)
    if found is None:
        return None
    try:
        salt, stored_key, server_key = (decode(found[at]) for at in (2, 3, 4))
    except ValueError:
        return None
    iterations = int(found[1])
    whole = len(stored_key) == len(server_key) == KEY_BYTES and bool(salt)
    return (
        ScramVerifier(iterations, salt, stored_key, server_key) if whole and 0 < iterations <= MAX_ITERATIONS else None
    )


def make_verifier(password: str, *, salt: bytes | None = None, iterations: int = DEFAULT_ITERATIONS) -> ScramVerifier:
    """The verifier of a password, with a random salt unless one is given."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    salted = salted_password(prepared(password), salt, iterations)
    return ScramVerifier(iterations, salt, digest(client_key_of(salted)), server_key_of(salted))


def mock_verifier(secret: bytes, user: str) -> ScramVerifier:
    """For a user whom nobody knows: always the same salt, and keys that no password has."""
    salt = hmac.digest(secret, user.encode(), "sha256")[:_SALT_BYTES]
    return ScramVerifier(DEFAULT_ITERATIONS, salt, bytes(KEY_BYTES), bytes(KEY_BYTES))


def matches_password(verifier: ScramVerifier, password: bytes) -> bool:
    """Whether this is the verifier's password. Takes some milliseconds, by design of SCRAM."""
    with suppress(UnicodeDecodeError):  # what is not UTF-8 is taken as it is, as by PostgreSQL
        password = prepared(password.decode())
    salted = salted_password(password, verifier.salt, verifier.iterations)
    return hmac.compare_digest(server_key_of(salted), verifier.server_key)


def prepared(password: str) -> bytes:
    """SASLprep, or the password as it is where that does not allow it: so PostgreSQL and libpq have it."""
    if password.isascii():
        return password.encode()
    try:
        return (_saslprep(password) or password).encode()
    except scramp.ScramException:
        return password.encode()


def salted_password(password: bytes, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)


def client_key_of(salted: bytes) -> bytes:
    return hmac.digest(salted, b"Client Key", "sha256")


def server_key_of(salted: bytes) -> bytes:
    return hmac.digest(salted, b"Server Key", "sha256")


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def signature(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def new_nonce() -> str:
    return encode(secrets.token_bytes(_NONCE_BYTES))


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """Raises ValueError for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as broken:
        raise ValueError(str(broken)) from None
