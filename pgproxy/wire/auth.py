"""The proxy logging in to a node, sans-I/O. Clients logging in to the proxy are `session.authentication`'s.

Messages go in and come out as bytes; the SCRAM arithmetic is scramp's where a password is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import scramp

from pgproxy.errors import ProxyError
from pgproxy.wire import messages
from pgproxy.wire.scram import BINDING_TYPE, ScramKeys
from pgproxy.wire.scram_client import KeyMismatch, ScramKeyClient

_SCRAM = "SCRAM-SHA-256"
_SCRAM_PLUS = "SCRAM-SHA-256-PLUS"
_METHOD_NAMES = {2: "Kerberos V5", 6: "SCM credentials", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}


class _ScramClient(Protocol):
    def get_client_first(self) -> str: ...
    def set_server_first(self, message: str) -> None: ...
    def get_client_final(self) -> str: ...
    def set_server_final(self, message: str) -> None: ...


# scramp has no annotations.
_new_scram_client: Callable[[list[str], str, str, tuple[str, bytes] | None], _ScramClient] = scramp.ScramClient


@dataclass(frozen=True, slots=True)
class Credential:
    """Who logs in to a node, and what is known to prove it: the password, what SCRAM needs of it, or its md5 hash."""

    user: str
    password: str | None = field(default=None, repr=False)
    scram: ScramKeys | None = field(default=None, repr=False)
    md5: str | None = field(default=None, repr=False)  # as stored: "md5" and 32 hexadecimal digits


class Login:
    """One log-in to a node: hand `respond` the payload of each Authentication message until `done`.

    ErrorResponse (a wrong password, say) comes as its own message and is the caller's to read.
    """

    __slots__ = ("_answers", "_credential", "_scram", "_verified", "done", "end_point")

    def __init__(self, credential: Credential) -> None:
        self.done = False
        self.end_point: bytes | None = None  # of an encrypted connection: what SCRAM is bound to
        self._credential = credential
        self._scram: _ScramClient | None = None
        self._verified = False
        self._answers: Mapping[int, Callable[[bytes], bytes | None]] = {
            messages.AUTHENTICATION_OK: self._ok,
            messages.AUTHENTICATION_CLEARTEXT: self._cleartext,
            messages.AUTHENTICATION_MD5: self._md5,
            messages.AUTHENTICATION_SASL: self._sasl,
            messages.AUTHENTICATION_SASL_CONTINUE: self._sasl_continue,
            messages.AUTHENTICATION_SASL_FINAL: self._sasl_final,
        }

    def respond(self, payload: bytes) -> bytes | None:
        """The message to send next, None when there is none.

        Raises ProxyError: 28P01 for a missing password or a server that does not know it, 28000 for a
        method that is not supported, 08P01 for a message out of place or malformed.
        """
        code, data = messages.parse_authentication(payload)
        answer = self._answers.get(code)
        if answer is None:
            method = _METHOD_NAMES.get(code, f"method {code}")
            raise ProxyError(
                "28000",
                f"the node asks for {method} authentication, which is not supported",
                hint='Use "trust", "password", "md5" or "scram-sha-256" for the proxy in the node\'s pg_hba.conf.',
            )
        return answer(data)

    def _ok(self, _data: bytes) -> None:
        # A server that skips its SCRAM signature has not proved that it knows the password.
        if self._scram is not None and not self._verified:
            raise ProxyError("28P01", "the node ended SCRAM authentication without proving its identity")
        self.done = True

    def _cleartext(self, _data: bytes) -> bytes:
        return messages.password_message(self._known_password().encode())

    def _md5(self, salt: bytes) -> bytes:
        if len(salt) != 4:
            raise _out_of_place("AuthenticationMD5Password")
        known = self._credential
        stored = known.md5 or md5_secret(known.user, self._known_password().encode())
        return messages.password_message(md5_answer(stored, salt))

    def _sasl(self, data: bytes) -> bytes:
        offered = [name.decode(errors="replace") for name in data.split(b"\0") if name]
        if _SCRAM not in offered:
            raise ProxyError("28000", f"the node offers no supported SASL mechanism: {', '.join(offered) or 'none'}")
        if self._scram is not None:
            raise _out_of_place("AuthenticationSASL")
        end_point = self.end_point if _SCRAM_PLUS in offered else None
        mechanism = _SCRAM if end_point is None else _SCRAM_PLUS
        try:
            self._scram = self._new_scram(mechanism, end_point)
            return messages.sasl_initial(mechanism, self._scram.get_client_first().encode())
        except scramp.ScramException as broken:
            raise ProxyError("28P01", f"SCRAM authentication cannot use this user or password: {broken}") from broken

    def _new_scram(self, mechanism: str, end_point: bytes | None) -> _ScramClient:
        if self._credential.password is None and self._credential.scram is not None:
            return ScramKeyClient(self._credential.scram, end_point)
        binding = None if end_point is None else (BINDING_TYPE, end_point)
        return _new_scram_client([mechanism], self._credential.user, self._known_password(), binding)

    def _sasl_continue(self, data: bytes) -> bytes:
        if self._scram is None:
            raise _out_of_place("AuthenticationSASLContinue")
        try:
            self._scram.set_server_first(data.decode())
            return messages.sasl_response(self._scram.get_client_final().encode())
        except KeyMismatch:
            raise ProxyError(
                "28P01",
                f'the node stores another verifier for user "{self._credential.user}" than the proxy knows',
                hint="Copy rolpassword from one node's pg_authid to all nodes and to the proxy's users.",
            ) from None
        except (scramp.ScramException, ValueError) as broken:
            raise ProxyError("08P01", f"malformed SCRAM message from the node: {broken}") from broken

    def _sasl_final(self, data: bytes) -> None:
        if self._scram is None:
            raise _out_of_place("AuthenticationSASLFinal")
        try:
            self._scram.set_server_final(data.decode())
        except (scramp.ScramException, ValueError) as broken:
            raise ProxyError("28P01", f"the node did not prove that it knows the password: {broken}") from broken
        self._verified = True

    def _known_password(self) -> str:
        if self._credential.password is None:
            raise ProxyError(
                "28P01",
                f'the node asks for a password, but none is configured for user "{self._credential.user}"',
                hint="Set the cluster's password in the shard map, or see cluster.login_as for clients' users.",
            )
        return self._credential.password


def md5_secret(user: str, password: bytes) -> str:
    """As PostgreSQL stores it: "md5" and md5(password + user) in hexadecimal."""
    return "md5" + _md5_hex(password + user.encode()).decode()


def md5_answer(stored: str, salt: bytes) -> bytes:
    """What a client answers to AuthenticationMD5Password (documentation, "Message Flow")."""
    return b"md5" + _md5_hex(stored.removeprefix("md5").encode() + salt)


def _md5_hex(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _out_of_place(message: str) -> ProxyError:
    return ProxyError("08P01", f"the node sent {message} out of place or malformed")
