"""The library: its shard map on three nodes, its tables and sample data, and any number of generated rows.

Starting the nodes is `demo.nodes`'; sending SQL files to the right nodes is `cluster.schema`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

import pgproxy
from pgproxy.cluster.schema import connect, lay_out
from pgproxy.demo.nodes import SUPERUSER, EmbeddedNode
from pgproxy.shardmap.model import ClusterSettings, Engine, Method, Node, ProxySettings, Shard, ShardMap, Table
from pgproxy.shardmap.placement import Placement

DATABASE = "library_system"
BRANCHES = ("downtown", "west", "north")
_SCRIPTS = ("init.sql", "dummydata.sql")

_INT8 = 20
_COPY_ROWS = 5_000
_FIRST_ISBN = 979_100_000_000  # without its check digit; the real books' begin with 978
_FIRST_PATRON = 1_000_000
_SHAPES = ("The {} {}", "A {} {}", "{} {}", "Beyond the {} {}", "The Last {} {}", "Return to the {} {}")
_ADJECTIVES = (
    "Silent", "Golden", "Hidden", "Broken", "Crimson", "Distant", "Wandering", "Forgotten", "Burning", "Frozen",
)  # fmt: skip
_NOUNS = (
    "Harbour", "Garden", "Ring", "Orchard", "Library", "River", "Mountain", "Empire", "Winter", "Machine", "Lighthouse",
    "Voyage", "Letter",
)  # fmt: skip
_FIRST_NAMES = ("Ana", "Bea", "Carlos", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lía", "Mira")
_LAST_NAMES = ("Abe", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Horvat", "Ito", "Jansen", "Kaya")
_GENRES = ("Fiction", "Mystery", "Fantasy", "Science Fiction", "History", "Poetry", "Science")


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a table's generated rows are made from their running number."""

    table: str
    id_column: str
    id_of: Callable[[int], int]
    shard_of: Callable[[int], int | None]
    row_of: Callable[[int], str]


def library_scripts() -> list[str]:
    """The texts of the project's SQL files, tables first; from an installed package or a checkout."""
    package = Path(pgproxy.__file__).parent
    folder = next(folder for folder in (package / "sql", package.parent / "sql") if folder.exists())
    return [(folder / name).read_text(encoding="utf-8") for name in _SCRIPTS]


def library_map(nodes: Sequence[EmbeddedNode], port: int = 6432) -> ShardMap:
    """The shard map of the library on three running nodes."""
    names = [node.name for node in nodes]
    books = tuple(
        Shard(index, f"books_{letter}", names[index], values=(BRANCHES[index],)) for index, letter in enumerate("abc")
    )
    patrons = tuple(Shard(index, f"patrons_{letter}", names[index]) for index, letter in enumerate("abc"))
    return ShardMap(
        proxy=ProxySettings(port=port),
        cluster=ClusterSettings(name="library", engine=Engine.POSTGRESQL, database=DATABASE, user=SUPERUSER),
        nodes={node.name: Node(node.name, node.host, node.port) for node in nodes},
        tables={
            "books": Table("books", "public", "branch", Method.LIST, books),
            "patrons": Table("patrons", "public", "patron_id", Method.HASH, patrons),
        },
    )


def load_library(nodes: Sequence[EmbeddedNode]) -> None:
    """Make the tables and the sample rows; safe to run again on the same nodes."""
    lay_out(library_map(nodes), library_scripts())


def generate_rows(nodes: Sequence[EmbeddedNode], rows: int, progress: Callable[[int], None]) -> None:
    """Have `rows` generated books and a tenth as many patrons, the same ones every time.

    Rows that an earlier run left are kept: each shard goes on behind its greatest id.
    """
    shard_map = library_map(nodes)
    home_of_patron = Placement(shard_map.tables["patrons"], _INT8).shard_of
    for recipe, count in (
        (_Recipe("books", "isbn", isbn_of, _branch_of, _book), rows),
        (_Recipe("patrons", "patron_id", _patron_of, lambda at: home_of_patron(_patron_of(at)), _patron), rows // 10),
    ):
        for shard in shard_map.tables[recipe.table].shards:
            with connect(shard_map, shard_map.nodes[shard.node], DATABASE) as connection:
                _fill(connection, shard, recipe, count, progress)


def isbn_of(at: int) -> int:
    """The ISBN-13 of the generated book number `at`, with its check digit."""
    body = _FIRST_ISBN + at
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(str(body)))
    return body * 10 + -weighted % 10


def _fill(
    connection: psycopg.Connection, shard: Shard, recipe: _Recipe, count: int, progress: Callable[[int], None]
) -> None:
    """COPY one shard's rows in, all or none."""
    table = sql.Identifier(shard.table)
    greatest = sql.SQL("SELECT coalesce(max({}), 0) FROM {}").format(sql.Identifier(recipe.id_column), table)
    (last,) = connection.execute(greatest).fetchone() or (0,)
    mine = [at for at in range(count) if recipe.shard_of(at) == shard.index]
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
        for start in range(0, len(mine), _COPY_ROWS):
            some = mine[start : start + _COPY_ROWS]
            copy.write("".join(recipe.row_of(at) for at in some if recipe.id_of(at) > last))
            progress(len(some))
    connection.execute(sql.SQL("ANALYZE {}").format(table))


def _mixed(at: int) -> int:
    """A number that looks random and depends on `at` alone."""
    return (at * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 16


def _branch_of(at: int) -> int:
    return _mixed(at) % len(BRANCHES)


def _patron_of(at: int) -> int:
    return _FIRST_PATRON + at


def _book(at: int) -> str:
    """One line of COPY text."""
    mixed = _mixed(at)
    shape, adjective, noun = _pick(_SHAPES, mixed, 5), _pick(_ADJECTIVES, mixed, 7), _pick(_NOUNS, mixed, 11)
    author = f"{_pick(_FIRST_NAMES, mixed, 13)} {_pick(_LAST_NAMES, mixed, 17)}"
    out = mixed % 5 == 0
    patron = str(_patron_of(mixed // 5 % max(1, at // 10 + 1))) if out else "\\N"
    day = f"2025-{mixed // 19 % 12 + 1:02}-{mixed // 23 % 28 + 1:02}"
    return (
        f"{isbn_of(at)}\t{BRANCHES[_branch_of(at)]}\t{shape.format(adjective, noun)}\t{author}\t"
        f"{_pick(_GENRES, mixed, 29)}\t{1900 + mixed // 31 % 126}\t{mixed // 37 % 9000 / 100 + 5:.2f}\t"
        f"{'t' if out else 'f'}\t{patron}\t{day} {mixed // 41 % 24:02}:{mixed // 43 % 60:02}:00+00\n"
    )


def _patron(at: int) -> str:
    """One line of COPY text."""
    mixed = _mixed(at)
    name = f"{_pick(_FIRST_NAMES, mixed, 5)} {_pick(_LAST_NAMES, mixed, 7)}"
    joined = f"{2015 + mixed // 11 % 11}-{mixed // 13 % 12 + 1:02}-{mixed // 17 % 28 + 1:02}"
    patron = _patron_of(at)
    return f"{patron}\t{name}\tpatron{patron}@example.org\t{_pick(BRANCHES, mixed, 19)}\t{joined}\n"


def _pick(choices: Sequence[str], mixed: int, step: int) -> str:
    return choices[mixed // step % len(choices)]
