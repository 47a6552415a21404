"""Which functions may run where: on every shard at once, on one shard, on one node, or not through the proxy at all.

Also gives all shards of a scatter the same time of day. How aggregates combine is left to `aggregates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.plan import ClockTime, Effect, SqlTemplate
from pgproxy.planner.text import Edit, SourceText, composed
from pgproxy.planner.tree import column_name, items_of, names_of, walk

_OP = enums.SQLValueFunctionOp


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Volatile, yet they change nothing and depend on no node.
_HARMLESS = _names(
    "random random_normal array_shuffle array_sample gen_random_uuid uuidv4 uuidv7 clock_timestamp timeofday "
    "pg_sleep pg_sleep_for pg_sleep_until"
)
# Volatile too and changing nothing, but about the node that is asked.
_HARMLESS_ON_A_NODE = _HARMLESS | _names(
    "pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size "
    "pg_partition_tree pg_partition_ancestors pg_blocking_pids current_query"
)
# What they do outlasts the statement on one connection, but connections are shared by many clients.
_SESSION_STATE = {
    "set_config": "Use SET or SET LOCAL.",
    "currval": "Use INSERT … RETURNING or nextval().",
    "lastval": "Use INSERT … RETURNING or nextval().",
    "setseed": "Sort or pick by something other than random() where the order must repeat.",
    "pg_export_snapshot": "Connect to a node to export a snapshot of it.",
    "pg_cancel_backend": "Process ids are those of one node; connect to it, or cancel from the client.",
    "pg_terminate_backend": "Process ids are those of one node; connect to it.",
}
# Volatile, but no part of the transaction: what they do is neither committed nor rolled back.
_SESSION_LOCKS = _names(
    "pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared "
    "pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all"
)
_OF_THE_SESSION = frozenset({"pg_listening_channels", "pg_my_temp_schema"})
# They read tables that only the text in their arguments names.
_READ_UNSEEN = _names(
    "query_to_xml query_to_xmlschema query_to_xml_and_xmlschema table_to_xml table_to_xml_and_xmlschema "
    "schema_to_xml schema_to_xml_and_xmlschema database_to_xml database_to_xml_and_xmlschema cursor_to_xml "
    "ts_stat ts_rewrite"
)
# Stable or immutable by their declaration, yet the answer depends on the node or the connection.
_NODE_DEPENDENT = _names(
    "inet_client_addr inet_client_port inet_server_addr inet_server_port version current_setting txid_current "
    "txid_current_if_assigned txid_current_snapshot txid_snapshot_xip txid_status mxid_age statement_timestamp "
    "to_regclass to_regproc to_regprocedure to_regoper to_regoperator to_regtype to_regrole to_regnamespace "
    "to_regcollation to_regtypemod regclass col_description obj_description shobj_description "
    "row_security_active format_type table_to_xmlschema schema_to_xmlschema database_to_xmlschema"
)
_NODE_INDEPENDENT_PG = frozenset(
    {"pg_typeof", "pg_column_size", "pg_size_pretty", "pg_size_bytes", "pg_client_encoding"}
)
_CLOCKS = frozenset({"now", "transaction_timestamp"})
_REG_TYPES = _names(
    "regclass regproc regprocedure regoper regoperator regtype regrole regnamespace regconfig "
    "regdictionary regcollation"
)
_SYSTEM_COLUMNS = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})

# (type, name of the column that it makes); the type takes the precision, if one is written.
_CLOCK_VALUES = {
    _OP.SVFOP_CURRENT_DATE: ("date", "current_date"),
    _OP.SVFOP_CURRENT_TIME: ("timetz", "current_time"),
    _OP.SVFOP_CURRENT_TIME_N: ("timetz", "current_time"),
    _OP.SVFOP_CURRENT_TIMESTAMP: ("timestamptz", "current_timestamp"),
    _OP.SVFOP_CURRENT_TIMESTAMP_N: ("timestamptz", "current_timestamp"),
    _OP.SVFOP_LOCALTIME: ("time", "localtime"),
    _OP.SVFOP_LOCALTIME_N: ("time", "localtime"),
    _OP.SVFOP_LOCALTIMESTAMP: ("timestamp", "localtimestamp"),
    _OP.SVFOP_LOCALTIMESTAMP_N: ("timestamp", "localtimestamp"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A function call. `builtin`: it can only be pg_catalog's. `volatility` as in pg_proc, None: not known."""

    name: str
    builtin: bool
    volatility: str | None
    arguments: int
    location: int


