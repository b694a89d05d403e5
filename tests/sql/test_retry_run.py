"""pgflow.retry_run: a failed run goes on from where it failed."""

from __future__ import annotations

import uuid

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    define,
    messages,
    refused,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
    work,
)
from tests.support.tasks import (
    break_down,
    claim_one,
    expire,
    one_step,
    root_map,
    snapshot,
    steps_of,
    succeed,
    version,
)


def retry(connection: Connection, run_id: uuid.UUID, step: str | None = None) -> Row:
    (found,) = call(connection, "retry_run", run_id=run_id, step_slug=step)
    return found


def failed_chain(connection: Connection) -> uuid.UUID:
    """Return a run of `a -> b -> c` that failed at `b`."""
    define(connection, "f", {"a": [], "b": ["a"], "c": ["b"]}, max_attempts=1)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    succeed(connection, claim(connection, "f"), "A")
    break_down(connection, claim(connection, "f"))
    assert run(connection, run_id)["status"] == "failed"
    return run_id


def test_the_run_is_started_again(connection: Connection) -> None:
    run_id = failed_chain(connection)
    found = retry(connection, run_id)
    assert found == run(connection, run_id)
    assert (found["status"], found["failed_at"], found["error_message"]) == ("started", None, None)


def test_the_failed_step_is_started_again(connection: Connection) -> None:
    run_id = failed_chain(connection)
    retry(connection, run_id)
    found = state(connection, run_id, "b")
    assert (found["status"], found["failed_at"], found["error_message"]) == ("started", None, None)
    assert (found["remaining_tasks"], task(connection, run_id, "b")["status"]) == (1, "queued")


def test_only_the_failed_step_gets_a_message(connection: Connection) -> None:
    run_id = failed_chain(connection)
    retry(connection, run_id)
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["b"]
    assert messages(connection, "f")[0]["visible"]


def test_completed_steps_are_not_repeated(connection: Connection) -> None:
    run_id = failed_chain(connection)
    before = (state(connection, run_id, "a"), task(connection, run_id, "a"))
    retry(connection, run_id)
    work(connection, "f", {"b": "B", "c": "C"})
    assert (state(connection, run_id, "a"), task(connection, run_id, "a")) == before


def test_the_run_goes_on_to_its_end(connection: Connection) -> None:
    run_id = failed_chain(connection)
    retry(connection, run_id)
    work(connection, "f", {"c": "C"})
    found = run(connection, run_id)
    assert (found["status"], found["remaining_steps"], found["output"]) == (
        "completed",
        0,
        {"c": "C"},
    )


def test_the_input_is_as_before(connection: Connection) -> None:
    run_id = failed_chain(connection)
    retry(connection, run_id)
    assert claim_one(connection, "f")["input"] == {"a": "A"}


def test_the_attempts_start_anew(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2, base_delay=0)
    for _ in range(2):
        break_down(connection, claim(connection, "f"))
    retry(connection, run_id)
    granted = claim_one(connection, "f")
    assert (granted["tries"], granted["exhausted"]) == (1, False)
    break_down(connection, [granted])
    assert task(connection, run_id, "a")["status"] == "queued"


