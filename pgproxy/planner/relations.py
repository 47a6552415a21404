"""Which relations a statement names, CTE names not counted, and what each is to the shard map.

What a statement may do with them is left to `statements`, `select` and `writes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from pglast import ast

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.tree import children_of, items_of


class Kind(Enum):
    LOGICAL = auto()  # a table of the shard map
    SHARD = auto()  # a physical table, named as such
    REFERENCE = auto()  # kept whole on every node
    UNSAFE = auto()  # a view and the like that reads a logical table or a shard
    CATALOG = auto()  # pg_catalog, information_schema
    UNMAPPED = auto()  # everything else: on the home of unmapped tables


@dataclass(frozen=True, slots=True)
class Relation:
    """`node` is where it lives, None where that does not matter or differs by shard."""

    name: str
    kind: Kind
    node: str | None = None


_CATALOG_SCHEMAS = frozenset({"pg_catalog", "information_schema", "crdb_internal", "pg_toast"})


def relations_of(tree: ast.Node, context: PlanningContext) -> tuple[Relation, ...]:
    """Each relation that a statement names, as often as it names it."""
    return tuple(classify(name, context) for name in _range_variables(tree, frozenset()))


def classify(name: ast.RangeVar, context: PlanningContext) -> Relation:
    """What a relation's name stands for."""
    return classify_name(name.schemaname, name.relname or "", context)


def classify_name(schema: str | None, name: str, context: PlanningContext) -> Relation:
    shard_map = context.shard_map
    if schema in _CATALOG_SCHEMAS:
        return Relation(name, Kind.CATALOG)
    if schema is None and name in context.facts.shadowed:
        raise Refused(
            f'relation "{name}" exists in several schemas, and which of them is meant depends on the search path',
            "Write the schema before the name.",
        )
    table = shard_map.tables.get(name)
    if table is not None and schema in (None, table.schema):
        return Relation(name, Kind.LOGICAL)
    home = _shard_home(schema, name, context)
    if home is not None:
        return Relation(name, Kind.SHARD, home)
    spellings = {name} if schema is None else {name, f"{schema}.{name}"}
    if spellings & shard_map.reference_tables:
        return Relation(name, Kind.REFERENCE)
    if spellings & context.facts.unsafe_relations:
        return Relation(name, Kind.UNSAFE)
    if schema is None and name.startswith("pg_"):  # pg_catalog comes first in every search path
        return Relation(name, Kind.CATALOG)
    return Relation(name, Kind.UNMAPPED, shard_map.home_of_unmapped)


def _shard_home(schema: str | None, name: str, context: PlanningContext) -> str | None:
    for table in context.shard_map.tables.values():
        for shard in table.shards:
            if shard.table == name and schema in (None, table.schema):
                return shard.node
    return None


def _range_variables(node: object, ctes: frozenset[str]) -> Iterator[ast.RangeVar]:
    """The RangeVars of a tree that are no references to a CTE in scope."""
    if isinstance(node, ast.RangeVar):
        if node.schemaname is not None or node.relname not in ctes:
            yield node
        return
    clause = getattr(node, "withClause", None)
    if isinstance(clause, ast.WithClause):
        names = [cte.ctename or "" for cte in items_of(clause.ctes) if isinstance(cte, ast.CommonTableExpr)]
        inside = ctes.union(names) if clause.recursive else ctes
        for name, cte in zip(names, items_of(clause.ctes), strict=True):
            yield from _range_variables(cte, inside)
            inside = inside | {name}
        ctes = ctes.union(names)
    written = node.relation if isinstance(node, _WRITES) else None
    if written is not None:  # what a statement writes is never a CTE
        yield written
    for child in children_of(node):
        # FOR UPDATE OF names what FROM has named already, by its alias.
        if child is not clause and child is not written and not isinstance(child, ast.LockingClause):
            yield from _range_variables(child, ctes)


_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
