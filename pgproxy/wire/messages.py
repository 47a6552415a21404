"""The protocol's messages, encoded and decoded: all of them but result rows (`wire.rows`) and the untyped
first packets that clients send (`wire.startup`). Sans-I/O; encoders give whole messages, decoders take payloads.

Names and layouts: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import NoReturn

from pgproxy.errors import ProtocolViolation, ProxyError

_INT32 = Struct("!i")
_LENGTH = _INT32.pack
_BODY_OVERHEAD = 4  # the length counts itself, not the type byte
_PROTOCOL_3_0 = 3 << 16
_CANCEL_REQUEST = 80877102

# Message types. A letter may mean one thing from the frontend and another from the backend.
BIND, CLOSE, DESCRIBE, EXECUTE, FLUSH = b"BCDEH"
FUNCTION_CALL, PARSE, PASSWORD, QUERY, SYNC, TERMINATE = b"FPpQSX"
COPY_DATA, COPY_DONE, COPY_FAIL = b"dcf"

AUTHENTICATION, BACKEND_KEY_DATA, PARAMETER_STATUS, READY_FOR_QUERY, NEGOTIATE_PROTOCOL_VERSION = b"RKSZv"
BIND_COMPLETE, CLOSE_COMPLETE, PARSE_COMPLETE, NO_DATA, PARAMETER_DESCRIPTION, PORTAL_SUSPENDED = b"231nts"
COMMAND_COMPLETE, DATA_ROW, EMPTY_QUERY_RESPONSE, ROW_DESCRIPTION = b"CDIT"
COPY_IN_RESPONSE, COPY_OUT_RESPONSE, COPY_BOTH_RESPONSE, FUNCTION_CALL_RESPONSE = b"GHWV"
ERROR_RESPONSE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE = b"ENA"

FRONTEND_NAMES: Mapping[int, str] = {
    BIND: "Bind",
    CLOSE: "Close",
    COPY_DATA: "CopyData",
    COPY_DONE: "CopyDone",
    COPY_FAIL: "CopyFail",
    DESCRIBE: "Describe",
    EXECUTE: "Execute",
    FLUSH: "Flush",
    FUNCTION_CALL: "FunctionCall",
    PARSE: "Parse",
    PASSWORD: "PasswordMessage",  # also SASLInitialResponse, SASLResponse, GSSResponse
    QUERY: "Query",
    SYNC: "Sync",
    TERMINATE: "Terminate",
}

BACKEND_NAMES: Mapping[int, str] = {
    AUTHENTICATION: "Authentication",
    BACKEND_KEY_DATA: "BackendKeyData",
    BIND_COMPLETE: "BindComplete",
    CLOSE_COMPLETE: "CloseComplete",
    COMMAND_COMPLETE: "CommandComplete",
    COPY_BOTH_RESPONSE: "CopyBothResponse",
    COPY_DATA: "CopyData",
    COPY_DONE: "CopyDone",
    COPY_IN_RESPONSE: "CopyInResponse",
    COPY_OUT_RESPONSE: "CopyOutResponse",
    DATA_ROW: "DataRow",
    EMPTY_QUERY_RESPONSE: "EmptyQueryResponse",
    ERROR_RESPONSE: "ErrorResponse",
    FUNCTION_CALL_RESPONSE: "FunctionCallResponse",
    NEGOTIATE_PROTOCOL_VERSION: "NegotiateProtocolVersion",
    NO_DATA: "NoData",
    NOTICE_RESPONSE: "NoticeResponse",
    NOTIFICATION_RESPONSE: "NotificationResponse",
    PARAMETER_DESCRIPTION: "ParameterDescription",
    PARAMETER_STATUS: "ParameterStatus",
    PARSE_COMPLETE: "ParseComplete",
    PORTAL_SUSPENDED: "PortalSuspended",
    READY_FOR_QUERY: "ReadyForQuery",
    ROW_DESCRIPTION: "RowDescription",
}

# Codes of an Authentication message (its first Int32).
AUTHENTICATION_OK = 0
AUTHENTICATION_CLEARTEXT = 3
AUTHENTICATION_MD5 = 5
AUTHENTICATION_SASL = 10
AUTHENTICATION_SASL_CONTINUE = 11
AUTHENTICATION_SASL_FINAL = 12

_READY = {status: b"Z\0\0\0\5" + status for status in (b"I", b"T", b"E")}


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + _LENGTH(len(body) + _BODY_OVERHEAD) + body


# To clients


def authentication(code: int, data: bytes = b"") -> bytes:
    """Authentication…: `code` tells which, `data` is what follows it."""
    return _message(b"R", _LENGTH(code) + data)


def authentication_ok() -> bytes:
    """AuthenticationOk."""
    return b"R\0\0\0\x08\0\0\0\0"


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return _message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def backend_key_data(pid: int, key: bytes) -> bytes:
    """BackendKeyData. Protocol 3.0 wants a key of exactly four bytes; `pid` is an unsigned 32-bit number."""
    return _message(b"K", pid.to_bytes(4, "big") + key)


def ready_for_query(status: bytes) -> bytes:
    """ReadyForQuery: `I` idle, `T` in a transaction, `E` in a failed one."""
    return _READY[status]


def error_response(fields: Mapping[str, str]) -> bytes:
    """ErrorResponse, its fields keyed by their one-letter code (as `ProxyError.fields` gives them)."""
    return _message(b"E", _error_fields(fields))


def notice_response(fields: Mapping[str, str]) -> bytes:
    """NoticeResponse, its fields as in ErrorResponse."""
    return _message(b"N", _error_fields(fields))


def command_complete(tag: str) -> bytes:
    """CommandComplete."""
    return _message(b"C", tag.encode() + b"\0")


def notification_response(pid: int, rest: bytes) -> bytes:
    """NotificationResponse; `rest` is channel and payload as a node has sent them."""
    return _message(b"A", pid.to_bytes(4, "big") + rest)


def empty_query_response() -> bytes:
    """EmptyQueryResponse."""
    return b"I\0\0\0\4"


def negotiate_protocol_version(minor: int, unknown: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: go on as 3.`minor`, without the `unknown` `_pq_.` options.

    Servers send, and libpq compares, the whole version (major in the upper half), although the
    documentation speaks of the minor one.
    """
    names = b"".join(name.encode() + b"\0" for name in unknown)
    return _message(b"v", _LENGTH(_PROTOCOL_3_0 | minor) + _LENGTH(len(unknown)) + names)


