"""Pairs and threes of mutating functions that meet in one run, one step or one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    define,
    messages,
    rows,
    run,
    start,
    state,
    statuses,
    task,
    value,
)
from tests.support.tasks import (
    break_down,
    claim_one,
    one_step,
    outcomes,
    root_map,
    succeed,
    version,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from tests.races.stage import Stage

HOLD_RUN = "select 1 from pgflow.runs where run_id = %s for update"
HOLD_STEP = "select 1 from pgflow.step_states where run_id = %s and step_slug = %s for update"
REQUEUE = "select pgflow.requeue_stalled_tasks()"
RESEND = "select pgflow.resend_lost_messages()"


def three_roots(connection: Connection, **options: object) -> tuple[uuid.UUID, list[Row]]:
    define(connection, "f", {"a": [], "b": [], "c": []}, **options)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    return run_id, sorted(claim(connection, "f", 3), key=lambda one: one["step_slug"])


def test_two_completions_and_a_failure_of_one_run_do_not_deadlock(stage: Stage) -> None:
    run_id, (a, b, c) = three_roots(stage.setup, max_attempts=1)
    gate = stage.gate(HOLD_STEP, run_id, "a")
    held_up = stage.act(lambda session: succeed(session, [a]))
    assert stage.blocked(held_up)
    finished = stage.session()
    assert succeed(finished, [b]) == ["accepted"]
    failing = stage.act(lambda session: break_down(session, [c]))
    assert stage.blocked(failing)
    gate.commit()
    stage.blocked(held_up)
    finished.commit()
    assert (held_up.result(), failing.result()) == (["accepted"], ["accepted"])
    assert run(stage.setup, run_id)["status"] == "failed"


@pytest.mark.parametrize("other", ["complete", "fail", "extend", "release", "cancel", "claim"])
@pytest.mark.parametrize("one", ["complete", "fail", "extend", "release"])
def test_any_two_reports_of_one_batch_do_not_deadlock(stage: Stage, one: str, other: str) -> None:
    define(stage.setup, "f", {"a": [], "b": []}, max_attempts=2)
    runs = sorted(start(stage.setup, "f")["run_id"] for _ in range(3))
    granted = claim(stage.setup, "f", 6)
    acts: dict[str, Callable[[Connection], object]] = {
        "complete": lambda session: succeed(session, granted),
        "fail": lambda session: break_down(session, granted[::-1], final=True),
        "extend": lambda session: outcomes(session, "extend_leases", granted),
        "release": lambda session: outcomes(session, "release_tasks", granted[::-1]),
        "cancel": lambda session: next(
            call(session, "cancel_run", run_id=run_id) for run_id in runs[::-1]
        ),
        "claim": lambda session: claim(session, "f", 9),
    }
    gate = stage.gate("select 1 from pgflow.step_tasks where run_id = %s for update", runs[1])
    actors = stage.together(gate, acts[one], acts[other])
    assert [actor.error for actor in actors] == [None, None]


def test_batches_that_mix_the_steps_of_one_run_do_not_deadlock(stage: Stage) -> None:
    slugs = [f"m{number}" for number in range(6)]
    define(stage.setup, "f", {slug: {"step_type": "map"} for slug in slugs})
    run_id = start(stage.setup, "f", list(range(8)))["run_id"]
    granted = claim(stage.setup, "f", 48)

    def work(part: list[Row]) -> Callable[[Connection], set[str]]:
        def act(session: Connection) -> set[str]:
            found: set[str] = set()
            for first in range(0, len(part), 4):
                found |= set(succeed(session, part[first : first + 4]))
                session.commit()
            return found

        return act

    parts = [granted[offset::3] for offset in range(3)]
    actors = [stage.act(work(part[:: 1 - 2 * (n % 2)])) for n, part in enumerate(parts)]
    assert [actor.result() for actor in actors] == [{"accepted"}] * 3
    assert run(stage.setup, run_id)["status"] == "completed"


@pytest.mark.parametrize("held", [0, 1])
@pytest.mark.parametrize("first", ["complete", "fail"])
def test_batches_that_complete_and_that_fail_the_same_runs_do_not_deadlock(
    stage: Stage, first: str, held: int
) -> None:
    define(stage.setup, "f", {"a": [], "b": []})
    runs = sorted(start(stage.setup, "f")["run_id"] for _ in range(2))
    granted = sorted(claim(stage.setup, "f", 4), key=lambda one: (one["step_slug"], one["run_id"]))
    acts: dict[str, Callable[[Connection], list[str]]] = {
        "complete": lambda session: succeed(session, granted[:2]),
        "fail": lambda session: break_down(session, granted[:1:-1], final=True),
    }
    gate = stage.gate(HOLD_RUN, runs[held])
    order = sorted(acts, key=lambda name: name != first)
    actors = stage.together(gate, *(acts[name] for name in order))
    assert [actor.error for actor in actors] == [None, None]
    assert {run(stage.setup, run_id)["status"] for run_id in runs} == {"failed"}


@pytest.mark.parametrize("first", ["complete", "fail"])
def test_the_last_two_items_of_a_tolerant_map_end_it_once(stage: Stage, first: str) -> None:
    run_id = root_map(stage.setup, 2, max_attempts=1, max_failed_tasks=1)
    good, bad = sorted(claim(stage.setup, "numbers", 2), key=lambda one: one["task_index"])
    acts: dict[str, Callable[[Connection], object]] = {
        "complete": lambda session: succeed(session, [good], "x"),
        "fail": lambda session: break_down(session, [bad]),
    }
    gate = stage.gate(HOLD_RUN, run_id)
    order = sorted(acts, key=lambda name: name != first)
    actors = stage.together(gate, *(acts[name] for name in order))
    assert [actor.result() for actor in actors] == [["accepted"], ["accepted"]]
    assert run(stage.setup, run_id)["output"] == {"items": ["x", None]}
    assert state(stage.setup, run_id, "items")["failed_tasks"] == 1


# Stalled tasks


def stalled(connection: Connection) -> tuple[uuid.UUID, Row]:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    rows(
        connection,
        "update pgflow.step_tasks set queued_at = now() - interval '1 day', started_at = now() - interval '1 day'",
    )
    return run_id, granted


def test_a_stalled_task_that_is_being_completed_is_passed_over(stage: Stage) -> None:
    run_id, granted = stalled(stage.setup)
    completing = stage.session()
    succeed(completing, [granted], "in time")
    assert stage.act(lambda session: value(session, REQUEUE)).result() == 0
    completing.commit()
    assert run(stage.setup, run_id)["output"] == {"a": "in time"}


def test_a_completion_behind_a_requeue_changes_nothing(stage: Stage) -> None:
    run_id, granted = stalled(stage.setup)
    requeueing = stage.session()
    assert value(requeueing, REQUEUE) == 1
    late = stage.act(lambda session: succeed(session, [granted]))
    stage.blocked(late)
    requeueing.commit()
    assert late.result() == ["stale"]
    assert task(stage.setup, run_id, "a")["status"] == "queued"


def test_two_requeues_at_once_requeue_once(stage: Stage) -> None:
    run_id, _ = stalled(stage.setup)
    first = stage.session()
    assert value(first, REQUEUE) == 1
    assert stage.act(lambda session: value(session, REQUEUE)).result() == 0
    first.commit()
    assert task(stage.setup, run_id, "a")["requeued_count"] == 1


def test_a_task_that_stalls_for_good_and_its_completion_do_not_deadlock(stage: Stage) -> None:
    define(stage.setup, "f", {"a": []})
    runs = sorted(start(stage.setup, "f")["run_id"] for _ in range(2))
    granted = {one["run_id"]: one for one in claim(stage.setup, "f", 2)}
    rows(
        stage.setup,
        """update pgflow.step_tasks set requeued_count = 3, queued_at = now() - interval '1 day',
          started_at = now() - interval '1 day'""",
    )
    gate = stage.gate(HOLD_RUN, runs[0])
    requeueing, completing = stage.together(
        gate,
        lambda session: value(session, REQUEUE),
        lambda session: succeed(session, [granted[runs[1]]]),
    )
    assert (requeueing.error, completing.error) == (None, None)
    ended = run(stage.setup, runs[1])["status"]
    assert (completing.result()[0], ended) in {("accepted", "completed"), ("finished", "failed")}


# Lost messages


def test_two_reconcilers_at_once_send_one_message(stage: Stage) -> None:
    one_step(stage.setup)
    rows(stage.setup, "delete from pgmq.q_f")
    first = stage.session()
    assert value(first, RESEND) == 1
    second = stage.act(lambda session: value(session, RESEND))
    stage.blocked(second)
    first.commit()
    assert second.result() == 0
    assert len(messages(stage.setup, "f")) == 1


def test_a_task_under_completion_is_not_sent_again(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    granted = claim(stage.setup, "f")
    completing = stage.session()
    succeed(completing, granted)
    resending = stage.act(lambda session: value(session, RESEND))
    stage.blocked(resending)
    completing.commit()
    assert resending.result() == 0
    assert run(stage.setup, run_id)["status"] == "completed"
    assert messages(stage.setup, "f") == []


# Retries of runs


def failed_run(connection: Connection) -> uuid.UUID:
    run_id = one_step(connection, max_attempts=1)
    break_down(connection, claim(connection, "f"))
    return run_id


def test_two_retries_at_once_take_the_run_up_once(stage: Stage) -> None:
    run_id = failed_run(stage.setup)
    gate = stage.gate(HOLD_RUN, run_id)
    actors = stage.together(gate, *[lambda session: call(session, "retry_run", run_id=run_id)] * 2)
    refused = [actor.error for actor in actors if actor.error is not None]
    assert [type(error) for error in refused] == [psycopg.errors.ObjectNotInPrerequisiteState]
    assert len(messages(stage.setup, "f")) == 1


def test_a_retry_and_a_cancellation_at_once_both_get_a_clear_result(stage: Stage) -> None:
    run_id = failed_run(stage.setup)
    gate = stage.gate(HOLD_RUN, run_id)
    retrying, cancelling = stage.together(
        gate,
        lambda session: call(session, "retry_run", run_id=run_id)[0]["status"],
        lambda session: call(session, "cancel_run", run_id=run_id)[0]["status"],
    )
    assert (retrying.result(), cancelling.result()) in {
        ("started", "cancelled"),
        ("started", "failed"),
    }
    assert len(messages(stage.setup, "f")) == (cancelling.result() == "failed")


def test_a_zombie_that_reports_behind_a_retry_is_stale(stage: Stage) -> None:
    run_id = root_map(stage.setup, 2, max_attempts=1)
    bad, zombie = claim(stage.setup, "numbers", 2)
    break_down(stage.setup, [bad])
    retrying = stage.session()
    call(retrying, "retry_run", run_id=run_id)
    late = stage.act(lambda session: succeed(session, [zombie]))
    stage.blocked(late)
    retrying.commit()
    assert late.result() == ["stale"]
    assert state(stage.setup, run_id, "items")["remaining_tasks"] == 2


# Definitions and deletions


def test_a_run_started_while_its_flow_changes_has_one_shape(stage: Stage) -> None:
    version(stage.setup, "f", [{"slug": "a"}])
    changing = stage.session()
    version(changing, "f", [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}])
    starting = stage.act(lambda session: start(session, "f")["run_id"])
    stage.blocked(starting)
    changing.commit()
    found = run(stage.setup, starting.result())
    shape = {1: {"a"}, 2: {"a", "b"}}[found["flow_version"]]
    assert set(statuses(stage.setup, found["run_id"])) == shape


def test_a_start_and_a_deletion_of_its_flow_do_not_deadlock(stage: Stage) -> None:
    define(stage.setup, "f", {"a": []})
    gate = stage.session()
    gate.execute("lock table pgflow.step_states in exclusive mode")
    starting, deleting = stage.together(
        gate,
        lambda session: start(session, "f"),
        lambda session: rows(session, "select pgflow.delete_flow_and_data('f')"),
    )
    for actor in (starting, deleting):
        assert not isinstance(actor.error, psycopg.errors.DeadlockDetected)
