"""Authentication on both sides, sans-I/O: the proxy logging in to a node, and clients logging in to the proxy.

Messages go in and come out as bytes; the SCRAM arithmetic is scramp's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

import scramp

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire import messages

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


class Login:
    """One log-in to a node: hand `respond` the payload of each Authentication message until `done`.

    ErrorResponse (a wrong password, say) comes as its own message and is the caller's to read.
    """

    __slots__ = ("_answers", "_password", "_scram", "_user", "_verified", "done", "end_point")

    def __init__(self, user: str, password: str | None) -> None:
        self.done = False
        self.end_point: bytes | None = None  # of an encrypted connection: what SCRAM is bound to
        self._user = user
        self._password = password
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
        # Documentation, "Message Flow": md5(md5(password + user) + salt), each in hexadecimal.
        inner = _md5_hex(self._known_password().encode() + self._user.encode())
        return messages.password_message(b"md5" + _md5_hex(inner + salt))

    def _sasl(self, data: bytes) -> bytes:
        offered = [name.decode(errors="replace") for name in data.split(b"\0") if name]
        if _SCRAM not in offered:
            raise ProxyError("28000", f"the node offers no supported SASL mechanism: {', '.join(offered) or 'none'}")
        if self._scram is not None:
            raise _out_of_place("AuthenticationSASL")
        password = self._known_password()
        bound = self.end_point is not None and _SCRAM_PLUS in offered
        mechanism = _SCRAM_PLUS if bound else _SCRAM
        binding = ("tls-server-end-point", self.end_point) if bound and self.end_point is not None else None
        try:
            self._scram = _new_scram_client([mechanism], self._user, password, binding)
            return messages.sasl_initial(mechanism, self._scram.get_client_first().encode())
        except scramp.ScramException as broken:
            raise ProxyError("28P01", f"SCRAM authentication cannot use this user or password: {broken}") from broken

    def _sasl_continue(self, data: bytes) -> bytes:
        if self._scram is None:
            raise _out_of_place("AuthenticationSASLContinue")
        try:
            self._scram.set_server_first(data.decode())
            return messages.sasl_response(self._scram.get_client_final().encode())
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
        if self._password is None:
            raise ProxyError(
                "28P01",
                f'the node asks for a password, but none is configured for user "{self._user}"',
                hint="Set the cluster's password in the shard map.",
            )
        return self._password


class Authenticator(Protocol):
    """How one client proves who it is; an object serves one connection.

    `start` gives the messages that answer the StartupMessage, `feed` those that answer the payload of a
    PasswordMessage (or SASL response). When `done`, AuthenticationOk is among what was given. Both raise
    a FATAL ProxyError to turn the client away.
    """

    @property
    def done(self) -> bool: ...

    def start(self, parameters: Mapping[str, str]) -> list[bytes]: ...

    def feed(self, payload: bytes) -> list[bytes]: ...


class TrustAuthenticator:
    """Everyone is who they say they are (`trust` in PostgreSQL's pg_hba.conf)."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def start(self, parameters: Mapping[str, str]) -> list[bytes]:
        self.done = True
        return [messages.authentication_ok()]

    def feed(self, payload: bytes) -> list[bytes]:
        raise ProtocolViolation("expected no password message")


def _md5_hex(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _out_of_place(message: str) -> ProxyError:
    return ProxyError("08P01", f"the node sent {message} out of place or malformed")
