"""Names and hashes of certificates, held against the openssl command and libpq's rules."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pgproxy.tls.certificate import common_name, distinguished_name, expires_at, first_certificate, server_end_point

SUBJECTS = [
    "/CN=reader",
    "/C=DE/ST=Berlin/L=Mitte/O=Library/OU=Lending/CN=reader",
    "/DC=example/DC=library/UID=r1/CN=reader/emailAddress=reader@example.org",
    '/O=Ex, Inc. "quoted" <a;b>+c\\\\d/CN=#hash',
    "/O= spaces /CN=é ü 漢",
    "/CN=one/OU=x+serialNumber=7/CN=two",
    "/O=nobody",
    "/SN=Sur/GN=Given/title=Dr/street=Way 1/postalCode=1/businessCategory=b",
    "/pseudonym=p/initials=i/name=n/dnQualifier=q",
]


def _made(folder: Path, subject: str, *options: str) -> Path:
    file = folder / "certificate.pem"
    arguments = [
        "-subj",
        subject,
        "-utf8",
        "-multivalue-rdn",
        "-nodes",
        "-keyout",
        str(folder / "key"),
        "-out",
        str(file),
    ]
    chosen = options or ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    subprocess.run(["openssl", "req", "-x509", "-days", "3", *chosen, *arguments], check=True, capture_output=True)
    return file


@pytest.mark.parametrize("subject", SUBJECTS)
def test_names_are_written_as_by_openssl(subject: str, tmp_path: Path) -> None:
    file = _made(tmp_path, subject)
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-subject", "-nameopt", "RFC2253"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "subject=" + distinguished_name(first_certificate(file)) == shown.rstrip("\n")


@pytest.mark.parametrize(
    ("subject", "name"), [("/CN=reader", "reader"), ("/CN=é ü 漢", "é ü 漢"), ("/CN=one/CN=two", "one"), ("/O=x", None)]
)
def test_the_common_name(subject: str, name: str | None, tmp_path: Path) -> None:
    assert common_name(first_certificate(_made(tmp_path, subject))) == name


@pytest.mark.parametrize(
    ("options", "algorithm"),
    [
        (("-newkey", "rsa:2048", "-sha1"), "sha256"),
        (("-newkey", "rsa:2048", "-sha256"), "sha256"),
        (("-newkey", "rsa:2048", "-sha384"), "sha384"),
        (("-newkey", "rsa:2048", "-sha256", "-sigopt", "rsa_padding_mode:pss"), "sha256"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha512"), "sha512"),
        (("-newkey", "ed25519"), None),
    ],
)
def test_the_hash_for_channel_binding(options: tuple[str, ...], algorithm: str | None, tmp_path: Path) -> None:
    der = first_certificate(_made(tmp_path, "/CN=x", *options))
    expected = None if algorithm is None else hashlib.new(algorithm, der).digest()
    assert server_end_point(der) == expected


def test_the_first_of_a_chain_counts(tmp_path: Path) -> None:
    first = _made(tmp_path, "/CN=first").read_text()
    second = _made(tmp_path, "/CN=second").read_text()
    chain = tmp_path / "chain.pem"
    chain.write_text("a comment\n" + first + second)
    assert common_name(first_certificate(chain)) == "first"
    assert expires_at(first_certificate(chain)).tzinfo is not None


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_no_certificate(text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text(text)
    with pytest.raises(ValueError):
        first_certificate(file)