def calls_of(tree: ast.Node, context: PlanningContext) -> Iterator[Call]:
    """The function calls of a tree. Operators, casts and the SQL-standard keywords are none."""
    facts = context.facts
    for node in walk(tree):
        if isinstance(node, ast.FuncCall):
            *schema, name = names_of(node.funcname)
            builtin = schema == ["pg_catalog"] or (not schema and name in facts.builtin_functions)
            yield Call(name, builtin, facts.functions.get(name), len(items_of(node.args)), node.location or 0)


def check_any_functions(tree: ast.Node, context: PlanningContext) -> None:
    """Refuse what no statement may call: session state, and functions that may read tables unseen."""
    for call in calls_of(tree, context):
        if call.name in _READ_UNSEEN:
            raise _refused(call, "reads tables that the proxy does not see", "Write the query itself.")
        if call.name in _SESSION_STATE:
            raise _refused(call, "keeps state in the session or belongs to one", _SESSION_STATE[call.name])
        if not call.builtin and call.volatility in ("s", "v"):
            raise _refused(
                call,
                "may read or write tables that the proxy does not see",
                "Declare it IMMUTABLE if it uses no table, or write what it does into the statement.",
            )


def check_routed_functions(tree: ast.Node, context: PlanningContext) -> None:
    """Refuse what must not run on one shard's node, because elsewhere it would be another: sequences, locks, …"""
    for call in calls_of(tree, context):
        if call.builtin and call.name in _OF_THE_SESSION:
            raise _refused(call, "is about the session's own connection", "Call it in a statement of its own.")
        if call.builtin and call.volatility == "v" and call.name not in _HARMLESS:
            raise _refused(
                call,
                "is volatile and would act on the node of one shard",
                "Call it in a statement of its own and use the value that it gives.",
            )


def check_scatter_functions(tree: ast.Node, context: PlanningContext) -> None:
    """Refuse what would not give the same on every shard. The clock is allowed: see `clock_edits`."""
    for call in calls_of(tree, context):
        reason = _why_not_everywhere(call)
        if reason is not None:
            raise _refused(call, reason, "Pin the shard key, so that one shard answers, or leave the function out.")
    for node in walk(tree):
        _check_node_names(node)


def _why_not_everywhere(call: Call) -> str | None:
    if not call.builtin:
        return None if call.volatility == "i" else "is not known to be IMMUTABLE and would run on several shards"
    if call.name in _HARMLESS or call.name in _CLOCKS:
        return None
    if call.volatility not in ("i", "s"):
        return "is volatile and would run on several shards"
    if call.name in _NODE_DEPENDENT or (call.name == "age" and call.arguments == 1):
        return "depends on the node or the moment, and would run on several shards"
    if call.volatility == "s" and call.name.startswith(("pg_", "has_")) and call.name not in _NODE_INDEPENDENT_PG:
        return "depends on the node, and would run on several shards"
    return None


def _check_node_names(node: ast.Node) -> None:
    """Object ids and row addresses are each node's own."""
    name = column_name(node)
    if name and name[-1] in _SYSTEM_COLUMNS:
        raise Refused(
            f'system column "{name[-1]}" differs from node to node',
            "Pin the shard key, so that one shard answers, or leave the column out.",
        )
    if isinstance(node, ast.TypeName) and names_of(node.names)[-1:] and names_of(node.names)[-1] in _REG_TYPES:
        raise Refused(
            f"type {names_of(node.names)[-1]} holds object ids, which differ from node to node",
            "Pin the shard key, so that one shard answers, or use the object's name as text.",
        )


