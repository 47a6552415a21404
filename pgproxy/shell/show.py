"""How answers look: tables, records when a table is too wide, errors with a mark under their place."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pgproxy.shell.connection import Answer, Done, Failure, Rows

_NUMBERS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})
_NULL = Text("NULL", style="dim italic")
_WIDEST_CELL = 60  # a longer value is broken over lines in a table
# What would move the cursor or speak to the terminal is shown as psql shows it. Line ends stay.
_CONTROLS = {code: f"\\x{code:02X}" for code in (*range(9), 11, 12, *range(14, 32), 127)}
_CONTROLS |= {13: "\\r"} | {code: f"\\u{code:04X}" for code in range(128, 160)}
_STYLES = {"ERROR": "bold red", "FATAL": "bold red", "PANIC": "bold red", "WARNING": "yellow"}


def _text(text: str, style: str = "") -> Text:
    """What somebody else has said: neither markup nor control characters."""
    return Text(_plain(text), style=style)


def _plain(text: str) -> str:
    return text.translate(_CONTROLS).expandtabs()  # else a table's columns are too narrow for tabs


def show(console: Console, answer: Answer, sql: str, expanded: bool | None) -> None:
    """Print one answer. `expanded`: as records; None: when the table is wider than the screen."""
    if isinstance(answer, Failure):
        show_failure(console, answer, sql)
    elif isinstance(answer, Done):
        console.print(_text(answer.tag))
    else:
        _show_rows(console, answer, expanded)


def show_failure(console: Console, failure: Failure, sql: str = "") -> None:
    line = Text(f"{failure.severity}:  ", style=_STYLES.get(failure.severity, "bold red"))
    console.print(line.append(_text(f"{failure.sqlstate}: {failure.message}", "not bold default")))
    if failure.position is not None and 0 < failure.position <= len(sql) + 1:
        _show_place(console, sql, failure.position - 1)
    for label, text in (("DETAIL", failure.detail), ("HINT", failure.hint)):
        if text is not None:
            console.print(_text(f"{label}:  {text}"))


def show_notice(console: Console, severity: str, text: str) -> None:
    console.print(Text(f"{severity}:  ", style=_STYLES.get(severity, "cyan")).append(_text(text, "default")))


def _show_place(console: Console, sql: str, at: int) -> None:
    """The line of the statement that the position is in, and a mark below it."""
    start = sql.rfind("\n", 0, at) + 1
    end = sql.find("\n", at)
    line = sql[start : end if end >= 0 else len(sql)]
    prefix = f"LINE {sql.count(chr(10), 0, at) + 1}: "
    mark = " " * _text(prefix + line[: at - start]).cell_len + "^"
    console.print(_text(prefix + line), overflow="ignore", no_wrap=True, crop=False)
    console.print(Text(mark), overflow="ignore", no_wrap=True, crop=False)


def _show_rows(console: Console, answer: Rows, expanded: bool | None) -> None:
    if expanded is None:
        expanded = bool(answer.rows) and _width(answer) > console.width
    (_show_records if expanded else _show_table)(console, answer)
    if not answer.more:
        count = len(answer.rows)
        console.print(Text(_footer(answer, count), style="dim"))


def _footer(answer: Rows, count: int) -> str:
    if answer.cut:
        return f"(only the first {count} rows are shown; \\limit says how many)"
    return "(1 row)" if count == 1 else f"({answer.tag.removeprefix('SELECT ') if count == 0 else count} rows)"


def _show_table(console: Console, answer: Rows) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name, kind in zip(answer.names, answer.types, strict=True):
        table.add_column(
            _text(name), justify="right" if kind in _NUMBERS else "left", overflow="fold", max_width=_WIDEST_CELL
        )
    for row in answer.rows:
        table.add_row(*(_NULL if value is None else _text(value) for value in row))
    console.print(table)


def _show_records(console: Console, answer: Rows) -> None:
    names = [_text(name, "bold") for name in answer.names]
    widest = max((name.cell_len for name in names), default=0)
    for number, row in enumerate(answer.rows, 1):
        console.print(Text(f"─[ record {number} ]".ljust(min(widest + 20, console.width), "─"), style="dim"))
        for name, value in zip(names, row, strict=True):
            padding = " " * (widest - name.cell_len)
            console.print(name + padding + " │ " + (_NULL if value is None else _text(value)), soft_wrap=True)


def _width(answer: Rows) -> int:
    """What the table needs, in cells of the screen."""
    columns = zip(answer.names, *answer.rows, strict=True)
    return sum(min(_WIDEST_CELL, max(map(_length, column))) + 3 for column in columns)


def _length(value: str | None) -> int:
    return 4 if value is None else cell_len(_plain(value))
