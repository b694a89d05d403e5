"""Reports of single tasks against batches, siblings and endings, and who takes which lock first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import Connection, Row, call, claim, define, jsonb, rows, run, start, worker
from tests.support.tasks import arrays, break_down, outcomes, steps_of, succeed

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from tests.races.stage import Stage

HOLD_MESSAGE = "select 1 from pgmq.q_f where message ->> 'step_slug' = %s for update"
HOLD_STEP = "select 1 from pgflow.step_states where run_id = %s and step_slug = %s for update"
HOLD_TASK = "select 1 from pgflow.step_tasks where run_id = %s and step_slug = %s for update"


def two_roots(connection: Connection, **more: object) -> tuple[Row, Row]:
    """Start a run of the steps a and b, and what follows them, and claim both."""
    define(connection, "f", {"a": [], "b": [], **more}, base_delay=0)
    start(connection, "f")
    a, b = sorted(claim(connection, "f", 2), key=lambda task: task["step_slug"])
    return a, b


def take_on(
    session: Connection, done: list[Row], by: uuid.UUID, output: object = "done"
) -> list[Row]:
    named = {"worker_id": by, "queue_names": ["f"], "qty": 9}
    outputs = [jsonb(output)] * len(done)
    return call(session, "complete_and_claim", **arrays(done), outputs=outputs, **named)


# One task in a batch and in a report of its own: a worker whose reply was lost repeats what is still under way


@pytest.mark.parametrize("held", ["a", "b"])
def test_a_batch_and_a_repeated_report_of_one_of_its_tasks_do_not_deadlock(
    stage: Stage, held: str
) -> None:
    a, b = two_roots(stage.setup)
    gate = stage.gate(HOLD_MESSAGE, held)
    batch, single = stage.together(
        gate, lambda session: succeed(session, [a, b]), lambda session: succeed(session, [a])
    )
    assert (batch.error, single.error) == (None, None)
    assert (batch.result(), single.result()) == (["accepted"] * 2, ["already_accepted"])
    assert run(stage.setup, a["run_id"])["status"] == "completed"


def test_a_report_and_the_batch_that_repeats_it_do_not_deadlock(stage: Stage) -> None:
    a, b = two_roots(stage.setup)
    gate = stage.gate(HOLD_STEP, a["run_id"], "a")
    single, batch = stage.together(
        gate, lambda session: succeed(session, [a]), lambda session: succeed(session, [a, b])
    )
    assert single.result() == ["accepted"]
    assert batch.result() == ["already_accepted", "accepted"]
    assert run(stage.setup, a["run_id"])["status"] == "completed"


@pytest.mark.parametrize("other", ["extend", "release", "fail", "cancel", "again"])
@pytest.mark.parametrize("first", [True, False])
def test_a_single_report_and_anything_else_of_its_task_do_not_deadlock(
    stage: Stage, other: str, first: bool
) -> None:
    a, b = two_roots(stage.setup)
    acts: dict[str, Callable[[Connection], object]] = {
        "extend": lambda session: outcomes(session, "extend_leases", [b, a]),
        "release": lambda session: outcomes(session, "release_tasks", [b, a]),
        "fail": lambda session: break_down(session, [b, a], final=True),
        "cancel": lambda session: call(session, "cancel_run", run_id=a["run_id"]),
        "again": lambda session: succeed(session, [a]),
    }
    gate = stage.gate(HOLD_TASK, a["run_id"], "a")
    order = [lambda session: succeed(session, [a]), acts[other]]
    actors = stage.together(gate, *(order if first else order[::-1]))
    assert [actor.error for actor in actors] == [None, None]


# Siblings


def test_two_siblings_that_end_at_once_start_their_child_once(stage: Stage) -> None:
    a, b = two_roots(stage.setup, end=["a", "b"])
    gate = stage.gate("select 1 from pgflow.runs where run_id = %s for update", a["run_id"])
    actors = stage.together(
        gate, lambda session: succeed(session, [a], 1), lambda session: succeed(session, [b], 2)
    )
    assert [actor.result() for actor in actors] == [["accepted"], ["accepted"]]
    (end,) = claim(stage.setup, "f", 9)
    assert end["input"] == {"a": 1, "b": 2}


def test_two_leaves_that_end_at_once_are_both_in_the_runs_output(stage: Stage) -> None:
    a, b = two_roots(stage.setup)
    first = stage.session()
    assert succeed(first, [a], 1) == ["accepted"]
    second = stage.act(lambda session: succeed(session, [b], 2))
    assert stage.blocked(second)
    first.commit()
    assert second.result() == ["accepted"]
    ended = run(stage.setup, a["run_id"])
    assert (ended["status"], ended["output"]) == ("completed", {"a": 1, "b": 2})


def test_of_two_workers_that_take_on_one_gets_the_child(stage: Stage) -> None:
    a, b = two_roots(stage.setup, end=["a", "b"])
    workers = [worker(stage.setup) for _ in range(2)]
    gate = stage.gate(HOLD_STEP, a["run_id"], "a")
    actors = stage.together(
        gate,
        lambda session: take_on(session, [a], workers[0]),
        lambda session: take_on(session, [b], workers[1]),
    )
    assert steps_of([one for actor in actors for one in actor.result()]) == ["end"]
    assert claim(stage.setup, "f", 9) == []


def test_what_is_handed_over_is_nobodys_before_the_commit_and_the_workers_after_it(
    stage: Stage,
) -> None:
    a, _ = two_roots(stage.setup, end=["a"])
    by = worker(stage.setup)
    session = stage.session()
    (end,) = take_on(session, [a], by)
    assert stage.act(lambda other: claim(other, "f", 9)).result() == []
    session.commit()
    assert stage.act(lambda other: claim(other, "f", 9)).result() == []
    assert succeed(stage.setup, [end]) == ["accepted"]


def test_a_completion_that_is_rolled_back_hands_nothing_over(stage: Stage) -> None:
    a, _ = two_roots(stage.setup, end=["a"])
    by = worker(stage.setup)
    session = stage.session()
    take_on(session, [a], by)
    session.rollback()
    assert claim(stage.setup, "f", 9) == []
    assert steps_of(take_on(stage.setup, [a], by)) == ["end"]


# The worker's row comes first


def test_a_worker_that_is_deleted_while_it_takes_on_does_not_deadlock(stage: Stage) -> None:
    a, b = two_roots(stage.setup, end=["a", "b"])
    by = worker(stage.setup)
    rows(stage.setup, "update pgflow.step_tasks set last_worker_id = %s", by)
    gate = stage.gate(HOLD_MESSAGE, "a")
    taking = stage.act(lambda session: take_on(session, [a, b], by))
    assert stage.blocked(taking)
    deleting = stage.act(
        lambda session: rows(session, "delete from pgflow.workers where worker_id = %s", by)
    )
    assert stage.blocked(deleting)
    gate.commit()
    assert (taking.error, deleting.error) == (None, None)
    assert steps_of(taking.result()) == ["end"]
