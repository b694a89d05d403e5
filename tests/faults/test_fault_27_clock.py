"""Fault 27: the server's clock jumps an hour. It costs time or an attempt, never a task or a second result.

A server's clock cannot be set in a test, so what is stored moves the other way, which is the same to every function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    call,
    claim,
    complete_batch,
    define,
    messages,
    report,
    rows,
    run,
    start,
    task,
)

if TYPE_CHECKING:
    import uuid

ITEMS = 12
HELD = 5


def jump(connection: Connection, hours: int) -> None:
    """Have the clock jump forward, or back."""
    for statement in (
        "update pgmq.q_f set vt = vt - make_interval(hours => %s)",
        "update pgflow.runs set started_at = started_at - make_interval(hours => %s)",
        "update pgflow.step_states set started_at = started_at - make_interval(hours => %s)",
        """update pgflow.step_tasks set queued_at = queued_at - make_interval(hours => %(h)s),
          started_at = started_at - make_interval(hours => %(h)s)""",
        "update pgflow.workers set last_heartbeat_at = last_heartbeat_at - make_interval(hours => %s)",
    ):
        connection.execute(statement, {"h": hours} if "%(h)s" in statement else [hours])


@pytest.fixture
def run_id(connection: Connection) -> uuid.UUID:
    define(connection, "f", {"m": {"step_type": "map"}}, max_attempts=3)
    started: uuid.UUID = start(connection, "f", list(range(ITEMS)))["run_id"]
    return started


def work_off(connection: Connection) -> None:
    while tasks := claim(connection, "f", ITEMS):
        outputs = [one["input"] for one in tasks]
        assert set(complete_batch(connection, tasks, outputs)) == {"accepted"}


def test_fault_27_an_hour_forward_every_result_is_accepted_once(
    connection: Connection, run_id: uuid.UUID
) -> None:
    held = claim(connection, "f", HELD)
    jump(connection, 1)
    # Who looks before the worker has renewed its leases takes its tasks over: an attempt each, and no more.
    work_off(connection)
    assert set(complete_batch(connection, held, ["late"] * HELD)) <= {"stale", "finished"}
    assert run(connection, run_id)["output"] == {"m": list(range(ITEMS))}
    query = (
        "select outcome, count(*) as times from pgflow.attempts where outcome = 'lost' group by 1"
    )
    assert [one["times"] for one in rows(connection, query)] == [HELD]
    assert messages(connection, "f") == []


def test_fault_27_an_hour_forward_a_worker_that_renews_first_keeps_its_tasks(
    connection: Connection, run_id: uuid.UUID
) -> None:
    held = claim(connection, "f", HELD)
    jump(connection, 1)
    extended = report(connection, "extend_leases", held, lease=30)
    assert {one["outcome"] for one in extended} == {"accepted"}
    work_off(connection)
    assert set(complete_batch(connection, held, [one["input"] for one in held])) == {"accepted"}
    assert run(connection, run_id)["output"] == {"m": list(range(ITEMS))}
    assert rows(connection, "select 1 from pgflow.attempts") == []


def test_fault_27_an_hour_back_what_is_held_goes_on_and_the_rest_waits(
    connection: Connection, run_id: uuid.UUID
) -> None:
    held = claim(connection, "f", HELD)
    jump(connection, -1)
    assert claim(connection, "f", ITEMS) == []
    extended = report(connection, "extend_leases", held, lease=30)
    assert {one["outcome"] for one in extended} == {"accepted"}
    assert max(one["delay"] for one in messages(connection, "f") if one["delay"] < 60) > 20
    assert set(complete_batch(connection, held, [one["input"] for one in held])) == {"accepted"}
    (due,) = call(connection, "next_due", queue_names=["f"], handlers=["f.m"])
    assert 3000 < next(iter(due.values())) <= 3600, "workers know when to come back"
    jump(connection, 1)  # the hour has passed
    work_off(connection)
    assert run(connection, run_id)["output"] == {"m": list(range(ITEMS))}
    assert {task(connection, run_id, "m", index)["attempts_count"] for index in range(ITEMS)} == {1}


def test_fault_27_an_hour_back_new_work_is_not_held_up(
    connection: Connection, run_id: uuid.UUID
) -> None:
    jump(connection, -1)
    later = start(connection, "f", [1, 2])["run_id"]
    work_off(connection)
    assert run(connection, later)["status"] == "completed"
    assert run(connection, run_id)["status"] == "started"
