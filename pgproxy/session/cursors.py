"""The cursors of one session: which there are, how long they live, and the movement of those that the proxy keeps.

A cursor is a node's own where one node has all its rows, except WITH HOLD. The others are portals on several nodes;
what has been read of them is spooled when they scroll, the rest when they outlive their transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.source import Batch
from pgproxy.operators.spool import Spool
from pgproxy.planner.plan import FETCH_ALL, Direction
from pgproxy.session.styles import Style
from pgproxy.shardmap.model import Shard
from pgproxy.wire.rows import Column

Sink = Callable[[Batch], Awaitable[None]]
_CHUNK_ROWS = 2_000
MOST_CURSORS = 1_000  # of one client


class Rows(Protocol):
    """Rows yet to be read (`node_portals.OpenRows`, or what was spooled of them)."""

    async def take(self, wanted: int) -> Batch | None: ...

    async def settle(self) -> None: ...

    def check(self) -> None: ...

    def close(self) -> None: ...

    def forget(self) -> None: ...


@dataclass(slots=True)
class NodeCursor:
    """A cursor that a node keeps under the same name. `number` is how many portals the session had by then."""

    node: str
    number: int
    table: str | None = None  # the logical table that it is over
    shard: Shard | None = None
    locks: bool = False  # its rows
    held: bool = field(default=False, init=False)


class HeldRows:
    """What was left of a cursor when its transaction committed."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._at = 0

    async def take(self, wanted: int) -> Batch | None:
        batch = self._spool.forward(self._at, wanted)
        self._at += batch.count if batch is not None else 0
        return batch

    async def settle(self) -> None:
        pass

    def check(self) -> None:
        pass

    def close(self) -> None:
        self._spool.close()

    def forget(self) -> None:
        pass


class NoRows(HeldRows):
    """Everything is in the cursor's own spool."""

    def __init__(self) -> None:
        pass

    async def take(self, wanted: int) -> Batch | None:
        return None

    def close(self) -> None:
        pass


