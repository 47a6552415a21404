"""The planner's entry point: SQL text → plan, through the cache. What plan it gets is left to `statements`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from pglast import ast, parser
from pglast.parser import ParseError, normalize

from pgproxy.errors import ProxyError
from pgproxy.metrics import Figures
from pgproxy.operators.arguments import NO_ARGUMENTS, UNKNOWN_PARAMETER, Arguments
from pgproxy.planner.cache import CachedPlan, Key, PlanCache, PlanUse
from pgproxy.planner.cockroach import plan_cockroach
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.functions import calls_of
from pgproxy.planner.hard import LONGEST_RUN, refuse_hard
from pgproxy.planner.parameters import routing_reader, routing_text
from pgproxy.planner.plan import (
    CloseCursor,
    CopyIn,
    CopyOnNode,
    CopyOut,
    Declare,
    DiscardAll,
    Empty,
    Execute,
    Explain,
    Fetch,
    Plan,
    Planned,
    Prepare,
    SetSetting,
    Several,
    Sharded,
    Status,
    ToNode,
    TransactionControl,
    moved,
    moved_copy,
    moved_plan,
    with_parameters,
    wrapped,
)
from pgproxy.planner.relations import Kind, relations_of
from pgproxy.planner.statements import plan_statement
from pgproxy.planner.sure_route import MOST_PREFIXES, MOST_WITH_PREFIX, PREFIX, SureRoutes
from pgproxy.planner.template import Extract, compile_sure, never, pieces_between
from pgproxy.planner.text import SourceText, Token, highest_parameter, scan_tokens
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import Engine, ShardMap
from pgproxy.shardmap.placement import Placement

# Longer templates are seldom seen twice, and would fill the memory that the number of plans does not bound.
_LONGEST_CACHED = 16_384
# Below this length no text can nest deeply enough to overflow the C stack while its tree is built.
_SAFE_LENGTH = 20_000
_SHORTEST_DEEP = 200
_MOST_SET_OPERATIONS = 4_000
_SET_OPERATION = re.compile(r"\b(?:union|intersect|except)\b", re.IGNORECASE)
_SEMICOLON = "ASCII_59"
# Templates used so often are looked for before the normaliser is asked, by what their texts begin with.
_CALLS_BEFORE_SURE = 20


class Planner:
    """Plans statements against one shard map and one state of the catalog; make another when either changes.

    `default_limit` is the LIMIT of SELECTs that have none. Not safe for several threads at once.
    """

    def __init__(
        self, shard_map: ShardMap, facts: CatalogFacts, *, cache_size: int, default_limit: int | None = None
    ) -> None:
        self._shard_map = shard_map
        self._facts = facts
        self._default_limit = default_limit
        self._placements = {
            table.name: _placement(table.name, shard_map, facts)
            for table in shard_map.tables.values()
            if table.name in facts.tables and table.key in facts.tables[table.name].columns
        }
        self.cache = PlanCache(cache_size)
        self._cached = self.cache.get
        self._sure: dict[str, tuple[tuple[Extract, CachedPlan], ...]] = {}
        self.sure_routes = SureRoutes()

    def plan(self, sql: str) -> Planned:
        """The plan of a text with its constants. Raises ProxyError."""
        for extract, cached in self._sure.get(sql[:PREFIX], ()):
            found = extract(sql)
            if found is not None:
                cached.calls += 1
                assert cached.plan is not None
                if cached.extra_literals:
                    return _planned(cached, found.groups())
                return Planned(
                    cached.plan, Arguments(found.groups()), cached.default_limit, cached.notices, 0, cached.figures
                )
        return self._plan_normalised(sql)

    def _plan_normalised(self, sql: str) -> Planned:
        if len(sql) > LONGEST_RUN:
            refuse_hard(sql)
        try:
            template = normalize(sql)
        except (ParseError, UnicodeEncodeError) as broken:
            return self._plan_unparsed(sql, broken)
        cached = self._cached(template if "$" not in sql else _cache_key(sql, template))
        if cached is not None and cached.plan is not None:
            found = cached.extract(sql)
            if found is not None:
                cached.calls += 1
                if cached.calls == _CALLS_BEFORE_SURE:
                    self._learn(cached, found.groups())
                return _planned(cached, found.groups())
        return self._plan_slowly(sql, template, cached)

    def _learn(self, cached: CachedPlan, literals: tuple[str, ...]) -> None:
        """Recognise texts of this often used template without normalising them, where that can be proven."""
        prefix = cached.pieces[0][:PREFIX]
        extract = compile_sure(cached.pieces, literals)
        if extract is never or len(prefix) < PREFIX:
            return
        if len(self._sure) >= MOST_PREFIXES:
            self._sure.clear()
        known = self._sure.get(prefix, ())
        self._sure[prefix] = ((extract, cached), *known)[:MOST_WITH_PREFIX]
        self.sure_routes.learn(cached, literals)

    def bound(
        self,
        planned: Planned,
        values: Sequence[bytes | None],
        format_codes: Sequence[int],
        type_oids: Sequence[int],
    ) -> Planned:
        """The plan for one Bind: one format and one type for each value (see `routing_text`)."""
        plan = wrapped(planned.plan)
        if not planned.parameters or not isinstance(plan, Sharded):
            return planned
        key_oid = self._placements[plan.table.name].key_type.oid
        texts = [
            routing_text(value, code, oid, key_oid)
            for value, code, oid in zip(values, format_codes, type_oids, strict=True)
        ]
        return with_parameters(planned, texts)

    def readers(
        self, plan: Sharded, format_codes: Sequence[int], type_oids: Sequence[int]
    ) -> tuple[Callable[[bytes], str], ...]:
        """What reads the values of Binds with these formats and types, as `bound` does."""
        key_oid = self._placements[plan.table.name].key_type.oid
        return tuple(routing_reader(code, oid, key_oid) for code, oid in zip(format_codes, type_oids, strict=True))

    def entries(self) -> tuple[PlanUse, ...]:
        """The cached plans for SHOW PLANS, most called first."""
        return tuple(_use(cached) for cached in self.cache.entries())

    def busiest(self, count: int) -> list[PlanUse]:
        """The cached plans that took most time, the most of them first."""
        return [_use(cached) for cached in self.cache.busiest(count)]

    def template_of(self, figures: Figures) -> str:
        """The template that these are the figures of; empty if it is not kept any more."""
        cached = self.cache.template_of(figures)
        return "" if cached is None else _shown(cached)

    def _plan_slowly(self, sql: str, template: str, cached: CachedPlan | None) -> Planned:
        """Off the hot path: plans not cached, pinned to constants, or with constants that only the scanner reads."""
        if cached is None:  # a text whose template garbles it is cached by itself
            cached = self._cached((sql,))
        literals = None
        if cached is not None:
            literals = cached.literals_of(sql)
            if literals is None:  # it only looks alike
                return self._plan_anew(sql, template, may_cache=False)
            cached.calls += 1
            pinned = self._cached(cached.key_for(literals)) if cached.plan is None else cached
            if pinned is not None and pinned.plan is not None:
                if pinned is not cached:
                    pinned.calls += 1
                return _planned(pinned, literals)
        return self._plan_anew(sql, template, may_cache=len(template) <= _LONGEST_CACHED)

    def _plan_anew(self, sql: str, template: str, *, may_cache: bool) -> Planned:
        _refuse_nul(sql)
        try:
            return self._plan_text(sql, template, may_cache)
        except RecursionError:
            assert len(sql) > _SHORTEST_DEEP, "a short text cannot nest deeply"
            raise _too_deep() from None
        except ParseError as broken:  # depths that only building the tree finds
            raise syntax_error(broken, sql) from None

    def _plan_text(self, sql: str, template: str, may_cache: bool) -> Planned:
        tokens = scan_tokens(sql)
        statements = [token for token in tokens if token.name != _SEMICOLON]
        if not statements:
            return Planned(Empty(), NO_ARGUMENTS)
        slices = parser.split(sql, only_slices=True)
        if len(slices) > 1:
            return Planned(Several(tuple((sql[piece], piece.start) for piece in slices)), NO_ARGUMENTS)
        if len(sql) > _SAFE_LENGTH:
            _refuse_depth(sql)
        start = _statement_start(sql, tokens)
        source = SourceText(sql[start : statements[-1].end])
        context = PlanningContext(self._shard_map, self._facts, self._placements)
        self.cache.misses += 1
        planned, extra_literals = self._plan_statement(source, context, start)
        if may_cache and not isinstance(planned.plan, _SELDOM_ALIKE):
            self._remember(sql, template, source, start, context, planned, extra_literals)
        return planned

    def _plan_statement(
        self, source: SourceText, context: PlanningContext, start: int
    ) -> tuple[Planned, tuple[str, ...]]:
        """The plan and the values that it has beyond the client's constants."""
        limit = self._limit_for(source, context)
        planned_text = source
        if limit is not None:
            planned_text = SourceText(f"{source.sql} LIMIT {limit + 1}", template=None if source.faithful else "")
        plan = plan_statement(planned_text, context)
        arguments = Arguments(planned_text.literal_texts + _unknown(source.parameters))
        # The parameters of PREPARE are those of what it prepares.
        parameters = 0 if isinstance(plan, _SELDOM_ALIKE) else source.parameters
        planned = Planned(_moved(plan, start), arguments, limit, parameters=parameters)
        return planned, arguments.literals[len(source.literals) :]

    def _limit_for(self, source: SourceText, context: PlanningContext) -> int | None:
        """The LIMIT that the statement is to be given: none where it has one or gives at most one row."""
        statement = source.tree[0].stmt
        if self._default_limit is None or not isinstance(statement, ast.SelectStmt):
            return None
        if statement.limitCount is not None or statement.lockingClause or statement.intoClause:
            return None
        relations = relations_of(statement, context)
        if not relations or any(relation.kind is Kind.CATALOG for relation in relations):
            return None
        return None if _gives_one_row(statement, context) else self._default_limit

    def _remember(
        self,
        sql: str,
        template: str,
        source: SourceText,
        start: int,
        context: PlanningContext,
        planned: Planned,
        extra_literals: tuple[str, ...],
    ) -> None:
        if not source.faithful:
            if len(sql) > _LONGEST_CACHED:
                return
            entry = CachedPlan(sql, (sql,), planned.plan, (), extra_literals, planned.default_limit)
            entry.parameters = planned.parameters
            planned.figures = entry.figures
            self.cache.put((sql,), entry)
            return
        spans = [(literal_start + start, end + start) for literal_start, end in source.literals]
        # Constants beyond the client's may be pinned as well: they are the same in every text.
        pins = {literal for literal in context.pinned if literal < len(spans)}
        key: Key = _cache_key(sql, template)
        known = self._cached(key)
        if known is not None:  # other values made the plan depend on these: so may this one's, unseen
            pins.update(known.pins)
        entry = CachedPlan(
            template, pieces_between(sql, spans), planned.plan, (), extra_literals, planned.default_limit
        )
        entry.parameters = planned.parameters
        planned.figures = entry.figures
        if pins:
            holder = replace(entry, plan=None, pins=tuple(sorted(pins)))
            if known is None or known.pins != holder.pins:
                self.cache.put(key, holder)
            if sum(len(source.literal_texts[pin]) for pin in holder.pins) > _LONGEST_CACHED:
                return
            key = holder.key_for(source.literal_texts)
        self.cache.put(key, entry)

    def _plan_unparsed(self, sql: str, broken: Exception) -> Planned:
        if not isinstance(broken, ParseError):
            raise ProxyError("22021", 'invalid byte sequence for encoding "UTF8"')
        _refuse_nul(sql)
        if _STATUS.fullmatch(sql):
            return Planned(Status(), NO_ARGUMENTS)
        if self._shard_map.cluster.engine is Engine.COCKROACHDB and broken.args[0].startswith("syntax error"):
            plan = plan_cockroach(sql, PlanningContext(self._shard_map, self._facts, self._placements))
            if plan is not None:
                parameters = highest_parameter(scan_tokens(sql))
                return Planned(plan, Arguments(_unknown(parameters)), parameters=parameters)
        raise syntax_error(broken, sql)


