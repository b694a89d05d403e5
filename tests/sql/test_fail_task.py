"""pgflow.fail_task: a try that went wrong; retried, or the end of its step."""

from __future__ import annotations

import uuid

import pytest

from tests.support.sql import (
    Connection,
    begin,
    call,
    complete,
    define,
    diamond,
    event_names,
    events,
    fail,
    make_visible,
    messages,
    payload,
    record_events,
    rows,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
)
from tests.support.tasks import one_step, started_map

# The row returned


def test_returns_the_task_as_it_is_afterwards(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    assert fail(connection, run_id, "a") == task(connection, run_id, "a")


def test_an_unknown_task_gives_no_row_and_no_error(connection: Connection) -> None:
    named = {"run_id": uuid.uuid4(), "step_slug": "a", "task_index": 0, "error_message": "boom"}
    assert call(connection, "fail_task", **named) == []


# A retry


def test_a_task_with_attempts_left_is_queued_again(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    begin(connection, "f")
    failed = fail(connection, run_id, "a", "no luck")
    assert (failed["status"], failed["attempts_count"], failed["error_message"]) == (
        "queued",
        1,
        "no luck",
    )
    assert (failed["started_at"], failed["failed_at"], failed["output"]) == (None, None, None)


def test_step_and_run_go_on_while_a_task_is_retried(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    begin(connection, "f")
    before = (run(connection, run_id), state(connection, run_id, "a"))
    fail(connection, run_id, "a")
    assert (run(connection, run_id), state(connection, run_id, "a")) == before
    assert before[1]["error_message"] is None


def test_the_message_stays_and_waits_for_the_retry(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=5)
    begin(connection, "f")
    failed = fail(connection, run_id, "a")
    (message,) = messages(connection, "f")
    assert (message["msg_id"], round(message["delay"])) == (failed["message_id"], 10)


def test_delays_double_with_each_attempt(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=3, max_attempts=5)
    delays = []
    for _ in range(4):
        make_visible(connection, "f")
        begin(connection, "f")
        fail(connection, run_id, "a")
        delays.append(round(messages(connection, "f")[0]["delay"]))
    assert delays == [6, 12, 24, 48]


def test_the_delay_counts_from_the_wall_clock(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    begin(connection, "f")
    rows(connection, "select pg_sleep(0.05)")
    fail(connection, run_id, "a")
    (message,) = rows(connection, "select vt > now() + interval '40 ms' as late from pgmq.q_f")
    assert message["late"]


def test_the_steps_own_base_delay_goes_before_the_flows(connection: Connection) -> None:
    define(connection, "f", {"a": {"base_delay": 50}}, base_delay=3)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert round(messages(connection, "f")[0]["delay"]) == 100


def test_the_steps_own_max_attempts_goes_before_the_flows(connection: Connection) -> None:
    define(connection, "f", {"a": {"max_attempts": 1}, "b": []}, max_attempts=2)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    assert fail(connection, run_id, "b")["status"] == "queued"
    assert fail(connection, run_id, "a")["status"] == "failed"


def test_a_retried_task_can_complete(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    begin(connection, "f")
    fail(connection, run_id, "a", "no luck")
    begin(connection, "f")
    assert complete(connection, run_id, "a", 1)["status"] == "completed"
    assert run(connection, run_id)["status"] == "completed"


def test_a_retry_announces_nothing(connection: Connection) -> None:
    record_events(connection)
    run_id = one_step(connection)
    begin(connection, "f")
    before = events(connection, run_id)
    fail(connection, run_id, "a")
    assert events(connection, run_id) == before


# The last attempt


@pytest.mark.parametrize(("limit", "tries"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_a_task_fails_after_its_attempts(connection: Connection, limit: int, tries: int) -> None:
    run_id = one_step(connection, max_attempts=limit, base_delay=0)
    found = []
    for _ in range(tries):
        begin(connection, "f")
        found.append(fail(connection, run_id, "a", "boom")["status"])
    assert found == ["queued"] * (tries - 1) + ["failed"]


def test_the_failed_task_tells_when_and_why(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    begin(connection, "f")
    failed = fail(connection, run_id, "a", "no luck")
    assert (failed["error_message"], failed["completed_at"], failed["attempts_count"]) == (
        "no luck",
        None,
        1,
    )
    assert failed["failed_at"] >= failed["started_at"]


def test_step_and_run_fail_with_the_task(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    begin(connection, "f")
    fail(connection, run_id, "a", "no luck")
    step, whole = state(connection, run_id, "a"), run(connection, run_id)
    assert (step["status"], step["error_message"], step["output"]) == ("failed", "no luck", None)
    assert (whole["status"], whole["output"]) == ("failed", None)
    assert None not in {step["failed_at"], whole["failed_at"]}


def test_siblings_keep_their_status_and_lose_their_messages(connection: Connection) -> None:
    run_id = started_map(connection, 4, max_attempts=1)
    begin(connection, "mapped", 2)
    fail(connection, run_id, "items", index=0)
    assert [one["status"] for one in tasks(connection, run_id, "items")] == [
        "failed",
        "started",
        "queued",
        "queued",
    ]
    assert messages(connection, "mapped") == []


def test_children_of_a_failed_step_stay_created(connection: Connection) -> None:
    diamond(connection, max_attempts=1)
    run_id = start(connection, "diamond")["run_id"]
    begin(connection, "diamond")
    fail(connection, run_id, "root")
    assert statuses(connection, run_id) == {
        "root": "failed",
        "left": "created",
        "right": "created",
        "merge": "created",
    }


def test_messages_of_other_runs_stay(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    other = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert [one["message"]["run_id"] for one in messages(connection, "f")] == [str(other)]


def test_a_failure_is_announced_for_step_then_run(connection: Connection) -> None:
    record_events(connection)
    run_id = one_step(connection, max_attempts=1)
    begin(connection, "f")
    fail(connection, run_id, "a", "no luck")
    assert event_names(connection, run_id)[2:] == ["step:a:failed", "run:failed"]
    assert payload(connection, run_id, "step:a:failed")["error_message"] == "no luck"
    assert payload(connection, run_id, "run:failed")["error_message"] == "no luck"


# Late calls


def test_a_started_task_of_a_failed_run_becomes_failed_and_nothing_else(
    connection: Connection,
) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    fail(connection, run_id, "a")
    before = (run(connection, run_id), state(connection, run_id, "b"))
    late = fail(connection, run_id, "b", "late")
    assert (late["status"], late["error_message"]) == ("failed", "late")
    assert (run(connection, run_id), state(connection, run_id, "b")) == before


def test_the_message_of_a_failed_runs_task_is_archived(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=5)
    begin(connection, "f")
    rows(
        connection,
        "update pgflow.runs set status = 'failed', failed_at = now() where run_id = %s",
        run_id,
    )
    fail(connection, run_id, "a")
    assert messages(connection, "f") == []


def test_a_queued_task_of_a_failed_run_stays_queued(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert fail(connection, run_id, "b")["status"] == "queued"


def test_an_ended_step_only_loses_the_message(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    call(connection, "_cascade_force_skip_steps", run_id=run_id, step_slug="a", skip_reason="mine")
    before = (
        run(connection, run_id),
        state(connection, run_id, "a"),
        task(connection, run_id, "a"),
    )
    fail(connection, run_id, "a")
    assert (
        run(connection, run_id),
        state(connection, run_id, "a"),
        task(connection, run_id, "a"),
    ) == before
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["b"]


def test_a_queued_task_is_left_alone_with_its_message(connection: Connection) -> None:
    run_id = one_step(connection)
    before = task(connection, run_id, "a")
    assert fail(connection, run_id, "a") == before
    assert messages(connection, "f")[0]["visible"]


def test_failing_twice_spends_one_attempt_and_keeps_the_first_delay(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=100)
    begin(connection, "f")
    first = fail(connection, run_id, "a", "first")
    rows(connection, "update pgmq.q_f set vt = clock_timestamp()")
    assert fail(connection, run_id, "a", "second") == first
    assert messages(connection, "f")[0]["visible"]


def test_a_failed_task_keeps_its_first_error(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    begin(connection, "f")
    fail(connection, run_id, "a", "first")
    assert fail(connection, run_id, "a", "second")["error_message"] == "first"


def test_a_completed_task_keeps_its_output(connection: Connection) -> None:
    run_id = started_map(connection, 2)
    begin(connection, "mapped", 2)
    complete(connection, run_id, "items", "done", 0)
    late = fail(connection, run_id, "items", index=0)
    assert (late["status"], late["output"], late["error_message"]) == ("completed", "done", None)
