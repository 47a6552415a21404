"""What the proxy must know of the nodes' catalogs before it can plan: columns, types, collations, functions.

`cluster.catalog` reads these from the nodes; the planner gets them passed in and never asks a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgproxy.shardmap.model import Engine


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of a logical table. `bytewise`: text of it compares by bytes (C, POSIX, C.UTF-8, pg_c_utf8).

    `deterministic` is False for a nondeterministic ICU collation (equal is not the same bytes). `own_collation`: it is
    another one than the database's default.
    """

    name: str
    type_oid: int
    typmod: int = -1
    bytewise: bool = True
    deterministic: bool = True
    not_null: bool = False
    has_default: bool = False
    own_collation: bool = False


@dataclass(frozen=True, slots=True)
class TableFacts:
    name: str
    columns: Mapping[str, ColumnFacts]  # in attribute order


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """Facts about one cluster, equal on every node (`pgproxy check` proves it).

    `tables`: logical tables by name. `functions`: every function's worst volatility (`i`, `s`, `v`) by
    bare name. `builtin_functions`: names that pg_catalog has and no other schema of the database has.
    `aggregates`: names of aggregate functions. `unsafe_relations`: views and the like on a node that read
    a logical (shell) table or a shard, so that their answer there would not be the cluster's.
    `shadowed`: names of logical, physical and reference tables that another schema of a node has as well, so
    that only the schema tells which is meant.
    `reference_tables`: those that exist, by the name that the shard map gives them.
    `bytewise_default`: the database's default collation compares by bytes. `max_prepared_transactions`: the least of
    all nodes. `commit_log`: every node has the table of `shardmap.commit_log`, and the proxy may write it.
    """

    engine: Engine
    server_version_num: int
    tables: Mapping[str, TableFacts]
    functions: Mapping[str, str] = field(default_factory=dict)
    builtin_functions: frozenset[str] = frozenset()
    aggregates: frozenset[str] = frozenset()
    unsafe_relations: frozenset[str] = frozenset()
    bytewise_default: bool = True
    max_prepared_transactions: int = 0
    commit_log: bool = False
    parameter_status: Mapping[str, str] = field(default_factory=dict)
    shadowed: frozenset[str] = frozenset()
    reference_tables: Mapping[str, TableFacts] = field(default_factory=dict)
