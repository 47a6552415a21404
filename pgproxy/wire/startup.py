"""The untyped packets that may open a client's connection, and what a StartupMessage asks for.

Sans-I/O. Which answer each packet gets is the session's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire.messages import decode_text

MAX_STARTUP_BYTES = 10_000  # PostgreSQL's MAX_STARTUP_PACKET_LENGTH; like there, without the length word
PROTOCOL_OPTION_PREFIX = "_pq_."
NEWEST_MINOR = 2

_LENGTH_AND_CODE = Struct("!II").unpack_from
_CANCEL = 80877102
_SSL = 80877103
_GSSENC = 80877104
_FALSE_WORDS = frozenset({"false", "fals", "fal", "fa", "f", "off", "of", "no", "n", "0"})


@dataclass(frozen=True, slots=True)
class SslRequest:
    """SSLRequest."""


@dataclass(frozen=True, slots=True)
class GssEncRequest:
    """GSSENCRequest."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """CancelRequest: the process id and secret key of the BackendKeyData that the other connection got."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """StartupMessage. `parameters` has no protocol options; their full names are in `protocol_options`.

    A NegotiateProtocolVersion is due when `must_negotiate`: we speak up to 3.2 and know no protocol option.
    """

    major: int
    minor: int
    parameters: Mapping[str, str]
    protocol_options: tuple[str, ...] = ()

    @property
    def must_negotiate(self) -> bool:
        return self.minor > NEWEST_MINOR or bool(self.protocol_options)

    @property
    def agreed_minor(self) -> int:
        return min(self.minor, NEWEST_MINOR)

    @property
    def cancel_key_bytes(self) -> int:
        """Four until 3.2, which allows up to 256 and PostgreSQL gives 32."""
        return 32 if self.minor >= 2 else 4

    @property
    def user(self) -> str:
        return self.parameters["user"]

    @property
    def database(self) -> str:
        return self.parameters.get("database") or self.user


FirstPacket = SslRequest | GssEncRequest | CancelRequest | StartupMessage


def parse_first_packet(data: bytes) -> tuple[FirstPacket, int] | None:
    """The packet that `data` begins with and its size in bytes, or None until there is more of it.

    Raises ProtocolViolation for a malformed packet (a bad length as soon as it is seen) and other fatal
    ProxyErrors (0A000, 28000, 22021) for a StartupMessage that cannot be served.
    """
    if len(data) < 4:
        return None
    length = int.from_bytes(data[:4], "big")
    if not 8 <= length <= MAX_STARTUP_BYTES + 4:
        raise ProtocolViolation("invalid length of startup packet")
    if len(data) < length:
        return None
    code = _LENGTH_AND_CODE(data)[1]
    return _packet(code, data[8:length]), length


def startup_settings(message: StartupMessage) -> dict[str, str]:
    """The session's settings that a StartupMessage brings: its `options` switches, overridden by its own parameters.

    Names are lower-case, as they may be written in any case.
    """
    settings = dict(_switches(message.parameters.get("options", "")))
    own = {"user", "database", "options", "replication"}
    settings.update((name.lower(), value) for name, value in message.parameters.items() if name not in own)
    return settings


def _packet(code: int, body: bytes) -> FirstPacket:
    if code in (_SSL, _GSSENC):
        if body:
            raise ProtocolViolation("invalid length of startup packet")
        return SslRequest() if code == _SSL else GssEncRequest()
    if code == _CANCEL:
        # Four bytes of key in protocol 3.0, 4 to 256 in 3.2.
        if not 8 <= len(body) <= 260:
            raise ProtocolViolation("invalid length of query cancel packet")
        return CancelRequest(int.from_bytes(body[:4], "big"), body[4:])
    return _startup(code >> 16, code & 0xFFFF, body)


def _startup(major: int, minor: int, body: bytes) -> StartupMessage:
    if major != 3:
        message = f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}"
        raise ProxyError("0A000", message, severity="FATAL")
    pairs = _pairs(body)
    options = tuple(name for name in pairs if name.startswith(PROTOCOL_OPTION_PREFIX))
    parameters = {name: value for name, value in pairs.items() if name not in options}
    if not parameters.get("user"):
        raise ProxyError("28000", "no PostgreSQL user name specified in startup packet", severity="FATAL")
    if parameters.get("replication", "false").lower() not in _FALSE_WORDS:
        raise ProxyError(
            "0A000",
            "replication connections are not supported",
            hint="Connect to the node itself for replication.",
            severity="FATAL",
        )
    return StartupMessage(major, minor, parameters, options)


def _pairs(body: bytes) -> dict[str, str]:
    """NUL-terminated names and values; an empty name ends them and must be the packet's last byte."""
    words = body.split(b"\0")
    count = next((at for at in range(0, len(words), 2) if not words[at]), len(words))
    if count != len(words) - 2 or words[-1]:
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    text = [decode_text(word, severity="FATAL") for word in words[:count]]
    return dict(zip(text[::2], text[1::2], strict=True))


def _switches(options: str) -> Iterator[tuple[str, str]]:
    """The settings in an `options` parameter: `-c name=value` and `--name=value`, as postgres takes them."""
    words = iter(_words(options))
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith(("--", "-c")):
            word = word[2:]
        else:
            raise _bad_switch(word)
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise _bad_switch(word)
        yield name.replace("-", "_").lower(), value


def _words(options: str) -> list[str]:
    """Split at white space, a backslash taking the next character as it is (`pg_split_opts`)."""
    words: list[str] = []
    word: list[str] = []
    escaped = inside = False
    for character in options:
        if escaped or not (character.isspace() or character == "\\"):
            word.append(character)
            escaped, inside = False, True
        elif character == "\\":
            escaped = inside = True
        elif inside:
            words.append("".join(word))
            word, inside = [], False
    return [*words, "".join(word)] if inside else words


def _bad_switch(word: str) -> ProxyError:
    return ProxyError("42601", f"invalid command-line argument for server process: {word}", severity="FATAL")
