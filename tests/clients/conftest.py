"""Drivers against the proxy and against one PostgreSQL."""

from __future__ import annotations

import pytest

from tests.clients.sides import Side, Sides
from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy


@pytest.fixture(scope="session")
def sides(shared_proxy: RunningProxy, reference_pg: ReferencePostgres) -> Sides:
    return Sides(Side(shared_proxy.host, shared_proxy.port), Side(reference_pg.host, reference_pg.port))
