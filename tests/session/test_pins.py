"""What cannot be moved between connections: temporary tables, LISTEN, advisory locks of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.model import PoolSettings
from tests.activity import await_nothing_open, connect, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query
from tests.session.conftest import Converse

HOME = "downtown-library"


@pytest.mark.parametrize(
    "statements",
    [
        [
            "CREATE TEMP TABLE t (a int, b text)",
            "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
            "SELECT * FROM t ORDER BY a",
            "SELECT 't'::regclass, to_regclass('t') IS NOT NULL",
            "SELECT relpersistence FROM pg_class WHERE relname = 't'",
            "UPDATE t SET b = 'z' WHERE a = 1",
            "SELECT * FROM pg_temp.t ORDER BY a",
            "ALTER TABLE t ADD COLUMN c int DEFAULT 5",
            "CREATE INDEX ON t (a)",
            "TRUNCATE t",
            "SELECT * FROM t",
            "DROP TABLE t",
            "SELECT * FROM t",
        ],
        ["CREATE TEMP TABLE t (a int)", "CREATE TEMP TABLE t (a int)", "DISCARD TEMP", "SELECT * FROM t"],
        ["CREATE TEMP TABLE t (a int)", "DISCARD ALL", "SELECT * FROM t", "CREATE TEMP TABLE t (b int)", "TABLE t"],
        ["CREATE TEMP TABLE t (a nosuch)", "SELECT * FROM t", "CREATE TEMP TABLE t AS SELECT 1/0", "SELECT * FROM t"],
        ["BEGIN", "CREATE TEMP TABLE t (a int)", "INSERT INTO t VALUES (1)", "COMMIT", "SELECT * FROM t"],
        ["BEGIN", "CREATE TEMP TABLE t (a int)", "ROLLBACK", "SELECT * FROM t"],
        [
            "BEGIN",
            "CREATE TEMP TABLE t (a int) ON COMMIT DROP",
            "INSERT INTO t VALUES (1)",
            "SELECT * FROM t",
            "COMMIT",
            "SELECT * FROM t",
        ],
        ["CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", "INSERT INTO t VALUES (1)", "SELECT * FROM t"],
        ["SELECT 1 AS a INTO TEMP t", "SELECT * FROM t", "SELECT 2 AS a INTO pg_temp.u", "SELECT * FROM t, u"],
        [
            "CREATE TEMP SEQUENCE s",
            "SELECT nextval('s')",
            "SELECT nextval('s')",
            "CREATE TEMP VIEW v AS SELECT 1",
            "TABLE v",
        ],
        [
            "CREATE TEMP TABLE t AS SELECT generate_series(1, 3) AS a; SELECT sum(a) FROM t",
            "SELECT count(*) FROM t",
            "SELECT count(*) FROM books",
            "SELECT count(*) FROM books WHERE branch = 'downtown'",
            "SELECT isbn FROM books ORDER BY isbn, branch LIMIT 3",
            "SELECT count(*) FROM t",
        ],
        [
            "CREATE TEMP TABLE t (a int)",
            "SET timezone = 'Asia/Tokyo'",
            "SHOW timezone",
            "DO $$ BEGIN CREATE TEMP TABLE u (a int); END $$",
            "SELECT * FROM u",
            "SHOW timezone",
            "SELECT count(*) FROM books WHERE branch = 'west'",
            "RESET timezone",
            "SHOW timezone",
            "BEGIN",
            "SET LOCAL nonsense = 1",
            "ROLLBACK",
            "SELECT * FROM t",
        ],
        [
            "SELECT pg_advisory_lock(5), pg_advisory_lock_shared(6), pg_try_advisory_lock(7)",
            "SELECT objid, mode FROM pg_locks WHERE locktype = 'advisory' ORDER BY 1",
            "SELECT pg_advisory_unlock(5)",
            "SELECT pg_advisory_unlock(5)",
            "BEGIN",
            "SELECT pg_advisory_lock(8)",
            "ROLLBACK",
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' ORDER BY 1",
            "SELECT pg_advisory_unlock_all()",
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' ORDER BY 1",
        ],
        ["SELECT pg_advisory_lock(1)", "DISCARD ALL", "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"],
        ["SELECT pg_advisory_lock(9), 1/0", "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"],
        [
            "BEGIN; DISCARD ALL",
            "ROLLBACK",
            "SELECT 1; DISCARD ALL",
            "DISCARD PLANS",
            "DISCARD SEQUENCES",
            "DISCARD TEMP",
        ],
    ],
)
def test_a_conversation_is_that_with_postgres(
    statements: list[str], with_proxy: Converse, with_postgres: Converse
) -> None:
    assert with_proxy(*statements) == with_postgres(*statements)


@pytest.mark.parametrize("options", [{}, {"prepare_threshold": 0}, {"cursor_factory": psycopg.ClientCursor}])
def test_temporary_tables_by_drivers_statements(shared_proxy: RunningProxy, options: dict[str, object]) -> None:
    """Two clients whose tables have one name and other columns: neither's description is the other's."""
    conninfo = shared_proxy.conninfo
    with (
        psycopg.connect(conninfo, autocommit=True, **options) as one,
        psycopg.connect(conninfo, autocommit=True, **options) as other,
    ):
        one.execute("CREATE TEMP TABLE t (a int)")
        other.execute("CREATE TEMP TABLE t (a text, b text)")
        for number in range(6):
            one.execute("INSERT INTO t VALUES (%s)", (number,))
            other.execute("INSERT INTO t VALUES (%s, %s)", (str(number), "x"))
            assert one.execute("SELECT * FROM t WHERE a > %s", (number - 1,)).fetchall() == [(number,)]
            assert other.execute("SELECT * FROM t WHERE a >= %s", (str(number),)).fetchall() == [(str(number), "x")]
        one.execute("DROP TABLE t")
        one.execute("CREATE TEMP TABLE t (c bool)")
        assert one.execute("SELECT * FROM t").fetchall() == []
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            one.execute("SELECT * FROM t, books")


def test_locks_of_sessions_exclude_each_other(shared_proxy: RunningProxy) -> None:
    try_lock = "SELECT pg_try_advisory_lock(77)"
    with shared_proxy.connect() as one, shared_proxy.connect() as other:
        assert one.execute(try_lock).fetchone() == (True,)
        for _ in range(5):
            assert one.execute(try_lock).fetchone() == (True,)
            assert other.execute(try_lock).fetchone() == (False,)
        one.execute("DISCARD ALL")
        assert other.execute(try_lock).fetchone() == (True,)
        other.close()
        until(lambda: one.execute(try_lock).fetchone() == (True,), "the lock of the one who left is free")


def pinned(proxy: RunningProxy) -> list[tuple[str, str]]:
    """(nodes, why) of the clients that keep connections."""
    with proxy.connect(dbname="pgproxy") as admin:
        rows = admin.execute("SHOW CLIENTS").fetchall()
        return [(row[-2], row[-1]) for row in rows if row[-1] is not None]


def pool(proxy: RunningProxy) -> dict[str, object]:
    """The figures of the home's pool."""
    with proxy.connect(dbname="pgproxy") as admin:
        cursor = admin.execute("SHOW POOLS")
        names = [column.name for column in cursor.description or ()]
        return next(figures for row in cursor if (figures := dict(zip(names, row, strict=True)))["node"] == HOME)


