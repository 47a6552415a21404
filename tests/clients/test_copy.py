"""COPY as drivers and psql do it: rows in and out, as text, CSV and binary, on the proxy and on one PostgreSQL."""

from __future__ import annotations

import asyncio
import io
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest

from pgproxy.demo.nodes import programs_folder
from tests.clients.sides import Side, Sides

FIRST = 9_000_000
COLUMNS = ("patron_id", "name", "email", "branch", "joined")
ROWS = [
    (FIRST + at, f'Tab\tand \\ and "quote", {at}', None if at % 3 else "", "west", date(2024, 5, 1 + at))
    for at in range(12)
]
TYPES = ["int8", "text", "text", "text", "date"]
INTO = f"COPY patrons ({', '.join(COLUMNS)}) FROM STDIN"
MINE = f"SELECT {', '.join(COLUMNS)} FROM patrons WHERE patron_id >= {FIRST}"
SORTED = f"{MINE} ORDER BY patron_id"


def read_back(side: Side) -> list[tuple[Any, ...]]:
    """What is there now, which goes away."""
    with psycopg.connect(side.url(), autocommit=True) as connection:
        found = connection.execute(SORTED).fetchall()
        for number in range(FIRST, FIRST + len(ROWS)):
            connection.execute("DELETE FROM patrons WHERE patron_id = %s", (number,))
        return found


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_psycopg(sides: Sides, binary: bool) -> None:
    options = " (FORMAT binary)" if binary else ""

    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), autocommit=True) as connection:
            cursor = connection.cursor()
            with cursor.copy(INTO + options) as copy:
                copy.set_types(TYPES)
                for row in ROWS:
                    copy.write_row(row)
            count = cursor.rowcount
            with cursor.copy(f"COPY ({SORTED}) TO STDOUT{options}") as copy:
                copy.set_types(TYPES)
                out = list(copy.rows())
            with cursor.copy(f"COPY ({MINE}) TO STDOUT{options}") as copy:
                copy.set_types(TYPES)
                unsorted = sorted(copy.rows())[:1]
        return count, out, unsorted, read_back(side)

    assert sides.alike(program) == (12, ROWS, ROWS[:1], ROWS)


def test_psycopg_that_raises_leaves_nothing(sides: Sides) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), autocommit=True) as connection:
            with pytest.raises(ZeroDivisionError):
                half_a_copy(connection)
            return connection.execute("SELECT 1").fetchone(), read_back(side)

    assert sides.alike(program) == ((1,), [])


def half_a_copy(connection: psycopg.Connection) -> None:
    with connection.cursor().copy(INTO) as copy:
        copy.write_row(ROWS[0])
        raise ZeroDivisionError


def test_psycopg2(sides: Sides) -> None:
    def program(side: Side) -> Any:
        connection = psycopg2.connect(side.url())
        connection.autocommit = True
        cursor = connection.cursor()
        lines = "".join(f"{FIRST + at}\tname {at}\t\\N\twest\t2024-05-01\n" for at in range(6))
        cursor.copy_from(io.StringIO(lines), "patrons", columns=COLUMNS)
        sheet = "\n".join(f'{FIRST + at},"a\nname",,west,2024-05-01' for at in range(6, 12))
        cursor.copy_expert(f"{INTO} WITH (FORMAT csv)", io.StringIO(sheet))
        out, whole = io.StringIO(), io.StringIO()
        cursor.copy_expert(f"COPY ({SORTED}) TO STDOUT WITH CSV HEADER FORCE QUOTE *", out)
        cursor.copy_to(whole, "patrons", columns=("patron_id",))
        connection.close()
        return cursor.rowcount, out.getvalue(), sorted(whole.getvalue().split())[-12:], read_back(side)

    assert len(sides.alike(program)[3]) == 12


def test_asyncpg(sides: Sides) -> None:
    async def talk(side: Side) -> Any:
        connection = await asyncpg.connect(side.url())
        try:
            tag = await connection.copy_records_to_table("patrons", records=ROWS, columns=COLUMNS)
            out, sheet = io.BytesIO(), io.BytesIO()
            tags = [
                await connection.copy_from_query(SORTED, output=out, format="csv", header=True),
                await connection.copy_from_table("patrons", columns=["patron_id"], output=sheet, format="csv"),
            ]
            await connection.execute(f"DELETE FROM patrons WHERE patron_id = {FIRST}")
            again = io.BytesIO(b"".join(out.getvalue().splitlines(keepends=True)[:2]))
            tags.append(
                await connection.copy_to_table("patrons", source=again, columns=COLUMNS, format="csv", header=True)
            )
            return tag, tags, out.getvalue(), len(sheet.getvalue().split())
        finally:
            await connection.close()

    def program(side: Side) -> Any:
        return asyncio.run(talk(side)), read_back(side)

    assert sides.alike(program)[1] == ROWS


def test_psql(sides: Sides, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    program = programs_folder(tmp_path_factory.mktemp("programs")) / "psql"
    into, out = tmp_path / "in.csv", tmp_path / "out.csv"
    into.write_text("".join(f'{FIRST + at},"a\nname",,west,2024-05-01\n' for at in range(12)))
    script = (
        f"\\copy patrons ({', '.join(COLUMNS)}) from '{into}' csv\n"
        f"\\copy ({SORTED}) to '{out}' csv header\n"
        f"{INTO};\n{FIRST}\tx\t\\N\twest\t2024-05-01\n\\.\n"
        f"\\copy patrons from '{into}' (format xml)\n"
    )

    def run(side: Side) -> Any:
        done = subprocess.run(
            [program, "-X", "-h", side.host, "-p", str(side.port), "-U", side.user, side.database],
            input=script, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        errors = [line for line in done.stderr.splitlines() if "constraint" not in line]  # which has a shard's name
        return done.stdout, errors, out.read_text(), read_back(side)

    assert "COPY 12" in sides.alike(run)[0]
