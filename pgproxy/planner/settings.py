"""BEGIN and its kin, SET, RESET, SHOW, DISCARD: what a session keeps for its client. Applying it is the session's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.functions import calls_of
from pgproxy.planner.on_node import verbatim_text, whole_text
from pgproxy.planner.plan import (
    CONSTRAINTS,
    ConfigCall,
    Deallocate,
    DiscardAll,
    Effect,
    SetSetting,
    SettingScope,
    ToNode,
    TransactionAction,
    TransactionControl,
)
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import items_of

_TRANS = enums.TransactionStmtKind
_TRANSACTION_ACTIONS = {
    _TRANS.TRANS_STMT_BEGIN: TransactionAction.BEGIN,
    _TRANS.TRANS_STMT_START: TransactionAction.BEGIN,
    _TRANS.TRANS_STMT_COMMIT: TransactionAction.COMMIT,
    _TRANS.TRANS_STMT_ROLLBACK: TransactionAction.ROLLBACK,
    _TRANS.TRANS_STMT_SAVEPOINT: TransactionAction.SAVEPOINT,
    _TRANS.TRANS_STMT_ROLLBACK_TO: TransactionAction.ROLLBACK_TO,
    _TRANS.TRANS_STMT_RELEASE: TransactionAction.RELEASE,
}


def plan_transaction(
    statement: ast.TransactionStmt, source: SourceText, context: PlanningContext
) -> TransactionControl:
    action = _TRANSACTION_ACTIONS.get(statement.kind or _TRANS.TRANS_STMT_BEGIN)
    if action is None:
        raise Refused(
            "two-phase commit by the client is not supported", "Use BEGIN … COMMIT; the nodes are up to the proxy."
        )
    options = options_of(statement.options)
    return TransactionControl(
        action,
        verbatim_text(source, context),
        name=statement.savepoint_name,
        chain=bool(statement.chain),
        isolation=options.get("transaction_isolation"),
        read_only=options.get("transaction_read_only") == "1",
        modes=", ".join(_MODES[name](value) for name, value in options.items() if name in _MODES),
        begins_with="START TRANSACTION" if statement.kind == _TRANS.TRANS_STMT_START else "BEGIN",
    )


_MODES: Mapping[str, Callable[[str], str]] = {
    "transaction_isolation": "ISOLATION LEVEL {}".format,
    "transaction_read_only": lambda value: "READ ONLY" if value == "1" else "READ WRITE",
    "transaction_deferrable": lambda value: "DEFERRABLE" if value == "1" else "NOT DEFERRABLE",
}


def options_of(options: object) -> dict[str, str]:
    """DefElems as name → text; an option without a value is the empty text."""
    return {item.defname or "": _setting_text(item.arg) for item in items_of(options) if isinstance(item, ast.DefElem)}


def _setting_text(value: object) -> str:
    if isinstance(value, ast.A_Const):
        value = value.val
    for field in ("sval", "fval", "ival", "boolval"):
        if hasattr(value, field):
            return str(getattr(value, field)).lower()
    return ""


_SET = enums.VariableSetKind
_OWN_TRANSACTION = frozenset({"transaction_isolation", "transaction_read_only", "transaction_deferrable"})


def plan_set(statement: ast.VariableSetStmt, source: SourceText, context: PlanningContext) -> SetSetting:
    text = verbatim_text(source, context)
    if statement.kind == _SET.VAR_RESET_ALL:
        return SetSetting(None, text, SettingScope.SESSION, reset=True, tag="RESET")
    if statement.kind == _SET.VAR_SET_MULTI:
        return _plan_set_several(statement, text)
    name = (statement.name or "").lower()
    if statement.kind == _SET.VAR_SET_CURRENT:
        raise Refused("SET … FROM CURRENT is only for functions", "Say the value.")
    if statement.kind == _SET.VAR_SET_VALUE:
        check_setting(name, " ".join(_setting_text(value) for value in items_of(statement.args)))
    scope = SettingScope.LOCAL if statement.is_local else SettingScope.SESSION
    if name in _OWN_TRANSACTION:
        scope = SettingScope.TRANSACTION
    tag = "RESET" if statement.kind == _SET.VAR_RESET else "SET"
    return SetSetting(name, text, scope, reset=statement.kind in (_SET.VAR_RESET, _SET.VAR_SET_DEFAULT), tag=tag)


def _plan_set_several(statement: ast.VariableSetStmt, text: str) -> SetSetting:
    """SET TRANSACTION … and SET SESSION CHARACTERISTICS AS TRANSACTION …, which sets `default_…`."""
    if statement.name == "TRANSACTION":
        return SetSetting("transaction", text, SettingScope.TRANSACTION)
    if statement.name != "SESSION CHARACTERISTICS":
        raise Refused(f"SET {statement.name} is not supported", "A snapshot belongs to one node; connect to it.")
    options = tuple(options_of(statement.args))
    if len(options) != 1:
        raise Refused("only one characteristic of the session can be set at once", "Use a statement for each.")
    return SetSetting(f"default_{options[0]}", text, SettingScope.SESSION)


def plan_set_constraints(statement: ast.ConstraintsSetStmt, source: SourceText, context: PlanningContext) -> SetSetting:
    """It concerns each node's own part of the transaction. A name may be another one on each shard."""
    if statement.constraints:
        raise Refused("SET CONSTRAINTS of single constraints is not supported", "Use SET CONSTRAINTS ALL.")
    return SetSetting(CONSTRAINTS, verbatim_text(source, context), SettingScope.LOCAL, tag=CONSTRAINTS)


