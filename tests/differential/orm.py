"""Statements as object-relational mappers and report writers send them, drawn from templates with random pieces.

Most shapes over several shards are refused; what is accepted must be right. `{…}` in a template is drawn for one table:
see `PIECES`. A template ends in a total order, or gives rows in none.
"""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from tests.differential.data import MEASURES, READINGS, SAMPLES, Field, Subject
from tests.differential.generate import EXPRESSIONS, Generator
from tests.differential.statement import Other

TEMPLATES = (
    # Sub-queries
    "SELECT {pk} FROM {t} WHERE {i} IN (SELECT n FROM branches WHERE n > {digit}) ORDER BY {pk}",
    "SELECT {pk} FROM {t} WHERE {i} NOT IN (SELECT n FROM branches WHERE n = {digit}) ORDER BY {pk}",
    "SELECT {pk} FROM {t} WHERE EXISTS (SELECT 1 FROM branches b WHERE b.n = {t}.{i}) ORDER BY {pk}",
    "SELECT {pk} FROM {t} WHERE NOT EXISTS (SELECT 1 FROM branches b WHERE b.n < {t}.{i} AND b.city <> {text}) ORDER BY {pk}",
    "SELECT {pk}, (SELECT max(b.city) FROM branches b WHERE b.n = {i}) AS c FROM {t} ORDER BY {pk}",
    "SELECT {pk}, (SELECT city FROM branches WHERE n = {digit}) AS c FROM {t} WHERE {c} ORDER BY c, {pk} LIMIT {digit}",
    "SELECT {pk}, EXISTS (SELECT 1 FROM branches b WHERE b.n = {i}) AS e FROM {t} ORDER BY e DESC, {pk}",
    "SELECT {pk}, ARRAY(SELECT n FROM branches WHERE n <= {i} ORDER BY n) AS a FROM {t} ORDER BY {pk}",
    "SELECT count(*) FROM {t} WHERE {i} IN (SELECT n FROM branches)",
    "SELECT {i}, count(*) FROM {t} WHERE EXISTS (SELECT 1 FROM branches b WHERE b.n = {i}) GROUP BY {i} ORDER BY {i}",
    "SELECT count(*) FROM (SELECT {s} FROM {t} WHERE {c}) AS sub",
    "SELECT * FROM (SELECT {i}, count(*) AS n FROM {t} GROUP BY {i}) AS sub ORDER BY {i}",
    "SELECT count(*) FROM {t} WHERE {i} > (SELECT avg({i}) FROM {t})",
    "SELECT {pk} FROM {t} a WHERE {i} = (SELECT max({i}) FROM {t} b WHERE b.{s} = a.{s}) ORDER BY {pk}",
    "WITH x AS (SELECT {pk}, {i} FROM {t} WHERE {c}) SELECT count(*), sum({i}) FROM x",
    "WITH x AS (SELECT n FROM branches) SELECT {pk} FROM {t} JOIN x ON x.n = {i} ORDER BY {pk}",
    "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {digit}) SELECT {pk} FROM {t} JOIN r ON r.n = {i} ORDER BY {pk}",
    "SELECT {pk}, l.x FROM {t}, LATERAL (SELECT {i}::numeric * 2 AS x) AS l ORDER BY {pk}",
    "SELECT {pk}, b.city FROM {t} LEFT JOIN LATERAL (SELECT city FROM branches WHERE n = {t}.{i}) AS b ON true ORDER BY {pk}",
    "SELECT {pk} FROM {t} WHERE {i} IN (VALUES ({digit}), ({digit})) ORDER BY {pk}",
    "SELECT {pk} FROM {t} JOIN (VALUES ({digit}, 'a'), ({digit}, 'b')) AS v (n, w) ON v.n = {i} ORDER BY {pk}, w",
    "SELECT {s} FROM {t} WHERE {c} UNION SELECT city FROM branches ORDER BY 1",
    "SELECT {s} FROM {t} WHERE {c} UNION ALL SELECT {s2} FROM {t} WHERE {c}",
    "SELECT {s} FROM {t} EXCEPT SELECT {s} FROM {t} WHERE {c} ORDER BY 1",
    # Joins with a table that every node has
    "SELECT {t}.{pk1}, b.city FROM {t} JOIN branches b ON b.n = {t}.{i} ORDER BY {tpk}",
    "SELECT {tpk}, b.city FROM {t} LEFT JOIN branches b ON b.n = {t}.{i} AND b.city <> {text} ORDER BY b.city DESC NULLS LAST, {tpk}",
    "SELECT b.city, count(*), count(b.n), sum({t}.{i}) FROM {t} LEFT JOIN branches b ON b.n = {t}.{i} GROUP BY b.city ORDER BY b.city",
    "SELECT b.city, b.n, max({t}.{s}) FROM branches b JOIN {t} ON b.n = {t}.{i} WHERE {c} GROUP BY b.city, b.n HAVING count(*) > {digit} ORDER BY 1, 2",
    "SELECT b.city || '!' AS x, count(*) + 1 FROM {t} JOIN branches b ON b.n <= {t}.{i} GROUP BY b.city || '!' ORDER BY x",
    "SELECT upper(b.city), count(*) + 1 FROM {t} JOIN branches b ON b.n <= {t}.{i} GROUP BY b.city ORDER BY b.city",
    "SELECT DISTINCT b.city, {t}.{b} FROM {t} CROSS JOIN branches b ORDER BY 1, 2",
    "SELECT b.n, {tpk} FROM branches b RIGHT JOIN {t} ON b.n = {t}.{i} AND {t}.{b} ORDER BY {tpk}",
    "SELECT count(*) FROM branches b LEFT JOIN {t} ON b.n = {t}.{i}",
    "SELECT count(*) FROM {t} FULL JOIN branches b ON b.n = {t}.{i}",
    # DISTINCT ON, windows, sets of groups
    "SELECT DISTINCT ON ({s}) {s}, {pk} FROM {t} ORDER BY {s}, {pk}",
    "SELECT {pk}, row_number() OVER (PARTITION BY {s} ORDER BY {pk}) AS r FROM {t} ORDER BY {pk}",
    "SELECT {pk}, sum({i}) OVER w FROM {t} WINDOW w AS (ORDER BY {pk}) ORDER BY {pk}",
    "SELECT {s}, {b}, count(*) FROM {t} GROUP BY ROLLUP ({s}, {b})",
    "SELECT {s}, count(*) FROM {t} GROUP BY GROUPING SETS (({s}), ())",
    # Pages
    "SELECT {pk}, {i} FROM {t} WHERE ({i}, {pk1}) > ({lit_i}, {lit_pk1}) ORDER BY {i}, {pk} LIMIT {digit}",
    "SELECT {pk}, {i} FROM {t} WHERE {i} < {lit_i} OR ({i} = {lit_i} AND {pk1} < {lit_pk1}) ORDER BY {i} DESC, {pk} DESC LIMIT {digit}",
    "SELECT {pk} FROM {t} WHERE ({pk}) > ({lit_pk}) ORDER BY {pk} LIMIT {digit}",
    "SELECT {pk} FROM {t} WHERE ({pk}) <= ({lit_pk}) ORDER BY {pk_desc} LIMIT {digit} OFFSET {digit}",
    "SELECT {pk} FROM {t} WHERE ({pk}) IN (({lit_pk}), ({lit_pk})) ORDER BY {pk}",
    "SELECT {pk}, {s} FROM {t} WHERE {s} IS NOT NULL AND {c} ORDER BY {s} DESC, {pk} FETCH FIRST {digit} ROWS ONLY",
    # Sorting by more than columns
    "SELECT {pk} FROM {t} ORDER BY {i} IS NULL, {i} DESC, {pk}",
    "SELECT {pk} FROM {t} ORDER BY CASE WHEN {b} THEN 1 WHEN {c} THEN 2 ELSE 3 END, {pk} LIMIT {digit}",
    'SELECT {pk} FROM {t} ORDER BY coalesce({s}, {text}) COLLATE "C", {pk}',
    "SELECT {pk}, {i} AS x FROM {t} ORDER BY x NULLS FIRST, {i2} DESC NULLS LAST, {pk}",
    "SELECT {pk}, {e} AS e FROM {t} ORDER BY e, {pk}",
    "SELECT {pk}, -{i}::numeric AS {i} FROM {t} ORDER BY {i}, {pk}",
    "SELECT DISTINCT {s} AS v, {b} FROM {t} WHERE {c} ORDER BY v DESC, {b} LIMIT {digit}",
    "SELECT DISTINCT {e} AS e FROM {t} ORDER BY e",
    "SELECT DISTINCT {i} % 3 AS m, {s} IS NULL AS z FROM {t} ORDER BY z, m",
    # Aggregates
    "SELECT {agg} AS a, {agg} AS b, {agg} AS c FROM {t} WHERE {c}",
    "SELECT {agg} + {agg} AS x, coalesce({agg}, {digit}) AS y, nullif({agg}, {digit}) AS z FROM {t}",
    "SELECT greatest({agg}, {digit}), least({agg}, {agg}), abs({agg}) FROM {t} WHERE {c}",
    "SELECT sum(CASE WHEN {c} THEN 1 ELSE 0 END), count(CASE WHEN {c} THEN 1 END), count(*) FILTER (WHERE {c}) FROM {t}",
    "SELECT count({s}) * 100.0 / nullif(count(*), 0), round(avg({i}), 2) FROM {t} WHERE {c}",
    "SELECT bool_or({c}), bool_and({c}), every({b}), max({s}), min({s2}), max(length({s})) FROM {t}",
    "SELECT jsonb_build_object('n', count(*), 'top', max({s}), 'sum', sum({i})) FROM {t} WHERE {c}",
    "SELECT json_build_array(count(*), min({s})), ARRAY[count(*), count({i})], ROW(count(*), max({i})) FROM {t}",
    "SELECT string_agg({s}, ',' ORDER BY {s}, {pk}) FROM {t}",
    "SELECT array_agg({i} ORDER BY {pk}), json_agg({s} ORDER BY {pk}) FROM {t}",
    "SELECT count(DISTINCT {s}), sum(DISTINCT {i}) FROM {t}",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {i}), mode() WITHIN GROUP (ORDER BY {s}) FROM {t}",
    "SELECT stddev({i}), variance({i}), corr({i}, {i2}) FROM {t}",
    # Groups
    "SELECT date_trunc({unit}, {d}) AS d, count(*), {agg} AS a FROM {t} WHERE isfinite({d}) GROUP BY 1 ORDER BY 1",
    "SELECT extract(year FROM {d}) AS y, extract(month FROM {d}) AS m, count(*) FROM {t} WHERE isfinite({d}) GROUP BY y, m ORDER BY y DESC, m",
    "SELECT to_char({d}, 'YYYY-MM') AS m, {agg} AS a FROM {t} WHERE isfinite({d}) GROUP BY to_char({d}, 'YYYY-MM') ORDER BY m",
    "SELECT {s} AS g, count(*) AS n FROM {t} GROUP BY g HAVING count(*) > {digit} ORDER BY n DESC, g LIMIT {digit}",
    "SELECT {s}, {b}, {agg} AS a FROM {t} WHERE {c} GROUP BY {s}, {b} HAVING max({i}) > {digit} OR count({s2}) = {digit} ORDER BY {s}, {b}",
    "SELECT {s}, {agg} AS a FROM {t} GROUP BY {s} HAVING {s} = {text} OR {s} IS NULL OR bool_or({c}) ORDER BY {s} DESC",
    "SELECT CASE WHEN {i} > {digit} THEN 'high' WHEN {i} IS NULL THEN 'none' ELSE 'low' END AS k, count(*) FROM {t} GROUP BY k ORDER BY k",
    "SELECT {e} AS e, count(*) FROM {t} GROUP BY e ORDER BY e",
    "SELECT {s} IS NULL AS z, {i} % 2 AS m, sum({i2}), count(*) * 2 FROM {t} GROUP BY {s} IS NULL, {i} % 2 ORDER BY z, m",
    "SELECT {s}, upper({s}), {s} || '?', {s} IN ({text}, {text}), count(*) FROM {t} GROUP BY {s} ORDER BY {s}",
    "SELECT {i}, {i} * 2.5, {i} BETWEEN {digit} AND 5, {agg} AS a FROM {t} GROUP BY {i} ORDER BY {i} NULLS FIRST",
    "SELECT {b}, NOT {b}, {b} IS TRUE AND count(*) > {digit}, CASE {b} WHEN true THEN {agg} END FROM {t} GROUP BY {b} ORDER BY {b}",
    "SELECT {s} FROM {t} GROUP BY {s} ORDER BY count(*) DESC, max({i}) NULLS LAST, {s} LIMIT {digit} OFFSET {digit}",
    "SELECT {s} FROM {t} GROUP BY {s}, {i} ORDER BY sum({i2}) IS NULL, {s}, {i}",
    "SELECT {s}, count(*) FROM {t} GROUP BY {s} ORDER BY count(*) % 3, {s} || 'x'",
    "SELECT {d}, {d} + interval '1 day', {d}::text, {agg} AS a FROM {t} WHERE isfinite({d}) GROUP BY {d} ORDER BY {d}",
    "SELECT {d}::date AS day, min({d}), max({d}) - min({d}) FROM {t} WHERE isfinite({d}) GROUP BY day ORDER BY day",
    "SELECT {pk}, count(*) FROM {t} GROUP BY {pk} HAVING count(*) = {digit} ORDER BY {pk}",
    "SELECT {pk1}, {s} FROM {t} GROUP BY {pk}",
    "SELECT DISTINCT {s}, count(*) FROM {t} GROUP BY {s}",
    "SELECT {s}, (SELECT max(n) FROM branches), count(*) FROM {t} GROUP BY {s} ORDER BY {s}",
    # Arrays, JSON, texts
    "SELECT {pk} FROM {t} WHERE {i} = ANY (ARRAY[{digit}, {lit_i}]) OR ARRAY[{i}, {i2}] && ARRAY[{digit}] ORDER BY {pk}",
    "SELECT {pk}, ARRAY[{i}, {i2}] AS a, to_jsonb({s}) AS j FROM {t} WHERE {c} ORDER BY {pk}",
    "SELECT ARRAY[{i}, {i2}] AS a, count(*) FROM {t} GROUP BY a ORDER BY a",
    "SELECT to_jsonb({s}) AS j, count(*) FROM {t} GROUP BY j ORDER BY j",
    "SELECT {pk}, string_to_array({s}, ' ') AS a, split_part({s}, ' ', 1) AS p FROM {t} ORDER BY p, {pk}",
    "SELECT unnest(string_to_array({s}, NULL)) AS u, {pk} FROM {t} ORDER BY {pk}, u",
    "SELECT regexp_replace({s}, '[aeiou]', '', 'g') AS r, count(*) FROM {t} GROUP BY r ORDER BY r",
    "SELECT left({s}, 1) AS l, {agg} AS a FROM {t} GROUP BY left({s}, 1) ORDER BY l",
    "SELECT {pk} FROM {t} WHERE concat_ws('-', {s}, {s2}) LIKE {pattern} OR {s} ~ '^[a-z]' ORDER BY {pk}",
    "SELECT {pk}, jsonb_build_object('i', {i}, 's', {s}) ->> 's' AS x FROM {t} ORDER BY x, {pk}",
    "SELECT count(*) FROM {t} WHERE jsonb_build_object('i', {i}) @> '{{\"i\": 1}}'",
)


