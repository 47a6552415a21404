"""Shard maps as people write them: read into the model, or every mistake named by its key path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgproxy.shardmap.load import ShardMapErrors, load, parse
from pgproxy.shardmap.model import Engine, Method, Node, Shard, ShardMap, Table
from pgproxy.shardmap.write import to_toml

ROOT = Path(__file__).parents[2]

CLUSTER = """
[cluster]
name = "library"
engine = "postgresql"
database = "library_system"
user = "postgres"
"""
NODES = """
[nodes.west]
host = "127.0.0.1"
port = 5432
[nodes.north]
host = "127.0.0.1"
port = 5433
"""
BOOKS = """
[tables.books]
key = "branch"
method = "list"
[[tables.books.shards]]
table = "books_a"
node = "west"
values = ["west", "downtown"]
[[tables.books.shards]]
table = "books_b"
node = "north"
values = ["north"]
"""
WHOLE = CLUSTER + NODES + BOOKS

NOT_IN_ENVIRONMENT = "the environment has no NO_SUCH, and no default (${NAME:-default}) is given"
NOT_A_KEY_VALUE = "must be a string, whole number, boolean, date or timestamp; write a fraction as a string"
GAP_BELOW = "no shard holds the keys just below it; say gaps = true in the table if that is meant"
GAP_ABOVE = "no shard holds the keys from it on; say gaps = true in the table if that is meant"
FROM_ANYWHERE = (
    '"0.0.0.0" can be reached from other machines and clients log in without a password (trust); '
    "set proxy.allow_trust_from_anywhere = true if that is meant"
)


def _range(*shards: str, gaps: str = "") -> str:
    """A file with one range table whose shard i has these bounds."""
    sections = "".join(
        f'[[tables.t.shards]]\ntable = "t_{index}"\nnode = "west"\n{bounds}\n' for index, bounds in enumerate(shards)
    )
    return f'{CLUSTER}{NODES}[tables.t]\nkey = "k"\nmethod = "range"\n{gaps}\n{sections}'


def test_a_whole_map() -> None:
    books = Table(
        "books",
        "public",
        "branch",
        Method.LIST,
        (Shard(0, "books_a", "west", ("west", "downtown")), Shard(1, "books_b", "north", ("north",))),
    )
    shard_map = parse(WHOLE, {})
    assert shard_map.tables == {"books": books}
    assert list(shard_map.nodes.values()) == [Node("west", "127.0.0.1", 5432), Node("north", "127.0.0.1", 5433)]
    assert shard_map.cluster.engine is Engine.POSTGRESQL
    assert shard_map.home_of_unmapped == "west"
    assert (shard_map.proxy.listen, shard_map.proxy.port) == ("127.0.0.1", 6432)


def test_settings_reach_the_model() -> None:
    shard_map = parse(
        'reference_tables = ["genres", "languages"]\nunmapped_node = "north"\n'
        "[proxy]\ndefault_limit = 500\nshutdown_grace_s = 3\n[proxy.pool]\nsize = 7\n"
        "[proxy.heartbeat]\ntimeout_s = 0.5\n" + WHOLE,
        {},
    )
    assert shard_map.reference_tables == {"genres", "languages"}
    assert shard_map.home_of_unmapped == "north"
    proxy = shard_map.proxy
    assert (proxy.default_limit, proxy.shutdown_grace_s, proxy.pool.size, proxy.heartbeat.timeout_s) == (
        500,
        3.0,
        7,
        0.5,
    )


def test_bounds_and_values_as_toml_has_them_become_text() -> None:
    integers = parse(_range("upper = -5", "lower = -5\nupper = 10", "lower = 10"), {})
    assert [(shard.lower, shard.upper) for shard in integers.tables["t"].shards] == [
        (None, "-5"),
        ("-5", "10"),
        ("10", None),
    ]
    dates = parse(_range("upper = 2024-01-01", "lower = 2024-01-01"), {})
    assert dates.tables["t"].shards[0].upper == "2024-01-01"
    times = parse(_range("upper = 2024-01-01T10:00:00Z", "lower = 2024-01-01T10:00:00Z"), {})
    assert times.tables["t"].shards[0].upper == "2024-01-01 10:00:00+00:00"
    booleans = parse(WHOLE.replace('["west", "downtown"]', "[true]").replace('["north"]', "[false]"), {})
    assert [shard.values for shard in booleans.tables["books"].shards] == [("true",), ("false",)]


@pytest.mark.parametrize(
    ("text", "environ", "host"),
    [
        ("${DB_HOST}", {"DB_HOST": "db1"}, "db1"),
        ("${DB_HOST:-fallback}", {}, "fallback"),
        ("${DB_HOST:-fallback}", {"DB_HOST": ""}, "fallback"),
        ("${DB_HOST:-fallback}", {"DB_HOST": "db1"}, "db1"),
        ("a-${X}-${Y:-}-z", {"X": "1"}, "a-1--z"),
        ("$$HOME", {}, "$HOME"),
        ("$${HOME}", {}, "${HOME}"),
        ("just $ a dollar", {}, "just $ a dollar"),
        ("${X}", {"X": "${Y}"}, "${Y}"),  # what comes from the environment is not expanded again
    ],
)
def test_environment_in_strings(text: str, environ: dict[str, str], host: str) -> None:
    assert parse(WHOLE.replace('"127.0.0.1"', f'"{text}"', 1), environ).nodes["west"].host == host


def test_numbers_and_booleans_from_the_environment() -> None:
    text = (
        '[proxy]\nlisten = "0.0.0.0"\nallow_trust_from_anywhere = "${TRUST}"\nshutdown_grace_s = "${GRACE}"\n' + WHOLE
    )
    shard_map = parse(text.replace("port = 5432", 'port = "${PORT:-5432}"'), {"TRUST": "true", "GRACE": "1.5"})
    assert shard_map.proxy.allow_trust_from_anywhere is True
    assert shard_map.proxy.shutdown_grace_s == 1.5
    assert shard_map.nodes["west"].port == 5432


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # What is missing.
        ("", ["cluster: is missing", "nodes: is missing"]),
        (CLUSTER + "[nodes]", ["nodes: at least one node is needed"]),
        (WHOLE.replace("port = 5432", ""), ["nodes.west.port: is missing"]),
        (WHOLE.replace('key = "branch"', ""), ["tables.books.key: is missing"]),
        (CLUSTER + NODES + '[tables.t]\nkey = "k"\nmethod = "hash"', ["tables.t.shards: is missing"]),
        (
            CLUSTER + NODES + '[tables.t]\nkey = "k"\nmethod = "hash"\nshards = []',
            ["tables.t.shards: must be a list of at least one [[section]]"],
        ),
        # What is misspelt.
        (WHOLE + "[proxi]", ['proxi: unknown key; did you mean "proxy"?']),
        ("[proxy]\nlissten = '127.0.0.1'" + WHOLE, ['proxy.lissten: unknown key; did you mean "listen"?']),
        ("[proxy.pool]\nsizes = 3" + WHOLE, ['proxy.pool.sizes: unknown key; did you mean "size"?']),
        (
            WHOLE.replace("host =", "hots =", 1),
            ['nodes.west.hots: unknown key; did you mean "host"?', "nodes.west.host: is missing"],
        ),
        (
            WHOLE.replace('"postgresql"', '"postgres"'),
            ['cluster.engine: must be "postgresql" or "cockroachdb", not "postgres"; did you mean "postgresql"?'],
        ),
        (
            WHOLE.replace('"list"', '"lists"'),
            ['tables.books.method: must be "list" or "hash" or "range", not "lists"; did you mean "list"?'],
        ),
        (
            WHOLE.replace('node = "north"', 'node = "nort"'),
            ['tables.books.shards[1].node: there is no node "nort"; did you mean "north"?'],
        ),
        ('unmapped_node = "nowhere"' + WHOLE, ['unmapped_node: there is no node "nowhere"; known: west, north']),
        # What is of another type, or out of its limits.
        ("[proxy]\nport = '6432'" + WHOLE, ["proxy.port: must be a whole number"]),
        ("[proxy]\nport = true" + WHOLE, ["proxy.port: must be a whole number"]),
        ("[proxy]\nport = 0" + WHOLE, ["proxy.port: must be between 1 and 65535, not 0"]),
        ("[proxy]\nport = 65536" + WHOLE, ["proxy.port: must be between 1 and 65535, not 65536"]),
        (
            "[proxy]\nstartup_timeout_s = 0" + WHOLE,
            ["proxy.startup_timeout_s: must be between 0.01 and 604800, not 0.0"],
        ),
        ("[proxy]\nstartup_timeout_s = 'soon'" + WHOLE, ["proxy.startup_timeout_s: must be a number"]),
        (
            "[proxy]\nstartup_timeout_s = nan" + WHOLE,
            ["proxy.startup_timeout_s: must be between 0.01 and 604800, not nan"],
        ),
        ("[proxy]\ndefault_limit = 0" + WHOLE, ["proxy.default_limit: must be between 1 and 2147483647, not 0"]),
        ("[proxy]\nallow_trust_from_anywhere = 1" + WHOLE, ["proxy.allow_trust_from_anywhere: must be true or false"]),
        ("[proxy.pool]\nsize = 2\nmin_idle = 3" + WHOLE, ["proxy.pool.min_idle: must not exceed proxy.pool.size (2)"]),
        ("proxy = 5" + WHOLE, ["proxy: must be a section"]),
        ("[proxy]\npool = 5" + WHOLE, ["proxy.pool: must be a section"]),
        (CLUSTER + "[nodes]\nwest = 'host'", ["nodes.west: must be a section"]),
        (WHOLE + "[tables.bad]\nkey='k'\nmethod='hash'\nshards=['a']", ["tables.bad.shards[0]: must be a section"]),
        ("reference_tables = 'genres'" + WHOLE, ["reference_tables: must be a list of names"]),
        (WHOLE.replace('user = "postgres"', 'user = ""'), ["cluster.user: must not be empty"]),
        (
            WHOLE.replace("[nodes.west]", 'tls = "prefer"\n[nodes.west]'),
            ['cluster.tls: must be "disable" or "require" or "verify-ca" or "verify-full", not "prefer"'],
        ),
        (
            WHOLE.replace("[nodes.west]", 'tls = "verify-full"\n[nodes.west]'),
            ['cluster.tls_ca_file: is missing; cluster.tls = "verify-full" needs it'],
        ),
        (
            WHOLE.replace("[nodes.west]", "tls = 'require'\ntls_ca_file = 'ca'\ntls_key_file = 'key'\n[nodes.west]"),
            [
                'cluster.tls_ca_file: has no meaning with tls = "require", which verifies nothing; use "verify-ca"',
                "cluster.tls_certificate_file: is missing; cluster.tls_key_file needs it",
            ],
        ),
        (
            WHOLE + '\n[proxy.tls]\nmode = "require"\nclient_certificates = "required"\nmin_version = "1.1"\n',
            [
                'proxy.tls.min_version: must be "1.2" or "1.3", not "1.1"; did you mean "1.3"?',
                'proxy.tls.certificate_file: is missing; proxy.tls.mode = "require" needs it',
                'proxy.tls.key_file: is missing; proxy.tls.mode = "require" needs it',
                'proxy.tls.client_ca_file: is missing; client_certificates = "required" needs it',
            ],
        ),
        (WHOLE.replace('["north"]', '"north"'), ["tables.books.shards[1].values: must be a list of key values"]),
        (
            WHOLE.replace('["north"]', "[1.5]"),
            [f"tables.books.shards[1].values: {NOT_A_KEY_VALUE}"],
        ),
        # The environment.
        (
            WHOLE.replace('"127.0.0.1"', '"${NO_SUCH}"', 1),
            [f"nodes.west.host: {NOT_IN_ENVIRONMENT}"],
        ),
        (
            WHOLE.replace("5432", '"${NO_SUCH}"'),
            [f"nodes.west.port: {NOT_IN_ENVIRONMENT}"],
        ),
        (
            WHOLE.replace('"north"]', '"${NO_SUCH}"]'),
            [f"tables.books.shards[1].values[0]: {NOT_IN_ENVIRONMENT}"],
        ),
        (
            WHOLE.replace('"127.0.0.1"', '"${bad name}"', 1),
            ["nodes.west.host: a reference to the environment is ${NAME} or ${NAME:-default}; write $$ for a dollar"],
        ),
        ('[proxy]\nport = "${X:-many}"' + WHOLE, ["proxy.port: must be a whole number"]),
        (
            '[proxy]\nallow_trust_from_anywhere = "${X:-yes}"' + WHOLE,
            ["proxy.allow_trust_from_anywhere: must be true or false"],
        ),
        # Names that meet.
        (
            WHOLE.replace('"books_b"\nnode = "north"', '"books_a"\nnode = "west"'),
            ['tables.books.shards[1].table: "books_a" is tables.books.shards[0].table already'],
        ),
        (
            WHOLE.replace("books_b", "books_a").replace('"postgresql"', '"cockroachdb"'),
            ['tables.books.shards[1].table: "books_a" is tables.books.shards[0].table already'],
        ),
        (
            WHOLE.replace("books_b", "books"),
            ['tables.books.shards[1].table: "books" is the name of a logical table (tables.books)'],
        ),
        (
            'reference_tables = ["books"]' + WHOLE,
            ['reference_tables[0]: "books" is a sharded table too (tables.books)'],
        ),
        (
            'reference_tables = ["g", "books_a"]' + WHOLE,
            ['reference_tables[1]: "books_a" is the physical table of a shard too'],
        ),
        ('reference_tables = ["g", "g"]' + WHOLE, ['reference_tables[1]: "g" is given twice']),
        (
            WHOLE.replace("tables.books", 'tables."library.books"'),
            ['tables.library.books: the name must not hold a dot; the schema is the key "schema"'],
        ),
        # Values and bounds.
        (
            WHOLE.replace('["north"]', '["north", "west"]'),
            ["tables.books.shards[1].values[1]: 'west' is a value of shards[0] already"],
        ),
        (WHOLE.replace('values = ["north"]', ""), ["tables.books.shards[1].values: is needed with method list"]),
        (WHOLE.replace('["north"]', "[]"), ["tables.books.shards[1].values: is needed with method list"]),
        (
            WHOLE.replace('values = ["north"]', 'values = ["north"]\nlower = 1'),
            ["tables.books.shards[1].lower: has no meaning with method list"],
        ),
        (
            WHOLE.replace('"list"', '"hash"'),
            [f"tables.books.shards[{i}].values: has no meaning with method hash" for i in (0, 1)],
        ),
        (WHOLE.replace('"list"', '"list"\ngaps = true'), ["tables.books.gaps: has no meaning with method list"]),
        (_range("upper = 10", "lower = 9"), ["tables.t.shards[1]: overlaps shards[0]"]),
        (
            _range("upper = 10", "lower = 11"),
            [f"tables.t.shards[1].lower: {GAP_BELOW}"],
        ),
        (
            _range("lower = 1\nupper = 10", "lower = 10\nupper = 20"),
            [
                f"tables.t.shards[0].lower: {GAP_BELOW}",
                f"tables.t.shards[1].upper: {GAP_ABOVE}",
            ],
        ),
        (_range("", ""), ["tables.t.shards[1]: overlaps shards[0]"]),
        (_range("upper = 'm'", "lower = 'k'"), ["tables.t.shards[1]: overlaps shards[0]"]),
        (
            _range("lower = 10\nupper = 10", gaps="gaps = true"),
            ["tables.t.shards[0]: its lower bound '10' is not below its upper bound '10'"],
        ),
        (_range("upper = 2024-01-02", "lower = 2024-01-01"), ["tables.t.shards[1]: overlaps shards[0]"]),
        # Who may log in.
        (
            "[proxy]\nlisten = '0.0.0.0'" + WHOLE,
            [f"proxy.listen: {FROM_ANYWHERE}"],
        ),
        # Several at once.
        (
            ("[proxy]\nport = 0\nlog = 'x'" + WHOLE).replace('"list"', '"hesh"').replace("5433", "-1"),
            [
                "proxy.log: unknown key",
                "proxy.port: must be between 1 and 65535, not 0",
                "nodes.north.port: must be between 1 and 65535, not -1",
                'tables.books.method: must be "list" or "hash" or "range", not "hesh"; did you mean "hash"?',
            ],
        ),
    ],
)
def test_mistakes(text: str, problems: list[str]) -> None:
    with pytest.raises(ShardMapErrors) as wrong:
        parse(text, {})
    assert list(wrong.value.problems) == problems


@pytest.mark.parametrize(
    "text",
    [
        # "10" is below "9" as text, not as a number; the file does not say which the key is.
        _range("upper = '10'", "lower = '10'\nupper = '9'", "lower = '9'"),
        _range("upper = '9'", "lower = '9'\nupper = '10'", "lower = '10'"),
        _range("lower = 1\nupper = 5", "lower = 10", gaps="gaps = true"),
        "[proxy]\nlisten = '0.0.0.0'\nallow_trust_from_anywhere = true" + WHOLE,
        "[proxy]\nlisten = '::1'" + WHOLE,
        "[proxy]\nlisten = '127.0.0.2'" + WHOLE,
        "[proxy]\nlisten = 'localhost'" + WHOLE,
        WHOLE.replace("books_b", "books_a"),  # on another PostgreSQL node
        CLUSTER + NODES,
    ],
)
def test_what_is_allowed(text: str) -> None:
    assert parse(text, {}).nodes


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(ShardMapErrors, match=r"not valid TOML: .*line 2, column 8"):
        parse("[proxy]\nport = \n", {})


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8 text (byte 0)")])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "shardmap.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ShardMapErrors) as wrong:
        load(path)
    assert problem in str(wrong.value)


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE.replace("tables.books", 'tables."bücher & \\"more\\""'),
        _range("upper = -5", "lower = 5", gaps="gaps = true"),
        WHOLE.replace('database = "library_system"', 'database = "a\\\\b\\n\\u007f"\npassword = "p$${x}$$$"'),
        WHOLE.replace(
            "[nodes.west]",
            "tls = 'verify-full'\ntls_ca_file = 'ca'\ntls_certificate_file = 'c'\ntls_key_file = 'k'\n[nodes.west]",
        ),
        'reference_tables = ["b", "a"]\nunmapped_node = "north"\n[proxy]\nlisten = "0.0.0.0"\n'
        "allow_trust_from_anywhere = true\ndefault_limit = 7\n[proxy.pool]\nsize = 3\nqueue_timeout_s = 1.5\n"
        "[proxy.heartbeat]\ndown_after = 9\n[proxy.tls]\nmode = 'allow'\ncertificate_file = 'c'\nkey_file = 'k'\n"
        "client_ca_file = 'ca'\nclient_certificates = 'required'\nmin_version = '1.3'\n"
        + WHOLE.replace('key = "branch"', 'key = "branch"\nschema = "lib"'),
    ],
)
def test_what_is_written_is_read_back(text: str) -> None:
    shard_map = parse(text, {})
    assert parse(to_toml(shard_map), {}) == shard_map


def test_the_shipped_map_is_the_library() -> None:
    shard_map = load(ROOT / "shardmap.toml", {})
    nodes = [("downtown-library", 26257), ("west-library", 26258), ("north-library", 26259)]
    assert [(node.host, node.port) for node in shard_map.nodes.values()] == nodes
    assert shard_map.cluster.engine is Engine.COCKROACHDB
    assert _shards(shard_map, "books") == [
        ("books_a", "downtown-library", ("downtown",)),
        ("books_b", "west-library", ("west",)),
        ("books_c", "north-library", ("north",)),
    ]
    assert shard_map.tables["patrons"].method is Method.HASH
    assert [table for table, _, _ in _shards(shard_map, "patrons")] == ["patrons_a", "patrons_b", "patrons_c"]
    assert shard_map.proxy.listen == "127.0.0.1"


def test_the_shipped_map_in_the_compose_network_and_from_outside_it() -> None:
    environ = {
        "PGPROXY_LISTEN": "0.0.0.0",
        "PGPROXY_ALLOW_TRUST_FROM_ANYWHERE": "true",
        "WEST_LIBRARY_HOST": "127.0.0.1",
    }
    shard_map = load(ROOT / "shardmap.toml", environ)
    assert shard_map.proxy.listen == "0.0.0.0"
    assert shard_map.nodes["west-library"].host == "127.0.0.1"


def _shards(shard_map: ShardMap, table: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(shard.table, shard.node, shard.values) for shard in shard_map.tables[table].shards]