_STATUS = re.compile(r"(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*+\*/)*+status\s*+(?:;\s*+)*+", re.IGNORECASE)

# Texts with the values in them, and cheap to plan.
_SELDOM_ALIKE = (Prepare, Execute)

_WAYS: dict[type, str] = {
    Sharded: "sharded",
    ToNode: "one node",
    TransactionControl: "transaction",
    SetSetting: "setting",
    DiscardAll: "setting",
    Explain: "explain",
    Declare: "cursor",
    Fetch: "cursor",
    CloseCursor: "cursor",
    CopyIn: "copy",
    CopyOut: "copy",
    CopyOnNode: "copy",
}


# A text that libpg_query's normalizer garbles is kept whole: its constants are not to be shown either.
_CONSTANT = re.compile(r"'(?:[^']|'')*'|(?<![\w$])\d[\w.]*")


def _use(cached: CachedPlan) -> PlanUse:
    return PlanUse(_shown(cached), cached.calls, _WAYS.get(type(cached.plan), ""), cached.figures)


def _shown(cached: CachedPlan) -> str:
    whole = len(cached.pieces) == 1
    return _CONSTANT.sub("…", cached.template) if whole else cached.template


def _planned(cached: CachedPlan, constants: tuple[str, ...]) -> Planned:
    """A known plan with the constants of one text; its parameters' values are not known yet."""
    assert cached.plan is not None
    arguments = Arguments(constants + cached.extra_literals)
    return Planned(cached.plan, arguments, cached.default_limit, cached.notices, cached.parameters, cached.figures)


