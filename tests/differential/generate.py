"""A seeded random generator of statements over every shape the proxy accepts.

The same seed gives the same statements. What a shape may contain stands in tables; how rows are
compared is left to `compare`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from tests.differential.data import BOOKS, MEASURES, PATRONS, READINGS, SAMPLES, Field, Subject
from tests.differential.statement import Item, Other, Select, SortKey, Statement

# How often each table is asked, out of the sum.
SUBJECT_WEIGHTS = {SAMPLES: 5, MEASURES: 4, READINGS: 3, BOOKS: 4, PATRONS: 2}
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
PATTERNS = ("'%a%'", "'a%'", "'%b'", "'_'", "'%'", "''", "'%ring%'", "'a\\_b'", "'%é%'", "'%''%'", "'Z%'")
DIRECTIONS = ("", "", "ASC", "DESC", "DESC", "NULLS FIRST", "ASC NULLS LAST", "DESC NULLS LAST", "DESC NULLS FIRST")
# What FROM says, and how the columns are then prefixed; `{}` is the table.
RELATIONS = (("{}", ""), ("{}", ""), ("{}", "{}."), ("{} AS t", "t."), ("{} t", ""), ("public.{}", ""))
TEXT_TYPES = ("text", "varchar(12)", "char(6)")
INTEGER_TYPES = ("int2", "int4", "int8", "int", "bigint")

# Expressions over one column, by its type; `{}` is the column. None can fail, so a LIMIT cannot hide an error.
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "int": ("{} % 7", "{}::numeric + 1", "coalesce({}, 0)", "{}::text", "-({}::numeric)", "{} / 3", "nullif({}, 1)"),
    "numeric": ("{} + 1", "coalesce({}, -1)", "round({}, 1)", "{} IS NULL"),
    "float": ("coalesce({}, 0.5)", "{} > 1", "{}::text"),
    "text": (
        "upper({})", "lower({})", "length({})", "{} || '!'", "coalesce({}, 'none')", "substr({}, 1, 1)",
        "{} || 'x' || {}",
    ),
    "bool": ("NOT {}", "{} IS TRUE", "coalesce({}, false)", "CASE WHEN {} THEN 'yes' ELSE 'no' END", "{}::int"),
    "date": ("{} IS NULL", "isfinite({})", "{}::text", "coalesce({}, '2000-01-01')"),
    "other": ("{} IS NOT NULL", "coalesce({}::text, '-')", "{}::text"),
}  # fmt: skip


def _family(field: Field) -> str:
    base = field.type.split("(")[0]
    if base in INTEGER_TYPES:
        return "int"
    if base == "numeric":
        return "numeric"
    if base.startswith("float"):
        return "float"
    if field.type in TEXT_TYPES:
        return "text"
    return {"bool": "bool", "boolean": "bool", "date": "date", "timestamp": "date"}.get(base, "other")


def output_name(item: Item) -> str | None:
    """The name of the item's column, if it is that of a table's column: `big::text` is called `big`."""
    if item.alias is not None:
        return item.alias
    column = re.fullmatch(r"(?:\w+\.)?(\w+)(?:::\w+)?", item.sql)
    return column[1] if column else None


class Generator:
    """Draws statements; holds nothing but its dice and what it names things for one statement."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def statements(self, count: int) -> Iterator[Statement]:
        shapes = list(SHAPES)
        weights = [SHAPES[shape][1] for shape in shapes]
        for _ in range(count):
            shape = self.dice.choices(shapes, weights)[0]
            yield SHAPES[shape][0](self, shape)

    # Pieces.

    def chance(self, share: float) -> bool:
        return self.dice.random() < share

    def subject(self) -> Subject:
        return self.dice.choices(list(SUBJECT_WEIGHTS), list(SUBJECT_WEIGHTS.values()))[0]

    def some(self, fields: Sequence[Field], most: int) -> list[Field]:
        return self.dice.sample(list(fields), self.dice.randint(1, min(most, len(fields))))

    def literal(self, field: Field) -> str:
        """One of the field's literals, sometimes spelt in another way."""
        literal = self.dice.choice(field.literals)
        if not self.chance(0.2):
            return literal
        inside = literal[1:-1].replace("''", "'") if literal.startswith("'") else literal
        escaped = inside.replace("\\", "\\\\").replace("'", "\\'")
        bare = literal.lstrip("-").isdigit()
        spellings = [f"({literal})::{field.type}", f"CAST({literal} AS {field.type})"]
        spellings += [f"'{literal}'", f"({literal})"] if bare else [f"E'{escaped}'", f"$q${inside}$q$"]
        return self.dice.choice(spellings)

    def relation(self, subject: Subject) -> tuple[str, str]:
        """What FROM says, and the prefix for columns."""
        said, prefix = self.dice.choice(RELATIONS)
        return said.format(subject.name), prefix.format(subject.name)

    def expression(self, field: Field, prefix: str) -> str:
        return self.dice.choice(EXPRESSIONS[_family(field)]).format(prefix + field.name, prefix + field.name)

    def condition(self, subject: Subject, prefix: str, depth: int = 2) -> str:
        roll = self.dice.random()
        if depth and roll < 0.12:
            return f"NOT ({self.condition(subject, prefix, depth - 1)})"
        if depth and roll < 0.32:
            word = self.dice.choice(("AND", "OR", "OR"))
            left, right = (self.condition(subject, prefix, depth - 1) for _ in range(2))
            return f"({left}) {word} ({right})"
        if roll < 0.55:
            return self.key_condition(subject, prefix)
        return self.field_condition(self.dice.choice(subject.fields), prefix)

    def key_condition(self, subject: Subject, prefix: str) -> str:
        field = subject.field(subject.key)
        column = prefix + field.name
        one, other = self.literal(field), self.literal(field)
        several = ", ".join(self.literal(field) for _ in range(self.dice.randint(1, 4)))
        forms = [
            f"{column} = {one}", f"{column} = {one}", f"{one} = {column}", f"{column} IN ({several})",
            f"{column} = ANY (ARRAY[{several}])", f"{column} BETWEEN {one} AND {other}", f"{column} >= {one}",
            f"{column} < {other}", f"{column} = {one} OR {column} = {other}", f"{column} NOT IN ({several})",
            f"{column} = {one} AND {column} = {other}", f"{column} > {one} AND {column} <= {other}",
            f"{column} <> {one}", f"{column} IS NOT NULL", f"{column} IS NULL", f"{column} = NULL",
            f"{column} IS NOT DISTINCT FROM {one}", f"{column} IS DISTINCT FROM {one}",
            f"{column} <> ALL (ARRAY[{several}])", f"(({column}))=({one})",
            f"{column} BETWEEN SYMMETRIC {other} AND {one}", f"{column} NOT BETWEEN {one} AND {other}",
            f"({column}, {column}) = ({one}, {other})", f"({column}, 1) < ({one}, 2)",
            f"({column}) IN (({one}), {other}, NULL)", f"coalesce({column}, {other}) = {one}",
            f"CASE {column} WHEN {one} THEN true ELSE {column} = {other} END",
            f"({column} = {one}) IS NOT FALSE", f"({column} = {one}) = ({column} = {other})",
            f"{column} = /* {column} = */ {one}", f"{column} -- = {other}\n= {one}", f"{column}=\n\t{one}",
        ]  # fmt: skip
        return self.dice.choice(forms)

    def field_condition(self, field: Field, prefix: str) -> str:
        column = prefix + field.name
        one, other = self.literal(field), self.literal(field)
        forms = [f"{column} {self.dice.choice(COMPARISONS)} {one}"] * 3 + [
            f"{column} IS NULL",
            f"{column} IS NOT NULL",
            f"{column} BETWEEN {one} AND {other}",
            f"{column} IN ({one}, {other})",
            f"{column} NOT IN ({one}, {other})",
            f"coalesce({column}, {one}) = {other}",
        ]
        if _family(field) == "text":
            like = self.dice.choice(("LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"))
            forms += [f"{column} {like} {self.dice.choice(PATTERNS)}"] * 4
        if _family(field) == "bool":
            forms += [column, f"NOT {column}", f"{column} IS NOT TRUE", f"{column} IS UNKNOWN"]
        return self.dice.choice(forms)

    def where(self, subject: Subject, prefix: str, most: int = 3) -> tuple[str, ...]:
        return tuple(self.condition(subject, prefix) for _ in range(self.dice.choice((0, 0, 1, 1, 2, most))))

    def direction(self) -> str:
        return self.dice.choice(DIRECTIONS)

    def window(self) -> tuple[str | None, str | None]:
        """LIMIT and OFFSET."""
        limit = self.dice.choice((None, None, "1", "3", "5", "10", "50", "1000", "0", "ALL"))
        return limit, self.dice.choice((None, None, None, "0", "1", "4", "20", "500"))

    def items(self, subject: Subject, prefix: str) -> tuple[Item, ...]:
        if self.chance(0.12):
            return (Item(f"{prefix}*"),)
        items = []
        for number, field in enumerate(self.some(subject.fields, 5)):
            sql = self.expression(field, prefix) if self.chance(0.25) else prefix + field.name
            items.append(Item(sql, self.dice.choice((None, None, f"c{number}", f'"Col {number}"'))))
        if self.chance(0.05):
            items.append(Item(self.dice.choice(("1", "'x'", "NULL", "now() IS NULL"))))
        return tuple(items)

    def item_key(self, items: tuple[Item, ...]) -> SortKey:
        """A sort key that is one of the items: by position, alias or expression."""
        number = self.dice.randrange(len(items))
        item = items[number]
        forms = [str(number + 1), item.sql]
        if item.alias:
            forms.append(item.alias)
        shown = self.dice.choice(forms)
        # A bare constant in ORDER BY would be a position.
        return SortKey(item.sql, str(number + 1) if item.sql in ("1", "'x'", "NULL") else shown, self.direction())

    def order(self, subject: Subject, prefix: str, items: tuple[Item, ...], most: int = 3) -> tuple[SortKey, ...]:
        keys = []
        star = any(item.sql.endswith("*") for item in items)
        for _ in range(self.dice.randint(1, most)):
            if not star and self.chance(0.5):
                keys.append(self.item_key(items))
                continue
            field = self.dice.choice(subject.fields)
            sql = self.expression(field, prefix) if self.chance(0.2) else prefix + field.name
            keys.append(self.input_key(sql, items))
        return tuple(keys)

    def input_key(self, sql: str, items: tuple[Item, ...]) -> SortKey:
        """A sort key that names a column; an output column of that name comes first, as in PostgreSQL."""
        meant = next((item.sql for item in items if output_name(item) == sql), sql)
        return SortKey(meant, sql, self.direction())

    # Shapes.

    def plain(self, shape: str) -> Select:
        subject = self.subject()
        relation, prefix = self.relation(subject)
        return Select(shape, self.items(subject, prefix), relation, self.where(subject, prefix))

    def pinned(self, shape: str) -> Select:
        """The key is given: nearly every clause must still be right on one shard."""
        subject = self.subject()
        relation, prefix = self.relation(subject)
        items = self.items(subject, prefix)
        key = f"{prefix}{subject.key} = {self.literal(subject.field(subject.key))}"
        order = self.order(subject, prefix, items) if self.chance(0.5) else ()
        limit, offset = self.window()
        where = (key, *self.where(subject, prefix)[:1])
        return Select(shape, items, relation, where, order=order, limit=limit, offset=offset)

    def again(self, shape: str) -> Select:
        """A few templates, often, so that their plans are found by their texts; constants change, at times in kind."""
        subject = self.dice.choice((MEASURES, READINGS, PATRONS))
        key = subject.field(subject.key)
        field = self.dice.choice([field for field in subject.fields if field is not key][:2])
        first, second = self._odd_literal(key), self._odd_literal(field) if self.chance(0.8) else "NULL"
        conditions = self.dice.choice(
            (
                (f"{key.name} = {first}",),
                (f"{key.name} IN ({first}, {self.dice.choice(key.literals)})", f"{field.name} <> {second}"),
                (f"{key.name} = {first} OR {field.name} = {second}",),
            )
        )
        order = tuple(SortKey(name, name) for name in subject.primary_key.split(", "))
        items = (*(Item(one.sql) for one in order), Item(field.name))
        limit = self.dice.choice(("1", "2", "5", "99999999999"))
        return Select(shape, items, subject.name, conditions, order=order, limit=limit)

    def _odd_literal(self, field: Field) -> str:
        """Mostly a plain constant; sometimes one that only looks like it."""
        if self.chance(0.7):
            return self.dice.choice(field.literals)
        if self.chance(0.5):
            return self.literal(field)
        plain = field.literals[0] if field.literals[0].startswith("'") else f"'{field.literals[0]}'"
        odd = (f"E{plain}", f"{plain} -- {plain}\n", f"/* {plain} */ {plain}", f"({plain})", f"(SELECT {plain})")
        return self.dice.choice((*odd, f"{plain}\n''", "'--'", "'/*'") if _family(field) == "text" else odd)

    def ordered(self, shape: str) -> Select:
        subject = self.subject()
        relation, prefix = self.relation(subject)
        items = self.items(subject, prefix)
        order = self.order(subject, prefix, items)
        limit, offset = self.window() if self.chance(0.6) else (None, None)
        return Select(shape, items, relation, self.where(subject, prefix), order=order, limit=limit, offset=offset)

    def limited(self, shape: str) -> Select:
        """LIMIT without ORDER BY: any rows, but so many."""
        subject = self.subject()
        relation, prefix = self.relation(subject)
        limit, offset = self.window()
        items = self.items(subject, prefix)
        return Select(shape, items, relation, self.where(subject, prefix), limit=limit, offset=offset)

    def distinct(self, shape: str) -> Select:
        subject = self.subject()
        relation, prefix = self.relation(subject)
        items = tuple(
            Item(self.expression(field, prefix) if self.chance(0.2) else prefix + field.name, f"d{number}")
            for number, field in enumerate(self.some(subject.fields, 3))
        )
        order = tuple(self.item_key(items) for _ in range(self.dice.randint(0, 2)))
        limit, offset = self.window() if self.chance(0.5) else (None, None)
        where = self.where(subject, prefix)
        return Select(shape, items, relation, where, distinct=True, order=order, limit=limit, offset=offset)

    def aggregate(self, subject: Subject, prefix: str) -> str:
        """One aggregate call, bare."""
        numbers = [field for field in subject.fields if field.summable]
        ordered = [field for field in subject.fields if field.extremes]
        any_column = prefix + self.dice.choice(subject.fields).name
        forms = ["count(*)", "count(*)", f"count({any_column})"]
        if ordered:
            column = prefix + self.dice.choice(ordered).name
            forms += [f"min({column})", f"max({column})"] * 2
        if numbers:
            column = prefix + self.dice.choice(numbers).name
            forms += [f"sum({column})", f"avg({column})"] * 2
        call = self.dice.choice(forms)
        if self.chance(0.12):
            call += f" FILTER (WHERE {self.condition(subject, prefix, 1)})"
        return call

    def aggregate_item(self, subject: Subject, prefix: str) -> str:
        """An aggregate call, or an expression around one or two."""
        if self.chance(0.65):
            return self.aggregate(subject, prefix)
        numbers = [prefix + field.name for field in subject.fields if field.summable]
        texts = [prefix + field.name for field in subject.fields if field.type == "text"]
        text = self.dice.choice(texts)
        forms = [
            "count(*) + 1", "count(*) * 2 - 1", "count(*)::numeric / 4", "'n=' || count(*)::text",
            "CASE WHEN count(*) > 3 THEN 'many' ELSE 'few' END", f"upper(max({text}))", f"coalesce(min({text}), '-')",
            f"max({text}) IS NULL", f"length(min({text})) + count(*)", f"count(*) - count({text})",
        ]  # fmt: skip
        if numbers:
            one, other = self.dice.choice(numbers), self.dice.choice(numbers)
            forms += [
                f"coalesce(sum({one}), 0)", f"sum({one})::numeric / nullif(count({other}), 0)", f"avg({one}) IS NULL",
                f"sum({one}) > 0", f"max({one}) = min({one})", f"coalesce(max({one}), min({other}))",
            ]  # fmt: skip
        return self.dice.choice(forms)

    def totals(self, shape: str) -> Select:
        """Aggregates without GROUP BY: one row, or none under HAVING."""
        subject = self.subject()
        relation, prefix = self.relation(subject)
        items = tuple(
            Item(self.aggregate_item(subject, prefix), self.dice.choice((None, f"a{number}")))
            for number in range(self.dice.randint(1, 4))
        )
        having = (self.having(subject, prefix),) if self.chance(0.15) else ()
        limit = self.dice.choice((None, None, None, None, "1", "0"))
        where = self.where(subject, prefix)
        return Select(shape, items, relation, where, having=having, limit=limit, aggregates=True)

    def having(self, subject: Subject, prefix: str) -> str:
        numbers = [prefix + field.name for field in subject.fields if field.summable]
        forms = ["count(*) > 1", "count(*) BETWEEN 2 AND 6", "count(*) % 2 = 0", "count(*) = 0"]
        if numbers:
            column = self.dice.choice(numbers)
            forms += [f"max({column}) > 1", f"sum({column}) IS NOT NULL", f"min({column}) < max({column})"]
            forms += [f"avg({column}) < 3 AND count(*) > 1", f"coalesce(sum({column}), 0) = 0 OR count(*) = 2"]
        field = self.dice.choice([field for field in subject.fields if field.extremes])
        one, other = self.dice.choice(field.literals), self.dice.choice(field.literals)
        column = prefix + field.name
        forms += [f"max({column}) > {one}", f"min({column}) < {one} OR max({column}) = {other}"]
        return self.dice.choice(forms)

    def grouped(self, shape: str) -> Select:
        subject = self.subject()
        relation, prefix = self.relation(subject)
        groups = self._groups(subject, prefix)
        items: list[Item] = []
        said: list[str] = []
        for number, sql in enumerate(groups):
            alias = f"g{number}" if self.chance(0.5) else None
            if self.chance(0.15):  # grouped by, but not shown
                said.append(sql)
                continue
            items.append(Item(sql, alias))
            forms = [sql, str(len(items))] + ([alias] if alias else [])
            said.append(self.dice.choice(forms))
        shown = tuple(items)
        items += [
            Item(self.aggregate_item(subject, prefix), self.dice.choice((None, f"a{number}")))
            for number in range(self.dice.randint(0 if items else 1, 3))
        ]
        having = (self.having(subject, prefix),) if self.chance(0.3) else ()
        if self.chance(0.08):
            having = (*having, f"{groups[0]} IS NOT NULL")
        limit, offset = self.window() if self.chance(0.4) else (None, None)
        return Select(
            shape,
            tuple(items),
            relation,
            self.where(subject, prefix),
            group=tuple(said),
            having=having,
            order=self._group_order(shown, tuple(items), groups),
            limit=limit,
            offset=offset,
        )

    def _groups(self, subject: Subject, prefix: str) -> list[str]:
        fields = self.some(subject.fields, 2)
        if self.chance(0.15):
            fields.append(subject.field(subject.key))
        # A representative's text may differ, so group by expressions only where equal means the same bytes.
        several = ("numeric", "float", "other")
        groups = []
        for field in fields:
            composed = self.chance(0.25) and _family(field) not in several
            groups.append(self.expression(field, prefix) if composed else prefix + field.name)
        return list(dict.fromkeys(groups))

    def _group_order(
        self, shown: tuple[Item, ...], items: tuple[Item, ...], groups: Sequence[str]
    ) -> tuple[SortKey, ...]:
        keys = []
        for _ in range(self.dice.choice((0, 1, 1, 2))):
            roll = self.dice.random()
            if roll < 0.4 and shown:
                keys.append(self.item_key(shown))
            elif roll < 0.6:
                keys.append(self.input_key(self.dice.choice(groups), items))
            elif roll < 0.8:
                keys.append(self.item_key(items))
            else:
                keys.append(SortKey("count(*)", "count(*)", self.direction()))
        return tuple(keys)

    def distinct_aggregate(self, shape: str) -> Select:
        subject = self.subject()
        relation, prefix = self.relation(subject)
        column = prefix + self.dice.choice([field for field in subject.fields if field.name != "wild"]).name
        items: tuple[Item, ...] = (Item(f"count(DISTINCT {column})"),)
        group: tuple[str, ...] = ()
        if self.chance(0.4):
            group = (prefix + self.dice.choice(subject.fields).name,)
            items = (Item(group[0]), *items)
        return Select(shape, items, relation, self.where(subject, prefix), group=group, aggregates=True)

    def insert(self, shape: str) -> Other:
        subject = self.subject()
        fields = [subject.field(part) for part in subject.primary_key.split(", ")]
        fields += self.some([field for field in subject.fields if field not in fields], 6)
        self.dice.shuffle(fields)
        key = self.dice.choice(subject.field(subject.key).literals)
        rows = self.dice.choice((1, 1, 1, 2, 3)) if subject.method == "list" else 1
        values = ", ".join(f"({self._row(fields, subject, key)})" for _ in range(rows))
        conflict = self.dice.choice(
            ("", "", "ON CONFLICT DO NOTHING", f"ON CONFLICT ({subject.primary_key}) DO NOTHING")
        )
        names = ", ".join(field.name for field in fields)
        tail = f"{conflict}{self._returning(subject)}"
        return Other(shape, f"INSERT INTO {subject.name} ({names}) VALUES {values} {tail}")

    def _row(self, fields: Sequence[Field], subject: Subject, key: str) -> str:
        def value(field: Field) -> str:
            if field.name == subject.key:
                return key
            if field.name in ("id", "isbn"):
                return str(self.dice.randrange(10**6))
            return "NULL" if self.chance(0.2) else self.dice.choice(field.literals)

        return ", ".join(value(field) for field in fields)

    def update(self, shape: str) -> Other:
        subject = self.subject()
        free = [field for field in subject.fields if field.name not in subject.primary_key]
        settings = ", ".join(
            f"{field.name} = {'NULL' if self.chance(0.15) else self._new_value(field)}" for field in self.some(free, 3)
        )
        where = self._pinned_where(subject)
        return Other(shape, f"UPDATE {subject.name} SET {settings} WHERE {where}{self._returning(subject)}")

    def _new_value(self, field: Field) -> str:
        if _family(field) == "bool" and self.chance(0.5):
            return f"NOT {field.name}"
        return self.dice.choice((field.name, self.dice.choice(field.literals), self.dice.choice(field.literals)))

    def delete(self, shape: str) -> Other:
        subject = self.subject()
        one, other = (self.field_condition(field, "") for field in self.dice.sample(subject.fields, 2))
        where = f"{self._pinned_where(subject)} AND ({one}) AND ({other})"
        return Other(shape, f"DELETE FROM {subject.name} WHERE {where}{self._returning(subject)}")

    def _pinned_where(self, subject: Subject) -> str:
        key = subject.field(subject.key)
        pinned = f"{key.name} = {self.literal(key)}"
        if self.chance(0.5):
            pinned += f" AND ({self.condition(subject, '', 1)})"
        return pinned

    def _returning(self, subject: Subject) -> str:
        if self.chance(0.4):
            return ""
        if self.chance(0.3):
            return " RETURNING *"
        items = ", ".join(
            self.expression(field, "") if self.chance(0.3) else field.name for field in self.some(subject.fields, 4)
        )
        return f" RETURNING {items}"

    def failing(self, shape: str) -> Other:
        """Statements that PostgreSQL refuses: the proxy must give the same SQLSTATE (or refuse it itself)."""
        subject = self.subject()
        template = self.dice.choice(FAILING)
        key = subject.field(subject.key)
        sql = template.format(
            table=subject.name,
            column=self.dice.choice(subject.fields).name,
            other=subject.fields[-1].name,
            key=key.name,
            value=self.dice.choice(key.literals),
        )
        return Other(shape, sql)


