"""Drivers against the proxy and against one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.restarts import RestartedProxy
from tests.clients.sides import Side, Sides
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy, running_proxy


@pytest.fixture(scope="session")
def sides(shared_proxy: RunningProxy, reference_pg: ReferencePostgres) -> Sides:
    return Sides(Side(shared_proxy.host, shared_proxy.port), Side(reference_pg.host, reference_pg.port))


@pytest.fixture
def restarted_proxy(library_cluster: LibraryCluster, tmp_path: Path) -> Iterator[RestartedProxy]:
    """A proxy of one's own. Whoever kills a node starts it again."""
    with running_proxy(library_cluster, tmp_path) as running:
        proxy = RestartedProxy(running, library_cluster)
        try:
            yield proxy
        finally:
            proxy.close()