def _field(*types: str) -> Callable[[Generator, Subject], str]:
    def draw(generator: Generator, subject: Subject) -> str:
        fields = [field.name for field in subject.fields if field.type in types]
        return generator.dice.choice(fields)

    return draw


def _expression(generator: Generator, subject: Subject) -> str:
    """An expression whose values are equal only where they look alike."""
    kinds = {"int4": "int", "text": "text", "bool": "bool"}
    field = generator.dice.choice([field for field in subject.fields if field.type in kinds])
    return generator.dice.choice(EXPRESSIONS[kinds[field.type]]).format(field.name, field.name)


def _aggregate(generator: Generator, subject: Subject) -> str:
    """A number."""
    column = generator.dice.choice([field.name for field in subject.fields if field.type in ("int2", "int4")])
    forms = ("count(*)", "count({})", "sum({})", "avg({})", "min({})", "max({})")
    call = generator.dice.choice(forms).format(column)
    return call if generator.chance(0.8) else f"{call} FILTER (WHERE {generator.condition(subject, '', 1)})"


def _keys(subject: Subject) -> list[Field]:
    return [subject.field(name) for name in subject.primary_key.split(", ")]


PIECES: dict[str, Callable[[Generator, Subject], str]] = {
    "t": lambda _generator, subject: subject.name,
    "pk": lambda _generator, subject: subject.primary_key,
    "pk1": lambda _generator, subject: _keys(subject)[0].name,
    "tpk": lambda _generator, subject: ", ".join(f"{subject.name}.{key.name}" for key in _keys(subject)),
    "pk_desc": lambda _generator, subject: ", ".join(f"{key.name} DESC" for key in _keys(subject)),
    "lit_pk": lambda generator, subject: ", ".join(generator.dice.choice(key.literals) for key in _keys(subject)),
    "lit_pk1": lambda generator, subject: generator.dice.choice(_keys(subject)[0].literals),
    "i": _field("int2", "int4"),
    "i2": _field("int2", "int4"),
    "lit_i": lambda generator, _subject: generator.dice.choice(("0", "1", "2", "7", "-5", "100")),
    "s": _field("text", "varchar(12)"),
    "s2": _field("text", "varchar(12)"),
    "d": _field("timestamp", "timestamptz", "date"),
    "b": _field("bool"),
    "c": lambda generator, subject: generator.condition(subject, "", 1).replace(" -- ", " /* */ "),
    "e": _expression,
    "agg": _aggregate,
    "digit": lambda generator, _subject: str(generator.dice.randint(0, 4)),
    "text": lambda generator, subject: generator.dice.choice(subject.field("word").literals),
    "unit": lambda generator, _subject: generator.dice.choice(("'year'", "'month'", "'day'", "'decade'")),
    "pattern": lambda generator, _subject: generator.dice.choice(("'%a%'", "'a-%'", "'%'")),
}
_ONCE = frozenset({"t", "i", "i2", "s", "s2", "d", "b"})  # the same wherever a template says it
_PIECE = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def orm_statements(seed: int, count: int) -> Iterator[Other]:
    generator = Generator(seed)
    for _ in range(count):
        subject = generator.dice.choice((SAMPLES, MEASURES, READINGS))
        yield Other("orm", _filled(generator.dice.choice(TEMPLATES), generator, subject))


def _filled(template: str, generator: Generator, subject: Subject) -> str:
    drawn: dict[str, str] = {}

    def piece(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]
        if name not in _ONCE:
            return PIECES[name](generator, subject)
        return drawn.setdefault(name, PIECES[name](generator, subject))

    sql = _PIECE.sub(piece, template)
    if generator.chance(0.15):
        return _pinned(sql, subject, generator.dice)
    return sql


def _pinned(sql: str, subject: Subject, dice: random.Random) -> str:
    """With the shard key given, so that most of it runs on one shard."""
    key = subject.field(subject.key)
    pin = f"{subject.name}.{key.name} = {dice.choice(key.literals)}"
    if " WHERE " in sql:
        return sql.replace(" WHERE ", f" WHERE {pin} AND ", 1)
    return re.sub(rf"( FROM {subject.name})(?= GROUP BY | ORDER BY |$)", rf"\1 WHERE {pin}", sql, count=1)
