"""SET and its kin: kept for the session over every pooled connection, and never seen by another session."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.model import PoolSettings
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient
from tests.session.conftest import Converse

COMMENTS = "/**/ " * 100
THREE_SETTINGS = [
    f"SELECT current_setting('work_mem'), current_setting('timezone'), current_setting('geqo') FROM {shard} LIMIT 1"
    for shard in ("books WHERE branch = 'west'", "books WHERE branch = 'north'", "books WHERE branch = 'downtown'")
]
WEST, NORTH = (
    f"SELECT current_setting('work_mem'), current_setting('geqo') FROM books WHERE branch = '{branch}' LIMIT 1"
    for branch in ("west", "north")
)
CLIENTS = 100
TURNS = 4


@pytest.mark.parametrize(
    "statements",
    [
        [
            "SET timezone = 'Europe/Berlin'",
            "SELECT '2020-01-01 00:00+00'::timestamptz",
            "RESET timezone",
            "SHOW timezone",
        ],
        ["SET application_name = 'abc'", "SHOW application_name", "RESET ALL", "SHOW application_name"],
        ["SET nonsense = 1", "SET work_mem = 'x'", "SHOW work_mem"],
        ["SET work_mem = '2MB'; SET work_mem = 'x'", "SHOW work_mem"],
        ["SET work_mem = '2MB'; SELECT 1/0", "SHOW work_mem"],
        ["SET work_mem = '2MB'; SHOW work_mem", "SHOW work_mem", "SET work_mem TO DEFAULT", "SHOW work_mem"],
        ["BEGIN", "SET timezone = 'Asia/Tokyo'", "ROLLBACK", "SHOW timezone"],
        ["BEGIN", "SELECT 1", "SET timezone = 'Asia/Tokyo'", "ROLLBACK", "SHOW timezone"],
        ["BEGIN", "SET timezone = 'Asia/Tokyo'", "SELECT 1", "COMMIT", "SHOW timezone"],
        [
            "BEGIN",
            "SAVEPOINT a",
            "SET timezone = 'Asia/Tokyo'",
            "ROLLBACK TO a",
            "SHOW timezone",
            "COMMIT",
            "SHOW timezone",
        ],
        ["BEGIN", "SELECT 1", "SET timezone = 'Asia/Tokyo'", "SELECT 1/0", "COMMIT", "SHOW timezone"],
        ["BEGIN", "SELECT 1", "SET LOCAL timezone = 'Asia/Tokyo'", "SHOW timezone", "COMMIT", "SHOW timezone"],
        ["BEGIN", "SET LOCAL work_mem = '3MB'", "SHOW work_mem", "COMMIT", "SHOW work_mem"],
        ["BEGIN", "SET LOCAL nonsense = 1", "ROLLBACK"],
        ["BEGIN; SET LOCAL work_mem = '3MB'; SHOW work_mem; COMMIT; SHOW work_mem"],
        ["SET LOCAL work_mem = '3MB'", "SHOW work_mem", "SET LOCAL nonsense = 1"],
        ["SET ROLE nobody", "SHOW role", "SET SESSION AUTHORIZATION nobody"],
        ["SET ROLE pg_read_all_data", "SELECT current_user", "RESET ROLE", "SELECT current_user"],
        ["SET ROLE pg_read_all_data", "RESET ALL", "SELECT current_user", "DISCARD ALL", "SELECT current_user"],
        ["BEGIN", "SET SESSION AUTHORIZATION nobody", "ROLLBACK", "SELECT session_user, current_user"],
        ["SET search_path TO a, b", "SHOW search_path", "RESET search_path", "SHOW search_path"],
        [
            "SET TIME ZONE 'UTC'",
            "SET TIME ZONE LOCAL",
            "SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
            "SHOW TIME ZONE",
        ],
        ["SET datestyle = 'German'", "SELECT date '2020-01-02'", "DISCARD ALL", "SELECT date '2020-01-02'"],
        ["SET NAMES 'UTF8'", "SET client_encoding TO UTF8", "SHOW client_encoding", "SHOW nonsense"],
        ["SET my.custom = 'x'", "SHOW my.custom", "RESET my.custom", "SHOW my.custom"],
        ["/* a */ SET work_mem = '2MB'", "-- b\nRESET work_mem"],
        ["BEGIN", WEST, "SET LOCAL work_mem = '3MB'", "RESET ALL", WEST, NORTH, "COMMIT", WEST, NORTH],
        ["BEGIN", WEST, "SET LOCAL work_mem = '3MB'", "RESET work_mem", WEST, NORTH, "COMMIT", WEST, NORTH],
        ["BEGIN", "SET LOCAL work_mem = '3MB'", "SET work_mem = '5MB'", WEST, NORTH, "COMMIT", WEST, NORTH],
        ["BEGIN", WEST, "SET LOCAL work_mem = '3MB'", "SET work_mem = '5MB'", NORTH, "ROLLBACK", WEST, NORTH],
        ["SET geqo = off", "BEGIN", "SET LOCAL geqo = on", "SET geqo TO DEFAULT", WEST, NORTH, "COMMIT", WEST, NORTH],
        ["SET geqo = off", "BEGIN", WEST, "SET work_mem = '3MB'", "RESET ALL", WEST, NORTH, "ROLLBACK", WEST, NORTH],
        [
            "BEGIN",
            "SET LOCAL work_mem = '3MB'",
            "SAVEPOINT a",
            "SET work_mem = '5MB'",
            WEST,
            "ROLLBACK TO a",
            WEST,
            NORTH,
            "SET work_mem = '6MB'",
            "COMMIT",
            WEST,
            NORTH,
        ],
        ["BEGIN", "SET LOCAL work_mem = '3MB'", "SELECT set_config('work_mem', '5MB', false)", WEST, NORTH, "COMMIT"],
        ["SET LOCAL work_mem = '3MB'; SET work_mem = '6MB'; SHOW work_mem", WEST, NORTH],
        [
            "BEGIN",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            WEST,
            "SHOW transaction_read_only",
            NORTH,
            "COMMIT",
            "SHOW transaction_read_only",
        ],
        ["BEGIN", "SET TRANSACTION READ ONLY", "COMMIT AND CHAIN", "SHOW transaction_read_only", WEST, "COMMIT"],
        ["BEGIN", "SAVEPOINT a", "SET TRANSACTION READ ONLY", "ROLLBACK TO a", "SHOW transaction_read_only", "COMMIT"],
        ["SELECT 1; SET TRANSACTION READ ONLY; BEGIN", "SHOW transaction_read_only", WEST, "COMMIT"],
        ["/* a /* b */ c */ SET work_mem = '2MB'", "/* a /* b */ c */RESET work_mem", "SET TIME ZONE DEFAULT -- d"],
        [
            f"{COMMENTS} SET work_mem = '2MB'",
            f"{COMMENTS} RESET work_mem",
            f"BEGIN; {COMMENTS} BEGIN READ ONLY; COMMIT",
        ],
        ["SET work_mem = '2MB' -- a", "SET timezone = 'Asia/Tokyo' -- b", "SET geqo = off -- c", *THREE_SETTINGS],
        ["SELECT set_config('work_mem', '2MB', false), current_setting('work_mem')", "SHOW work_mem", "RESET work_mem"],
        ["SELECT set_config('TimeZone', 'Asia/Tokyo', false)", "SHOW timezone", "RESET timezone", "SHOW timezone"],
        ["SELECT set_config('work_mem', 'x', false)", "SHOW work_mem"],
        ["BEGIN", "SELECT 1", "SELECT set_config('work_mem', '2MB', false)", "ROLLBACK", "SHOW work_mem"],
        ["BEGIN", "SELECT set_config('work_mem', '2MB', false)", "SHOW work_mem", "COMMIT", "SHOW work_mem"],
        [
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "DELETE FROM books WHERE branch = 'west'",
            "BEGIN READ WRITE",
            "SHOW transaction_read_only",
            "COMMIT",
            "RESET ALL",
            "SHOW transaction_read_only",
        ],
        ["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SHOW transaction_isolation"],
    ],
)
def test_a_conversation_is_that_with_postgres(
    statements: list[str], with_proxy: Converse, with_postgres: Converse
) -> None:
    assert with_proxy(*statements) == with_postgres(*statements)


@pytest.mark.parametrize("reset", ["RESET timezone", "RESET ALL", "DISCARD ALL", "SET timezone TO DEFAULT"])
def test_reset_goes_back_to_the_start_up_packet(reset: str, with_proxy: Converse, with_postgres: Converse) -> None:
    statements = ["SHOW timezone", "SET timezone = 'Asia/Tokyo'", reset, "SHOW timezone"]
    options = {"TimeZone": "Europe/Paris", "application_name": "x"}
    assert with_proxy(*statements, **options) == with_postgres(*statements, **options)


def test_settings_hold_on_every_node(shared_proxy: RunningProxy) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("SET timezone = 'Asia/Tokyo'")
        for branch in ("downtown", "west", "north"):
            sql = f"SELECT current_setting('timezone'), count(*) FROM books WHERE branch = '{branch}'"
            assert connection.execute(sql).fetchone()[0] == "Asia/Tokyo"


def test_set_local_holds_on_nodes_that_join_later(shared_proxy: RunningProxy) -> None:
    sql = "SELECT current_setting('work_mem'), count(*) FROM books WHERE branch = '{}'"
    with shared_proxy.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(sql.format("west"))
        connection.execute("SET LOCAL work_mem = '3MB'")
        assert connection.execute(sql.format("west")).fetchone()[0] == "3MB"
        assert connection.execute(sql.format("north")).fetchone()[0] == "3MB"
        connection.execute("COMMIT")
        assert connection.execute(sql.format("north")).fetchone()[0] == "4MB"


def test_a_client_hears_of_a_local_setting_that_takes_hold_later(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.query("BEGIN")
        client.query("SET LOCAL timezone = 'Asia/Tokyo'")
        assert ("S", "TimeZone", "Asia/Tokyo") in [message.shown() for message in client.query("SELECT now()")]
        assert ("S", "TimeZone", "UTC") in [message.shown() for message in client.query("ROLLBACK")]


def test_a_hundred_clients_over_three_connections_never_see_each_other_s_settings(
    library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    def live(number: int) -> list[str]:
        """Change settings in all ways and look, between statements of the others; the surprises."""
        chance = random.Random(number)
        surprises = []
        zone, memory = f"Etc/GMT{number % 12 - 6:+d}", f"{number + 64}kB"
        with psycopg.connect(proxy.conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:

            def look(zone: str, memory: str, nodes: int = 2) -> None:
                for branch in chance.sample(("downtown", "west", "north"), nodes):
                    sql = f"""SELECT current_setting('timezone'), current_setting('work_mem'),
                              current_setting('default_transaction_read_only') FROM books
                              WHERE branch = '{branch}' LIMIT 1"""
                    if (row := connection.execute(sql).fetchone()) != (zone, memory, "off"):
                        surprises.append(f"{row} instead of {(zone, memory)}")

            for _ in range(TURNS):
                connection.execute(f"SET timezone = '{zone}'; SET work_mem = '{memory}'")
                look(zone, memory)
                with pytest.raises(psycopg.errors.DivisionByZero):
                    connection.execute("SET default_transaction_read_only = on; SELECT 1/0")
                look(zone, memory)
                connection.execute("BEGIN; SET timezone = 'Asia/Tokyo'; SET LOCAL work_mem = '9MB'")
                look("Asia/Tokyo", "9MB", nodes=1)  # with more, transactions could wait for each other in a circle
                connection.execute(chance.choice(("ROLLBACK", "ROLLBACK; SELECT 1")))
                look(zone, memory)
                connection.execute(chance.choice(("RESET ALL", "DISCARD ALL", "RESET work_mem; RESET timezone")))
                look("UTC", "4MB")
        return surprises

    pool = PoolSettings(size=3)
    with running_proxy(library_cluster, tmp_path, pool=pool) as proxy, ThreadPoolExecutor(CLIENTS) as threads:
        assert [surprise for found in threads.map(live, range(CLIENTS)) for surprise in found] == []


def test_settings_of_clients_that_vanish_do_not_stay(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """Gone while SET, its transaction's end, or the way of its settings to a connection was under way."""
    with running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=1)) as proxy:
        for sql in [
            "SET work_mem = '77MB'",
            "SET work_mem = '78MB'; SELECT pg_sleep(0.02)",
            "BEGIN; SET work_mem = '79MB'; SELECT 1; COMMIT",
            "BEGIN; SELECT 1; SET work_mem = '79MB'; ROLLBACK",
            "BEGIN; SELECT 1; SET work_mem = '79MB'; COMMIT; SHOW work_mem",
        ] * 10:
            client = RawClient.logged_in(proxy.conninfo)
            client.send(b"Q" + (len(sql) + 5).to_bytes(4, "big") + sql.encode() + b"\0")
            client.socket.close()
            with proxy.connect() as other:
                assert other.execute("SHOW work_mem").fetchone() == ("4MB",)


