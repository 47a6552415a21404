"""Verifiers: as PostgreSQL writes and reads them, and what is none."""

from __future__ import annotations

import pytest
import scramp

from pgproxy.wire import scram


@pytest.mark.parametrize(
    "password", ["secret", "Pass wörd", "ﬁ\u00ad", "\u2000x", "a\nb", "\u0627x", "\U000e0001", "é"]
)
def test_a_password_fits_its_own_verifier_only(password: str) -> None:
    verifier = scram.make_verifier(password)
    assert str(verifier).startswith("SCRAM-SHA-256$4096:")
    assert scram.parse_verifier(str(verifier)) == verifier
    assert scram.matches_password(verifier, password.encode())
    assert not scram.matches_password(verifier, password.encode() + b"x")
    assert not scram.matches_password(verifier, b"\xff")


def test_saslprep() -> None:
    """Characters that SASLprep makes equal are the same password; what it prohibits counts as it is."""
    assert scram.matches_password(scram.make_verifier("ﬁsh"), b"fish")
    assert scram.matches_password(scram.make_verifier("a\u00a0b"), b"a b")
    assert scram.prepared("a\u0007") == b"a\x07"
    assert scram.prepared("ä\u0007") == "ä\u0007".encode()
    assert scram.prepared("\u00ad") == "\u00ad".encode()


def test_the_arithmetic_is_rfc_7677s() -> None:
    salt = scram.decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram.make_verifier("pencil", salt=salt)
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    proof = scram.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client_key = scram.xor(proof, scram.signature(verifier.stored_key, message))
    assert scram.digest(client_key) == verifier.stored_key
    server = scram.encode(scram.signature(verifier.server_key, message))
    assert server == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_as_scramp_has_it() -> None:
    salt, stored_key, server_key, iterations = scramp.ScramMechanism("SCRAM-SHA-256").make_auth_info("secret")
    assert scram.make_verifier("secret", salt=salt, iterations=iterations) == scram.ScramVerifier(
        iterations, salt, stored_key, server_key
    )


KEY = scram.encode(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "md5" + "0" * 32,
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:{KEY} ",
        f"SCRAM-SHA-256$99999999:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$0:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$x:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA=${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA==$AAAA:{KEY}",
        f"SCRAM-SHA-1$4096:c2FsdA==${KEY}:{KEY}",
    ],
)
def test_what_is_no_verifier(text: str) -> None:
    assert scram.parse_verifier(text) is None


def test_nothing_secret_is_shown() -> None:
    assert KEY not in repr(scram.parse_verifier(f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:{KEY}"))
    assert "client_key" not in repr(scram.ScramKeys(b"k", b"s", b"salt", 1))


def test_a_mock_verifier_is_the_same_each_time_and_no_password_fits() -> None:
    verifier = scram.mock_verifier(b"secret", "alice")
    assert verifier == scram.mock_verifier(b"secret", "alice")
    assert verifier.salt != scram.mock_verifier(b"secret", "bob").salt
    assert verifier.salt != scram.mock_verifier(b"other", "alice").salt
    real = scram.make_verifier("x")
    assert (len(verifier.salt), verifier.iterations) == (len(real.salt), real.iterations)
    assert not scram.matches_password(verifier, b"x")