OFF = frozenset({"off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0"})
_UTF8 = frozenset({"utf8", "unicode"})


def check_setting(name: str, value: str) -> None:
    """Raise Refused for a value under which the proxy would read statements or rows otherwise than the nodes do."""
    if name == "standard_conforming_strings" and value in OFF:
        raise Refused("standard_conforming_strings cannot be switched off", "Write backslash escapes as E'…'.")
    if name == "client_encoding" and re.sub(r"[^a-z0-9]", "", value) not in _UTF8:
        raise Refused(f'client_encoding "{value}" is not supported', "Use UTF8.")
    if name == "transform_null_equals" and value not in OFF:
        raise Refused("transform_null_equals is not supported: x = NULL is never true", "Write x IS NULL.")
    if name == "search_path" and "pg_temp" in value:
        raise Refused(
            "a search_path with pg_temp is not supported: a table could become temporary unseen",
            "Leave pg_temp out: it comes first anyway.",
        )
    if name == "idle_session_timeout" and _NOT_ZERO.search(value):
        raise Refused(
            "idle_session_timeout is not supported: it would end connections that other clients use",
            "Limit idle clients in the client's own pool.",
        )
    if name == "extra_float_digits" and _is_below_one(value):
        raise Refused(
            "extra_float_digits below 1 is not supported: floats are compared across shards by what is shown of them",
            "Leave it at its default, and round() what is to be shown with fewer digits.",
        )


_PLAIN_SELECT = frozenset({"targetList", "limitOption", "op"})
_CONFIG_FUNCTIONS = frozenset({"set_config", "current_setting"})


def plan_set_config(statement: ast.Node, source: SourceText, context: PlanningContext) -> ToNode | None:
    """SELECT set_config('name', value, false), also beside current_setting(), as drivers say it. None for all else."""
    if not isinstance(statement, ast.SelectStmt):
        return None
    if any(getattr(statement, field) for field in statement if field not in _PLAIN_SELECT):
        return None
    calls = [target.val for target in items_of(statement.targetList) if isinstance(target, ast.ResTarget)]
    names = [call.name for call in calls_of(statement, context) if call.builtin and call.name in _CONFIG_FUNCTIONS]
    if names.count("set_config") != 1 or len(names) != len(calls):
        return None
    sets = _config_call(calls[names.index("set_config")])
    if sets is None:
        return None
    verbatim_text(source, context)  # pins the constants
    return ToNode(whole_text(source), Effect.READ, unsettles=True, sets=sets)


def _config_call(call: object) -> ConfigCall | None:
    if not isinstance(call, ast.FuncCall) or len(items_of(call.args)) != 3:
        return None
    name, value, local = (_config_argument(argument) for argument in items_of(call.args))
    if not isinstance(name, str) or not isinstance(value, str | int) or isinstance(value, bool) or local is not False:
        return None
    return None if name.lower() in _OWN_TRANSACTION else ConfigCall(name.lower(), value)


def _config_argument(node: ast.Node) -> str | int | bool | None:
    """A string or boolean constant, a parameter's number."""
    if isinstance(node, ast.ParamRef):
        return node.number
    constant = node.val if isinstance(node, ast.A_Const) else None
    if isinstance(constant, ast.String):
        return constant.sval
    return bool(constant.boolval) if isinstance(constant, ast.Boolean) else None


_NOT_ZERO = re.compile(r"[1-9]")
_ZERO_OR_LESS = re.compile(r"\s*(?:[+-]?0[xo]?0*|-0[xo][0-9a-f]+)\s*")


def _is_below_one(value: str) -> bool:
    """Whether PostgreSQL, which rounds, would read less than 1; what it does not read at all is its to say."""
    try:
        return float(value) <= 0.5
    except ValueError:
        return _ZERO_OR_LESS.fullmatch(value) is not None


def plan_show(_statement: ast.VariableShowStmt, source: SourceText, _context: PlanningContext) -> ToNode:
    return ToNode(whole_text(source), Effect.READ)


def plan_discard(statement: ast.DiscardStmt, source: SourceText, _context: PlanningContext) -> DiscardAll | ToNode:
    """A session with temporary tables has its own connection, which is the one that is asked. Any other has none to
    discard, nor sequence state."""
    if statement.target == enums.DiscardMode.DISCARD_ALL:
        return DiscardAll()
    return ToNode(whole_text(source), Effect.READ)


def plan_deallocate(statement: ast.DeallocateStmt, _source: SourceText, _context: PlanningContext) -> Deallocate:
    return Deallocate(statement.name)