def test_no_fence_comes_back(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    old = claim_one(connection, "f")
    break_down(connection, [old])
    retry(connection, run_id)
    new = claim_one(connection, "f")
    assert new["attempt"] > old["attempt"]
    assert succeed(connection, [old, new], "x") == ["stale", "accepted"]


def test_a_task_lost_too_often_can_be_retried(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    claim(connection, "f")
    expire(connection, "f")
    break_down(connection, claim(connection, "f"), kind="lost")
    retry(connection, run_id)
    assert claim_one(connection, "f")["exhausted"] is False


def test_only_the_failed_items_of_a_map_run_again(connection: Connection) -> None:
    run_id = root_map(connection, 3, max_attempts=1)
    granted = sorted(claim(connection, "numbers", 3), key=lambda one: one["task_index"])
    succeed(connection, [granted[0], granted[2]], "first time")
    break_down(connection, [granted[1]])
    retry(connection, run_id)
    assert state(connection, run_id, "items")["remaining_tasks"] == 1
    again = claim_one(connection, "numbers")
    assert (again["task_index"], again["input"]) == (1, 1)
    succeed(connection, [again], "second time")
    assert run(connection, run_id)["output"] == {
        "items": ["first time", "second time", "first time"]
    }


def test_siblings_that_were_under_way_run_again(connection: Connection) -> None:
    run_id = root_map(connection, 4, max_attempts=1)
    granted = claim(connection, "numbers", 2)
    break_down(connection, granted[:1])
    retry(connection, run_id)
    assert {one["status"] for one in tasks(connection, run_id)} == {"queued"}
    assert len(claim(connection, "numbers", 9)) == 4


def test_other_roots_of_the_run_run_again(connection: Connection) -> None:
    define(connection, "f", {"a": {"max_attempts": 1}, "b": {"max_attempts": 1}})
    run_id = start(connection, "f")["run_id"]
    break_down(connection, claim(connection, "f", 1))
    retry(connection, run_id)
    assert steps_of(claim(connection, "f", 9)) == ["a", "b"]


def test_a_failure_reported_after_the_run_had_failed_is_taken_up_again(
    connection: Connection,
) -> None:
    define(connection, "f", {"a": [], "m": {"step_type": "map"}}, max_attempts=1)
    run_id = start(connection, "f", [0, 1])["run_id"]
    by_step = {one["step_slug"]: one for one in claim(connection, "f", 10)}
    break_down(connection, [by_step["a"]])
    assert break_down(connection, [by_step["m"]]) == ["finished"]
    assert sorted(one["status"] for one in tasks(connection, run_id, "m")) == ["failed", "started"]
    retry(connection, run_id)
    assert [one["status"] for one in tasks(connection, run_id, "m")] == ["queued", "queued"]
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_a_failed_item_that_its_map_allows_is_taken_up_with_a_run_that_failed_elsewhere(
    connection: Connection,
) -> None:
    version(
        connection,
        "f",
        [{"slug": "a"}, {"slug": "m", "step_type": "map", "max_failed_tasks": 1}],
        max_attempts=1,
    )
    run_id = start(connection, "f", [0, 1])["run_id"]
    granted = sorted(
        claim(connection, "f", 10), key=lambda one: (one["step_slug"], one["task_index"])
    )
    break_down(connection, granted[1:2])
    break_down(connection, granted[:1])
    retry(connection, run_id)
    assert [one["status"] for one in tasks(connection, run_id, "m")] == ["queued", "queued"]
    work(connection, "f", {"m": "M"})
    assert state(connection, run_id, "m")["output"] == ["M", "M"]
    assert run(connection, run_id)["status"] == "completed"


def test_the_grants_of_before_are_stale(connection: Connection) -> None:
    run_id = root_map(connection, 2, max_attempts=1)
    first, zombie = claim(connection, "numbers", 2)
    break_down(connection, [first])
    retry(connection, run_id)
    assert succeed(connection, [zombie]) == ["stale"]
    claim(connection, "numbers", 2)
    assert succeed(connection, [zombie]) == ["stale"]


def test_one_step_can_be_named(connection: Connection) -> None:
    run_id = failed_chain(connection)
    assert retry(connection, run_id, "b")["status"] == "started"
    assert statuses(connection, run_id) == {"a": "completed", "b": "started", "c": "created"}


def test_a_run_that_goes_on_is_refused(connection: Connection) -> None:
    run_id = one_step(connection)
    before = snapshot(connection, run_id)
    with refused(
        connection, f"Run {run_id} is started and has no failed step, so there is nothing to retry"
    ):
        retry(connection, run_id)
    assert snapshot(connection, run_id) == before


def test_a_cancelled_run_is_refused(connection: Connection) -> None:
    run_id = one_step(connection)
    call(connection, "cancel_run", run_id=run_id)
    with refused(
        connection,
        f"Run {run_id} is cancelled and has no failed step, so there is nothing to retry",
    ):
        retry(connection, run_id)


def test_a_step_that_did_not_fail_is_refused(connection: Connection) -> None:
    run_id = failed_chain(connection)
    with refused(
        connection,
        f'Run {run_id} is failed and has no failed step "a", so there is nothing to retry',
    ):
        retry(connection, run_id, "a")


def test_a_completed_run_without_failed_items_is_refused(connection: Connection) -> None:
    run_id = one_step(connection)
    succeed(connection, claim(connection, "f"))
    before = snapshot(connection, run_id)
    with refused(
        connection,
        f"Run {run_id} is completed and has no failed step, so there is nothing to retry",
    ):
        retry(connection, run_id)
    assert snapshot(connection, run_id) == before


def test_an_unknown_run_gives_no_row(connection: Connection) -> None:
    assert call(connection, "retry_run", run_id=uuid.uuid4()) == []


def test_a_run_can_fail_and_be_retried_again(connection: Connection) -> None:
    run_id = failed_chain(connection)
    for _ in range(2):
        retry(connection, run_id)
        break_down(connection, claim(connection, "f"), "again")
        assert run(connection, run_id)["status"] == "failed"
        assert messages(connection, "f") == []
    retry(connection, run_id)
    work(connection, "f", {"c": "C"})
    assert run(connection, run_id)["output"] == {"c": "C"}


def test_a_type_violation_can_be_mended(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}})
    run_id = start(connection, "f")["run_id"]
    succeed(connection, claim(connection, "f"), "no array")
    retry(connection, run_id)
    assert task(connection, run_id, "a")["output"] is None
    work(connection, "f", {"a": [1], "m": "ok"})
    assert run(connection, run_id)["output"] == {"m": ["ok"]}


def test_a_failed_condition_is_looked_at_again(connection: Connection) -> None:
    define(connection, "f", {"a": {"required_input_pattern": {"go": True}, "when_unmet": "fail"}})
    run_id = start(connection, "f")["run_id"]
    assert run(connection, run_id)["status"] == "failed"
    call(connection, "retry_run", run_id=run_id)
    assert run(connection, run_id)["status"] == "failed"
    assert statuses(connection, run_id) == {"a": "failed"}
