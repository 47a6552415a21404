from __future__ import annotations

import pytest

from pgproxy.errors import Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.functions import check_scatter_functions, clock_edits
from pgproxy.planner.plan import bind_shard, render
from pgproxy.planner.text import SourceText
from tests.planner.conftest import BOOKS, make_facts, make_shard_map

NOW = "2024-05-01 10:20:30.000000+00"


def check(sql: str) -> None:
    (raw,) = SourceText(sql).tree
    assert raw.stmt is not None
    check_scatter_functions(raw.stmt, PlanningContext(make_shard_map(), make_facts(), {}))


@pytest.mark.parametrize(
    "sql",
    [
        "select lower(author), count(*), sum(price) from books group by lower(author)",
        "select pg_catalog.lower(author) from books",
        "select now(), transaction_timestamp(), current_timestamp, current_date, localtime(3) from books",
        "select random(), gen_random_uuid(), clock_timestamp() from books",
        "select to_char(updated_at, 'YYYY'), date_trunc('day', updated_at), age(updated_at, '2024-01-01') from books",
        "select extract(year from updated_at), position('a' in author), trim(author) from books",
        "select updated_at at time zone 'UTC' from books",
        "select current_user, session_user, user, current_catalog, current_schema from books",
        "select pg_typeof(price), coalesce(price, 0), greatest(price, 1), nullif(price, 1) from books",
        "select shelf_label(isbn) from books",
        "select price::numeric(10, 2), cast(isbn as text) from books",
    ],
)
def test_may_run_on_every_shard(sql: str) -> None:
    check(sql)


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("select nextval('s') from books", "nextval"),
        ("select price from books where isbn > nextval('s')", "nextval"),
        ("select pg_backend_pid() from books", "pg_backend_pid"),
        ("select version() from books", "version"),
        ("select inet_server_addr() from books", "inet_server_addr"),
        ("select current_setting('port') from books", "current_setting"),
        ("select statement_timestamp() from books", "statement_timestamp"),
        ("select age(updated_at) from books", "age"),
        ("select has_table_privilege('books', 'select') from books", "has_table_privilege"),
        ("select txid_current() from books", "txid_current"),
        ("select pg_relation_size('books') from books", "pg_relation_size"),
        ("select loan_count(isbn) from books", "loan_count"),
        ("select lend(isbn) from books", "lend"),
        ("select no_such_function(isbn) from books", "no_such_function"),
        ("select ctid from books", "ctid"),
        ("select b.tableoid from books b", "tableoid"),
        ("select 'books'::regclass from books", "regclass"),
        ("select to_regclass('books') from books", "to_regclass"),
    ],
)
def test_may_not(sql: str, name: str) -> None:
    with pytest.raises(Refused) as caught:
        check(sql)
    assert name in caught.value.message


def cast(type_name: str | None = None) -> str:
    instant = f"CAST('{NOW}' AS timestamptz)"
    return instant if type_name is None else f"CAST({instant} AS {type_name})"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select now() from books", f"select (SELECT {cast()} AS now) from books"),
        ("select 'é', now ( ) from books", f"select 'é', (SELECT {cast()} AS now) from books"),
        ("select pg_catalog.now() from books", f"select (SELECT {cast()} AS now) from books"),
        ("select now()::date from books", f"select (SELECT {cast()} AS now)::date from books"),
        ("select current_date from books", f"select (SELECT {cast('date')} AS current_date) from books"),
        (
            "select localtimestamp (3) from books",
            f"select (SELECT {cast('timestamp(3)')} AS localtimestamp) from books",
        ),
        ("select current_timestamp from books", f"select (SELECT {cast()} AS current_timestamp) from books"),
        (
            "select current_time(0), localtime from books",
            f"select (SELECT {cast('timetz(0)')} AS current_time), (SELECT {cast('time')} AS localtime) from books",
        ),
        (
            "select 1 from books where updated_at > now() - interval '1 day'",
            f"select 1 from books where updated_at > {cast()} - interval '1 day'",
        ),
        ("select extract(epoch from now()) from books", f"select extract(epoch from {cast()}) from books"),
        (
            "select count(*) filter (where updated_at < now()) from books",
            f"select count(*) filter (where updated_at < {cast()}) from books",
        ),
        ("select 1 from books order by updated_at - now()", f"select 1 from books order by updated_at - {cast()}"),
        ("select clock_timestamp(), now from books", "select clock_timestamp(), now from books"),
        ("select other.now(), 'now()', now(1) from books", "select other.now(), 'now()', now(1) from books"),
    ],
)
def test_all_shards_are_told_the_same_time(sql: str, expected: str) -> None:
    source = SourceText(sql)
    assert source.tree[0].stmt is not None
    template = source.edit(clock_edits(source.tree[0].stmt, source))
    assert render(bind_shard(template, BOOKS.shards[0]), Arguments(source.literal_texts, NOW)) == expected
