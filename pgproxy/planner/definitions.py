"""DDL, maintenance, DO and CALL: on unmapped tables alone, on their home. Everything else of the kind is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.on_node import verbatim_text, whole_text
from pgproxy.planner.pins import block_pin, check_temporary_name, is_temporary_schema, pin_of
from pgproxy.planner.plan import Effect, Pin, ToNode
from pgproxy.planner.relations import Kind, Relation, classify_name, relations_of
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import children_of, items_of, names_of, walk

ON_EVERY_NODE = 'Run it on every node, or let "pgproxy init" do it.'


def spoken(kind: type) -> str:
    """`AlterEventTrigStmt` as ALTER EVENT TRIG."""
    return " ".join(re.findall(r"[A-Z][a-z]*", kind.__name__.removesuffix("Stmt"))).upper()


def plan_definition(statement: ast.Node, source: SourceText, context: PlanningContext) -> ToNode:
    """DDL and maintenance: on unmapped tables alone, on their home."""
    for relation in _named_relations(statement, context):
        if relation.kind in (Kind.LOGICAL, Kind.SHARD, Kind.REFERENCE, Kind.UNSAFE):
            raise Refused(f'{spoken(type(statement))} on "{relation.name}" is not supported yet', ON_EVERY_NODE)
    for name in _new_names(statement):
        check_temporary_name(name, context)  # its table may be temporary
    if isinstance(statement, ast.CreateTableAsStmt) and isinstance(statement.query, ast.ExecuteStmt):
        raise Refused("CREATE TABLE AS EXECUTE is not supported", "Write the query itself.")
    verbatim_text(source, context)
    pin = pin_of(statement, context)
    if pin is None and any(is_temporary_schema(name) for name in _bare_names(statement)):
        pin = Pin.TEMPORARY
    return ToNode(whole_text(source), Effect.WRITE, context.shard_map.home_of_unmapped, pins=pin)


def _new_names(statement: ast.Node) -> Iterator[str]:
    """What a definition names relations by that are not in its tree as relations."""
    if isinstance(statement, ast.RenameStmt) and statement.renameType in _RELATIONS:
        yield statement.newname or ""
    if isinstance(statement, ast.IndexStmt) and statement.idxname:
        yield statement.idxname


_RELATIONS = frozenset(
    getattr(enums.ObjectType, f"OBJECT_{name}")
    for name in ("TABLE", "VIEW", "MATVIEW", "INDEX", "SEQUENCE", "FOREIGN_TABLE")
)


def _named_relations(statement: ast.Node, context: PlanningContext) -> Iterator[Relation]:
    """What a definition names, also where the tree has bare strings (DROP, COMMENT, OWNED BY)."""
    yield from relations_of(statement, context)
    for name in _bare_names(statement):
        yield classify_name(None, name, context)


def _bare_names(node: ast.Node) -> Iterator[str]:
    for child in children_of(node):
        if isinstance(child, ast.String):
            yield child.sval or ""
        elif not isinstance(child, ast.A_Const | ast.TypeName):
            yield from _bare_names(child)


_HOME_OBJECTS = frozenset(
    getattr(enums.ObjectType, f"OBJECT_{name}")
    for name in (
        "TABLE",
        "VIEW",
        "MATVIEW",
        "INDEX",
        "SEQUENCE",
        "FOREIGN_TABLE",
        "TYPE",
        "DOMAIN",
        "TRIGGER",
        "RULE",
        "POLICY",
        "STATISTIC_EXT",
    )
)


def plan_drop(statement: ast.DropStmt, source: SourceText, context: PlanningContext) -> ToNode:
    if statement.removeType == enums.ObjectType.OBJECT_SCHEMA:
        dropped = {name for item in items_of(statement.objects) for name in names_of((item,))}
        if dropped & {table.schema for table in context.shard_map.tables.values()}:
            raise Refused("this schema holds sharded tables", ON_EVERY_NODE)
    elif statement.removeType not in _HOME_OBJECTS:
        raise Refused("DROP of an object that every node has is not supported yet", ON_EVERY_NODE)
    return plan_definition(statement, source, context)


def plan_grant(statement: ast.GrantStmt, source: SourceText, context: PlanningContext) -> ToNode:
    on_tables = statement.objtype in (enums.ObjectType.OBJECT_TABLE, enums.ObjectType.OBJECT_SEQUENCE)
    if not on_tables or statement.targtype != enums.GrantTargetType.ACL_TARGET_OBJECT:
        raise Refused("GRANT and REVOKE are supported on single tables only", ON_EVERY_NODE)
    return plan_definition(statement, source, context)


def plan_maintenance(statement: ast.Node, source: SourceText, context: PlanningContext) -> ToNode:
    if not any(isinstance(node, ast.RangeVar) for node in walk(statement)):
        raise Refused(f"{source.tokens[0].text.upper()} of a whole database is not supported", ON_EVERY_NODE)
    return plan_definition(statement, source, context)


_WORD = re.compile(r"\w+")


def plan_do(statement: ast.DoStmt, source: SourceText, context: PlanningContext) -> ToNode:
    body = " ".join(_bare_names(statement))
    for word in set(_WORD.findall(body.lower())):
        if classify_name(None, word, context).kind in (Kind.LOGICAL, Kind.SHARD, Kind.REFERENCE, Kind.UNSAFE):
            raise Refused(f'DO cannot use table "{word}"', "Write its statements one by one.")
    verbatim_text(source, context)
    home = context.shard_map.home_of_unmapped
    return ToNode(whole_text(source), Effect.WRITE, home, unsettles=True, pins=block_pin(body))


def plan_call(_statement: ast.CallStmt, source: SourceText, context: PlanningContext) -> ToNode:
    """Procedures that exist were refused before (what they read is not seen): this one gets its 42883."""
    return ToNode(whole_text(source), Effect.WRITE, context.shard_map.home_of_unmapped)
