"""Faults 13, 15 and 16: completions that meet at one counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    Row,
    claim,
    define,
    diamond,
    run,
    start,
    state,
    statuses,
    tasks,
)
from tests.support.tasks import break_down, root_map, succeed

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from tests.races.stage import Stage

HOLD_RUN = "select 1 from pgflow.runs where run_id = %s for update"
HOLD_STEP = "select 1 from pgflow.step_states where run_id = %s and step_slug = %s for update"


def at_the_branches(connection: Connection) -> tuple[uuid.UUID, Row, Row]:
    """Start a diamond, complete its root, claim both branches."""
    diamond(connection)
    run_id: uuid.UUID = start(connection, "diamond")["run_id"]
    succeed(connection, claim(connection, "diamond"))
    left, right = sorted(claim(connection, "diamond", 2), key=lambda one: one["step_slug"])
    return run_id, left, right


# 13


@pytest.mark.parametrize("hold", ["run", "left", "right", "merge"])
def test_fault_13_sibling_steps_complete_at_once_without_deadlock(stage: Stage, hold: str) -> None:
    run_id, left, right = at_the_branches(stage.setup)
    gate = stage.gate(HOLD_RUN, run_id) if hold == "run" else stage.gate(HOLD_STEP, run_id, hold)
    actors = stage.together(
        gate, lambda session: succeed(session, [left]), lambda session: succeed(session, [right])
    )
    assert [actor.result() for actor in actors] == [["accepted"], ["accepted"]]
    assert statuses(stage.setup, run_id)["merge"] == "started"


def test_fault_13_batches_over_the_same_runs_in_opposite_orders_do_not_deadlock(
    stage: Stage,
) -> None:
    define(stage.setup, "f", {"a": [], "b": [], "c": ["a", "b"]})
    runs = sorted(start(stage.setup, "f")["run_id"] for _ in range(6))
    granted = sorted(claim(stage.setup, "f", 12), key=lambda one: (one["step_slug"], one["run_id"]))
    forward, backward = granted[:6], granted[6:][::-1]
    gate = stage.gate(HOLD_RUN, runs[3])
    actors = stage.together(
        gate, lambda session: succeed(session, forward), lambda session: succeed(session, backward)
    )
    assert [actor.result() for actor in actors] == [["accepted"] * 6] * 2
    assert {statuses(stage.setup, run_id)["c"] for run_id in runs} == {"started"}


def test_fault_13_shuffled_batches_never_deadlock(stage: Stage) -> None:
    define(stage.setup, "f", {"a": [], "b": [], "c": ["a", "b"]})
    runs = [start(stage.setup, "f")["run_id"] for _ in range(40)]
    granted = claim(stage.setup, "f", 100)

    def work(part: list[Row]) -> Callable[[Connection], list[str]]:
        def act(session: Connection) -> list[str]:
            found: list[str] = []
            for first in range(0, len(part), 5):
                found += succeed(session, part[first : first + 5])
                session.commit()
            return found

        return act

    parts = [granted[offset::4] for offset in range(4)]
    actors = [
        stage.act(work(part[::-1] if number % 2 else part)) for number, part in enumerate(parts)
    ]
    assert [set(actor.result()) for actor in actors] == [{"accepted"}] * 4
    assert {statuses(stage.setup, run_id)["c"] for run_id in runs} == {"started"}


# 15


@pytest.mark.parametrize("hold", ["run", "merge"])
def test_fault_15_two_dependencies_at_once_start_the_child_once(stage: Stage, hold: str) -> None:
    run_id, left, right = at_the_branches(stage.setup)
    gate = stage.gate(HOLD_RUN, run_id) if hold == "run" else stage.gate(HOLD_STEP, run_id, "merge")
    stage.together(
        gate, lambda session: succeed(session, [left]), lambda session: succeed(session, [right])
    )
    assert state(stage.setup, run_id, "merge")["remaining_deps"] == 0
    assert len(tasks(stage.setup, run_id, "merge")) == 1
    assert [one["step_slug"] for one in claim(stage.setup, "diamond", 9)] == ["merge"]


def test_fault_15_a_completion_waits_for_an_uncommitted_sibling_rather_than_miss_it(
    stage: Stage,
) -> None:
    _run_id, left, right = at_the_branches(stage.setup)
    first = stage.session()
    succeed(first, [left], "L")
    second = stage.act(lambda session: succeed(session, [right], "R"))
    stage.blocked(second)
    first.commit()
    assert second.result() == ["accepted"]
    (granted,) = claim(stage.setup, "diamond", 9)
    assert (granted["step_slug"], granted["input"]) == ("merge", {"left": "L", "right": "R"})


def test_fault_15_a_sibling_that_is_rolled_back_does_not_count(stage: Stage) -> None:
    run_id, left, right = at_the_branches(stage.setup)
    first = stage.session()
    succeed(first, [left])
    second = stage.act(lambda session: succeed(session, [right]))
    stage.blocked(second)
    first.rollback()
    assert second.result() == ["accepted"]
    assert statuses(stage.setup, run_id)["merge"] == "created"


def test_fault_15_one_parent_completes_and_one_is_skipped_at_once(stage: Stage) -> None:
    skip = {"when_exhausted": "skip", "max_attempts": 1}
    define(stage.setup, "f", {"a": [], "b": skip, "c": ["a", "b"]})
    run_id = start(stage.setup, "f")["run_id"]
    a, b = sorted(claim(stage.setup, "f", 2), key=lambda one: one["step_slug"])
    gate = stage.gate(HOLD_RUN, run_id)
    stage.together(
        gate, lambda session: succeed(session, [a], 1), lambda session: break_down(session, [b])
    )
    (granted,) = claim(stage.setup, "f", 9)
    assert (granted["step_slug"], granted["input"]) == ("c", {"a": 1})


# 16


@pytest.mark.parametrize("hold", ["run", "items"])
def test_fault_16_the_last_two_tasks_of_a_map_complete_the_step_once(
    stage: Stage, hold: str
) -> None:
    run_id = root_map(stage.setup, 2)
    first, second = claim(stage.setup, "numbers", 2)
    gate = stage.gate(HOLD_RUN, run_id) if hold == "run" else stage.gate(HOLD_STEP, run_id, "items")
    actors = stage.together(
        gate,
        lambda session: succeed(session, [first], "x"),
        lambda session: succeed(session, [second], "x"),
    )
    assert [actor.result() for actor in actors] == [["accepted"], ["accepted"]]
    found = state(stage.setup, run_id, "items")
    assert (found["status"], found["remaining_tasks"], found["output"]) == (
        "completed",
        0,
        ["x", "x"],
    )
    assert run(stage.setup, run_id)["output"] == {"items": ["x", "x"]}


def test_fault_16_the_same_task_twice_at_once_is_counted_once(stage: Stage) -> None:
    run_id = root_map(stage.setup, 2)
    (granted,) = claim(stage.setup, "numbers", 1)
    gate = stage.gate(HOLD_RUN, run_id)
    actors = stage.together(gate, *[lambda session: succeed(session, [granted])] * 2)
    assert sorted(actor.result()[0] for actor in actors) == ["accepted", "already_accepted"]
    assert state(stage.setup, run_id, "items")["remaining_tasks"] == 1


def test_fault_16_many_workers_count_a_map_down_to_zero(stage: Stage) -> None:
    run_id = root_map(stage.setup, 120)

    def work(session: Connection) -> int:
        done = 0
        while granted := claim(session, "numbers", 5):
            session.commit()
            done += succeed(session, granted, 1).count("accepted")
            session.commit()
        return done

    actors = [stage.act(work) for _ in range(4)]
    assert sum(actor.result() for actor in actors) == 120
    assert run(stage.setup, run_id)["output"] == {"items": [1] * 120}
