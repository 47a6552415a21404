"""`${NAME}` and `${NAME:-default}` in the strings of a shard map; `$$` is a dollar."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{)")

Report = Callable[[str, str], None]  # key path, message


class Unset:
    """Stands for a string that could not be expanded, so that it is not reported a second time."""


UNSET: Final = Unset()


class Expanded(str):
    """A string that came from the environment, so that it may stand for a number or a boolean."""

    __slots__ = ()


def expand(value: Any, environ: Mapping[str, str], report: Report, path: str = "") -> Any:
    """A TOML value with every string in it expanded. What cannot be is reported and becomes UNSET."""
    if isinstance(value, dict):
        return {
            key: expand(inner, environ, report, f"{path}.{key}" if path else str(key)) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [expand(inner, environ, report, f"{path}[{index}]") for index, inner in enumerate(value)]
    return _expand_text(value, environ, report, path) if isinstance(value, str) else value


def _expand_text(text: str, environ: Mapping[str, str], report: Report, path: str) -> str | Unset:
    problems: list[str] = []
    referred = False

    def replacement(found: re.Match[str]) -> str:
        nonlocal referred
        if found["broken"]:
            problems.append("a reference to the environment is ${NAME} or ${NAME:-default}; write $$ for a dollar")
            return ""
        if found["name"] is None:
            return "$"
        referred = True
        value = environ.get(found["name"])
        if value is None and found["default"] is None:
            problems.append(f"the environment has no {found['name']}, and no default (${{NAME:-default}}) is given")
        return value or found["default"] or ""  # as in a shell, :- stands in for an empty value too

    expanded = _REFERENCE.sub(replacement, text)
    for problem in problems:
        report(path, problem)
    if problems:
        return UNSET
    return Expanded(expanded) if referred else expanded
