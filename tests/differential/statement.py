"""A SELECT in pieces: its text, the question that tells which answers are right, and its simpler forms.

A SELECT leaves freedom: rows in any order where ORDER BY does not say, any rows under a bare LIMIT. The
pieces let the harness ask one PostgreSQL for *all* rows with their rank, so that every legal answer passes
and no other does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the select list."""

    sql: str
    alias: str | None = None

    def text(self) -> str:
        return f"{self.sql} AS {self.alias}" if self.alias else self.sql


@dataclass(frozen=True, slots=True)
class SortKey:
    """One entry of ORDER BY: `shown` is what the statement says (a position, an alias, an expression), `sql`
    the expression it stands for, `direction` such as `DESC NULLS LAST`."""

    sql: str
    shown: str
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Select:
    """Every part is SQL text; the conditions of `where` and `having` are joined by AND.

    `representatives` is True where several values are equal but not the same bytes (1.0 and 1.00) and the
    statement may show any of them: DISTINCT, GROUP BY, min, max.
    """

    shape: str
    items: tuple[Item, ...]
    relation: str
    where: tuple[str, ...] = ()
    distinct: bool = False
    group: tuple[str, ...] = ()
    having: tuple[str, ...] = ()
    order: tuple[SortKey, ...] = ()
    limit: str | None = None
    offset: str | None = None
    aggregates: bool = False

    @property
    def representatives(self) -> bool:
        return self.distinct or self.aggregates or bool(self.group)

    def text(self) -> str:
        order = ", ".join(f"{key.shown} {key.direction}".strip() for key in self.order)
        return self._compose(
            self.items,
            f" ORDER BY {order}" if order else "",
            f" LIMIT {self.limit}" if self.limit is not None else "",
            f" OFFSET {self.offset}" if self.offset is not None else "",
        )

    def ranked(self) -> str:
        """All rows, each with its rank under ORDER BY as a last column; rows of one rank may come in any order."""
        order = ", ".join(f"{key.sql} {key.direction}".strip() for key in self.order)
        rank = Item(f"dense_rank() OVER (ORDER BY {order})" if order else "1::int8")
        return self._compose((*self.items, rank))

    def _compose(self, items: tuple[Item, ...], *tail: str) -> str:
        clauses = [
            "SELECT DISTINCT " if self.distinct else "SELECT ",
            ", ".join(item.text() for item in items),
            f" FROM {self.relation}",
            " WHERE " + " AND ".join(f"({part})" for part in self.where) if self.where else "",
            " GROUP BY " + ", ".join(self.group) if self.group else "",
            " HAVING " + " AND ".join(f"({part})" for part in self.having) if self.having else "",
        ]
        return "".join((*clauses, *tail))

    def simpler(self) -> Iterator[Select]:
        """Every form with one piece less, for finding the smallest statement that still fails."""
        yield from (replace(self, where=_without(self.where, i)) for i in range(len(self.where)))
        yield from (replace(self, having=_without(self.having, i)) for i in range(len(self.having)))
        if self.offset is not None:
            yield replace(self, offset=None)
        if self.limit is not None:
            yield replace(self, limit=None)
        yield from (replace(self, order=_without(self.order, i)) for i in range(len(self.order)))
        if self.distinct:
            yield replace(self, distinct=False)
        if len(self.items) > 1:
            yield from (replace(self, items=_without(self.items, i)) for i in range(len(self.items)))
        yield from (replace(self, group=_without(self.group, i)) for i in range(len(self.group)))


@dataclass(frozen=True, slots=True)
class Other:
    """A statement that is no SELECT, or that fails: its answer is compared as a multiset of rows."""

    shape: str
    sql: str

    def text(self) -> str:
        return self.sql


Statement = Select | Other


def _without(pieces: tuple[Piece, ...], index: int) -> tuple[Piece, ...]:
    return pieces[:index] + pieces[index + 1 :]
