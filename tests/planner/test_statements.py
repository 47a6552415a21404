from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.plan import (
    ConfigCall,
    DiscardAll,
    Effect,
    Explain,
    SetSetting,
    SettingScope,
    Sharded,
    ToNode,
    TransactionAction,
    TransactionControl,
)
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import ShardMap

HOME, WEST, NORTH = "downtown-library", "west-library", "north-library"
READ, WRITE = Effect.READ, Effect.WRITE
SESSION, LOCAL, TRANSACTION = SettingScope.SESSION, SettingScope.LOCAL, SettingScope.TRANSACTION
A = TransactionAction


def control(action: TransactionAction, **more: Any) -> tuple[TransactionAction, dict[str, Any]]:
    return action, {"name": None, "chain": False, "isolation": None, **more}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("begin", control(A.BEGIN)),
        (
            "START TRANSACTION READ ONLY",
            control(A.BEGIN, read_only=True, modes="READ ONLY", begins_with="START TRANSACTION"),
        ),
        (
            "begin isolation level repeatable read",
            control(A.BEGIN, isolation="repeatable read", modes="ISOLATION LEVEL repeatable read"),
        ),
        (
            "begin transaction isolation level serializable, read only",
            control(A.BEGIN, isolation="serializable", read_only=True, modes="ISOLATION LEVEL serializable, READ ONLY"),
        ),
        ("commit", control(A.COMMIT)),
        ("end", control(A.COMMIT)),
        ("commit and chain", control(A.COMMIT, chain=True)),
        ("rollback", control(A.ROLLBACK)),
        ("abort work", control(A.ROLLBACK)),
        ("rollback and chain", control(A.ROLLBACK, chain=True)),
        ('savepoint "A b"', control(A.SAVEPOINT, name="A b")),
        ("rollback to savepoint s", control(A.ROLLBACK_TO, name="s")),
        ("rollback to s", control(A.ROLLBACK_TO, name="s")),
        ("release s", control(A.RELEASE, name="s")),
    ],
)
def test_transactions(planner: Planner, sql: str, expected: tuple[TransactionAction, dict[str, Any]]) -> None:
    action, more = expected
    for _ in range(2):
        assert planner.plan(sql).plan == TransactionControl(action, sql, **more)


@pytest.mark.parametrize(
    ("sql", "name", "scope", "reset"),
    [
        ("set work_mem to '4MB'", "work_mem", SESSION, False),
        ("set Work_Mem = 5", "work_mem", SESSION, False),
        ("set session work_mem = default", "work_mem", SESSION, True),
        ("set local work_mem = 5", "work_mem", LOCAL, False),
        ("set time zone 'Europe/Berlin'", "timezone", SESSION, False),
        ("set time zone local", "timezone", SESSION, True),
        ("set names 'UTF8'", "client_encoding", SESSION, False),
        ("set client_encoding = 'utf-8'", "client_encoding", SESSION, False),
        ("set standard_conforming_strings = on", "standard_conforming_strings", SESSION, False),
        ("set transform_null_equals = off", "transform_null_equals", SESSION, False),
        ("set extra_float_digits = 3", "extra_float_digits", SESSION, False),
        ("set extra_float_digits = '0x2'", "extra_float_digits", SESSION, False),
        ("set search_path = a, b", "search_path", SESSION, False),
        ("set schema 'a'", "search_path", SESSION, False),
        ("set role librarian", "role", SESSION, False),
        ("set session authorization librarian", "session_authorization", SESSION, False),
        ("set app.reader = 'x'", "app.reader", SESSION, False),
        ("set transaction isolation level serializable", "transaction", TRANSACTION, False),
        ("set transaction_read_only = on", "transaction_read_only", TRANSACTION, False),
        (
            "set session characteristics as transaction isolation level serializable",
            "default_transaction_isolation",
            SESSION,
            False,
        ),
        ("set session characteristics as transaction read only", "default_transaction_read_only", SESSION, False),
        ("reset work_mem", "work_mem", SESSION, True),
        ("reset role", "role", SESSION, True),
        ("reset all", None, SESSION, True),
    ],
)
def test_settings(planner: Planner, sql: str, name: str | None, scope: SettingScope, reset: bool) -> None:
    for _ in range(2):
        assert planner.plan(sql).plan == SetSetting(name, sql, scope, reset, sql.split()[0].upper())


