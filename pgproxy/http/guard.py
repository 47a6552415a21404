"""Who may ask. With a token: whoever has it. Without one: programs of this machine, and pages that we sent ourselves.

A page of someone else that is open in a browser of this machine is not among them: it is known by what browsers say
of a request's origin, and a name that was made to point here (DNS rebinding) by the Host header.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from pgproxy.http.errors import refusal

# The page itself holds nothing secret, and probes have no token.
_OPEN = frozenset({"/", "/health", "/ready"})
_OPEN_PREFIX = "/static/"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guard(token: str | None) -> Middleware:
    """A middleware that lets through what may pass, and says what browsers must know."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refusal(request, token)
        response = refused if refused is not None else await handler(request)
        if not response.prepared:
            response.headers.update(security_headers())
        return response

    return check


def security_headers() -> dict[str, str]:
    return dict(_HEADERS)


def _refusal(request: web.Request, token: str | None) -> web.Response | None:
    if token is None and not is_local_name(request.host):
        return refusal(403, {"message": "without http.token only requests to this machine's own name are answered"})
    if request.path in _OPEN or request.path.startswith(_OPEN_PREFIX):
        return None
    if _from_another_page(request):
        return refusal(403, {"message": "requests of other web pages are not answered"})
    if token is not None and not _has_token(request, token):
        response = refusal(401, {"message": "send the token: Authorization: Bearer …"})
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    return None


def is_local_name(host: str) -> bool:
    """A Host header that names this machine by itself."""
    try:
        name = URL(f"http://{host}").host or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _from_another_page(request: web.Request) -> bool:
    """By the two headers that browsers send and pages cannot change."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin != f"{request.scheme}://{request.host}"


def _has_token(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return same and scheme.lower() == "bearer"
