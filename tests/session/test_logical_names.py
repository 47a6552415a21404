"""What a node says of a shard, told of its logical table."""

from __future__ import annotations

import pytest

from pgproxy.backend.exchange import ServerError
from pgproxy.session.logical_names import with_logical_names
from pgproxy.shardmap.model import Method, Shard, Table

TABLES = [
    Table(name, "public", "k", Method.HASH, tuple(Shard(at, f"{name}_{at}", f"node{at}") for at in range(2)))
    for name in ("books", "loans")
]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"M": 'insert or update on table "loans_1" violates', "t": "loans_1"}, ('table "loans" violates', "loans")),
        ({"M": 'new row for relation "books_0" violates', "t": "books_0"}, ('relation "books" violates', "books")),
        ({"M": 'no table "others_1" violates', "t": "others_1"}, ('table "others_1" violates', "others_1")),
        ({"M": 'a "books_0" of its own violates'}, ('a "books_0" of its own violates', None)),
    ],
)
def test_shards_are_called_by_their_table(raw: dict[str, str], told: tuple[str, str | None]) -> None:
    error = with_logical_names(ServerError({"C": "23503", **raw}, "node1"), TABLES)
    assert error.message.endswith(told[0])
    assert error.raw["M"] == error.message
    assert (error.raw.get("t"), error.sqlstate, error.node) == (told[1], "23503", "node1")