@pytest.mark.parametrize(
    ("sql", "sets"),
    [
        ("select set_config('TimeZone', 'UTC', false)", ConfigCall("timezone", "UTC")),
        ("select current_setting('jit') as cur, set_config('jit', 'off', false) as new", ConfigCall("jit", "off")),
        ("select pg_catalog.set_config('jit', $1, false)", ConfigCall("jit", 1)),
    ],
)
def test_set_config(planner: Planner, sql: str, sets: ConfigCall) -> None:
    plan = planner.plan(sql).plan
    assert isinstance(plan, ToNode)
    assert plan.sets == sets
    again = planner.plan(sql.replace("jit", "work_mem")).plan
    assert isinstance(again, ToNode)
    assert again.sets == ConfigCall(sets.name.replace("jit", "work_mem"), sets.value)


def test_discard(planner: Planner) -> None:
    assert planner.plan("discard all").plan == DiscardAll()
    assert isinstance(planner.plan("discard plans").plan, ToNode)


@pytest.mark.parametrize(
    ("sql", "node", "effect"),
    [
        ("select 1", None, READ),
        ("values (1), (2)", None, READ),
        ("select now(), version(), pg_backend_pid()", None, READ),
        ("show server_version", None, READ),
        ("show all", None, READ),
        ("select * from pg_class", None, READ),
        ("select * from pg_catalog.pg_class c join information_schema.tables t on true", None, READ),
        ("select * from genres", None, READ),
        ("select 1 from genres, pg_class", None, READ),
        ("with books as (select 1 as a) select a from books", None, READ),
        ("with recursive books as (select 1 as a union select a + 1 from books) select a from books", None, READ),
        ("select * from t", HOME, READ),
        ("select * from t, genres where exists (select 1 from u)", HOME, READ),
        ("table t", HOME, READ),
        ("select * from other.books", HOME, READ),
        ("select * from t for update", HOME, WRITE),
        ("select * into u from t", HOME, WRITE),
        ("insert into t select * from genres", HOME, WRITE),
        ("update t set a = 1", HOME, WRITE),
        ("delete from t", HOME, WRITE),
        ("merge into t using u on t.a = u.a when matched then do nothing", HOME, WRITE),
        ("with x as (delete from t returning *) select * from x", HOME, WRITE),
        ("select nextval('s')", HOME, WRITE),
        ("select pg_advisory_xact_lock(5)", HOME, WRITE),
        ("select random(), gen_random_uuid(), clock_timestamp(), pg_sleep(0)", None, READ),
        ("select shelf_label(5)", None, READ),
        ("select pg_relation_size('books'), pg_catalog.pg_table_is_visible(5)", None, READ),
        ("select * from books_b", WEST, READ),
        ("select * from public.books_b b where exists (select 1 from books_b)", WEST, READ),
        ("update books_c set price = 1", NORTH, WRITE),
        ("create table t (a int default 5, b text default 'books')", HOME, WRITE),
        ("create table if not exists t as select 1", HOME, WRITE),
        ("create index on t (a)", HOME, WRITE),
        ("create view v as select * from t", HOME, WRITE),
        ("create schema s", HOME, WRITE),
        ("create sequence s owned by t.a", HOME, WRITE),
        ("alter table t add column b int", HOME, WRITE),
        ("alter table t rename to u", HOME, WRITE),
        ("drop table if exists t, u cascade", HOME, WRITE),
        ("drop index i", HOME, WRITE),
        ("drop schema s", HOME, WRITE),
        ("truncate t", HOME, WRITE),
        ("lock table t", HOME, WRITE),
        ("vacuum analyze t", HOME, WRITE),
        ("comment on table t is 'x'", HOME, WRITE),
        ("grant select on t to librarian", HOME, WRITE),
        ("do $$ begin perform 1 from t; end $$", HOME, WRITE),
        ("call does_not_exist(1)", HOME, WRITE),
        ("create temp table t (a int)", HOME, WRITE),
        ("select * from pg_temp.books", HOME, READ),
        ("listen l", HOME, READ),
        ("unlisten l", None, READ),
        ("notify l, 'x'", HOME, WRITE),
        ("select pg_notify('l', 'x')", HOME, WRITE),
        ("select pg_advisory_lock(5)", HOME, READ),
        ("select pg_try_advisory_lock(1, 2), pg_advisory_unlock_all()", HOME, READ),
        ("select pg_advisory_lock(a), nextval('s') from t", HOME, WRITE),
        ("discard temp", None, READ),
        ("explain select 1", None, READ),
        ("explain (analyze, format json) select * from t", HOME, READ),
        ("explain delete from t", HOME, READ),
        ("explain analyze delete from t", HOME, WRITE),
        ("explain (analyze off) delete from t", HOME, READ),
    ],
)
def test_statements_for_one_node(planner: Planner, sql: str, node: str | None, effect: Effect) -> None:
    plan = planner.plan(sql).plan
    assert isinstance(plan, ToNode)
    assert (plan.node, plan.effect) == (node, effect)