@pytest.fixture
def small_proxy(library_cluster: LibraryCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    settings = PoolSettings(size=3)
    with running_proxy(library_cluster, tmp_path, pool=settings) as proxy:
        yield proxy


def test_why_a_connection_is_kept_is_shown(small_proxy: RunningProxy) -> None:
    with small_proxy.connect() as connection:
        assert pinned(small_proxy) == []
        connection.execute("LISTEN x")
        connection.execute("CREATE TEMP TABLE t (a int)")
        connection.execute("SELECT pg_advisory_lock(1)")
        assert pinned(small_proxy) == [(HOME, "LISTEN, temporary table, advisory lock")]
        assert (pool(small_proxy)["pinned"], pool(small_proxy)["in_use"]) == (1, 1)
        connection.execute("DISCARD ALL")
        assert pinned(small_proxy) == []
        until(lambda: pool(small_proxy)["in_use"] == 0, "nothing is in use")


@pytest.mark.parametrize(
    "statements",
    [
        ["LISTEN x", "UNLISTEN *"],
        ["SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock_all()"],
        [
            "LISTEN x",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
        ],
        ["BEGIN", "CREATE TEMP TABLE t (a int) ON COMMIT DROP", "COMMIT"],
        ["BEGIN", "SELECT pg_advisory_xact_lock(1)", "COMMIT"],
        ["CREATE TEMP TABLE t (a int)", "DISCARD ALL"],
        ["SELECT nextval('numbers')"],
        ["NOTIFY x"],
    ],
)
def test_what_is_given_up_is_not_kept(
    statements: list[str], small_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with connect(library_cluster, HOME) as node, small_proxy.connect() as connection:
        node.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
        for statement in statements:
            connection.execute(statement.encode())
        assert pinned(small_proxy) == []
        until(lambda: pool(small_proxy)["in_use"] == 0, "nothing is in use")
        node.execute("DROP SEQUENCE numbers")


@pytest.mark.parametrize(
    "statements",
    [
        ["LISTEN x", "BEGIN", "UNLISTEN *", "ROLLBACK"],
        ["LISTEN x", "BEGIN", "SAVEPOINT a", "UNLISTEN *", "ROLLBACK TO a", "COMMIT"],
        ["LISTEN x", "CREATE TEMP TABLE t (a int)", "UNLISTEN *"],
        ["LISTEN x", "UNLISTEN y"],
        ["BEGIN", "LISTEN x", "COMMIT"],
        ["DO $$ BEGIN CREATE TEMP TABLE t (a int); END $$"],
    ],
)
def test_what_may_still_be_there_is_kept(statements: list[str], small_proxy: RunningProxy) -> None:
    with small_proxy.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())
        assert len(pinned(small_proxy)) == 1


def test_one_connection_is_left_for_the_others(small_proxy: RunningProxy) -> None:
    with small_proxy.connect() as first, small_proxy.connect() as second, small_proxy.connect() as third:
        first.execute("CREATE TEMP TABLE t (a int)")
        second.execute("LISTEN x")
        for sql in ("LISTEN x", "CREATE TEMP TABLE t (a int)", "SELECT pg_advisory_lock(1)"):
            with pytest.raises(psycopg.errors.TooManyConnections, match="keep a connection"):
                third.execute(sql.encode())
            assert third.execute("SELECT count(*) FROM books WHERE branch = 'downtown'").fetchone()
        first.close()
        until(lambda: pool(small_proxy)["pinned"] == 1, "the one that left keeps nothing")
        third.execute("CREATE TEMP TABLE t (a int)")


def test_a_pool_of_one_serves_the_one_that_keeps_it(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """Its statements for shards of that node, too, run on its own connection."""
    with (
        running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=1)) as proxy,
        proxy.connect() as connection,
    ):
        connection.execute("CREATE TEMP TABLE t (a int)")
        for sql in (
            "SELECT count(*) FROM books WHERE branch = 'downtown'",
            "SELECT count(*) FROM books",
            "BEGIN",
            "SELECT count(*) FROM books WHERE branch = 'downtown'",
            "SELECT count(*) FROM t",
            "COMMIT",
            "SET work_mem = '3MB'",
            "SELECT isbn FROM books LIMIT 1",
        ):
            connection.execute(sql.encode())
        assert connection.execute("SELECT current_setting('work_mem'), count(*) FROM t").fetchone() == ("3MB", 0)


