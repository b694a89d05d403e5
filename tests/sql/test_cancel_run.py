"""pgflow.cancel_run: a run ends because somebody says so."""

from __future__ import annotations

import uuid

import pytest

from tests.support.sql import (
    Connection,
    Row,
    begin,
    call,
    claim,
    complete,
    define,
    events,
    fail,
    messages,
    record_events,
    row,
    run,
    start,
    statuses,
    task,
    tasks,
    work,
)
from tests.support.tasks import one_step, snapshot, started_map, succeed


def cancel(connection: Connection, run_id: uuid.UUID, reason: str | None = None) -> Row:
    (found,) = call(connection, "cancel_run", run_id=run_id, reason=reason)
    return found


def test_the_run_is_cancelled_with_time_and_reason(connection: Connection) -> None:
    run_id = one_step(connection)
    cancel(connection, run_id, "no longer wanted")
    found = run(connection, run_id)
    assert (found["status"], found["cancel_reason"], found["output"]) == (
        "cancelled",
        "no longer wanted",
        None,
    )
    assert found["cancelled_at"] >= found["started_at"]
    assert (found["completed_at"], found["failed_at"]) == (None, None)


def test_returns_the_run_as_it_is_afterwards(connection: Connection) -> None:
    run_id = one_step(connection)
    assert cancel(connection, run_id) == run(connection, run_id)


def test_no_live_message_is_left_of_the_run(connection: Connection) -> None:
    steps = {"a": [], "b": {"start_delay": 100}, "c": []}
    define(connection, "f", steps)
    run_id, other = (start(connection, "f")["run_id"] for _ in range(2))
    claim(connection, "f")
    cancel(connection, run_id)
    assert {one["message"]["run_id"] for one in messages(connection, "f")} == {str(other)}


def test_queued_tasks_never_start(connection: Connection) -> None:
    run_id = one_step(connection)
    cancel(connection, run_id)
    assert claim(connection, "f") == []
    assert task(connection, run_id, "a")["status"] == "queued"


def test_messages_read_before_start_nothing(connection: Connection) -> None:
    run_id = one_step(connection)
    cancel(connection, run_id)
    connection.execute("select pgmq.send('f', message) from pgmq.a_f")
    assert begin(connection, "f") == []
    assert task(connection, run_id, "a")["status"] == "queued"


def test_nothing_follows_from_a_late_completion(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    granted = claim(connection, "f")
    cancel(connection, run_id)
    before = snapshot(connection, run_id)
    assert succeed(connection, granted) == ["finished"]
    complete(connection, run_id, "a", 1)
    assert snapshot(connection, run_id) == before


def test_a_late_failure_changes_neither_run_nor_step(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    begin(connection, "f")
    cancel(connection, run_id)
    before = (run(connection, run_id), statuses(connection, run_id))
    fail(connection, run_id, "a")
    assert (run(connection, run_id), statuses(connection, run_id)) == before


@pytest.mark.parametrize("ending", ["completed", "failed"])
def test_an_ended_run_stays_as_it_is(connection: Connection, ending: str) -> None:
    run_id = one_step(connection, max_attempts=1)
    begin(connection, "f")
    (complete if ending == "completed" else fail)(connection, run_id, "a", "x")
    before = snapshot(connection, run_id)
    assert cancel(connection, run_id)["status"] == ending
    assert snapshot(connection, run_id) == before


def test_cancelling_twice_keeps_the_first_reason(connection: Connection) -> None:
    run_id = one_step(connection)
    first = cancel(connection, run_id, "first")
    assert cancel(connection, run_id, "second") == first


def test_an_unknown_run_gives_no_row(connection: Connection) -> None:
    assert call(connection, "cancel_run", run_id=uuid.uuid4()) == []


def test_other_runs_go_on(connection: Connection) -> None:
    run_id = one_step(connection)
    other = start(connection, "f")["run_id"]
    cancel(connection, run_id)
    work(connection, "f")
    assert run(connection, other)["status"] == "completed"


def test_is_announced_once(connection: Connection) -> None:
    record_events(connection)
    run_id = one_step(connection)
    cancel(connection, run_id, "no longer wanted")
    cancel(connection, run_id)
    (told,) = [one for one in events(connection, run_id) if one["event"] == "run:cancelled"]
    assert told["payload"]["status"] == "cancelled"
    assert (told["payload"]["run_id"], told["payload"]["flow_slug"]) == (str(run_id), "f")


def test_results_so_far_are_kept(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    succeed(connection, claim(connection, "mapped", 1), "kept")
    cancel(connection, run_id)
    assert [one["output"] for one in tasks(connection, run_id, "items")].count("kept") == 1
    assert statuses(connection, run_id)["source"] == "completed"


def test_messages_of_a_steps_own_queue_go_too(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    call(connection, "ensure_queue", queue_name="gpu")
    connection.execute("update pgflow.steps set opt_queue = 'gpu'")
    run_id = start(connection, "f")["run_id"]
    assert len(messages(connection, "gpu")) == 1
    cancel(connection, run_id)
    assert messages(connection, "gpu") == []


def test_needs_no_reason(connection: Connection) -> None:
    run_id = one_step(connection)
    found = row(connection, "select * from pgflow.cancel_run(%s)", run_id)
    assert (found["status"], found["cancel_reason"]) == ("cancelled", None)
