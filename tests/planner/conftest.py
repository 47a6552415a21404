"""The library of the README as facts, for tests that plan without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgproxy.planner.planner import Planner
from pgproxy.shardmap.facts import CatalogFacts, ColumnFacts, TableFacts
from pgproxy.shardmap.model import ClusterSettings, Engine, Method, Node, ProxySettings, Shard, ShardMap, Table

BOOL, INT8, INT4, TEXT, DATE, TIMESTAMPTZ, NUMERIC = 16, 20, 23, 25, 1082, 1184, 1700
NUMERIC_8_2 = (8 << 16 | 2) + 4

_NODES = ("downtown-library", "west-library", "north-library")
_BRANCHES = ("downtown", "west", "north")

_FUNCTIONS = {
    "i": "abs avg ceil char_length coalesce concat_ws count extract floor length lower ltrim max md5 min mod "
    "position power replace round rtrim sign split_part sqrt string_agg substr substring sum trim trunc upper "
    "array_agg bool_and bool_or every stddev variance generate_series int4 left right reverse repeat lpad rpad "
    "btrim strpos initcap json_agg jsonb_agg date_part row_number rank percentile_cont mode",
    "s": "now transaction_timestamp statement_timestamp to_char to_date to_timestamp date_trunc age concat format "
    "current_setting version pg_backend_pid inet_server_addr pg_get_expr pg_typeof current_database "
    "has_table_privilege format_type pg_table_is_visible timezone to_regclass json_build_object quote_literal",
    "v": "random gen_random_uuid clock_timestamp timeofday nextval setval currval lastval set_config pg_sleep "
    "pg_advisory_lock pg_try_advisory_lock pg_advisory_unlock_all pg_advisory_xact_lock pg_notify pg_relation_size "
    "txid_current lo_create",
}
_AGGREGATES = (
    "avg count max min sum string_agg array_agg bool_and bool_or every stddev variance json_agg jsonb_agg "
    "percentile_cont mode"
)


def columns(*facts: ColumnFacts) -> dict[str, ColumnFacts]:
    return {fact.name: fact for fact in facts}


BOOKS = Table(
    "books",
    "public",
    "branch",
    Method.LIST,
    tuple(Shard(i, f"books_{'abc'[i]}", _NODES[i], values=(_BRANCHES[i],)) for i in range(3)),
)
PATRONS = Table(
    "patrons",
    "public",
    "patron_id",
    Method.HASH,
    tuple(Shard(i, f"patrons_{'abc'[i]}", _NODES[i]) for i in range(3)),
)
BOOKS_FACTS = TableFacts(
    "books",
    columns(
        ColumnFacts("isbn", INT8, not_null=True),
        ColumnFacts("branch", TEXT, not_null=True),
        ColumnFacts("book_name", TEXT),
        ColumnFacts("author", TEXT),
        ColumnFacts("genre", TEXT),
        ColumnFacts("published_year", INT4),
        ColumnFacts("price", NUMERIC, typmod=NUMERIC_8_2),
        ColumnFacts("checked_out", BOOL),
        ColumnFacts("patron_id", INT8),
        ColumnFacts("updated_at", TIMESTAMPTZ),
    ),
)
PATRONS_FACTS = TableFacts(
    "patrons",
    columns(
        ColumnFacts("patron_id", INT8, not_null=True),
        ColumnFacts("name", TEXT),
        ColumnFacts("email", TEXT),
        ColumnFacts("branch", TEXT),
        ColumnFacts("joined", DATE),
    ),
)


def make_shard_map(engine: Engine = Engine.POSTGRESQL) -> ShardMap:
    return ShardMap(
        ProxySettings(),
        ClusterSettings("library", engine, "library_system", "library"),
        {name: Node(name, "127.0.0.1", 5432 + place) for place, name in enumerate(_NODES)},
        {"books": BOOKS, "patrons": PATRONS},
        reference_tables=frozenset({"genres"}),
    )


def make_facts(engine: Engine = Engine.POSTGRESQL) -> CatalogFacts:
    builtin = {name: volatility for volatility, names in _FUNCTIONS.items() for name in names.split()}
    return CatalogFacts(
        engine,
        180_000,
        {"books": BOOKS_FACTS, "patrons": PATRONS_FACTS},
        functions=builtin | {"shelf_label": "i", "loan_count": "s", "lend": "v"},
        builtin_functions=frozenset(builtin),
        aggregates=frozenset(_AGGREGATES.split()),
        unsafe_relations=frozenset({"cheap_books"}),
        reference_tables={"genres": TableFacts("genres", columns(ColumnFacts("id", TEXT), ColumnFacts("name", TEXT)))},
        max_prepared_transactions=10,
    )


@pytest.fixture
def shard_map() -> ShardMap:
    return make_shard_map()


@pytest.fixture
def facts() -> CatalogFacts:
    return make_facts()


@pytest.fixture
def planner(shard_map: ShardMap, facts: CatalogFacts) -> Planner:
    return Planner(shard_map, facts, cache_size=100)


@pytest.fixture
def cockroach_planner() -> Planner:
    return Planner(make_shard_map(Engine.COCKROACHDB), make_facts(Engine.COCKROACHDB), cache_size=100)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden plans anew")


def shelves_shard_map() -> ShardMap:
    """The library, and a table in ranges of an integer."""
    library = make_shard_map()
    bounds = [None, "10", "200", None]
    nodes = tuple(library.nodes)
    shards = tuple(Shard(i, f"readings_{i}", nodes[i], lower=bounds[i], upper=bounds[i + 1]) for i in range(3))
    table = Table("readings_of_a_shelf", "public", "shelf", Method.RANGE, shards)
    return replace(library, tables={**library.tables, table.name: table})


def shelves_facts() -> CatalogFacts:
    library = make_facts()
    patrons = library.tables["patrons"]
    columns = {
        "shelf": replace(patrons.columns["patron_id"], name="shelf"),
        "note": replace(patrons.columns["name"], name="note"),
    }
    table = replace(patrons, name="readings_of_a_shelf", columns=columns)
    return replace(library, tables={**library.tables, table.name: table})