# To nodes


def startup_message(parameters: Mapping[str, str]) -> bytes:
    """StartupMessage, protocol 3.0."""
    pairs = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in parameters.items())
    body = _LENGTH(_PROTOCOL_3_0) + pairs + b"\0"
    return _LENGTH(len(body) + _BODY_OVERHEAD) + body


def cancel_request(pid: int, key: bytes) -> bytes:
    """CancelRequest, for a connection of its own."""
    body = _LENGTH(_CANCEL_REQUEST) + pid.to_bytes(4, "big") + key
    return _LENGTH(len(body) + _BODY_OVERHEAD) + body


def query(sql: str) -> bytes:
    """Query."""
    text = sql.encode()
    return b"Q" + _LENGTH(len(text) + 5) + text + b"\0"


def sync() -> bytes:
    """Sync."""
    return b"S\0\0\0\4"


def terminate() -> bytes:
    """Terminate."""
    return b"X\0\0\0\4"


def password_message(password: bytes) -> bytes:
    """PasswordMessage, cleartext or already hashed, without its NUL."""
    return _message(b"p", password + b"\0")


def sasl_initial(mechanism: str, data: bytes) -> bytes:
    """SASLInitialResponse."""
    return _message(b"p", mechanism.encode() + b"\0" + _LENGTH(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """SASLResponse."""
    return _message(b"p", data)


# Payloads


def parse_query(payload: bytes) -> str:
    """The text of a Query. Bytes that are not UTF-8 raise 22021, a missing or early NUL 08P01: where the next
    message begins is known all the same, so both are mere errors."""
    if payload.find(b"\0") != len(payload) - 1 or not payload:
        raise ProxyError("08P01", "invalid string in message" if b"\0" not in payload else "invalid message format")
    return decode_text(payload[:-1])


def decode_text(text: bytes, severity: str = "ERROR") -> str:
    """Client text as str; 22021 in PostgreSQL's words when it is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as broken:
        character = text[broken.start : broken.start + _utf8_length(text[broken.start])]
        shown = " ".join(f"0x{byte:02x}" for byte in character)
        raise ProxyError("22021", f'invalid byte sequence for encoding "UTF8": {shown}', severity=severity) from None


def parse_error_fields(payload: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by one-letter code.

    A node's messages before it knows the client encoding may be in any encoding: what is not UTF-8 is
    shown as U+FFFD.
    """
    if payload[-1:] != b"\0" or (len(payload) > 1 and payload[-2] != 0):
        _malformed("ErrorResponse")
    fields = payload[:-1].split(b"\0")[:-1]
    if not all(fields):
        _malformed("ErrorResponse")
    return {chr(field[0]): field[1:].decode(errors="replace") for field in fields}


def parse_parameter_status(payload: bytes) -> tuple[str, str]:
    """(name, value) of a ParameterStatus."""
    parts = payload.split(b"\0")
    if len(parts) != 3 or parts[2]:
        _malformed("ParameterStatus")
    return parts[0].decode(errors="replace"), parts[1].decode(errors="replace")


def parse_backend_key_data(payload: bytes) -> tuple[int, bytes]:
    """(process id, secret key) of a BackendKeyData."""
    if len(payload) < 8:
        _malformed("BackendKeyData")
    return int.from_bytes(payload[:4], "big"), payload[4:]


def parse_notification(payload: bytes) -> tuple[int, bytes]:
    """(process id, channel and payload as they stand) of a NotificationResponse."""
    if len(payload) < 6 or payload[-1:] != b"\0":
        _malformed("NotificationResponse")
    return int.from_bytes(payload[:4], "big"), payload[4:]


def parse_command_complete(payload: bytes) -> str:
    """The tag of a CommandComplete."""
    if payload.find(b"\0") != len(payload) - 1 or not payload:
        _malformed("CommandComplete")
    return payload[:-1].decode(errors="replace")


def parse_authentication(payload: bytes) -> tuple[int, bytes]:
    """(code, what follows it) of an Authentication message."""
    if len(payload) < 4:
        _malformed("Authentication")
    return int.from_bytes(payload[:4], "big"), payload[4:]


def _error_fields(fields: Mapping[str, str]) -> bytes:
    return b"".join(f"{code}{text}\0".encode() for code, text in fields.items()) + b"\0"


def _utf8_length(lead: int) -> int:
    """How long a character that begins with this byte claims to be (`pg_utf_mblen`)."""
    if lead & 0xE0 == 0xC0:
        return 2
    if lead & 0xF0 == 0xE0:
        return 3
    if lead & 0xF8 == 0xF0:
        return 4
    return 1


def _malformed(message: str) -> NoReturn:
    raise ProtocolViolation(f"malformed {message}")
