"""What an error looks like over HTTP: a status by its SQLSTATE, and a JSON body."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from pgproxy.errors import ProxyError

_BY_SQLSTATE = {
    "0A000": 422,  # understood, but not what the proxy can answer exactly
    "25006": 403,  # the transaction is read-only
    "42501": 403,
    "57014": 504,  # timeout
    "54000": 413,
}
_BY_CLASS = {
    "08": 503,  # a node is down
    "53": 503,  # too many clients, queue full
    "57": 503,  # not ready yet, shutting down
    "58": 503,
    "40": 409,
    "XX": 500,
}
_RETRY_AFTER_S = 1


def status_of(sqlstate: str) -> int:
    """503 and 504 are worth another try, 4xx are the statement's own fault."""
    return _BY_SQLSTATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2], 400)


def error_response(error: ProxyError) -> web.Response:
    body: dict[str, Any] = {
        "sqlstate": error.sqlstate,
        "message": error.message,
        "detail": error.detail,
        "hint": error.hint,
        "position": error.position,
    }
    return refusal(status_of(error.sqlstate), {name: value for name, value in body.items() if value is not None})


def refusal(status: int, error: dict[str, Any]) -> web.Response:
    response = web.json_response({"error": error}, status=status)
    if status == 503:
        response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    return response
