"""Golden files: blocks of `> statement` and the text that is expected of it, with comments and blank lines between.

`pytest tests/planner --update-golden` writes what the code gives today; read the diff before you keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Block:
    comments: tuple[str, ...]
    statement: str
    expected: str


def read_blocks(name: str) -> list[Block]:
    blocks = []
    for block in (FOLDER / name).read_text().strip().split("\n\n"):
        lines = block.split("\n")
        comments = tuple(line for line in lines if line.startswith("#"))
        rest = lines[len(comments) :]
        statement = [line[2:] for line in rest if line.startswith("> ")]
        blocks.append(Block(comments, "\n".join(statement), "\n".join(rest[len(statement) :])))
    return blocks


def update(name: str, describe: Callable[[str], str]) -> None:
    """Write the file anew, every block with what `describe` says of its statement."""
    texts = []
    for block in read_blocks(name):
        statement = [f"> {line}" for line in block.statement.split("\n")]
        texts.append("\n".join([*block.comments, *statement, describe(block.statement)]))
    (FOLDER / name).write_text("\n\n".join(texts) + "\n")
