"""`GET /sql`: what a single PostgreSQL would answer, as JSON; nothing is ever written."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pgproxy.demo.nodes import NODE_NAMES, SUPERUSER, free_port
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.model import HttpSettings, ShardMap
from tests.activity import await_running, locked
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import running_proxy
from tests.http.conftest import TIMEOUT_S, HttpProxy

import psycopg  # isort: skip


def test_a_routed_statement(web: HttpProxy) -> None:
    sql = "SELECT isbn, book_name, price, checked_out, genre FROM books WHERE branch = 'west' AND isbn = 9780062315007"
    answer = web.sql(sql)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json == {
        "query": sql,
        "nodes": ["west-library"],
        "limit": 10,
        "count": 1,
        "truncated": False,
        "rows": [
            {"isbn": 9780062315007, "book_name": "The Alchemist", "price": 17.99, "checked_out": False, "genre": None}
        ],
    }


def test_a_scatter_names_all_nodes(web: HttpProxy, reference_pg: ReferencePostgres) -> None:
    sql = "SELECT branch, count(*), avg(price)::text AS mean FROM books GROUP BY branch ORDER BY branch"
    answer = web.sql(sql).json
    assert answer["nodes"] == sorted(NODE_NAMES)
    with psycopg.connect(reference_pg.conninfo) as connection:
        rows = connection.execute(sql.encode()).fetchall()
    assert [tuple(row.values()) for row in answer["rows"]] == rows


def test_the_default_limit(web: HttpProxy) -> None:
    answer = web.sql("SELECT isbn FROM books").json
    assert (answer["limit"], answer["count"], answer["truncated"]) == (10, 10, True)
    answer = web.sql("SELECT DISTINCT branch FROM books ORDER BY branch").json
    assert (answer["limit"], answer["count"], answer["truncated"]) == (10, 3, False)
    answer = web.sql("SELECT isbn FROM books LIMIT 15").json
    assert (answer["limit"], answer["count"], answer["truncated"]) == (None, 15, False)


def test_the_row_cap(web: HttpProxy) -> None:
    answer = web.sql("SELECT isbn FROM books ORDER BY isbn, branch LIMIT 60").json
    assert (answer["limit"], answer["count"], answer["truncated"]) == (None, 50, True)
    answer = web.sql("SELECT n FROM generate_series(1, 1000000) AS n").json
    assert (answer["count"], answer["truncated"], answer["rows"][-1]) == (50, True, {"n": 50})
    assert web.rows("SELECT 1 AS one") == [{"one": 1}]  # and the proxy goes on


WRITES = [
    "INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'a', 'b')",
    "UPDATE books SET price = 0 WHERE branch = 'west'",
    "DELETE FROM books WHERE branch = 'west'",
    "CREATE TABLE made_by_http (a int)",
    "SELECT isbn FROM books WHERE branch = 'west' FOR UPDATE",
]


@pytest.mark.parametrize("sql", WRITES)
def test_writing_is_forbidden(web: HttpProxy, sql: str) -> None:
    answer = web.sql(sql)
    assert answer.status == 403, answer.body
    assert answer.error["sqlstate"] == "25006"


@pytest.mark.parametrize("before", ["COMMIT", "ROLLBACK", "SET TRANSACTION READ WRITE", "COMMIT; BEGIN", "END"])
def test_nothing_comes_behind_an_end_of_the_transaction(
    web: HttpProxy, library_cluster: LibraryCluster, before: str
) -> None:
    """Not in one request, and not in the next one."""
    write = "UPDATE books SET author = 'by http' WHERE branch = 'west'"
    assert web.sql(f"{before}; {write}").error["sqlstate"] == "42601"
    web.sql(before)
    assert web.sql(write).error["sqlstate"] == "25006"
    with library_cluster.connect("west-library") as west:
        assert west.execute("SELECT count(*) FROM books_b WHERE author = 'by http'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("sql", "status", "sqlstate"),
    [
        ("SELEC 1", 400, "42601"),
        ("SELECT * FROM nowhere", 400, "42P01"),
        ("SELECT 1/0", 400, "22012"),
        ("SELECT 'x'::int", 400, "22P02"),
        ("COPY books TO STDOUT", 422, "0A000"),
        ("SELECT * FROM books ORDER BY isbn FETCH FIRST 2 ROWS WITH TIES", 422, "0A000"),
        ("SELECT 1\0", 400, "22021"),
        ("", 200, None),
    ],
)
def test_errors(web: HttpProxy, sql: str, status: int, sqlstate: str | None) -> None:
    answer = web.sql(sql)
    assert answer.status == status, answer.body
    if sqlstate is not None:
        assert answer.error["sqlstate"] == sqlstate
        assert answer.error["message"]


def test_a_statement_that_takes_too_long(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port(), statement_timeout_s=0.5)
    with running_proxy(library_cluster, tmp_path, http=http) as proxy:
        answer = HttpProxy(proxy, http.port or 0).sql("SELECT pg_sleep(90)")
        assert answer.status == 504, answer.body
        assert answer.error["sqlstate"] == "57014"
        assert answer.error["message"]


def test_an_error_says_where(web: HttpProxy) -> None:
    error = web.sql("SELECT pric FROM books WHERE branch = 'west'").error
    assert error["position"] == 8
    assert error["hint"] == 'Perhaps you meant to reference the column "books.price".'


def test_invalid_utf8(web: HttpProxy) -> None:
    answer = web.ask("/sql?q=SELECT+'%ff'")
    assert (answer.status, answer.error["sqlstate"]) == (400, "22021")
    assert web.rows("SELECT 'é→😀' AS text") == [{"text": "é→😀"}]


def test_no_statement(web: HttpProxy) -> None:
    assert web.ask("/sql").status == 400
    assert web.ask("/sql", "POST").status == 405


@pytest.mark.parametrize("query", ["q=SELECT+1+%26+3&limit=1", "q=SELECT+1+&+3", "q=SELECT+1&q=SELECT+2"])
def test_what_may_be_half_a_statement_is_refused(query: str, web: HttpProxy) -> None:
    answer = web.ask(f"/sql?{query}")
    assert (answer.status, "%26" in answer.error["message"]) == (400, True)


def test_connections_go_back_to_their_pools(web: HttpProxy) -> None:
    """Nothing is left open by an answer, an error or a cut."""
    for _ in range(3):
        for sql in ("SELECT 1", "SELECT 1/0", "SELECT count(*) FROM books", "SELECT generate_series(1, 100000)"):
            web.sql(sql)
    with psycopg.connect(web.proxy.conninfo.replace("dbname=library_system", "dbname=pgproxy"), autocommit=True,
                         cursor_factory=psycopg.ClientCursor) as admin:  # fmt: skip
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            in_use = [row[3] for row in admin.execute("SHOW POOLS").fetchall()]
            clients = [row[3] for row in admin.execute("SHOW CLIENTS").fetchall()]
            if in_use == [0, 0, 0] and "pgproxy http" not in clients:
                break
            assert time.monotonic() < deadline, (in_use, clients)
            time.sleep(0.1)


def test_too_many_at_once_are_refused(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port(), concurrency=2)
    count = "SELECT count(*) AS n FROM books WHERE branch = 'west'"
    with running_proxy(library_cluster, tmp_path, http=http) as proxy, ThreadPoolExecutor(2) as threads:
        web = HttpProxy(proxy, http.port or 0)
        with locked(library_cluster, "west-library", "books_b"):
            served = [threads.submit(web.sql, count) for _ in range(2)]
            await_running(library_cluster, "books_b", 2)
            refused = web.sql(count)
        assert refused.status == 503
        assert refused.error["sqlstate"] == "53300"
        assert refused.headers["Retry-After"] == "1"
        assert [answer.result().json["rows"] for answer in served] == [[{"n": 24}]] * 2


def test_the_response_is_bounded_in_bytes(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port(), max_response_bytes=64 * 1024)
    with running_proxy(library_cluster, tmp_path, http=http) as proxy:
        web = HttpProxy(proxy, http.port or 0)
        answer = web.sql("SELECT repeat('x', 1000) AS x FROM generate_series(1, 500)").json
        assert answer["truncated"]
        assert 50 < answer["count"] < 66
        answer = web.sql("SELECT repeat('x', 1000000) AS x")
        assert answer.status == 413
        assert answer.error["sqlstate"] == "54000"


FOR_SUPERUSERS = [
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/hostname')",
    "SELECT lo_export(1, '/tmp/nothing')",
    "SELECT pg_reload_conf()",
    "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM $p$true$p$'; END $$",
]


@pytest.fixture(scope="module")
def plain_web(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProxy]:
    """A proxy whose role is the one that docs/http.md tells to make."""
    http = HttpSettings(port=free_port())
    for name in NODE_NAMES:
        with library_cluster.connect(name) as node:
            node.execute("CREATE ROLE plain LOGIN")
            node.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain")
            node.execute("GRANT DELETE ON pgproxy.commit_log TO plain")
    try:
        with running_proxy(library_cluster, tmp_path_factory.mktemp("plain"), _as_plain, http=http) as proxy:
            yield HttpProxy(proxy, http.port or 0)
    finally:
        for name in NODE_NAMES:
            with library_cluster.connect(name) as node:
                node.execute("DROP OWNED BY plain")
                node.execute("DROP ROLE plain")


def _as_plain(shard_map: ShardMap) -> ShardMap:
    rule = AuthRule(AuthMethod.TRUST, user=(SUPERUSER, "plain"))
    return replace(shard_map, cluster=replace(shard_map.cluster, user="plain"), auth=(rule,))


@pytest.mark.parametrize("sql", FOR_SUPERUSERS)
def test_a_plain_role_may_not_do_what_superusers_may(plain_web: HttpProxy, sql: str) -> None:
    answer = plain_web.sql(sql)
    assert (answer.status, answer.error["sqlstate"]) == (403, "42501"), answer.body


def test_a_plain_role_suffices(plain_web: HttpProxy) -> None:
    assert plain_web.rows("SELECT count(*) AS n FROM books") == [{"n": 72}]
    assert plain_web.ask("/ready").json["ready"]
    with plain_web.proxy.connect() as client:
        client.execute("UPDATE books SET price = price WHERE branch = 'west'")
        client.execute("SELECT relname FROM pg_class WHERE relname = 'books'").fetchone()
    checked = subprocess.run(
        [sys.executable, "-m", "pgproxy", "check", "--config", str(plain_web.proxy.config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "superuser" not in plain_web.proxy.log_text()


def test_a_dead_node(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port(), write=True)
    with running_proxy(own_cluster, tmp_path, http=http) as proxy:
        web = HttpProxy(proxy, http.port or 0)
        assert web.ask("/ready").json["ready"]
        own_cluster.kill("west-library")
        answer = web.sql("SELECT count(*) FROM books WHERE branch = 'west'")
        assert answer.status == 503
        assert answer.error["sqlstate"] == "08006"
        assert web.rows("SELECT count(*) > 0 AS found FROM books WHERE branch = 'north'") == [{"found": True}]
        for name in ("downtown-library", "north-library"):
            own_cluster.kill(name)
        deadline = time.monotonic() + TIMEOUT_S
        while web.ask("/ready").status != 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert set(web.ask("/ready").json["nodes"].values()) <= {"down", "up"}
        assert web.ask("/health").status == 200
