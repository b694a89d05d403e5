"""pgflow.complete_tasks: many results in one call, each fenced by its attempt."""

from __future__ import annotations

import uuid

import pytest

from tests.support.sql import (
    Connection,
    Row,
    archived,
    call,
    claim,
    complete,
    define,
    diamond,
    event_names,
    jsonb,
    linear,
    messages,
    record_events,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
)
from tests.support.tasks import (
    claim_one,
    lost_task,
    one_step,
    outcomes,
    reports,
    root_map,
    started_map,
    steps_of,
    succeed,
)


def results(connection: Connection, granted: list[Row], outputs: list[object]) -> list[str]:
    return outcomes(connection, "complete_tasks", granted, outputs=[jsonb(one) for one in outputs])


# A batch


def test_nothing_to_report_is_no_error(connection: Connection) -> None:
    named: dict[str, object] = {
        key: [] for key in ("run_ids", "step_slugs", "task_indexes", "attempts", "outputs")
    }
    assert call(connection, "complete_tasks", **named) == []


def test_completes_each_task_with_its_own_output(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    granted = claim(connection, "numbers", 3)
    assert results(connection, granted, [one["input"] * 10 for one in granted]) == ["accepted"] * 3
    assert state(connection, run_id, "items")["output"] == [0, 10, 20]


def test_reports_come_in_the_order_given(connection: Connection) -> None:
    root_map(connection, 6)
    granted = sorted(claim(connection, "numbers", 6), key=lambda one: -one["task_index"])
    expected = [(one["run_id"], "items", one["task_index"], "accepted") for one in granted]
    found = reports(connection, "complete_tasks", granted, outputs=[jsonb(1)] * 6)
    assert [tuple(one.values()) for one in found] == expected


def test_reports_name_the_task_and_its_outcome(connection: Connection) -> None:
    one_step(connection)
    granted = claim(connection, "f")
    (found,) = reports(connection, "complete_tasks", granted, outputs=[jsonb(1)])
    assert list(found) == ["run_id", "step_slug", "task_index", "outcome"]


def test_a_batch_may_mix_flows_runs_and_steps(connection: Connection) -> None:
    diamond(connection)
    linear(connection)
    runs = [start(connection, "diamond")["run_id"]]
    succeed(connection, claim(connection, "diamond", 1))
    runs += [start(connection, flow)["run_id"] for flow in ("diamond", "linear")]
    granted = claim(connection, "diamond", 9) + claim(connection, "linear", 9)
    assert steps_of(granted) == ["a", "left", "right", "root"]
    assert succeed(connection, granted) == ["accepted"] * 4
    assert [statuses(connection, run_id).get("merge") for run_id in runs] == [
        "started",
        "created",
        None,
    ]
    assert statuses(connection, runs[2])["b"] == "started"


def test_archives_the_messages_of_the_batch(connection: Connection) -> None:
    root_map(connection, 3)
    succeed(connection, claim(connection, "numbers", 2))
    assert (len(messages(connection, "numbers")), len(archived(connection, "numbers"))) == (1, 2)


def test_both_parents_in_one_batch_start_the_child_once(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    succeed(connection, claim(connection, "diamond", 9))
    succeed(connection, claim(connection, "diamond", 9))
    assert len(tasks(connection, run_id, "merge")) == 1
    assert len(messages(connection, "diamond")) == 1


def test_several_batches_count_the_steps_tasks_down(connection: Connection) -> None:
    run_id = root_map(connection, 5)
    left = []
    for quantity in (2, 2, 1):
        succeed(connection, claim(connection, "numbers", quantity))
        left.append(state(connection, run_id, "items")["remaining_tasks"])
    assert left == [3, 1, 0]
    assert run(connection, run_id)["status"] == "completed"


def test_a_batch_of_a_map_makes_one_event(connection: Connection) -> None:
    record_events(connection)
    run_id = root_map(connection, 3)
    succeed(connection, claim(connection, "numbers", 3))
    assert event_names(connection, run_id)[2:] == ["step:items:completed", "run:completed"]


def test_a_type_violation_fails_only_its_own_run(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}})
    bad, good = (start(connection, "f")["run_id"] for _ in range(2))
    granted = sorted(claim(connection, "f", 2), key=lambda one: one["run_id"] == good)
    results(connection, granted, ["no array", [1]])
    assert (run(connection, bad)["status"], run(connection, good)["status"]) == (
        "failed",
        "started",
    )


# Mixtures


def test_a_batch_of_all_outcomes(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    for _ in range(4):
        start(connection, "f")
    ended, stale, repeated, live = claim(connection, "f", 4)
    call(connection, "cancel_run", run_id=ended["run_id"])
    succeed(connection, [repeated])
    batch = [stale | {"attempt": 7}, live, ended, repeated]
    assert succeed(connection, batch) == ["stale", "accepted", "finished", "already_accepted"]
    assert run(connection, live["run_id"])["status"] == "completed"
    assert run(connection, stale["run_id"])["status"] == "started"


def test_an_unknown_task_does_not_disturb_the_others(connection: Connection) -> None:
    one_step(connection)
    granted = claim_one(connection, "f")
    unknown = [
        granted | {"run_id": uuid.uuid4()},
        granted | {"step_slug": "nope"},
        granted | {"task_index": 5},
    ]
    found = reports(connection, "complete_tasks", [*unknown, granted], outputs=[jsonb(1)] * 4)
    assert [one["outcome"] for one in found if one["run_id"] == granted["run_id"]][-1] == "accepted"
    assert [one["outcome"] for one in found].count("accepted") == 1


def test_a_task_twice_in_one_batch_counts_once(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    granted = claim(connection, "numbers", 1)[0]
    assert results(connection, [granted, granted], ["first", "second"])[0] == "accepted"
    assert task(connection, run_id, "items", granted["task_index"])["output"] == "first"
    assert state(connection, run_id, "items")["remaining_tasks"] == 2


def test_of_a_stale_and_a_live_report_in_one_batch_the_live_one_counts(
    connection: Connection,
) -> None:
    run_id = one_step(connection)
    stale, live = lost_task(connection, "f")
    assert results(connection, [stale, live], ["zombie", "live"]) == ["stale", "accepted"]
    assert task(connection, run_id, "a")["output"] == "live"


def test_a_second_attempt_completes_as_well(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    outcomes(connection, "fail_tasks", claim(connection, "f"), errors=["boom"])
    again = claim_one(connection, "f")
    assert (again["attempt"], succeed(connection, [again])) == (2, ["accepted"])
    assert run(connection, run_id)["status"] == "completed"


@pytest.mark.parametrize("count", [1, 10, 200])
def test_one_call_completes_any_number(connection: Connection, count: int) -> None:
    run_id = started_map(connection, count)
    assert succeed(connection, claim(connection, "mapped", count)) == ["accepted"] * count
    assert complete(connection, run_id, "items", index=0)["status"] == "completed"
    assert statuses(connection, run_id)["total"] == "started"


def test_a_large_mixed_batch_is_reported_in_the_order_given(connection: Connection) -> None:
    root_map(connection, 400)
    connection.execute("analyze pgflow.step_tasks")
    granted = sorted(claim(connection, "numbers", 400), key=lambda one: one["task_index"] * 7 % 400)
    batch = [one | {"attempt": 1 + one["task_index"] % 2} for one in granted]
    found = reports(connection, "complete_tasks", batch, outputs=[jsonb(1)] * 400)
    expected = [(one["task_index"], ("accepted", "stale")[one["attempt"] - 1]) for one in batch]
    assert [(one["task_index"], one["outcome"]) for one in found] == expected
