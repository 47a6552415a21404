"""One conversation held twice: with the proxy and with a single PostgreSQL that has the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, conversation

Answers = list[list[tuple[Any, ...]]]
Converse = Callable[..., Answers]


@pytest.fixture(scope="session")
def with_proxy(shared_proxy: RunningProxy) -> Converse:
    return _converse_with(shared_proxy.conninfo)


@pytest.fixture(scope="session")
def with_postgres(reference_pg: ReferencePostgres) -> Converse:
    return _converse_with(reference_pg.conninfo)


def _converse_with(conninfo: str) -> Converse:
    def converse(*statements: str | bytes, **parameters: str) -> Answers:
        with RawClient.logged_in(conninfo, **parameters) as client:
            return conversation(client, list(statements))

    return converse