@pytest.mark.parametrize(
    ("sql", "options", "analyze", "first"),
    [
        ("explain select isbn from books", "", False, 8),
        ("explain analyze verbose select isbn from books", "analyze verbose", True, 24),
        ("EXPLAIN (COSTS OFF, ANALYZE) select isbn from books where isbn = 5", "(COSTS OFF, ANALYZE)", True, 29),
        ("explain (analyze false, format text) select isbn from books", "(analyze false, format text)", False, 37),
        (" explain update books set price = 1 where branch = 'west'", "", False, 9),
    ],
)
def test_explain_of_sharded_statements(planner: Planner, sql: str, options: str, analyze: bool, first: int) -> None:
    for _ in range(2):
        planned = planner.plan(sql)
        plan = planned.plan
        assert isinstance(plan, Explain)
        assert (plan.options, plan.analyze) == (options, analyze)
        assert plan.plan.route.sources[0] is not None
        assert plan.plan.route.sources[0][0] == first
        assert plan.plan.choice.shards(planned.arguments)


@pytest.mark.parametrize(
    "sql",
    [
        # a logical table beside what is not kept whole on every node
        "select * from books, t",
        "select * from books, pg_class",
        "select * from books, books_a",
        "select * from t where a in (select isbn from books)",
        "with x as (select * from books) select * from x, t",
        "insert into t select * from books",
        "with x as (delete from books where branch = 'west' returning *) select * from books",
        "with x as (delete from books returning *) insert into t select * from x",
        # views over logical tables, tables of several nodes
        "select * from cheap_books",
        "select * from books_a, books_b",
        "select * from books_b, t",
        # reference tables are read only
        "insert into genres values (1)",
        "update genres set a = 1",
        "select * from genres for share",
        # definitions
        "create table books (a int)",
        "create table t (a int references books)",
        "create table t (like books)",
        "create table t as select * from books",
        "create view v as select * from books",
        "create index on books (isbn)",
        "create trigger g before insert on books execute function f()",
        "create sequence s owned by books.isbn",
        "create temp table books (a int)",
        "create table pg_temp.books (a int)",
        "create temp table pg_class (a int)",
        "create temp table genres (a int)",
        "create temp table books_b (a int)",
        "create temp view cheap_books as select 1",
        "create temp table t as select * from books",
        "create table t as execute p",
        "select 1 into temp books",
        "select 1 into pg_temp.patrons",
        "select isbn into temp t from books",
        "alter table t rename to books",
        "create index patrons on t (a)",
        "create function f() returns int language sql as 'select 1'",
        "create role r",
        "create extension hstore",
        "create database d",
        "alter table books add column a int",
        "alter table books_a add column a int",
        "alter table genres rename to g",
        "drop table t, books",
        "drop table public.books_a",
        "drop trigger g on books",
        "drop schema public",
        "drop function f()",
        "truncate t, books",
        "lock table books",
        "vacuum books",
        "vacuum",
        "analyze",
        "reindex table books",
        "comment on column books.isbn is 'x'",
        "grant select on books to librarian",
        "grant usage on schema s to librarian",
        "revoke all on all tables in schema public from librarian",
        "do $$ begin delete from Books; end $$",
        # what keeps state in a session
        "execute p (pg_advisory_lock(1))",
        "execute p (setval('s', 1), pg_notify('a', 'b'))",
        "declare c cursor for select set_config('a', 'b', false)",
        "declare c cursor for select 1 into t",
        "set constraints books_unique deferred",
        "select set_config('a', 'b', true)",
        "select set_config('a', 'b', false) from t",
        "select set_config('a', branch, false) from books",
        "select set_config('a', 'b', false), set_config('c', 'd', false)",
        "select set_config('a', 'b', false), 1",
        "select set_config('transaction_isolation', 'serializable', false)",
        "select pg_advisory_lock(isbn) from books",
        "select pg_advisory_lock(isbn) from books where branch = 'west'",
        "select pg_notify('l', book_name) from books where branch = 'west'",
        "update books set price = pg_advisory_lock(1) where branch = 'west'",
        "select currval('s')",
        "select query_to_xml('select * from books', true, true, '')",
        "select * from ts_stat('select vector from books')",
        "select * from books where isbn = lastval()",
        # settings and transactions
        "set standard_conforming_strings = off",
        "set transform_null_equals = on",
        "set extra_float_digits = 0",
        "set extra_float_digits = -15",
        "set extra_float_digits to '0.5'",
        "set local extra_float_digits = '-0x1'",
        "set standard_conforming_strings to 'no'",
        "set search_path to public, pg_temp",
        "set idle_session_timeout = '10s'",
        "set client_encoding = 'latin1'",
        "set names 'sql_ascii'",
        "set transaction snapshot 'x'",
        "set session characteristics as transaction read only, isolation level serializable",
        "prepare transaction 'x'",
        "commit prepared 'x'",
        # functions that the proxy does not see into
        "select loan_count(5)",
        "select public.lend(5)",
        "call lend(5)",
        "update t set a = loan_count(5)",
        # the rest
        "merge into books using t on true when matched then do nothing",
        "copy books from '/tmp/books'",
        "copy t to program 'cat'",
        "copy books from stdin (encoding 'latin1')",
        "copy books from stdin (on_error ignore)",
        "copy books from stdin where books.isbn > 5",
        "copy (merge into books using t on true when matched then do nothing) to stdout",
        "load 'x'",
        "checkpoint",
        "alter system set work_mem = 5",
        "explain (format json) select isbn from books",
        "explain create table t as select 1",
        "explain execute p",
    ],
)
def test_refused(planner: Planner, sql: str) -> None:
    with pytest.raises(Refused) as caught:
        planner.plan(sql)
    assert caught.value.sqlstate == "0A000"
    assert caught.value.hint


def test_a_cte_hides_a_logical_table_only_in_its_scope(planner: Planner) -> None:
    hidden = "select * from (with books as (select 1) select * from books) x"
    assert isinstance(planner.plan(hidden).plan, ToNode)
    with pytest.raises(Refused):
        planner.plan(f"{hidden}, books")
    with pytest.raises(Refused):  # not recursive: the inner name is the table
        planner.plan("with books as (select * from books) select * from books")


def test_a_plain_select_is_sharded(planner: Planner) -> None:
    assert isinstance(planner.plan("select isbn from books").plan, Sharded)


def test_a_logical_table_that_the_nodes_do_not_have(shard_map: ShardMap, facts: CatalogFacts) -> None:
    planner = Planner(shard_map, replace(facts, tables={}), cache_size=10)
    with pytest.raises(ProxyError) as caught:
        planner.plan("select isbn from books")
    assert caught.value.sqlstate == "42P01"
