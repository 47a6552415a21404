"""docs/configuration.md names the loader's keys, with their types, limits and defaults, and its example is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgproxy.shardmap.load import parse
from pgproxy.shardmap.model import Method
from pgproxy.shardmap.options import REQUIRED, SECTIONS, Option

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
_HEADING = re.compile(r"^## \[{0,2}(.*?)\]{0,2}$")
_ROW = re.compile(r"^\| `(?P<key>\w+)` \| (?P<type>[^|]+) \| (?P<default>[^|]+) \| [^|]{10,} \|$")

# The defaults that the page puts in words.
_WORDS = {"none", "unbounded", "the first node", "all"}


def _documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Type and default of each key, by section."""
    sections: dict[str, dict[str, tuple[str, str]]] = {}
    section = ""
    for line in PAGE.splitlines():
        if heading := _HEADING.match(line):
            section = "" if heading[1] == "Keys outside any section" else heading[1]
        elif row := _ROW.match(line):
            sections.setdefault(section, {})[row["key"]] = (row["type"], row["default"])
    return sections


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_as_it_is(section: str) -> None:
    options = {option.name: option for option in SECTIONS[section] if option.kind != "section"}
    documented = _documented()[section]
    assert list(documented) == list(options)
    for name, (kind, default) in documented.items():
        assert kind == _type(options[name]), name
        assert _default_agrees(options[name], default), name


def test_no_section_is_documented_that_there_is_not() -> None:
    assert set(_documented()) == set(SECTIONS)


def test_the_example_is_valid() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    shard_map = parse(example[1], {"LIBRARIAN_PASSWORD": "secret"})
    assert {table.method for table in shard_map.tables.values()} == set(Method)


def _type(option: Option) -> str:
    if option.choices:
        names = [f"`{choice}`" for choice in option.choices]
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    kinds = {"value": "key value", "values": "list of key values", "strings": "list of strings"}
    kinds["names"] = "string or list of strings"
    kind = kinds.get(option.kind, option.kind).replace("sections", "list of sections")
    return kind if option.low is None else f"{kind}, {option.low:g} to {option.high:.12g}"


def _default_agrees(option: Option, text: str) -> bool:
    if option.default is REQUIRED:
        return text == "required"
    if option.default in (None, ()):
        return text in _WORDS
    if isinstance(option.default, bool):
        return text == f"`{str(option.default).lower()}`"
    return text == f"`{option.default:g}`" if isinstance(option.default, float) else text == f"`{option.default}`"
