"""What the planner hands to the session: plans as frozen facts. No behaviour but choosing shards and rendering text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import assert_never

from pglast.keywords import COL_NAME_KEYWORDS, RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS

from pgproxy.errors import ProxyError, Refused
from pgproxy.metrics import Figures
from pgproxy.operators.arguments import Arguments, LiteralRef
from pgproxy.operators.limit import bounds
from pgproxy.operators.source import Pipeline
from pgproxy.shardmap.model import Shard, Table
from pgproxy.wire.copy import CopyFormat


class Effect(Enum):
    """What a statement may do to data; decides about transactions and failover."""

    READ = auto()
    WRITE = auto()


@dataclass(frozen=True, slots=True)
class ShardName:
    """Stands in a template where a logical table's name stood.

    `aliased` is True when ` AS logical_name` must follow, so that `books.title` still means something.
    `qualified`: the statement says the schema, which need not be in the search path.
    """

    table: Table
    aliased: bool = False
    qualified: bool = False


@dataclass(frozen=True, slots=True)
class RowBound:
    """Stands in a template where LIMIT's number goes: limit + offset, as the shard may stop there."""

    limit: LiteralRef | int
    offset: LiteralRef | int | None = None


@dataclass(frozen=True, slots=True)
class ClockTime:
    """Stands where a statement asked for the current time, so that all shards are told the same one.

    `type_name` is the type to cast it to: `timestamptz`, `date`, `timestamp(3)`, …
    """

    type_name: str


Part = str | LiteralRef | ShardName | RowBound | ClockTime
Bound = str | LiteralRef | RowBound | ClockTime
"""What is left of a Part when the shard is known."""


