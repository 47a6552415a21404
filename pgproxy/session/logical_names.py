"""What a node says of a shard, told of its logical table."""

from __future__ import annotations

from collections.abc import Iterable

from pgproxy.backend.exchange import ServerError
from pgproxy.shardmap.model import Table


def with_logical_names(error: ServerError, tables: Iterable[Table]) -> ServerError:
    """The same error, where it names one of these tables' shards with the logical name."""
    raw = dict(error.raw)
    for table in tables:
        for shard in table.shards:
            for what in ("relation", "table"):
                raw["M"] = raw.get("M", "").replace(f'{what} "{shard.table}"', f'{what} "{table.name}"')
            if raw.get("t") == shard.table:
                raw["t"] = table.name
    return ServerError(raw, error.node)