def _unknown(parameters: int) -> tuple[str, ...]:
    return (UNKNOWN_PARAMETER,) * parameters


# Quoted texts are passed over, so that what stands in them does not part texts of one template.
_PARAMETER_NUMBERS = re.compile(r"'[^']*'|\$([0-9]{1,9})")


def _cache_key(sql: str, template: str) -> str:
    """What a plan is kept by. A template does not say which of its `$n` are parameters: those up to the text's
    highest, so this one goes with it. (Texts that this counts wrongly are merely kept apart from others.)"""
    highest = max((int(number) for number in _PARAMETER_NUMBERS.findall(sql) if number), default=0)
    return f"{highest} {template}" if highest else template


def _placement(name: str, shard_map: ShardMap, facts: CatalogFacts) -> Placement:
    table = shard_map.tables[name]
    key = facts.tables[name].columns[table.key]
    return Placement(table, key.type_oid, bytewise=key.bytewise, typmod=key.typmod)


def _statement_start(sql: str, tokens: tuple[Token, ...]) -> int:
    """Where the statement begins: its leading comments stay (they may be hints), semicolons before it go."""
    if tokens[0].name != _SEMICOLON:
        return len(sql) - len(sql.lstrip())
    return next(token.start for token in tokens if token.name != _SEMICOLON)