@dataclass(frozen=True, slots=True)
class SqlTemplate:
    """A statement for nodes, in pieces. `sources[i]` is the 0-based offset of part `i` in the template's own
    source text, or None for text that the planner composed; sessions correct error positions with it.
    `rendered` remembers how `sql_for` fills in the values for each shard, by its index."""

    parts: tuple[Part, ...]
    sources: tuple[tuple[int, int] | None, ...] = ()
    asks_time: bool = field(init=False)  # a ClockTime is among the parts
    rendered: dict[int, Callable[[Arguments], str]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asks_time", any(isinstance(part, ClockTime) for part in self.parts))


@dataclass(frozen=True, slots=True)
class ByValue:
    """The statement's `index`-th value decides alone. `shard_of` gives the shard for it as an SQL constant, None where
    that is not exactly one; `shard_of_integer`, where it is there, the same for an integer of at most nine digits."""

    index: int
    shard_of: Callable[[str], int | None]
    shard_of_integer: Callable[[int], int | None] | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which shards a statement concerns. `shards` gives shard indexes in ascending order, maybe none at all. `by_value`
    says the same, where one value decides.

    It may only leave a shard out when no row of the answer can come from it.
    """

    shards: Callable[[Arguments], tuple[int, ...]]
    explain: str = "all shards"
    by_value: ByValue | None = None


@dataclass(frozen=True, slots=True)
class Scatter:
    """How the statement runs on several shards: the text for each, and the operators above them.

    `lone` texts are absent: a statement whose choice is one shard always runs `Sharded.route`.
    """

    text: SqlTemplate
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class NewRows:
    """The rows of an INSERT's VALUES apart: `texts` are theirs, `homes` gives the shard of each, `parameters` the
    numbers of the parameters in each; `others` those of the parameters elsewhere in the statement."""

    before: SqlTemplate
    texts: tuple[SqlTemplate, ...]
    behind: SqlTemplate
    homes: Callable[[Arguments], tuple[int, ...]]
    parameters: tuple[frozenset[int], ...]
    others: frozenset[int]


@dataclass(frozen=True, slots=True)
class Split:
    """A write on several shards. Each of them runs `text`, which of an INSERT has only its own `rows` (see
    `split.part_of`). `returns`: it has RETURNING. `in_order`: it may lock rows that others want as well."""

    text: SqlTemplate
    returns: bool
    rows: NewRows | None = None
    in_order: bool = True


@dataclass(frozen=True, slots=True)
class Sharded:
    """A statement on one logical table (reference tables may be joined in).

    `route` runs on the one shard chosen and its messages are the answer as they stand. With several
    shards chosen, `scatter` runs, or its Refused is raised. `tag` is the CommandComplete text of a
    Scatter or Split with `{}` for the count. With no shard chosen, `route` runs on shard 0, where it finds
    nothing, unless `no_shard` says which error to raise. `cursor`: WHERE CURRENT OF this cursor; its shard is the
    one concerned, whatever `choice` says.
    """

    table: Table
    choice: Choice
    route: SqlTemplate
    scatter: Scatter | Split | Refused
    effect: Effect
    tag: str = "SELECT {}"
    no_shard: str | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigCall:
    """What set_config() sets for the session: a lower-case name, and the value or the number of its parameter."""

    name: str
    value: str | int


class Pin(Enum):
    """What cannot be moved from one connection to another: the session keeps the one that has it."""

    TEMPORARY = "temporary table"
    LISTEN = "LISTEN"
    ADVISORY_LOCK = "advisory lock"
    HELD_CURSOR = "held cursor"
    BLOCK = "DO block"  # whose text speaks of one of these


@dataclass(frozen=True, slots=True)
class ToNode:
    """A statement without a sharded table: it runs unchanged on one node.

    `node` None: any node (the one already in the transaction, if there is one). `unsettles`: it may
    change settings unseen, so that no other session may have its connection. `sets`: it sets this for the session.
    `pins`: it leaves this behind in its connection. `unpins`: it gives up all of this kind.
    """

    text: SqlTemplate
    effect: Effect
    node: str | None = None
    unsettles: bool = False
    sets: ConfigCall | None = None
    pins: Pin | None = None
    unpins: Pin | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """PREPARE. `types` are the parameters' types as written with their offsets in the client's text, `text` is the
    statement itself, which begins at `offset`."""

    name: str
    types: tuple[tuple[str, int], ...]
    text: str
    offset: int


class ValueKind(Enum):
    """What a constant among EXECUTE's arguments is."""

    STRING = auto()  # of no type yet: it takes the parameter's
    INTEGER = auto()  # that fits int4
    BOOLEAN = auto()
    NULL = auto()


@dataclass(frozen=True, slots=True)
class PlainValue:
    """A constant of EXECUTE in text format, None for NULL."""

    kind: ValueKind
    text: str | None


@dataclass(frozen=True, slots=True)
class Execute:
    """EXECUTE. `values`: each argument that is a plain constant, None for one that a node must compute. `arguments`
    is all of them as written, from `offset` on; `node` is the only one that can compute them, None: any."""

    name: str
    values: tuple[PlainValue | None, ...]
    arguments: str
    offset: int
    node: str | None = None


class TransactionAction(Enum):
    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SAVEPOINT = auto()
    ROLLBACK_TO = auto()
    RELEASE = auto()


@dataclass(frozen=True, slots=True)
class TransactionControl:
    """BEGIN and its kin. `text` is what the client wrote (its isolation level and so on included), `modes` what of it
    SET TRANSACTION takes; `begins_with` is BEGIN's tag. `chain` is True for AND CHAIN."""

    action: TransactionAction
    text: str
    name: str | None = None
    chain: bool = False
    isolation: str | None = None  # 'serializable', 'repeatable read', …, where the statement says one
    read_only: bool = False
    modes: str = ""
    begins_with: str = "BEGIN"  # or START TRANSACTION


class SettingScope(Enum):
    SESSION = auto()
    LOCAL = auto()
    TRANSACTION = auto()  # SET TRANSACTION …


CONSTRAINTS = "SET CONSTRAINTS"


@dataclass(frozen=True, slots=True)
class SetSetting:
    """SET and RESET. `name` is the lower-case parameter name (`timezone`, `role`, `session_authorization`,
    `transaction` …), None for RESET ALL, CONSTRAINTS for SET CONSTRAINTS ALL. `text` is the statement as written.
    `reset` gives the default back. `tag` is SET, RESET or SET CONSTRAINTS."""

    name: str | None
    text: str
    scope: SettingScope
    reset: bool = False
    tag: str = "SET"


@dataclass(frozen=True, slots=True)
class DiscardAll:
    """DISCARD ALL: every setting back to the session's start."""


@dataclass(frozen=True, slots=True)
class Deallocate:
    """DEALLOCATE of a statement that was prepared by the protocol; `name` None: ALL."""

    name: str | None


@dataclass(frozen=True, slots=True)
class Explain:
    """EXPLAIN of a sharded statement. `options` is what stands between EXPLAIN and the statement (`ANALYZE`,
    `(VERBOSE, COSTS OFF)`), with which each node is asked for its own plan."""

    options: str
    plan: Sharded
    analyze: bool


@dataclass(frozen=True, slots=True)
class Declare:
    """DECLARE of a cursor over `plan`. `text` is the whole statement for a node that has all rows; `scroll` is None
    where the statement does not say."""

    name: str
    plan: Sharded | ToNode
    text: SqlTemplate
    scroll: bool | None = None
    hold: bool = False
    binary: bool = False


class Direction(Enum):
    FORWARD = auto()
    BACKWARD = auto()
    ABSOLUTE = auto()
    RELATIVE = auto()


FETCH_ALL = (1 << 63) - 1
"""The count of FETCH ALL."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """FETCH, or MOVE."""

    name: str
    direction: Direction
    count: int
    text: SqlTemplate
    move: bool = False


@dataclass(frozen=True, slots=True)
class CloseCursor:
    """CLOSE; `name` None: ALL."""

    name: str | None
    text: SqlTemplate


@dataclass(frozen=True, slots=True)
class CopyIn:
    """COPY … FROM STDIN into a logical table, each row to the shard of its key.

    `columns` is how many fields a row has, `key` the shard key's place among them (None: not there). `shards_of` gives
    the shard of each raw key field, an index below 0 where there is none and `why_not` has the error.
    """

    table: Table
    text: SqlTemplate
    form: CopyFormat
    columns: int
    key: int | None
    shards_of: Callable[[Sequence[bytes | None]], list[int]]
    why_not: Callable[[bytes | None], ProxyError]


@dataclass(frozen=True, slots=True)
class CopyOut:
    """COPY … TO STDOUT of a logical table or of a query over one.

    `text` runs on each shard chosen, and what they give is put together; None where `query`'s operators must look
    into the rows, or Refused. `probe` is what stands before and behind the query, `length` the whole text's.
    """

    table: Table
    choice: Choice
    route: SqlTemplate
    text: SqlTemplate | Refused | None
    query: Sharded | None
    form: CopyFormat
    probe: tuple[str, str]
    length: int
    effect: Effect
    forced: frozenset[str] | None = frozenset()  # FORCE_QUOTE's columns, None for *


@dataclass(frozen=True, slots=True)
class CopyOnNode:
    """COPY … FROM STDIN into a table that is not sharded, on its node."""

    text: SqlTemplate
    node: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """`STATUS;`, the proxy's own statement."""


@dataclass(frozen=True, slots=True)
class Several:
    """A Query of several statements: each (text, 0-based offset in the whole)."""

    statements: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing but white space and comments."""


Plan = (
    Sharded
    | ToNode
    | TransactionControl
    | SetSetting
    | DiscardAll
    | Deallocate
    | Prepare
    | Execute
    | Explain
    | Declare
    | Fetch
    | CloseCursor
    | CopyIn
    | CopyOut
    | CopyOnNode
    | Status
    | Several
    | Empty
)


def wrapped(plan: Plan) -> Plan:
    """The statement that EXPLAIN or DECLARE is about; any other plan as it is."""
    return plan.plan if isinstance(plan, (Explain, Declare)) else plan


@dataclass(slots=True)
class Planned:
    """A plan with this execution's literals, and the NOTICE texts that go with it. `parameters` is the highest `$n`
    in the statement: so many texts at the end of the literals are its parameters' (see `with_parameters`). `figures`
    are the template's, if it is kept.

    Never changed once made; not frozen because one is made per statement and freezing costs four times as much.
    """

    plan: Plan
    arguments: Arguments
    default_limit: int | None = None  # this LIMIT was added by the proxy
    notices: tuple[str, ...] = field(default=())
    parameters: int = 0
    figures: Figures | None = None


def with_parameters(planned: Planned, texts: Sequence[str]) -> Planned:
    """The plan for one execution with its parameters' values as SQL constants (`parameters.routing_text`).

    Parameters without a text stay unknown; texts that the statement has no parameter for are left out.
    """
    count = planned.parameters
    if not count:
        return planned
    arguments = planned.arguments
    first = len(arguments.literals) - count
    given = tuple(texts[:count])
    literals = arguments.literals[:first] + given + arguments.literals[first + len(given) :]
    return Planned(
        planned.plan,
        Arguments(literals, arguments.now),
        planned.default_limit,
        planned.notices,
        planned.parameters,
        planned.figures,
    )


def physical_name(shard: Shard, schema: str, *, qualified: bool) -> str:
    """The shard's table name, quoted, as it goes into a statement. A schema other than `public` is always said."""
    return f"{quote(schema)}.{quote(shard.table)}" if qualified or schema != "public" else quote(shard.table)


def quote(identifier: str) -> str:
    """An identifier as SQL text, quoted only when it must be."""
    if identifier.isidentifier() and identifier.isascii() and identifier.islower() and identifier not in _KEYWORDS:
        return identifier
    return '"' + identifier.replace('"', '""') + '"'


# What PostgreSQL's quote_identifier() quotes: all keywords but the unreserved ones.
_KEYWORDS = RESERVED_KEYWORDS | COL_NAME_KEYWORDS | TYPE_FUNC_NAME_KEYWORDS


def sql_for(template: SqlTemplate, shard: Shard | None, arguments: Arguments) -> str:
    """The statement for one shard, or for a node when the template names no sharded table."""
    index = -1 if shard is None else shard.index
    rendered = template.rendered.get(index)
    if rendered is None:
        rendered = template.rendered[index] = _renderer(bind_shard(template, shard))
    return rendered(arguments)


def form_of(template: SqlTemplate, shard: Shard) -> tuple[str, int] | None:
    """The statement for a shard with `%s` for each of its constants, and how many these are; None where they do not
    stand in their order."""
    return _form(bind_shard(template, shard))


def _form(bound: tuple[Bound, ...]) -> tuple[str, int] | None:
    literals = [part.index for part in bound if isinstance(part, LiteralRef)]
    texts = [part for part in bound if isinstance(part, str)]
    if len(literals) + len(texts) != len(bound) or literals != list(range(len(literals))):
        return None
    form = "".join(part.replace("%", "%%") if isinstance(part, str) else "%s" for part in bound)
    return form, len(literals)


def _renderer(bound: tuple[Bound, ...]) -> Callable[[Arguments], str]:
    """What fills in an execution's values. The usual text, all constants in their order, takes one formatting."""
    found = _form(bound)
    if found is None:
        return lambda arguments: render(bound, arguments)
    form, count = found
    if not count:
        text = form % ()
        return lambda _: text

    def fill(arguments: Arguments) -> str:
        values = arguments.literals
        return form % (values if len(values) == count else values[:count])

    return fill


def part_text(part: Part, shard: Shard | None, arguments: Arguments) -> str:
    """What becomes of one part."""
    return render(bind_shard(SqlTemplate((part,)), shard), arguments)


def bind_shard(template: SqlTemplate, shard: Shard | None) -> tuple[Bound, ...]:
    """The template's parts with this shard's names cut in and neighbouring texts joined."""
    bound: list[Bound] = []
    for part in template.parts:
        if isinstance(part, ShardName):
            assert shard is not None, "a statement that names a logical table goes to a shard"
            name = physical_name(shard, part.table.schema, qualified=part.qualified)
            part = f"{name} AS {quote(part.table.name)}" if part.aliased else name
        if isinstance(part, str) and bound and isinstance(bound[-1], str):
            bound[-1] += part
        else:
            bound.append(part)
    return tuple(bound)


def render(bound: tuple[Bound, ...], arguments: Arguments) -> str:
    """The text for one shard: its bound parts with this execution's literals."""
    literals = arguments.literals
    return "".join(
        [
            part
            if isinstance(part, str)
            else literals[part.index]
            if isinstance(part, LiteralRef)
            else _late(part, arguments)
            for part in bound
        ]
    )


def _late(part: RowBound | ClockTime, arguments: Arguments) -> str:
    match part:
        case RowBound():
            return _row_bound(part, arguments)
        case ClockTime():
            return _clock_time(part, arguments)
    assert_never(part)


def _clock_time(part: ClockTime, arguments: Arguments) -> str:
    assert arguments.now is not None, "the session gives a scatter its time"
    instant = f"CAST('{arguments.now}' AS timestamptz)"
    return instant if part.type_name == "timestamptz" else f"CAST({instant} AS {part.type_name})"


def _row_bound(bound: RowBound, arguments: Arguments) -> str:
    """limit + offset as a number, or ALL. Raises ProxyError for what PostgreSQL takes for no row count."""
    limit, offset = bounds(bound.limit, bound.offset, arguments)
    return "ALL" if limit is None or limit + offset > _MOST_ROWS else str(limit + offset)


_MOST_ROWS = (1 << 63) - 1


def moved_plan(plan: Sharded, distance: int) -> Sharded:
    """A plan whose source text stands `distance` characters further on in the client's text."""
    scatter = plan.scatter
    if isinstance(scatter, Split):
        scatter = _moved_split(scatter, distance)
    elif isinstance(scatter, Scatter):
        scatter = replace(scatter, text=moved(scatter.text, distance))
    return replace(plan, route=moved(plan.route, distance), scatter=scatter)


def _moved_split(split: Split, distance: int) -> Split:
    rows = split.rows
    if rows is not None:
        texts = tuple(moved(text, distance) for text in rows.texts)
        rows = replace(rows, before=moved(rows.before, distance), texts=texts, behind=moved(rows.behind, distance))
    return replace(split, text=moved(split.text, distance), rows=rows)


def moved_copy(plan: CopyOut, distance: int) -> CopyOut:
    text = moved(plan.text, distance) if isinstance(plan.text, SqlTemplate) else plan.text
    query = None if plan.query is None else moved_plan(plan.query, distance)
    return replace(plan, route=moved(plan.route, distance), text=text, query=query, length=plan.length + distance)


def moved(template: SqlTemplate, distance: int) -> SqlTemplate:
    """A template of such a text."""
    sources = tuple(
        None if source is None else (source[0] + distance, source[1] + distance) for source in template.sources
    )
    return replace(template, sources=sources)
