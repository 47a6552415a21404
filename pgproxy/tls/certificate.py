"""What we read in certificates ourselves: names for rules of authentication, and the hash for channel binding."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asn1crypto import pem
from asn1crypto.x509 import Certificate

# asn1crypto has no annotations.
_load: Callable[[bytes], Any] = Certificate.load
_unarmor: Callable[..., Any] = pem.unarmor

_HASHLESS = frozenset({"ed25519", "ed448"})  # neither OpenSSL nor, therefore, libpq finds a hash for them
_OUTDATED = frozenset({"md5", "sha1"})
# The short names of OpenSSL, which PostgreSQL shows, by asn1crypto's.
_SHORT_NAMES = {
    "common_name": "CN",
    "surname": "SN",
    "serial_number": "serialNumber",
    "country_name": "C",
    "locality_name": "L",
    "state_or_province_name": "ST",
    "street_address": "street",
    "organization_name": "O",
    "organizational_unit_name": "OU",
    "title": "title",
    "business_category": "businessCategory",
    "postal_code": "postalCode",
    "name": "name",
    "given_name": "GN",
    "initials": "initials",
    "generation_qualifier": "generationQualifier",
    "dn_qualifier": "dnQualifier",
    "pseudonym": "pseudonym",
    "email_address": "emailAddress",
    "domain_component": "DC",
    "user_id": "UID",
}


def first_certificate(path: Path) -> bytes:
    """The first certificate of a PEM file, in DER. Raises OSError, and ValueError when there is none."""
    for kind, _headers, der in _unarmor(path.read_bytes(), multiple=True):
        if kind == "CERTIFICATE":
            _load(der)
            return bytes(der)
    raise ValueError("no certificate")


def server_end_point(der: bytes) -> bytes | None:
    """SCRAM's `tls-server-end-point` (RFC 5929): the certificate's hash by its signature's own algorithm, by SHA-256
    for MD5 and SHA-1. None where the algorithm names no hash (Ed25519): there is no channel binding then."""
    certificate = _load(der)
    try:
        name = None if certificate["signature_algorithm"].signature_algo in _HASHLESS else certificate.hash_algo
    except ValueError:
        name = None
    if name is None:
        return None
    return hashlib.new("sha256" if name in _OUTDATED else name, der).digest()


def expires_at(der: bytes) -> datetime.datetime:
    end: datetime.datetime = _load(der).not_valid_after
    return end


def common_name(der: bytes) -> str | None:
    """The first common name of the subject. Raises ValueError for one that a C program would read otherwise."""
    for relative in _load(der).subject.chosen:
        for attribute in relative:
            if attribute["type"].native == "common_name":
                name = str(attribute["value"].native)
                if "\0" in name:
                    raise ValueError("the certificate's common name contains an embedded null")
                return name
    return None


def distinguished_name(der: bytes) -> str:
    """The subject as RFC 2253 writes it, with what OpenSSL escapes: last part first."""
    return _rfc_2253(_load(der).subject)


def _rfc_2253(name: Any) -> str:
    parts = [
        "+".join(
            f"{_short(attribute['type'])}={_escaped(str(attribute['value'].native))}"
            for attribute in reversed(relative)
        )
        for relative in reversed(name.chosen)
    ]
    return ",".join(parts)


def _short(kind: Any) -> str:
    return _SHORT_NAMES.get(kind.native) or str(kind.dotted)


def _escaped(text: str) -> str:
    escaped = "".join(_escape(character) for character in text)
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    if len(text) > 1 and escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _escape(character: str) -> str:
    if character in ',+"\\<>;':
        return "\\" + character
    if " " <= character <= "~":
        return character
    return "".join(f"\\{byte:02X}" for byte in character.encode())
