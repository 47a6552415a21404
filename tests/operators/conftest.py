"""A connection to a real server, which says what is right."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_nodes import ReferencePostgres


@pytest.fixture(scope="package")
def connection(reference_pg: ReferencePostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(reference_pg.conninfo, autocommit=True) as connection:
        yield connection