def test_a_session_ends_with_the_connection_that_it_keeps(
    shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    with RawClient.logged_in(shared_proxy.conninfo, application_name="kept") as client:
        client.query("CREATE TEMP TABLE t (a int)")
        with connect(library_cluster, HOME) as node:
            node.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kept'")
        answer = [message.shown() for message in client.messages()]
    fields = {
        "S": "FATAL", "V": "FATAL", "C": "57P01", "M": "terminating connection due to administrator command",
    }  # fmt: skip
    assert answer == [("E", fields)]


def test_with_the_home_down_nothing_is_kept_elsewhere(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(own_cluster, tmp_path) as proxy, proxy.connect() as keeper, proxy.connect() as other:
        keeper.execute("SELECT pg_advisory_lock(1)")
        own_cluster.kill(HOME)
        with pytest.raises(psycopg.OperationalError):
            until(lambda: keeper.execute("SELECT 1") and False, "the session has ended")
        assert keeper.closed
        for sql in ("SELECT pg_advisory_lock(1)", "LISTEN x", "NOTIFY x", "CREATE TEMP TABLE t (a int)"):
            with pytest.raises(psycopg.OperationalError) as caught:
                other.execute(sql.encode())
            assert caught.value.sqlstate == "08006"
        assert other.execute("SELECT count(*) FROM books WHERE branch = 'west'").fetchone()


def left_behind(cluster: LibraryCluster) -> int:
    """How many advisory locks and temporary tables there are on the home."""
    with connect(cluster, HOME) as node:
        locks = node.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchall()
        return len(locks + node.execute("SELECT 1 FROM pg_class WHERE relpersistence = 't'").fetchall())


def test_what_a_client_kept_goes_with_it(small_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    """However it leaves: idle, in a transaction, with a statement running on the connection that it keeps."""
    ways: list[list[str]] = [
        [],
        ["BEGIN", "INSERT INTO t VALUES (1)"],
        ["BEGIN", "SELECT count(*) FROM books"],
        ["SELECT pg_sleep(600)"],
        ["SELECT count(*) FROM books WHERE branch = 'downtown' AND pg_sleep(600) IS NULL"],
    ]
    for statements in ways:
        with RawClient.logged_in(small_proxy.conninfo) as client:
            client.query("CREATE TEMP TABLE t (a int)")
            client.query("SELECT pg_advisory_lock(3)")
            for statement in statements[:-1]:
                client.query(statement)
            for statement in statements[-1:]:
                client.send(query(statement))
            client.vanish()
        await_nothing_open(library_cluster)
        until(lambda: not left_behind(library_cluster), "the lock and the table are gone")
        until(lambda: (pool(small_proxy)["pinned"], pool(small_proxy)["in_use"]) == (0, 0), "the pool is clean")
