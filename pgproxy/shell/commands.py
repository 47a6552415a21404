"""The backslash commands: what each changes in the shell's options, or which statement it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEFAULT_LIMIT = 100

_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END AS type
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'pg_catalog' AND n.nspname <> 'information_schema'
      AND pg_catalog.pg_table_is_visible(c.oid)
    ORDER BY 1, 2
"""
_COLUMNS = """
    SELECT a.attname AS column, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN a.attnotnull THEN 'not null' ELSE '' END AS nullable,
           pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = {}::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""


@dataclass(slots=True)
class Options:
    """`limit` None: all rows. `expanded` None: when a table would be too wide."""

    limit: int | None = DEFAULT_LIMIT
    timing: bool = False
    expanded: bool | None = None


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the shell is to do: print `text`, run `sql`, or `end`."""

    text: str = ""
    sql: str = ""
    end: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    help: str
    react: Callable[[Options, str], Reaction]


def react(line: str, options: Options) -> Reaction:
    """Carry out one line that begins with a backslash, or is one of the words that end the shell."""
    words = line.strip().rstrip(";").split(None, 1)
    name, argument = words[0], words[1].strip() if len(words) > 1 else ""
    command = COMMANDS.get(name if name.startswith("\\") else name.lower())
    if command is None:
        return Reaction(f"unknown command {name}: \\? lists them")
    return command.react(options, argument)


def is_command(line: str) -> bool:
    words = line.strip().rstrip(";").split()
    return bool(words) and (words[0].startswith("\\") or (len(words) == 1 and words[0].lower() in ENDINGS))


def _timing(options: Options, argument: str) -> Reaction:
    options.timing = {"on": True, "off": False}.get(argument.lower(), not options.timing)
    return Reaction(f"Timing is {'on' if options.timing else 'off'}.")


def _limit(options: Options, argument: str) -> Reaction:
    if argument.lower() == "off":
        options.limit = None
    elif argument.isdecimal() and int(argument) > 0:
        options.limit = int(argument)
    elif argument:
        return Reaction("\\limit takes a number above 0, or off")
    return Reaction("All rows are shown." if options.limit is None else f"At most {options.limit} rows are shown.")


def _expanded(options: Options, argument: str) -> Reaction:
    choices = {"on": True, "off": False, "auto": None}
    options.expanded = choices.get(argument.lower(), not options.expanded)
    how = {True: "on", False: "off", None: "automatic"}[options.expanded]
    return Reaction(f"Expanded display is {how}.")


def _describe(_options: Options, argument: str) -> Reaction:
    if not argument:
        return Reaction(sql=_TABLES)
    return Reaction(sql=_COLUMNS.format("'" + argument.replace("'", "''") + "'"))


def _help(_options: Options, _argument: str) -> Reaction:
    lines = [f"{name:<9} {command.help}" for name, command in COMMANDS.items() if name.startswith("\\")]
    return Reaction("\n".join([*lines, "exit      end, as do quit and Ctrl-D", "STATUS;   the nodes' state"]))


_END = Command("end", lambda _options, _argument: Reaction(end=True))
ENDINGS = frozenset({"exit", "quit"})
COMMANDS: Mapping[str, Command] = {
    "\\?": Command("this list", _help),
    "\\d": Command("the tables; with a table's name, its columns", _describe),
    "\\dt": Command("the tables", lambda options, _argument: _describe(options, "")),
    "\\limit": Command(f"show at most so many rows ({DEFAULT_LIMIT} at first), or all: off", _limit),
    "\\timing": Command("show how long each statement takes: on, off", _timing),
    "\\x": Command("rows as records: on, off, auto (when a table would be too wide)", _expanded),
    "\\q": _END,
    "exit": _END,
    "quit": _END,
}
