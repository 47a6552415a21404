"""Who is answered: with a token whoever has it, without one this machine – but never another web page."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pgproxy.demo.nodes import HOST, SUPERUSER, free_port
from pgproxy.http.guard import is_local_name
from pgproxy.shardmap.model import HttpSettings
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy
from tests.http.conftest import HttpProxy

TOKEN = "0123456789abcdef-secret"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1:8088", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("localhost:8088", True),
        ("[::1]:8088", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8088", False),
        ("10.0.0.1", False),
        ("", False),
        ("a:b:c", False),
    ],
)
def test_local_names(host: str, local: bool) -> None:
    assert is_local_name(host) is local


@pytest.mark.parametrize("path", ["/", "/sql?q=SELECT+1", "/metrics", "/events", "/health"])
def test_a_name_that_was_made_to_point_here_gets_nothing(web: HttpProxy, path: str) -> None:
    assert web.ask(path, headers={"Host": "evil.example"}).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({}, 200),
    ],
)
def test_other_pages_get_nothing(web: HttpProxy, headers: dict[str, str], status: int) -> None:
    assert web.ask("/sql?q=SELECT+1", headers=headers).status == status


def test_our_own_page_may_ask(web: HttpProxy) -> None:
    assert web.ask("/metrics", headers={"Origin": web.url, "Sec-Fetch-Site": "same-origin"}).status == 200


def test_browsers_are_told_to_load_nothing_else(web: HttpProxy) -> None:
    for path in ("/", "/static/app.js", "/sql?q=SELECT+1", "/nowhere", "/metrics"):
        headers = web.ask(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';"), path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/static/..%2fapp.py", "/static/", "/static/index.html", "/nowhere"])
def test_other_files_are_not_there(web: HttpProxy, path: str) -> None:
    answer = web.ask(path)
    assert answer.status == 404
    assert answer.error["message"]


@pytest.fixture(scope="module")
def guarded(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProxy]:
    http = HttpSettings(listen="0.0.0.0", port=free_port(), token=TOKEN)
    with running_proxy(library_cluster, tmp_path_factory.mktemp("guarded"), http=http) as proxy:
        yield HttpProxy(proxy, http.port or 0)


@pytest.mark.parametrize("path", ["/sql?q=SELECT+1", "/metrics", "/events"])
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
def test_without_the_token(guarded: HttpProxy, path: str, authorization: str | None) -> None:
    answer = guarded.ask(path, headers={} if authorization is None else {"Authorization": authorization})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_with_the_token(guarded: HttpProxy) -> None:
    answer = guarded.ask("/sql?q=SELECT+1+AS+one", headers={"Authorization": f"Bearer {TOKEN}", "Host": "any.example"})
    assert answer.json["rows"] == [{"one": 1}]
    assert guarded.ask("/metrics", headers={"Authorization": f"bearer {TOKEN}"}).status == 200


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/health", "/ready"])
def test_what_needs_no_token(guarded: HttpProxy, path: str) -> None:
    assert guarded.ask(path).status == 200


def test_what_is_no_request_is_not_logged(guarded: HttpProxy) -> None:
    """Nor does anyone fill the log with it."""
    with socket.create_connection((HOST, guarded.port), 30) as client:
        client.sendall(f"GET / HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\x01\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.0 400 ")
    assert guarded.ask("/health").status == 200
    log = guarded.proxy.log_text()
    assert "Traceback" not in log
    assert TOKEN not in log


def test_the_log_warns_of_a_superuser(guarded: HttpProxy, web: HttpProxy) -> None:
    """But not where HTTP opens nothing that the proxy's own port does not."""
    warning = f'http: whoever may ask /sql is the superuser \\"{SUPERUSER}\\"'
    assert guarded.proxy.log_text().count(warning) == 1
    assert "superuser" not in web.proxy.log_text()


def test_the_token_is_shown_nowhere(guarded: HttpProxy) -> None:
    answer = guarded.ask("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert TOKEN.encode() not in answer.body
    assert TOKEN not in guarded.proxy.log_text()
