"""The server's side of SCRAM-SHA-256 and -PLUS for one client, sans-I/O; its checks and messages are PostgreSQL's.

Payloads of SASLInitialResponse and SASLResponse go in, Authentication messages come out.
"""

from __future__ import annotations

import hmac

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire import messages, scram

MAX_PAYLOAD_BYTES = 1020  # PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH, which counts the length word too


class WrongProof(Exception):
    """The client does not know the password, or there is none to know."""


class ScramServer:
    """`offer` is the first message, `feed` answers each of the client's until `done`; then `client_key` is known.

    `end_point` is the hash of our certificate when the connection is encrypted. `feed` raises WrongProof, or a FATAL
    ProxyError for a message that is malformed or tries to do without channel binding where both sides have it.
    """

    def __init__(self, verifier: scram.ScramVerifier, end_point: bytes | None, nonce: str | None = None) -> None:
        self.done = False
        self.client_key = b""
        self._verifier = verifier
        self._end_point = end_point
        self._nonce = nonce or scram.new_nonce()
        self._step = self._choose
        self._flag = ""  # the channel-binding flag: n, y or p
        self._binds = False  # the client chose -PLUS
        self._client_first_bare = self._server_first = ""

    def offer(self) -> bytes:
        """AuthenticationSASL."""
        names = [scram.MECHANISM] if self._end_point is None else [scram.MECHANISM_PLUS, scram.MECHANISM]
        return messages.authentication(
            messages.AUTHENTICATION_SASL, b"".join(n.encode() + b"\0" for n in names) + b"\0"
        )

    def feed(self, payload: bytes) -> bytes:
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise WrongProof
        return self._step(payload)

    # Steps

    def _choose(self, payload: bytes) -> bytes:
        """SASLInitialResponse: the mechanism, and mostly the first SCRAM message with it."""
        name, terminator, rest = payload.partition(b"\0")
        if not terminator:
            raise ProtocolViolation("invalid string in message")
        mechanisms = {scram.MECHANISM.encode(): False}
        if self._end_point is not None:
            mechanisms[scram.MECHANISM_PLUS.encode()] = True
        if name not in mechanisms:
            raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
        self._binds = mechanisms[name]
        self._step = self._begin
        if len(rest) < 4:
            raise ProtocolViolation("insufficient data left in message")
        size, first = int.from_bytes(rest[:4], "big", signed=True), rest[4:]
        if size == -1 and not first:
            return messages.authentication(messages.AUTHENTICATION_SASL_CONTINUE)
        if not 0 <= size <= len(first):
            raise ProtocolViolation("insufficient data left in message")
        if size < len(first):
            raise ProtocolViolation("invalid message format")
        return self._begin(first)

    def _begin(self, payload: bytes) -> bytes:
        """client-first-message → server-first-message."""
        message = _Attributes(payload)
        self._read_flag(message)
        if message.next == "a":
            text = "client uses authorization identity, but it is not supported"
            raise ProxyError("0A000", text, severity="FATAL")
        message.expect_comma(f"Unexpected attribute {_shown(message.next)} in client-first-message.")
        self._client_first_bare = message.rest
        if message.next == "m":
            raise ProxyError("0A000", "client requires an unsupported SCRAM extension", severity="FATAL")
        message.value("n")  # the user name of the start-up packet counts, not this one
        client_nonce = message.value("r")
        if not all("!" <= character <= "~" for character in client_nonce):
            raise ProtocolViolation("non-printable characters in SCRAM nonce")
        while not message.at_end:
            message.any_value()
        self._nonce = client_nonce + self._nonce
        salt, iterations = scram.encode(self._verifier.salt), self._verifier.iterations
        self._server_first = f"r={self._nonce},s={salt},i={iterations}"
        self._step = self._finish
        return messages.authentication(messages.AUTHENTICATION_SASL_CONTINUE, self._server_first.encode("latin-1"))

    def _finish(self, payload: bytes) -> bytes:
        """client-final-message → server-final-message and AuthenticationOk."""
        message = _Attributes(payload)
        self._check_binding(message.value("c"))
        nonce = message.value("r")
        while True:
            without_proof = message.before
            name, value = message.any_value()
            if name == "p":
                break
        proof = _proof(value)
        if not message.at_end:
            raise _malformed("Garbage found at the end of client-final-message.")
        if not hmac.compare_digest(nonce.encode("latin-1"), self._nonce.encode("latin-1")):
            raise _violation("invalid SCRAM response", "Nonce does not match.")
        whole = f"{self._client_first_bare},{self._server_first},{without_proof}".encode("latin-1")
        client_key = scram.xor(proof, scram.signature(self._verifier.stored_key, whole))
        if not hmac.compare_digest(scram.digest(client_key), self._verifier.stored_key):
            raise WrongProof
        self.done, self.client_key = True, client_key
        answer = "v=" + scram.encode(scram.signature(self._verifier.server_key, whole))
        final = messages.authentication(messages.AUTHENTICATION_SASL_FINAL, answer.encode())
        return final + messages.authentication_ok()

    # Channel binding

    def _read_flag(self, message: _Attributes) -> None:
        """The gs2 header's flag. What a client says of channel binding must fit what we have offered, or someone
        between us has changed the offer."""
        self._flag = message.next
        if self._flag in ("n", "y"):
            if self._binds:
                raise _malformed(
                    "The client selected SCRAM-SHA-256-PLUS, "
                    "but the SCRAM message does not include channel binding data."
                )
            if self._flag == "y" and self._end_point is not None:
                raise ProxyError(
                    "28000",
                    "SCRAM channel binding negotiation error",
                    detail="The client supports SCRAM channel binding but thinks the server does not.  "
                    "However, this server does support channel binding.",
                    severity="FATAL",
                )
            message.skip()
            message.expect_comma(f"Comma expected, but found character {_shown(message.next)}.")
        elif self._flag == "p":
            if not self._binds:
                raise _malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, "
                    "but the SCRAM message includes channel binding data."
                )
            kind = message.value("p")
            if kind != scram.BINDING_TYPE:
                raise ProtocolViolation(f'unsupported SCRAM channel-binding type "{_printable(kind)}"')
        else:
            raise _malformed(f"Unexpected channel-binding flag {_shown(self._flag)}.")

    def _check_binding(self, given: str) -> None:
        if self._binds:
            assert self._end_point is not None
            bound = f"p={scram.BINDING_TYPE},,".encode() + self._end_point
            if not hmac.compare_digest(given.encode("latin-1"), scram.encode(bound).encode()):
                raise ProxyError("28000", "SCRAM channel binding check failed", severity="FATAL")
        elif given != scram.encode(f"{self._flag},,".encode()):
            raise ProtocolViolation("unexpected SCRAM channel-binding attribute in client-final-message")