# Each fails on every row or none, so that it fails whatever rows a shard holds.
FAILING = (
    "SELECT no_such_column FROM {table}",
    "SELECT {column} FROM {table} WHERE no_such_column = 1",
    "SELECT * FROM no_such_table",
    "SELECT {column} FROM {table} ORDER BY 9",
    "SELECT {column} FROM {table} ORDER BY no_such_column",
    "SELECT {column} FROM {table} GROUP BY 7",
    "SELECT {column}, count(*) FROM {table}",
    "SELECT {key}, {other}, count(*) FROM {table} GROUP BY {key}",
    "SELECT sum({column}::point) FROM {table}",
    "SELECT no_such_function({column}) FROM {table}",
    "SELECT {column} FROM {table} WHERE count(*) > 1",
    "SELECT {column} FROM {table} LIMIT -1",
    "SELECT {column} FROM {table} OFFSET -1",
    "SELECT {column} FROM {table} WHERE {key} = {value} LIMIT -1",
    "SELECT {column} FROM {table} LIMIT 'many'",
    "SELECT 1/0 FROM {table}",
    "SELECT {column} FROM {table} WHERE 1/0 = 1",
    "SELECT DISTINCT {column} FROM {table} ORDER BY {key} || 'x' || {other}",
    "SELECT {column} FROM {table} FROM {table}",
    "SELECT {column} FROM {table} WHERE",
    "SELEC {column} FROM {table}",
    "SELECT '{column} FROM {table}",
    "SELECT {column} FROM {table} HAVING true",
    "SELECT max(count(*)) FROM {table}",
    "UPDATE {table} SET no_such_column = 1 WHERE {key} = {value}",
    "INSERT INTO {table} ({key}) VALUES (NULL)",
    "INSERT INTO {table} ({key}, no_such_column) VALUES ({value}, 1)",
    "DELETE FROM {table} WHERE {key} = {value} AND no_such_column",
)

# Each shape: who draws it, and its weight.
SHAPES: dict[str, tuple[Callable[[Generator, str], Statement], int]] = {
    "plain": (Generator.plain, 12),
    "pinned": (Generator.pinned, 12),
    "again": (Generator.again, 10),
    "ordered": (Generator.ordered, 22),
    "limited": (Generator.limited, 8),
    "distinct": (Generator.distinct, 10),
    "totals": (Generator.totals, 12),
    "grouped": (Generator.grouped, 18),
    "distinct aggregate": (Generator.distinct_aggregate, 2),
    "insert": (Generator.insert, 4),
    "update": (Generator.update, 4),
    "delete": (Generator.delete, 2),
    "failing": (Generator.failing, 4),
}
