"""What the proxy shows its clients: certificate and key, the roots for their certificates, the least version.

Loaded whole or not at all, so that a bad pair never takes the place of a good one.
"""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pgproxy.shardmap.model import TlsSettings
from pgproxy.tls.certificate import distinguished_name, expires_at, first_certificate, server_end_point

ALPN = "postgresql"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsFileError(Exception):
    """A file of certificates or keys cannot be used: `key.path: what is wrong`."""


@dataclass(frozen=True, slots=True)
class ServingTls:
    """In force for the connections that come from now on."""

    context: ssl.SSLContext
    server_end_point: bytes | None
    subject: str
    expires_at: datetime


def load_serving(settings: TlsSettings) -> ServingTls | None:
    """None when TLS is disabled. Raises TlsFileError."""
    if settings.mode == "disable" or settings.certificate_file is None or settings.key_file is None:
        return None
    place = "proxy.tls."
    certificate = check_pair(place, settings.certificate_file, settings.key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # nobody resumes a session of an hour's length
    context.set_alpn_protocols([ALPN])
    load_pair(context, place, settings.certificate_file, settings.key_file)
    if settings.client_ca_file is not None:
        load_roots(context, f"{place}client_ca_file", settings.client_ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
    return ServingTls(context, server_end_point(certificate), distinguished_name(certificate), expires_at(certificate))


def check_pair(place: str, certificate_file: str, key_file: str) -> bytes:
    """The certificate in DER. Raises TlsFileError for files that cannot be read and, as PostgreSQL and libpq do, for a
    key that others may read."""
    try:
        certificate = first_certificate(Path(certificate_file))
    except OSError as failed:
        raise TlsFileError(f"{place}certificate_file: {certificate_file}: {failed.strerror}") from None
    except ValueError:
        raise TlsFileError(f"{place}certificate_file: {certificate_file} holds no certificate in PEM") from None
    try:
        facts = Path(key_file).stat()
        Path(key_file).open("rb").close()
    except OSError as failed:
        raise TlsFileError(f"{place}key_file: {key_file}: {failed.strerror}") from None
    others = stat.S_IRWXO | (stat.S_IWGRP | stat.S_IXGRP if facts.st_uid == 0 else stat.S_IRWXG)
    if facts.st_mode & others:
        raise TlsFileError(
            f"{place}key_file: {key_file} can be read by others; chmod 600 it (640 where it belongs to root)"
        )
    return certificate


def load_pair(context: ssl.SSLContext, place: str, certificate_file: str, key_file: str) -> None:
    try:
        context.load_cert_chain(certificate_file, key_file, _no_password)
    except ssl.SSLError as failed:
        if failed.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(f"{place}key_file: {key_file} is not the key of {certificate_file}") from None
        raise TlsFileError(f"{place}key_file: {key_file} holds no usable key in PEM, or an encrypted one") from None
    except (OSError, ValueError) as failed:
        raise TlsFileError(f"{place}key_file: {key_file}: {failed}") from None


def load_roots(context: ssl.SSLContext, place: str, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise TlsFileError(f"{place}: {file} holds no certificate in PEM") from None
    except OSError as failed:
        raise TlsFileError(f"{place}: {file}: {failed.strerror}") from None


def _no_password() -> str:
    """Or OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")