def test_what_a_do_block_sets_reaches_nobody_else(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    sql = "DO $$ BEGIN PERFORM pg_catalog.set_config('work_mem', '77MB', false); SET timezone = 'Asia/Tokyo'; END $$"
    look = "SELECT current_setting('work_mem'), current_setting('timezone')"
    with running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=1)) as proxy:
        for statements in ([sql], ["BEGIN", "SELECT 1", sql, "COMMIT"], [f"SELECT 1; {sql}; SELECT 2"]):
            with proxy.connect() as connection, proxy.connect() as other:
                for statement in statements:
                    connection.execute(statement)
                assert other.execute(look).fetchone() == ("4MB", "UTC")


def test_what_set_config_sets_is_the_session_s_alone(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, pool=PoolSettings(size=1)) as proxy,
        psycopg.connect(proxy.conninfo, autocommit=True) as connection,
        proxy.connect() as other,
    ):
        connection.execute("SELECT set_config('work_mem', %s, false)", ("77MB",))
        for branch in ("west", "north", "downtown"):
            ask = f"SELECT current_setting('work_mem') FROM books WHERE branch = '{branch}' LIMIT 1"
            assert connection.execute(ask).fetchone() == ("77MB",)
            assert other.execute(ask).fetchone() == ("4MB",)
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute("SELECT set_config('standard_conforming_strings', %s, false)", ("OFF",))
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute("SELECT set_config('work_mem', %s, false)", (None,))
