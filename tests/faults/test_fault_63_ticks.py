"""Fault 63: several schedulers fire the same tick; the key that the tick gives makes one run of it."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg

from tests.support.sql import define, rows, start, value

SCHEDULERS = 6
TICKS = 5
FIRST = dt.datetime(2026, 11, 23, 6, 0, tzinfo=dt.UTC)


def test_fault_63_one_run_for_a_schedule_and_a_tick(database_url: str) -> None:
    """The recipe for pg_cron, systemd timers and the like, on as many machines as there are."""
    with psycopg.connect(database_url, autocommit=True) as session:
        define(session, "nightly", {"a": []})
    together = Barrier(SCHEDULERS)

    def scheduler(_: int) -> list[object]:
        started = []
        with psycopg.connect(database_url, autocommit=True) as session:
            for number in range(TICKS):
                tick = (FIRST + dt.timedelta(hours=number)).isoformat()
                together.wait()
                run = start(session, "nightly", {"tick": tick}, idempotency_key=f"nightly@{tick}")
                started.append(run["run_id"])
        return started

    with ThreadPoolExecutor(SCHEDULERS) as pool:
        told = list(pool.map(scheduler, range(SCHEDULERS)))
    assert all(one == told[0] for one in told), "every scheduler is told the same runs"
    assert len(set(told[0])) == TICKS
    with psycopg.connect(database_url) as session:
        assert value(session, "select count(*) from pgflow.runs") == TICKS
        ticks = rows(session, "select input ->> 'tick' as tick from pgflow.runs order by 1")
        assert [one["tick"] for one in ticks] == [
            (FIRST + dt.timedelta(hours=number)).isoformat() for number in range(TICKS)
        ]
        assert value(session, "select count(*) from pgmq.q_nightly") == TICKS