class ProxyCursor:
    """`fetch` is DoPortalRunFetch of PostgreSQL's pquery.c, step by step, over rows that are here.

    `scroll` as in `plan.Declare`. Where neither was said, PostgreSQL lets simple plans scroll; here that is refused,
    since it would mean to keep every row of every cursor.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        rows: Rows,
        number: int,
        memory_bytes: int,
        style: Style = (),
        *,
        scroll: bool | None = False,
        hold: bool = False,
        binary: bool = False,
        anywhere: bool = False,
    ) -> None:
        self.columns = columns
        self.number = number
        self.binary = binary
        self.style = style
        self.hold = hold
        self.held = False  # lives outside of transactions
        self.failed = False
        self._rows = rows
        self._memory_bytes = memory_bytes
        self._scroll = scroll
        self._spool = Spool(memory_bytes) if scroll else None
        self._position = 0
        self._at_start = not anywhere  # which row it is at is not known
        self._at_end = False
        self._anywhere = anywhere

    async def fetch(self, direction: Direction, count: int, sink: Sink | None) -> int:
        """Move, giving the rows that FETCH shows to `sink` (None for MOVE); how many it are."""
        try:
            return await self._fetch(direction, count, sink)
        except BaseException:
            self.failed = True
            raise
        finally:
            self._rows.check()

    async def _fetch(self, direction: Direction, count: int, sink: Sink | None) -> int:
        moved = await _STEPS[direction](self, count, sink)
        await self._rows.settle()
        return moved

    async def persist(self) -> None:
        """The transaction is about to commit: read the rest, as PersistHoldablePortal does."""
        spool = self._spool or Spool(self._memory_bytes)
        try:
            while (batch := await self._rows.take(_CHUNK_ROWS)) is not None:
                spool.append(batch)
            await self._rows.settle()
        except BaseException:
            spool.close()
            raise
        self._rows.close()
        self._rows = NoRows() if self._spool is not None else HeldRows(spool)
        self.held = True

    def close(self) -> None:
        self._rows.close()
        if self._spool is not None:
            self._spool.close()

    def forget(self) -> None:
        """The transaction has ended, and the portals with it."""
        self._rows.forget()
        self.close()

    # Directions

    async def _forward(self, count: int, sink: Sink | None) -> int:
        return await (self._run_back(-count, sink) if count < 0 else self._run_either(count, sink))

    async def _backward(self, count: int, sink: Sink | None) -> int:
        return await (self._run_either(-count, sink) if count < 0 else self._run_back(count, sink))

    async def _absolute(self, count: int, sink: Sink | None) -> int:
        if self._anywhere:
            raise Refused("FETCH ABSOLUTE from a portal of the protocol is not supported", "Declare a cursor.")
        if count > 0:
            await self._go_before(count)
            return await self._run_forward(1, sink)
        if count < 0:
            await self._run_forward(FETCH_ALL, None)
            if count < -1:
                await self._run_backward(-count - 1, None)
            return await self._run_backward(1, sink)
        self._rewind()
        return await self._run_forward(0, sink)

    async def _go_before(self, row: int) -> None:
        """Whichever is shorter: from the start, or from here."""
        if row - 1 <= self._position // 2:
            self._rewind()
            if row > 1:
                await self._run_forward(row - 1, None)
            return
        position = self._position + self._at_end
        if row <= position:
            await self._run_backward(position - row + 1, None)
        elif row > position + 1:
            await self._run_forward(row - position - 1, None)

    async def _relative(self, count: int, sink: Sink | None) -> int:
        if count > 0:
            if count > 1:
                await self._run_forward(count - 1, None)
            return await self._run_forward(1, sink)
        if count < 0:
            if count < -1:
                await self._run_backward(-count - 1, None)
            return await self._run_backward(1, sink)
        return await self._run_either(0, sink)

    async def _run_either(self, count: int, sink: Sink | None) -> int:
        """Forward; 0 is the current row again."""
        return await (self._run_forward(count, sink) if count else self._run_again(sink))

    async def _run_back(self, count: int, sink: Sink | None) -> int:
        if count == 0:
            return await self._run_again(sink)
        if count == FETCH_ALL and sink is None:
            moved = self._position - (self._position > 0 and not self._at_end)
            self._rewind()
            return moved
        return await self._run_backward(count, sink)

    async def _run_again(self, sink: Sink | None) -> int:
        on_row = not self._at_start and not self._at_end
        if sink is None or not on_row:
            return int(on_row)
        await self._run_backward(1, None)
        return await self._run_forward(1, sink)

    # PortalRunSelect, DoPortalRewind

    async def _run_forward(self, count: int, sink: Sink | None) -> int:
        if self._at_end or count <= 0:
            return 0
        done = 0
        while done < count:
            batch = await self._next(self._position + done, min(count - done, _CHUNK_ROWS))
            if batch is None:
                break
            done += batch.count
            if sink is not None:
                await sink(batch)
        self._at_start = self._at_start and not done
        self._at_end = done < count
        self._position += done
        return done

    async def _next(self, row: int, most: int) -> Batch | None:
        batch = self._spool.forward(row, most) if self._spool is not None else None
        if batch is None:
            batch = await self._rows.take(most)
            if batch is not None and self._spool is not None:
                self._spool.append(batch)
        return batch

    async def _run_backward(self, count: int, sink: Sink | None) -> int:
        spool = self._scrolled()
        if self._at_start or count <= 0:
            return 0
        first = self._position + self._at_end - 2  # the row before the current one, from 0
        done = 0
        while done < count:
            batch = spool.backward(first - done, min(count - done, _CHUNK_ROWS))
            if batch is None:
                break
            done += batch.count
            if sink is not None:
                await sink(batch)
        self._position += self._at_end and done > 0
        self._at_end = self._at_end and not done
        self._at_start = done < count
        self._position = 0 if self._at_start else self._position - done
        return done

    def _rewind(self) -> None:
        if self._at_start and not self._at_end:
            return
        self._scrolled()
        self._at_start, self._at_end, self._position = True, False, 0

    def _scrolled(self) -> Spool:
        if self._spool is not None:
            return self._spool
        if self._scroll is False:
            raise ProxyError(
                "55000",
                "cursor can only scan forward",
                hint="Declare it with SCROLL option to enable backward scan.",
            )
        raise Refused(
            "moving backward in a cursor over several shards is only supported where it was declared SCROLL",
            "Declare it with SCROLL.",
        )


_STEPS: Mapping[Direction, Callable[[ProxyCursor, int, Sink | None], Awaitable[int]]] = {
    Direction.FORWARD: ProxyCursor._forward,
    Direction.BACKWARD: ProxyCursor._backward,
    Direction.ABSOLUTE: ProxyCursor._absolute,
    Direction.RELATIVE: ProxyCursor._relative,
}

Cursor = NodeCursor | ProxyCursor


class Cursors:
    """By name. Those of a transaction end with it, or with the savepoint that came before them."""

    def __init__(self) -> None:
        self._cursors: dict[str, Cursor] = {}
        self.taken_elsewhere: Callable[[str], bool] = lambda name: False  # by a portal of the protocol

    def __contains__(self, name: str) -> bool:
        return name in self._cursors

    def get(self, name: str) -> Cursor | None:
        return self._cursors.get(name)

    def add(self, name: str, cursor: Cursor) -> None:
        self._cursors[name] = cursor

    def check_free(self, name: str) -> None:
        if name in self._cursors or self.taken_elsewhere(name):
            raise ProxyError("42P03", f'cursor "{name}" already exists')

    def check_room(self) -> None:
        """Raise 53400. Each cursor may have memory and a file of its own."""
        if len(self._cursors) >= MOST_CURSORS:
            raise ProxyError("53400", "too many cursors", hint="CLOSE those that are not needed any more.")

    def nodes(self) -> list[str]:
        """Where nodes keep some."""
        return sorted({cursor.node for cursor in self._cursors.values() if isinstance(cursor, NodeCursor)})

    def remove(self, name: str) -> None:
        cursor = self._cursors.pop(name)
        if isinstance(cursor, ProxyCursor):
            cursor.close()

    def clear(self) -> None:
        for name in list(self._cursors):
            self.remove(name)

    async def persist(self) -> None:
        """Before COMMIT. Those that have failed end with the transaction all the same."""
        for cursor in self._cursors.values():
            if isinstance(cursor, ProxyCursor) and cursor.hold and not cursor.held and not cursor.failed:
                await cursor.persist()

    def end_transaction(self) -> None:
        self._forget(lambda cursor: not cursor.held)

    def roll_back_to(self, last: int) -> None:
        self._forget(lambda cursor: not cursor.held and cursor.number > last)

    def _forget(self, ended: Callable[[Cursor], bool]) -> None:
        for name, cursor in list(self._cursors.items()):
            if ended(cursor):
                del self._cursors[name]
                if isinstance(cursor, ProxyCursor):
                    cursor.forget()
