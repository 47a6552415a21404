"""The hot path of planning: a statement's template, and its constants taken out of the text in one call.

A template is what libpg_query's normalizer makes of a text: `$1`, `$2`, … where its constants stood. Which plan
belongs to a template is `cache`; where constants stand in a text never seen is `text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pgproxy.planner.text import Span, literal_spans

Pieces = tuple[str, ...]
"""What stands before, between and behind the constants of a text: one more than there are constants."""

Extract = Callable[[str], "re.Match[str] | None"]
"""A match whose groups are the constants, or None: then ask `exact_literals`."""

# A constant in its usual forms, whole: possessive, and never followed by what would make the token longer.
# All others (E'', U&'', $$, 0x1f, a minus apart from its number, a string continued on the next line) do not
# match and are left to `exact_literals`.
_LITERAL = (
    r"('[^']*+(?:''[^']*+)*+'"
    r"|-?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][-+]?+[0-9]++)?+(?![\w.$])"
    r"|(?i:null|true|false|all)(?![\w$]))"
)
# Compiling costs a quarter of a millisecond per constant: long lists of values are read by the scanner.
_MOST_LITERALS = 64


def pieces_between(sql: str, literals: Sequence[Span]) -> Pieces:
    """The text without its constants."""
    starts = [0, *(end for _, end in literals)]
    ends = [*(start for start, _ in literals), len(sql)]
    return tuple(sql[start:end] for start, end in zip(starts, ends, strict=True))


def compile_extract(pieces: Pieces) -> Extract:
    """An extraction for texts that have these pieces *and* the template they came from.

    Both are needed: the pieces alone would also fit a text whose tokens run differently (`a -` with `-5` is a
    comment), the template alone one that has a parameter where this one has a constant.
    """
    if len(pieces) - 1 > _MOST_LITERALS:
        return never
    return re.compile(_LITERAL.join(map(re.escape, pieces))).fullmatch


def compile_sure(pieces: Pieces, literals: Sequence[str]) -> Extract:
    """An extraction that proves the template as well: a text that it matches need not be normalised.

    `literals` are the constants of one text that has the template. A text with the same pieces, and in each
    constant's place one of the same kind, is cut into the same tokens: up to the first constant because the
    characters are the same; behind each constant again, because it is one whole token in any text. For that,
    only integers and plain strings count, what stands around them must not reach into the token (`E'…'`, `1e5`,
    `a--5`), and two strings must not become one (`'a'` newline `'b'`). Anything else gives `never`.
    """
    if not literals:  # one text alone, whatever its tokens are
        return re.compile(re.escape(pieces[0])).fullmatch
    kinds = _sure_kinds(pieces, literals)
    if kinds is None:
        return never
    parts = [re.escape(pieces[0])]
    for kind, behind in zip(kinds, pieces[1:], strict=True):
        parts += ["(", kind.shape.pattern, ")", re.escape(behind)]
    return re.compile("".join(parts)).fullmatch


def compile_sure_bytes(pieces: Pieces, literals: Sequence[str]) -> re.Pattern[bytes] | None:
    """The same for texts in UTF-8, of which it matches those whose constants are ASCII; None for `never`."""
    kinds = _sure_kinds(pieces, literals)
    if kinds is None:
        return None
    parts = [re.escape(pieces[0].encode())]
    for kind, behind in zip(kinds, pieces[1:], strict=True):
        parts += [b"(", kind.ascii_shape, b")", re.escape(behind.encode())]
    return re.compile(b"".join(parts))


def is_short_integer(literal: str) -> bool:
    """What texts of a sure template have in place of this constant is an integer of at most nine digits."""
    return _SURE[0].shape.fullmatch(literal) is not None


def _sure_kinds(pieces: Pieces, literals: Sequence[str]) -> list[_Kind] | None:
    """What may stand for each constant; None where nothing can be proven."""
    if len(literals) > _MOST_LITERALS or any(map(_UNSURE.search, pieces)):
        return None
    kinds = []
    for before, literal, behind in zip(pieces, literals, pieces[1:], strict=False):
        kind = next((kind for kind in _SURE if kind.shape.fullmatch(literal)), None)
        if kind is None or not kind.after.search(before) or _REACHES_BACK.match(behind) or behind.isspace():
            return None
        kinds.append(kind)
    return kinds


class _Kind(NamedTuple):
    """Constants that may stand for each other: their shape, and what the text before them must end with."""

    shape: re.Pattern[str]
    after: re.Pattern[str]

    @property
    def ascii_shape(self) -> bytes:
        """The pattern of those that are ASCII."""
        return self.shape.pattern.replace(r"\ud800-\udfff", r"\x80-\xff").encode()


# Numbers that fit an integer and those that do not are of different kinds: behind ORDER BY the first are positions,
# which the normalizer leaves in the template. (A surrogate would be no UTF-8: the normalizer refuses it.)
_SURE = (
    _Kind(re.compile(r"[0-9]{1,9}+"), re.compile(r"[\s(,=<>]\Z", re.ASCII)),
    _Kind(re.compile(r"[1-9][0-9]{10,17}+"), re.compile(r"[\s(,=<>]\Z", re.ASCII)),
    _Kind(re.compile(r"-[0-9]{1,9}+"), re.compile(r"[\s(,]\Z", re.ASCII)),
    _Kind(re.compile(r"-[1-9][0-9]{10,17}+"), re.compile(r"[\s(,]\Z", re.ASCII)),
    _Kind(re.compile(r"'[^'\\\0\ud800-\udfff]*+'"), re.compile(r"[\s(,=<>]\Z", re.ASCII)),
)
# Comments, and every dollar that is not a parameter's: `$1`, which is one whole token and no constant.
_UNSURE = re.compile(r"--|/\*|(?<=[\w$\"'])\$|\$(?![0-9]+(?![\w$\"'.]))")
_REACHES_BACK = re.compile(r"[\w.$'\"]")


def never(_sql: str) -> re.Match[str] | None:
    """The extraction that leaves every text to `exact_literals`."""
    return None


def exact_literals(sql: str, template: str, pieces: Pieces) -> tuple[str, ...] | None:
    """The constants of a text by libpg_query's scanner; None when they do not stand between these pieces."""
    spans = literal_spans(sql, template)
    if spans is None or pieces_between(sql, spans) != pieces:
        return None
    return tuple(sql[start:end] for start, end in spans)
