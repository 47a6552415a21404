"""`POST /write`: the sample write toggles one book, where it is allowed."""

from __future__ import annotations

from pathlib import Path

from pgproxy.demo.nodes import NODE_NAMES, free_port
from pgproxy.shardmap.model import HttpSettings
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy
from tests.http.conftest import HttpProxy


def test_it_toggles_one_book(web: HttpProxy, library_cluster: LibraryCluster) -> None:
    tables = dict(zip(["books_a", "books_b", "books_c"], NODE_NAMES, strict=True))

    def checked_out() -> set[tuple[str, int]]:
        found = set()
        for table, node in tables.items():
            with library_cluster.connect(node) as connection:
                rows = connection.execute(f"SELECT isbn FROM {table} WHERE checked_out".encode()).fetchall()
                found |= {(table, isbn) for (isbn,) in rows}
        return found

    seen = set()
    for _ in range(30):
        before = checked_out()
        answer = web.ask("/write", "POST")
        assert answer.status == 200, answer.body
        said = answer.json
        assert said["ok"] is True
        assert tables[said["table"]] == said["node"]
        assert before ^ checked_out() == {(said["table"], said["isbn"])}
        seen.add(said["table"])
        with library_cluster.connect(said["node"]) as connection:  # put it back
            connection.execute(
                f"UPDATE {said['table']} SET checked_out = NOT checked_out WHERE isbn = {said['isbn']}".encode()
            )
    assert len(seen) > 1


def test_it_is_a_post(web: HttpProxy) -> None:
    assert web.ask("/write").status == 405


def test_it_is_off_unless_allowed(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port())
    with running_proxy(library_cluster, tmp_path, http=http) as proxy:
        answer = HttpProxy(proxy, http.port or 0).ask("/write", "POST")
    assert answer.status == 403
    assert "http.write" in answer.error["message"]
