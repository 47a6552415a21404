"""Stored passwords as PostgreSQL keeps them, SCRAM verifiers and md5 hashes; a cleartext password checked by them."""

from __future__ import annotations

import hmac
import re

from pgproxy.wire.auth import md5_secret
from pgproxy.wire.scram import ScramVerifier, matches_password, parse_verifier

_MD5 = re.compile("md5[0-9a-f]{32}")

Stored = ScramVerifier | str  # a str is an md5 hash: "md5" and 32 hexadecimal digits


def parse_stored(text: str) -> Stored | None:
    """None for what is neither: a password in clear text is never accepted in its place."""
    return text if _MD5.fullmatch(text) else parse_verifier(text)


def is_password(stored: Stored, user: str, password: bytes) -> bool:
    """Takes some milliseconds for a SCRAM verifier: not for the event loop."""
    if isinstance(stored, ScramVerifier):
        return matches_password(stored, password)
    return hmac.compare_digest(md5_secret(user, password), stored)
