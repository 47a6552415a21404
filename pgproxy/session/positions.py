"""Where an error's position, given by a node for the text it got, lies in what the client wrote."""

from __future__ import annotations

from pgproxy.backend.exchange import ServerError
from pgproxy.operators.arguments import Arguments, LiteralRef
from pgproxy.planner.plan import SqlTemplate, part_text
from pgproxy.shardmap.model import Shard


def with_client_position(
    error: ServerError, template: SqlTemplate, shard: Shard | None, arguments: Arguments
) -> ServerError:
    """The error, its position as the client counts."""
    if error.position is not None:
        error.position = client_position(error.position, template, shard, arguments)
    return error


def client_position(
    position: int,
    template: SqlTemplate,
    shard: Shard | None,
    arguments: Arguments,
    *,
    whole: SqlTemplate | None = None,
) -> int | None:
    """The 1-based character in the client's statement for one in the shard's, None if it lies in text that the
    planner composed. `whole` has all of the statement's literals, where the template has not.

    A template's source offsets are those of the statement that it was planned from; the literals of this one
    may be longer or shorter, so what stands behind them moves.
    """
    if len(template.sources) != len(template.parts):
        return None
    at = 0
    for part, source in zip(template.parts, template.sources, strict=True):
        text = part_text(part, shard, arguments)
        if position - 1 < at + len(text):
            if source is None:
                return None
            begin, end = source
            inside = position - 1 - at if len(text) == end - begin or isinstance(part, LiteralRef) else 0
            return begin + _moved_by(begin, whole or template, arguments) + inside + 1
        at += len(text)
    return None


def _moved_by(offset: int, template: SqlTemplate, arguments: Arguments) -> int:
    """How far this execution's literals before `offset` shift what follows them."""
    spans = {
        part.index: source
        for part, source in zip(template.parts, template.sources, strict=True)
        if isinstance(part, LiteralRef) and source is not None
    }
    return sum(len(arguments.literals[index]) - (end - begin) for index, (begin, end) in spans.items() if end <= offset)
