"""Faults 14, 17 and 18: runs that end or begin while something else happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    define,
    event_names,
    jsonb,
    messages,
    record_events,
    rows,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
    value,
)
from tests.support.tasks import break_down, expire, one_step, outcomes, root_map, succeed

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from tests.races.stage import Stage

HOLD_RUN = "select 1 from pgflow.runs where run_id = %s for update"


def cancel(session: Connection, run_id: uuid.UUID) -> str:
    (found,) = call(session, "cancel_run", run_id=run_id)
    return str(found["status"])


def two_roots(connection: Connection, **options: object) -> tuple[uuid.UUID, Row, Row]:
    """Start a run of two root steps and claim both."""
    define(connection, "f", {"a": [], "b": []}, **options)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    a, b = sorted(claim(connection, "f", 2), key=lambda one: one["step_slug"])
    return run_id, a, b


# 14


@pytest.mark.parametrize("first", ["cancel", "complete"])
def test_fault_14_cancel_and_completion_both_get_a_clear_result(stage: Stage, first: str) -> None:
    run_id = one_step(stage.setup)
    granted = claim(stage.setup, "f")
    gate = stage.gate(HOLD_RUN, run_id)
    acts: dict[str, Callable[[Connection], Any]] = {
        "cancel": lambda session: cancel(session, run_id),
        "complete": lambda session: succeed(session, granted)[0],
    }
    order = sorted(acts, key=lambda name: name != first)
    actors = stage.together(gate, *(acts[name] for name in order))
    results = dict(zip(order, (actor.result() for actor in actors), strict=True))
    ended = run(stage.setup, run_id)["status"]
    assert (results["cancel"], results["complete"], ended) in {
        ("cancelled", "finished", "cancelled"),
        ("completed", "accepted", "completed"),
    }
    assert messages(stage.setup, "f") == []


def test_fault_14_cancel_of_a_big_batch_and_its_completion_do_not_deadlock(stage: Stage) -> None:
    define(stage.setup, "f", {"a": [], "b": ["a"]})
    runs = [start(stage.setup, "f")["run_id"] for _ in range(5)]
    granted = claim(stage.setup, "f", 5)
    gate = stage.gate(HOLD_RUN, sorted(runs)[2])
    cancelling = [lambda session, run_id=run_id: cancel(session, run_id) for run_id in runs]
    actors = stage.together(gate, lambda session: succeed(session, granted), *cancelling)
    assert all(actor.error is None for actor in actors)
    for report, one in zip(actors[0].result(), granted, strict=True):
        completed = task(stage.setup, one["run_id"], "a")["status"] == "completed"
        assert completed == (report == "accepted")
    assert {run(stage.setup, run_id)["status"] for run_id in runs} == {"cancelled"}
    assert messages(stage.setup, "f") == []


def test_fault_14_delete_and_completion_do_not_deadlock(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    granted = claim(stage.setup, "f")
    gate = stage.gate(HOLD_RUN, run_id)
    deleting, completing = stage.together(
        gate,
        lambda session: rows(session, "select pgflow.delete_flow_and_data('f')"),
        lambda session: succeed(session, granted),
    )
    assert deleting.error is None
    assert completing.error is None
    assert value(stage.setup, "select count(*) from pgflow.runs") == 0


def test_fault_14_a_claim_and_a_delete_do_not_deadlock(stage: Stage) -> None:
    one_step(stage.setup)
    claiming = stage.session()
    claim(claiming, "f")
    deleting = stage.act(lambda session: rows(session, "select pgflow.delete_flow_and_data('f')"))
    assert stage.blocked(deleting)
    claiming.commit()
    assert deleting.error is None


def test_fault_14_prune_leaves_a_run_alone_that_is_being_completed(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    granted = claim(stage.setup, "f")
    completing = stage.session()
    succeed(completing, granted)
    pruning = stage.act(
        lambda session: rows(session, "select pgflow.prune_data_older_than(interval '1 hour')")
    )
    stage.blocked(pruning)
    completing.commit()
    assert pruning.error is None
    assert run(stage.setup, run_id)["status"] == "completed"


PRUNE = "select pgflow.prune_data_older_than('30 days')"
AGE = "update pgflow.workers set last_heartbeat_at = now() - interval '40 days'"


def test_fault_14_a_prune_does_not_wait_for_tasks_of_a_worker_that_it_deletes(stage: Stage) -> None:
    define(stage.setup, "f", {"m": {"step_type": "map"}})
    run_id = start(stage.setup, "f", [0, 1])["run_id"]
    granted = claim(stage.setup, "f", 2)
    rows(stage.setup, AGE)
    holding = stage.session()
    succeed(holding, granted[:1])
    stage.act(lambda session: rows(session, PRUNE)).result()
    holding.commit()
    assert value(stage.setup, "select count(*) from pgflow.workers") == 1
    left = [one["task_index"] for one in tasks(stage.setup, run_id) if one["last_worker_id"]]
    assert left == [granted[0]["task_index"]]
    rows(stage.setup, PRUNE)
    assert value(stage.setup, "select count(*) from pgflow.workers") == 0


def test_fault_14_a_prune_and_a_report_that_takes_a_batch_apart_do_not_deadlock(
    stage: Stage,
) -> None:
    run_id = root_map(stage.setup, 4, batch_size=2)
    granted = claim(stage.setup, "numbers", 2)
    rows(stage.setup, AGE)
    failing, pruning = stage.together(
        stage.gate("select 1 from pgflow.step_tasks where task_index = 2 for update"),
        lambda session: break_down(session, granted),
        lambda session: rows(session, PRUNE),
    )
    assert (failing.result(), pruning.error) == (["accepted", "accepted"], None)
    assert len(tasks(stage.setup, run_id)) == 4


# 17


@pytest.mark.parametrize("first", ["fail", "complete"])
def test_fault_17_a_step_that_completes_while_its_run_fails(stage: Stage, first: str) -> None:
    record_events(stage.setup)
    run_id, a, b = two_roots(stage.setup, max_attempts=1)
    gate = stage.gate(HOLD_RUN, run_id)
    acts: dict[str, Callable[[Connection], Any]] = {
        "fail": lambda session: break_down(session, [a])[0],
        "complete": lambda session: succeed(session, [b])[0],
    }
    order = sorted(acts, key=lambda name: name != first)
    actors = stage.together(gate, *(acts[name] for name in order))
    results = dict(zip(order, (actor.result() for actor in actors), strict=True))
    assert (run(stage.setup, run_id)["status"], results["fail"]) == ("failed", "accepted")
    assert (
        statuses(stage.setup, run_id)["b"]
        == {"accepted": "completed", "finished": "started"}[results["complete"]]
    )
    told = event_names(stage.setup, run_id)
    assert told[-1] == "run:failed"
    assert ("step:b:completed" in told) == (results["complete"] == "accepted")
    assert messages(stage.setup, "f") == []


def test_fault_17_the_last_step_completing_and_failing_runs_end_once(stage: Stage) -> None:
    run_id, a, b = two_roots(stage.setup, max_attempts=1)
    succeed(stage.setup, [a])
    gate = stage.gate(HOLD_RUN, run_id)
    stage.together(
        gate, lambda session: break_down(session, [b]), lambda session: succeed(session, [b])
    )
    found = run(stage.setup, run_id)
    assert (found["completed_at"] is None) != (found["failed_at"] is None)
    assert found["status"] == statuses(stage.setup, run_id)["b"]


def test_fault_17_nothing_is_granted_of_a_run_that_is_failing(stage: Stage) -> None:
    define(stage.setup, "f", {"a": {"max_attempts": 1}, "b": {"max_attempts": 1}})
    run_id = start(stage.setup, "f")["run_id"]
    granted = claim(stage.setup, "f", 1)
    (other,) = {"a", "b"} - {granted[0]["step_slug"]}
    failing = stage.session()
    break_down(failing, granted)
    assert stage.act(lambda session: claim(session, "f", 9)).result() == []
    failing.commit()
    assert claim(stage.setup, "f", 9) == []
    assert task(stage.setup, run_id, other)["status"] == "queued"


@pytest.mark.parametrize("ending", ["cancel", "fail"])
def test_fault_17_a_claim_under_way_lets_the_run_end(stage: Stage, ending: str) -> None:
    run_id = root_map(stage.setup, 2, max_attempts=1)
    (granted,) = claim(stage.setup, "numbers", 1)
    claiming = stage.session()
    late = claim(claiming, "numbers", 1)
    if ending == "cancel":
        actor = stage.act(lambda session: cancel(session, run_id))
    else:
        actor = stage.act(lambda session: break_down(session, [granted])[0])
    stage.blocked(actor)
    claiming.commit()
    assert actor.result() == {"cancel": "cancelled", "fail": "accepted"}[ending]
    assert messages(stage.setup, "numbers") == []
    assert succeed(stage.setup, late) == ["finished"]


def test_fault_17_an_expired_task_is_not_recovered_while_its_run_ends(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    claim(stage.setup, "f")
    expire(stage.setup, "f")
    cancelling = stage.session()
    cancel(cancelling, run_id)
    assert stage.act(lambda session: claim(session, "f")).result() == []
    cancelling.commit()
    assert claim(stage.setup, "f") == []
    assert task(stage.setup, run_id, "a")["attempts_count"] == 1


def test_fault_17_a_release_of_a_cancelled_run_brings_no_message_back(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    granted = claim(stage.setup, "f")
    gate = stage.gate(HOLD_RUN, run_id)
    stage.together(
        gate,
        lambda session: cancel(session, run_id),
        lambda session: outcomes(session, "release_tasks", granted),
    )
    assert messages(stage.setup, "f") == []
    assert run(stage.setup, run_id)["status"] == "cancelled"


# 18


def start_with_key(session: Connection, run_input: object = None) -> uuid.UUID:
    named = {"flow_slug": "f", "input": jsonb(run_input), "idempotency_key": "order-1"}
    (found,) = call(session, "start_flow", **named)
    started: uuid.UUID = found["run_id"]
    return started


def test_fault_18_two_starts_with_one_key_at_once_make_one_run(stage: Stage) -> None:
    define(stage.setup, "f", {"a": []})
    first = stage.session()
    mine = start_with_key(first)
    second = stage.act(start_with_key)
    stage.blocked(second)
    first.commit()
    assert second.result() == mine
    assert value(stage.setup, "select count(*) from pgflow.runs") == 1
    assert len(messages(stage.setup, "f")) == 1


def test_fault_18_a_start_that_is_rolled_back_frees_its_key(stage: Stage) -> None:
    define(stage.setup, "f", {"a": []})
    first = stage.session()
    mine = start_with_key(first)
    second = stage.act(start_with_key)
    stage.blocked(second)
    first.rollback()
    assert second.result() != mine
    assert value(stage.setup, "select count(*) from pgflow.runs") == 1


def test_fault_18_a_later_start_with_the_key_gives_the_same_answer(stage: Stage) -> None:
    define(stage.setup, "f", {"a": []})
    mine = start_with_key(stage.setup, {"x": 1})
    succeed(stage.setup, claim(stage.setup, "f"), "done")
    assert start_with_key(stage.setup, {"x": 2}) == mine
    found = run(stage.setup, mine)
    assert (found["status"], found["input"]) == ("completed", {"x": 1})
    assert state(stage.setup, mine, "a")["status"] == "completed"


def test_fault_18_many_starts_with_one_key_make_one_run(stage: Stage) -> None:
    define(stage.setup, "f", {"a": []})
    actors = [stage.act(start_with_key) for _ in range(6)]
    assert len({actor.result() for actor in actors}) == 1
    assert value(stage.setup, "select count(*) from pgflow.runs") == 1