def _moved(plan: Plan, distance: int) -> Plan:
    """The plan with source offsets that count from the start of the client's text."""
    if distance == 0:
        return plan
    match plan:
        case Sharded():
            return moved_plan(plan, distance)
        case ToNode():
            return _moved_on_node(plan, distance)
        case CopyIn() | CopyOnNode():
            return replace(plan, text=moved(plan.text, distance))
        case CopyOut():
            return moved_copy(plan, distance)
        case Explain():
            return replace(plan, plan=moved_plan(plan.plan, distance))
        case Prepare():
            types = tuple((text, offset + distance) for text, offset in plan.types)
            return replace(plan, types=types, offset=plan.offset + distance)
        case Execute():
            return replace(plan, offset=plan.offset + distance)
        case Declare():
            query = plan.plan
            inner = moved_plan(query, distance) if isinstance(query, Sharded) else _moved_on_node(query, distance)
            return replace(plan, plan=inner, text=moved(plan.text, distance))
        case Fetch() | CloseCursor():
            return replace(plan, text=moved(plan.text, distance))
    return plan


def _moved_on_node(plan: ToNode, distance: int) -> ToNode:
    return replace(plan, text=moved(plan.text, distance))


def _gives_one_row(statement: ast.SelectStmt, context: PlanningContext) -> bool:
    """Aggregates without GROUP BY."""
    if statement.groupClause or statement.larg is not None or not statement.targetList:
        return False
    return any(
        isinstance(target.val, ast.Node)
        and any(call.name in context.facts.aggregates for call in calls_of(target.val, context))
        for target in statement.targetList
    )


def _refuse_nul(sql: str) -> None:
    """libpg_query would read only what stands before a NUL."""
    if "\0" in sql:
        raise ProxyError("22021", 'invalid byte sequence for encoding "UTF8": 0x00')


def _refuse_depth(sql: str) -> None:
    """The parser's JSON output checks the stack depth, building the tree does not; set operations slip by both."""
    if sum(1 for _ in _SET_OPERATION.finditer(sql)) > _MOST_SET_OPERATIONS:
        raise _too_deep()
    parser.parse_sql_json(sql)


def _too_deep() -> ProxyError:
    return ProxyError("54001", "stack depth limit exceeded", hint="Simplify the statement.")


# libpg_query gives no SQLSTATE; these are the messages whose state is another than syntax_error.
_STATES = (
    ("stack depth limit exceeded", "54001"),
    ("invalid byte sequence", "22021"),
    ("invalid Unicode escape", "22025"),
    ("invalid escape", "22025"),
    ("nonstandard use of", "22P06"),
    ("CREATE ASSERTION is not yet implemented", "0A000"),
)


def syntax_error(broken: ParseError, sql: str) -> ProxyError:
    """The error as a server would send it; its position counts characters from 1."""
    message, *rest = broken.args
    index = rest[0] if rest else None
    state = next((state for start, state in _STATES if message.startswith(start)), "42601")
    if index is None and message.endswith("at end of input"):
        index = len(sql)
    return ProxyError(state, message, position=None if index is None else index + 1)
