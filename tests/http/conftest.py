"""A proxy with its HTTP side, and how to ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from pgproxy.demo.nodes import HOST, free_port
from pgproxy.shardmap.model import HttpSettings
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy

TIMEOUT_S = 90


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass(frozen=True)
class HttpProxy:
    """A running proxy, and requests to its HTTP side."""

    proxy: RunningProxy
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        request = urllib.request.Request(self.url + path, method=method, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers, refused.read())

    def sql(self, sql: str) -> Answer:
        return self.ask("/sql?" + urlencode({"q": sql}))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        answer = self.sql(sql)
        assert answer.status == 200, answer.body
        return list(answer.json["rows"])


@pytest.fixture(scope="session")
def web(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProxy]:
    """For all tests that only read, and for the sample write."""
    http = HttpSettings(port=free_port(), write=True, max_rows=50, default_limit=10)
    with running_proxy(library_cluster, tmp_path_factory.mktemp("web"), http=http) as proxy:
        yield HttpProxy(proxy, http.port or 0)
