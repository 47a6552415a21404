"""A table of the same name in another schema: only the schema tells which one a statement means."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy


def test_a_name_that_the_search_path_decides_is_refused(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    """A single PostgreSQL would read other.books here, an empty table; the proxy must not answer with public.books."""
    with own_cluster.connect("downtown-library") as node:
        node.execute("CREATE SCHEMA other")
        node.execute("CREATE TABLE other.books (isbn bigint)")
    with running_proxy(own_cluster, tmp_path) as proxy, proxy.connect() as client:
        client.execute("SET search_path = other, public")
        for statement in ("SELECT count(*) FROM books", "DELETE FROM books WHERE branch = 'west'"):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="several schemas"):
                client.execute(statement)
        assert client.execute("SELECT count(*) FROM other.books").fetchone() == (0,)
        assert client.execute("SELECT count(*) FROM public.books").fetchone() == (72,)
        assert client.execute("SELECT count(*) FROM public.books WHERE branch = 'west'").fetchone() == (24,)
        assert client.execute("SELECT count(*) FROM patrons").fetchone() == (60,)
