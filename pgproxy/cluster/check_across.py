"""What a node lacks for transactions that write on several PostgreSQL nodes. Without it each keeps to one: no error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg import AsyncConnection

from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import Engine

_ONE_NODE = "transactions can write on one node only"


@dataclass(frozen=True, slots=True)
class Across:
    """What one node says. `may` is None without a commit log; else whether it may be used, and emptied."""

    max_prepared_transactions: int
    may: tuple[bool, bool] | None


async def ask_across(connection: AsyncConnection, engine: Engine) -> Across | None:
    """None where the cluster itself makes transactions atomic."""
    if engine is not Engine.POSTGRESQL:
        return None
    most = await (await connection.execute("SHOW max_prepared_transactions")).fetchone()
    may = await (await connection.execute(_MAY, [commit_log.TABLE])).fetchone()
    return Across(int(most[0]) if most else 0, None if may is None else (may[0], may[1]))


def across_problems(found: Mapping[str, Across | None], pool_size: int) -> Iterator[tuple[str, str]]:
    """(node, what is wrong with it)."""
    if len(found) < 2:
        return
    for node, across in found.items():
        if across is not None:
            yield from ((node, problem) for problem in _problems(across, pool_size))


def _problems(across: Across, pool_size: int) -> Iterator[str]:
    most = across.max_prepared_transactions
    if most == 0:
        yield f"max_prepared_transactions is 0: {_ONE_NODE}"
    elif most < pool_size:
        yield (
            f"max_prepared_transactions is {most}, less than proxy.pool.size ({pool_size}): "
            "under load COMMIT may fail for transactions that write on several nodes"
        )
    if across.may is None:
        yield f'there is no table {commit_log.TABLE}: {_ONE_NODE}; "pgproxy init" makes it'
    elif not across.may[0]:
        yield f"{commit_log.TABLE} cannot be read and written by cluster.user: {_ONE_NODE}"
    elif not across.may[1]:
        yield f"cluster.user may not DELETE from {commit_log.TABLE}: old rows stay there"


_MAY: LiteralString = """
    SELECT pg_catalog.has_schema_privilege(relnamespace, 'USAGE') AND pg_catalog.has_table_privilege(oid, 'SELECT')
           AND pg_catalog.has_table_privilege(oid, 'INSERT'),
           pg_catalog.has_table_privilege(oid, 'DELETE')
    FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s)
"""
