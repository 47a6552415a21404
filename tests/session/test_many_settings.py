"""Hundreds of clients over a few connections: each sets its own combination in every way there is, and sees its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.nodes import SUPERUSER
from pgproxy.shardmap.model import PoolSettings
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy

CLIENTS = 300
TURNS = 1
BRANCHES = ("downtown", "west", "north")
ZONES = ("Etc/GMT-1", "Etc/GMT+2", "Asia/Tokyo", "Europe/Berlin", "America/New_York")
ROLES = ("none", "pg_read_all_data", SUPERUSER)
LOOK = """SELECT current_setting('timezone'), current_setting('work_mem'), current_setting('search_path'),
                 current_setting('role'), current_setting('application_name'), current_setting('my.own', true)"""


@dataclass(frozen=True)
class Own:
    """One client's settings, as LOOK shows them."""

    zone: str = "UTC"
    memory: str = "4MB"
    path: str = '"$user", public'
    role: str = "none"
    name: str = ""
    custom: str | None = None

    @property
    def row(self) -> tuple[str | None, ...]:
        return (self.zone, self.memory, self.path, self.role, self.name, self.custom)


class Life:
    """A client that changes its settings and looks, in an order of its own that is always the same."""

    def __init__(self, number: int, conninfo: str) -> None:
        self.chance = random.Random(number)
        self.own = Own(zone=ZONES[number % len(ZONES)], name=f"client {number}")
        self.start = self.own
        self.number = number
        self.conninfo = conninfo
        self.surprises: list[str] = []

    async def live(self) -> list[str]:
        async with await psycopg.AsyncConnection.connect(
            self.conninfo,
            autocommit=True,
            options=f"-c timezone={self.start.zone}",
            application_name=self.start.name,
            prepare_threshold=self.chance.choice((None, 0, 2)),
            cursor_factory=self.chance.choice((psycopg.AsyncCursor, psycopg.AsyncClientCursor)),
        ) as self.connection:
            for _ in range(TURNS):
                await self.look(self.start)
                await self.set_all()
                await self.in_a_transaction()
                await self.in_one_query()
                await self.fail()
                await self.run([self.chance.choice(("RESET ALL; RESET ROLE", "DISCARD ALL"))])
            await self.look(self.start)
        return self.surprises

    async def run(self, statements: Sequence[str]) -> None:
        for statement in statements:
            await psycopg.AsyncClientCursor(self.connection).execute(statement.encode())

    async def look(self, expected: Own) -> None:
        for branch in self.chance.sample(BRANCHES, 2):
            await self.look_at(expected, f"{LOOK} FROM books WHERE branch = '{branch}' LIMIT 1")
        await self.look_at(expected, LOOK)

    async def look_at(self, expected: Own, sql: str) -> None:
        row = await (await self.connection.execute(sql.encode())).fetchone()
        assert row is not None
        # A connection knows a name that it has seen for ever, with an empty value.
        if (*row[:-1], row[-1] or None) != expected.row:
            self.surprises.append(f"client {self.number}: {row} instead of {expected.row}")

    async def set_all(self) -> None:
        chance = self.chance
        self.own = Own(
            chance.choice(ZONES),
            f"{self.number + 64}kB",
            f"public, s{self.number}",
            chance.choice(ROLES),
            f"named {self.number}",
            f"own {self.number}",
        )
        own = self.own
        statements = [
            f"SET TIME ZONE '{own.zone}'",
            f"SET work_mem = '{own.memory}'",
            f"SET search_path TO public, s{self.number}",
            f"SET ROLE {own.role}",
            f"SELECT set_config('application_name', '{own.name}', false)",
            f"SET SESSION my.own = '{own.custom}'",
        ]
        chance.shuffle(statements)
        await self.run(statements)
        await self.look(own)

    async def in_a_transaction(self) -> None:
        await self.run(["BEGIN", "SET LOCAL work_mem = '9MB'", "SET my.own = 'gone'"])
        branch = self.chance.choice(BRANCHES)  # with more, transactions could wait for each other in a circle
        inside = Own(self.own.zone, "9MB", self.own.path, self.own.role, self.own.name, "gone")
        await self.look_at(inside, f"{LOOK} FROM books WHERE branch = '{branch}' LIMIT 1")
        await self.run(["ROLLBACK"])
        await self.look(self.own)

    async def in_one_query(self) -> None:
        """SET LOCAL ends with the implicit transaction."""
        await self.run([f"SET LOCAL my.own = 'local'; SET LOCAL role = none; {LOOK}"])
        await self.look(self.own)

    async def fail(self) -> None:
        try:
            await self.run(["SET work_mem = '8MB'; SET my.own = 'failed'; SELECT 1/0"])
        except psycopg.errors.DivisionByZero:
            await self.look(self.own)
        else:
            self.surprises.append("no error")


def test_hundreds_of_clients_never_see_each_other_s_settings(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    async def live(conninfo: str) -> list[list[str]]:
        return await asyncio.gather(*(Life(number, conninfo).live() for number in range(CLIENTS)))

    pool = PoolSettings(size=4, queue_timeout_s=120)
    with running_proxy(library_cluster, tmp_path, pool=pool) as proxy:
        found = asyncio.run(live(proxy.conninfo))
    assert [surprise for surprises in found for surprise in surprises] == []


def test_the_nodes_show_the_application_s_name(shared_proxy: RunningProxy) -> None:
    name = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    on_a_shard = "SELECT (SELECT current_setting('application_name')) FROM books WHERE branch = '{}' LIMIT 1"
    with shared_proxy.connect(application_name="first") as connection:
        assert connection.execute(name).fetchone() == ("first",)
        connection.execute("SET application_name = 'second'")
        assert connection.execute(name).fetchone() == ("second",)
        for branch in BRANCHES:
            assert connection.execute(on_a_shard.format(branch).encode()).fetchone() == ("second",)
        with shared_proxy.connect(dbname="pgproxy") as admin:
            assert "second" in [row[3] for row in admin.execute("SHOW CLIENTS")]
        connection.execute("RESET application_name")
        assert connection.execute(name).fetchone() == ("first",)


@pytest.mark.parametrize("discard", ["DISCARD PLANS", "DISCARD TEMP", "DISCARD SEQUENCES", "DISCARD TEMPORARY"])
def test_parts_of_a_session_are_discarded_alone(discard: str, shared_proxy: RunningProxy) -> None:
    with shared_proxy.connect() as connection:
        connection.execute("SET work_mem = '3MB'")
        connection.execute("PREPARE q AS SELECT 1")
        assert connection.execute(discard.encode()).statusmessage == discard.replace("TEMPORARY", "TEMP")
        assert connection.execute("SHOW work_mem").fetchone() == ("3MB",)
        assert connection.execute("EXECUTE q").fetchone() == (1,)
