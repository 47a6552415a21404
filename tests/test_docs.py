"""The pages for people: their links lead somewhere, and the files, commands, options, targets that they name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pgproxy.cli import main
from pgproxy.reload import NEEDS_RESTART

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)")
_COMMAND = re.compile(r"(?:^|[\s`(/])pgproxy ((?:[a-z-]+ ?)(?:[^`\n|&;#()]*))", re.MULTILINE)
_TARGET = re.compile(r"(?:^|`)make ([a-z-]+)\b", re.MULTILINE)
_MODULE = re.compile(r"python -m (loadtest\.\w+|tests\.hostile\.\w+)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for match in _COMMAND.finditer(text_of(page)):
            if match[1].split()[0] in main.commands:
                yield page.name, match[1].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", text_of(page))):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _LINK.findall(text_of(ROOT / "README.md"))}
    assert {page.resolve() for page in PAGES} - linked == {(ROOT / "README.md").resolve()}


def test_files_of_the_readme_are_there() -> None:
    table = text_of(ROOT / "README.md").partition("## Where is")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:pgproxy|tests|loadtest|sql)/[\w/.]*)`", table)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_options_of_commands_exist(page: str, command: str) -> None:
    words = command.split()
    found: click.Command = main
    while words and isinstance(found, click.Group) and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    known = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    options = {word.partition("=")[0].strip("[],") for word in words if re.match(r"\[?-{1,2}[a-z]", word)}
    assert options <= known


def test_commands_are_named_at_all() -> None:
    assert {command.split()[0] for _, command in commands()} >= set(main.commands) - {"version"}


def test_make_targets_exist() -> None:
    makefile = text_of(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets == set(phony.split())
    told = set(re.findall(r"^#\s+make ([a-z-]+)", makefile, re.MULTILINE))
    assert targets - told == {"clean"}
    named = {target for page in PAGES for target in _TARGET.findall(text_of(page))}
    assert named
    assert named <= targets


def test_modules_that_are_run_exist() -> None:
    named = {module for page in PAGES for module in _MODULE.findall(text_of(page))}
    assert len(named) > 4
    assert [module for module in named if not (ROOT / f"{module.replace('.', '/')}.py").exists()] == []


@pytest.mark.parametrize("page", ["operations.md", "configuration.md"])
def test_what_a_reload_leaves_alone_is_told(page: str) -> None:
    text = text_of(ROOT / "docs" / page)
    (told,) = [part for part in text.split("\n\n") if "need a restart:" in part or "need a restart." in part]
    assert [key for key in NEEDS_RESTART if f"`{key}`" not in told] == []