class _Attributes:
    """A SCRAM message: `name=value` joined by commas, read from left to right."""

    def __init__(self, payload: bytes) -> None:
        if not payload:
            raise _malformed("The message is empty.")
        if b"\0" in payload:
            raise _malformed("Message length does not match input length.")
        self._text = payload.decode("latin-1")  # one character for one byte: only ASCII means anything
        self._at = 0

    @property
    def next(self) -> str:
        """The next character, NUL at the end."""
        return self._text[self._at] if self._at < len(self._text) else "\0"

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    @property
    def rest(self) -> str:
        return self._text[self._at :]

    @property
    def before(self) -> str:
        """What has been read, without the comma behind it."""
        return self._text[: self._at].removesuffix(",")

    def skip(self) -> None:
        self._at += 1

    def expect_comma(self, otherwise: str) -> None:
        if self.next != ",":
            raise _malformed(otherwise)
        self.skip()

    def value(self, name: str) -> str:
        if self.next != name:
            raise _malformed(f'Expected attribute "{name}" but found {_shown(self.next)}.')
        return self.any_value()[1]

    def any_value(self) -> tuple[str, str]:
        name = self.next
        if self.at_end:
            raise _malformed("Attribute expected, but found end of string.")
        if not (name.isascii() and name.isalpha()):
            raise _malformed(f"Attribute expected, but found invalid character {_shown(name)}.")
        self.skip()
        if self.next != "=":
            raise _malformed(f'Expected character "=" for attribute "{name}".')
        self.skip()
        value, comma, _ = self.rest.partition(",")
        self._at += len(value) + len(comma)
        return name, value


def _proof(text: str) -> bytes:
    try:
        proof = scram.decode(text)
    except ValueError:
        proof = b""
    if len(proof) != scram.KEY_BYTES:
        raise _malformed("Malformed proof in client-final-message.")
    return proof


def _shown(character: str) -> str:
    """As PostgreSQL's sanitize_char shows it."""
    return f"\"'{character}'\"" if "!" <= character <= "~" else f'"0x{ord(character):02x}"'


def _printable(text: str) -> str:
    return "".join(character if "!" <= character <= "~" else "?" for character in text[:30])


def _malformed(detail: str) -> ProxyError:
    return _violation("malformed SCRAM message", detail)


def _violation(message: str, detail: str) -> ProxyError:
    violation = ProtocolViolation(message)
    violation.detail = detail
    return violation
