"""What statements leave behind in their connection."""

from __future__ import annotations

import pytest

from pgproxy.planner.plan import Pin, ToNode
from pgproxy.planner.planner import Planner


@pytest.mark.parametrize(
    ("sql", "pin"),
    [
        ("create temp table t (a int)", Pin.TEMPORARY),
        ("create temporary table if not exists t (a int) on commit delete rows", Pin.TEMPORARY),
        ("create temp table t as select 1", Pin.TEMPORARY),
        ("create temp table t on commit preserve rows as select 1", Pin.TEMPORARY),
        ("create temp table t (a int) on commit drop", None),
        ("create temp table t on commit drop as select 1", None),
        ("create table pg_temp.t (a int)", Pin.TEMPORARY),
        ("create table pg_temp_3.t (a int)", Pin.TEMPORARY),
        ("create temp sequence s", Pin.TEMPORARY),
        ("create sequence pg_temp.s", Pin.TEMPORARY),
        ("create temp view v as select 1", Pin.TEMPORARY),
        ("create type pg_temp.pair as (a int, b int)", Pin.TEMPORARY),
        ("create domain pg_temp.small as int", Pin.TEMPORARY),
        ("create type pg_temp.colour as enum ('red')", Pin.TEMPORARY),
        ("select 1 into temp t", Pin.TEMPORARY),
        ("select 1 into pg_temp.t", Pin.TEMPORARY),
        ("select 1 into t", None),
        ("select * from pg_temp.t", None),
        ("insert into pg_temp.t values (1)", None),
        ("listen l", Pin.LISTEN),
        ("notify l", None),
        ("select pg_advisory_lock(5)", Pin.ADVISORY_LOCK),
        ("select pg_catalog.pg_advisory_lock(5, 6)", Pin.ADVISORY_LOCK),
        ("select * from t where pg_try_advisory_lock(a)", Pin.ADVISORY_LOCK),
        ("with x as (select pg_advisory_lock(1)) select 1 from x", Pin.ADVISORY_LOCK),
        ("create table t as select pg_advisory_lock(1)", Pin.ADVISORY_LOCK),
        ("explain analyze select pg_advisory_lock(1)", Pin.ADVISORY_LOCK),
        ("explain select pg_advisory_lock(1)", None),
        ("select pg_advisory_xact_lock(5)", None),
        ("select nextval('s')", None),
        ("do $$ begin create temp table t (); end $$", Pin.BLOCK),
        ("do $$ begin perform pg_advisory_lock(1); end $$", Pin.BLOCK),
        ("do $$ begin perform 1; end $$", None),
    ],
)
def test_what_pins(planner: Planner, sql: str, pin: Pin | None) -> None:
    for _ in range(2):  # planned, and from the cache
        plan = planner.plan(sql).plan
        assert isinstance(plan, ToNode)
        assert plan.pins is pin


@pytest.mark.parametrize(
    ("sql", "pin"),
    [
        ("unlisten *", Pin.LISTEN),
        ("unlisten l", None),
        ("select pg_advisory_unlock_all()", Pin.ADVISORY_LOCK),
        ("select pg_advisory_unlock_all(), pg_advisory_lock(5)", None),
        ("drop table t", None),
    ],
)
def test_what_gives_up(planner: Planner, sql: str, pin: Pin | None) -> None:
    plan = planner.plan(sql).plan
    assert isinstance(plan, ToNode)
    assert plan.unpins is pin