@dataclass(frozen=True, slots=True)
class NodeNeeds:
    """What a statement without a logical table asks of its node because of its functions.

    `home`: it must always be the same node, the home of unmapped tables.
    """

    effect: Effect
    home: bool


def node_needs(tree: ast.Node, context: PlanningContext) -> NodeNeeds:
    """Volatile functions not known to be harmless act on something: on the home node, as a write. Session-level
    advisory locks are no write: they are held at once and whatever becomes of the transaction."""
    acting = acting_functions(tree, context)
    return NodeNeeds(Effect.WRITE if acting - _SESSION_LOCKS else Effect.READ, bool(acting))


def acting_functions(tree: ast.Node, context: PlanningContext) -> frozenset[str]:
    """The names of those that change something, as far as is known."""
    return frozenset(
        call.name for call in calls_of(tree, context) if call.volatility == "v" and call.name not in _HARMLESS_ON_A_NODE
    )


def _refused(call: Call, reason: str, hint: str) -> Refused:
    return Refused(f"function {call.name}() {reason}", hint, position=call.location + 1)


def clock_edits(tree: ast.Node, source: SourceText) -> tuple[Edit, ...]:
    """Edits that put one and the same time where a statement asks for the current one.

    In a select list the time is wrapped as `(SELECT … AS now)`: a column without AS is named by what it is
    (PostgreSQL's FigureColname), and a sub-select of one column passes its name on.
    """
    return tuple(
        Edit(start, end, _clock_text(source, start, type_name, name))
        for node in walk(tree)
        for start, end, type_name, name in _clock_reads(node, source)
    )


def _clock_reads(node: ast.Node, source: SourceText) -> Iterator[tuple[int, int, str, str]]:
    """(start, end, type, column name) if the node reads the clock."""
    if isinstance(node, ast.FuncCall):
        *schema, name = names_of(node.funcname)
        if name in _CLOCKS and schema in ([], ["pg_catalog"]) and not node.args:
            opening = source.token_index(node.location or 0) + (3 if schema else 1)
            yield node.location or 0, source.tokens[source.closing(opening)].end, "timestamptz", name
    elif isinstance(node, ast.SQLValueFunction) and node.op in _CLOCK_VALUES:
        type_name, name = _CLOCK_VALUES[_OP(node.op)]
        index = source.token_index(node.location or 0)
        end = source.tokens[index].end
        if index + 1 < len(source.tokens) and source.tokens[index + 1].name == "ASCII_40":
            closing = source.tokens[source.closing(index + 1)].end
            type_name += source.sql[end:closing].replace(" ", "")
            end = closing
        yield node.location or 0, end, type_name, name


def _clock_text(source: SourceText, start: int, type_name: str, name: str) -> SqlTemplate:
    time = ClockTime(type_name)
    if _in_select_list(source, source.token_index(start)):
        return composed("(SELECT ", time, f" AS {name})")
    return composed(time)


_CLAUSES = frozenset(
    ["FROM", "WHERE", "GROUP_P", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "ON", "USING", "SET", "VALUES"]
)


def _in_select_list(source: SourceText, index: int) -> bool:
    """Whether the nearest clause around a token is a select list, looking back over closed brackets."""
    depth = 0
    for token in reversed(source.tokens[:index]):
        if token.name in ("ASCII_41", "ASCII_93"):
            depth += 1
        elif token.name in ("ASCII_40", "ASCII_91"):
            depth = max(depth - 1, 0)
        elif depth == 0 and token.name in _CLAUSES:
            return False
        elif depth == 0 and token.name in ("SELECT", "RETURNING"):
            return True
    return False
