"""pgflow.complete_and_claim: a report, and in turn the tasks that become ready by it, in one transaction."""

from __future__ import annotations

import uuid

import pytest

from tests.support.fused import complete_and_claim, first_task, source_of_a_map
from tests.support.random_runs import (
    in_order,
)
from tests.support.sql import (
    Connection,
    attempts,
    call,
    claim,
    define,
    linear,
    messages,
    run,
    start,
    state,
    statuses,
    task,
    worker,
)
from tests.support.tasks import claim_one, expire, indexes_of, lost_task, steps_of, succeed

Heard = list[str]


@pytest.fixture
def by(connection: Connection) -> uuid.UUID:
    return worker(connection)


# What is handed over


def test_the_next_step_of_a_chain_comes_back(connection: Connection, by: uuid.UUID) -> None:
    linear(connection, "f", max_attempts=4, timeout=17)
    run_id = start(connection, "f", {"n": 1})["run_id"]
    (granted,) = complete_and_claim(connection, claim(connection, "f"), {"x": 1}, by=by)
    assert granted == {
        "outcome": None,
        "flow_slug": "f",
        "run_id": run_id,
        "step_slug": "b",
        "task_index": 0,
        "attempt": 1,
        "input": {"a": {"x": 1}},
        "flow_input": None,
        "msg_id": task(connection, run_id, "b")["message_id"],
        "queue_name": "f",
        "step_type": "single",
        "tries": 1,
        "max_attempts": 4,
        "timeout": 17,
        "exhausted": False,
        "deferred": [],
        "items": None,
        "recovered": False,
    }


def test_what_comes_back_is_held_by_that_worker(connection: Connection, by: uuid.UUID) -> None:
    done = first_task(connection, {"a": [], "b": ["a"]})
    complete_and_claim(connection, [done], by=by)
    held = task(connection, done["run_id"], "b")
    assert (held["status"], held["attempts_count"], held["last_worker_id"]) == ("started", 1, by)
    assert held["started_at"] is not None


def test_both_arms_of_a_diamond_come_back_and_then_its_end(
    connection: Connection, by: uuid.UUID
) -> None:
    steps = {"root": [], "left": ["root"], "right": ["root"], "merge": ["left", "right"]}
    done = first_task(connection, steps)
    arms = complete_and_claim(connection, [done], by=by)
    assert steps_of(arms) == ["left", "right"]
    assert complete_and_claim(connection, arms[:1], 1, by=by) == []
    (merge,) = complete_and_claim(connection, arms[1:], 2, by=by)
    assert merge["input"] == {arms[0]["step_slug"]: 1, arms[1]["step_slug"]: 2}
    assert complete_and_claim(connection, [merge], 3, by=by) == []
    assert run(connection, done["run_id"])["output"] == {"merge": 3}


def test_both_arms_completed_at_once_bring_the_end(connection: Connection, by: uuid.UUID) -> None:
    steps = {"root": [], "left": ["root"], "right": ["root"], "merge": ["left", "right"]}
    arms = complete_and_claim(connection, [first_task(connection, steps)], by=by)
    (merge,) = complete_and_claim(connection, arms, 1, by=by)
    assert merge["input"] == {"left": 1, "right": 1}


def test_of_a_map_as_many_come_back_as_asked(connection: Connection, by: uuid.UUID) -> None:
    done = source_of_a_map(connection)
    granted = complete_and_claim(connection, [done], list("abcde"), by=by, qty=3)
    assert [(one["task_index"], one["input"]) for one in granted] == [(0, "a"), (1, "b"), (2, "c")]
    assert [one["input"] for one in in_order(claim(connection, "f", 9))] == ["d", "e"]


def test_what_comes_back_of_several_steps_is_counted_together(
    connection: Connection, by: uuid.UUID
) -> None:
    a_map = {"deps": ["a"], "step_type": "map"}
    done = first_task(connection, {"a": [], "x": a_map, "y": {**a_map, "queue": "side"}})
    granted = complete_and_claim(connection, [done], [1, 2, 3], by=by, queues=["f", "side"], qty=4)
    assert [one["step_slug"] for one in granted] == ["x", "x", "x", "y"]
    assert len(claim(connection, "side", 9)) == 2


def test_nothing_comes_back_where_nothing_is_asked_for(
    connection: Connection, by: uuid.UUID
) -> None:
    done = first_task(connection, {"a": [], "b": ["a"]})
    assert complete_and_claim(connection, [done], by=by, qty=0) == []
    assert steps_of(claim(connection, "f", 9)) == ["b"]


@pytest.mark.parametrize("step_type", ["single", "map"])
def test_a_step_that_starts_later_is_not_handed_over(
    connection: Connection, by: uuid.UUID, step_type: str
) -> None:
    later = {"deps": ["a"], "start_delay": 60, "step_type": step_type}
    done = first_task(connection, {"a": [], "b": later})
    assert complete_and_claim(connection, [done], [1], by=by) == []
    assert task(connection, done["run_id"], "b")["status"] == "queued"
    assert 55 < messages(connection, "f")[0]["delay"] <= 60


@pytest.mark.parametrize("queues", [["f"], ["f", "gpu"]])
def test_only_tasks_of_the_workers_queues_are_handed_over(
    connection: Connection, by: uuid.UUID, queues: list[str]
) -> None:
    done = first_task(connection, {"a": [], "b": {"deps": ["a"], "queue": "gpu"}})
    granted = complete_and_claim(connection, [done], by=by, queues=queues)
    assert [one["queue_name"] for one in granted] == queues[1:]
    assert [one["visible"] for one in messages(connection, "gpu")] == [len(queues) == 1]


@pytest.mark.parametrize(
    ("handlers", "expected"),
    [
        (["f.b", "f.m"], ["b", "m", "m"]),
        (["f.b(single:a)", "f.m(map:a)"], ["b", "m", "m"]),
        (["f.b"], ["b"]),
        (["f.m(map:a)"], ["m", "m"]),
        (["f.b(single:x)", "f.m(single:a)", "g.b"], []),
        ([], []),
    ],
)
def test_only_steps_with_a_handler_are_handed_over(
    connection: Connection, by: uuid.UUID, handlers: list[str], expected: list[str]
) -> None:
    done = first_task(connection, {"a": [], "b": ["a"], "m": {"deps": ["a"], "step_type": "map"}})
    granted = complete_and_claim(connection, [done], [1, 2], by=by, handlers=handlers)
    assert steps_of(granted) == expected
    rest = sorted(["b", "m", "m"])
    for step in expected:
        rest.remove(step)
    assert steps_of(claim(connection, "f", 9)) == rest


def test_a_step_whose_condition_is_met_is_handed_over(
    connection: Connection, by: uuid.UUID
) -> None:
    met = {"deps": ["a"], "required_input_pattern": {"a": {"go": True}}}
    unmet = {"deps": ["a"], "required_input_pattern": {"a": {"go": False}}}
    done = first_task(connection, {"a": [], "b": met, "c": unmet})
    granted = complete_and_claim(connection, [done], {"go": True}, by=by)
    assert steps_of(granted) == ["b"]
    assert statuses(connection, done["run_id"])["c"] == "skipped"


def test_what_is_behind_an_empty_map_is_handed_over(connection: Connection, by: uuid.UUID) -> None:
    a_map = {"deps": ["a"], "step_type": "map"}
    done = first_task(connection, {"a": [], "m": a_map, "end": ["m"]})
    (granted,) = complete_and_claim(connection, [done], [], by=by)
    assert (granted["step_slug"], granted["input"]) == ("end", {"m": []})


# Reports that are not accepted


def test_a_stale_report_comes_back_by_its_outcome(connection: Connection, by: uuid.UUID) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    stale, live = lost_task(connection, "f")
    (refusal,) = complete_and_claim(connection, [stale], by=by)
    named = {"outcome": "stale", "run_id": run_id, "step_slug": "a", "task_index": 0}
    assert refusal == {**dict.fromkeys(refusal), **named}
    (granted,) = complete_and_claim(connection, [live], by=by)
    assert (granted["outcome"], granted["step_slug"]) == (None, "b")


def test_a_repeated_report_is_already_accepted_and_brings_nothing(
    connection: Connection, by: uuid.UUID
) -> None:
    done = first_task(connection, {"a": [], "b": ["a"]})
    assert len(complete_and_claim(connection, [done], by=by)) == 1
    again = complete_and_claim(connection, [done], by=by)
    assert [(one["outcome"], one["step_slug"]) for one in again] == [("already_accepted", "a")]
    assert task(connection, done["run_id"], "b")["attempts_count"] == 1


def test_a_report_for_a_run_that_is_over_is_finished(connection: Connection, by: uuid.UUID) -> None:
    done = first_task(connection, {"a": [], "b": ["a"]})
    call(connection, "cancel_run", run_id=done["run_id"])
    assert [one["outcome"] for one in complete_and_claim(connection, [done], by=by)] == ["finished"]
    assert messages(connection, "f") == []


def test_of_a_mixed_batch_refusals_and_grants_come_back(
    connection: Connection, by: uuid.UUID
) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    runs = [start(connection, "f")["run_id"] for _ in range(2)]
    good, bad = claim(connection, "f", 2)
    back = complete_and_claim(connection, [{**bad, "attempt": 9}, good], by=by)
    assert [(one["outcome"], one["run_id"], one["step_slug"]) for one in back] == [
        ("stale", bad["run_id"], "a"),
        (None, good["run_id"], "b"),
    ]
    assert {statuses(connection, run_id)["a"] for run_id in runs} == {"completed", "started"}


def test_a_type_violation_fails_the_run_and_brings_nothing(
    connection: Connection, by: uuid.UUID
) -> None:
    done = source_of_a_map(connection)
    assert [
        one["outcome"] for one in complete_and_claim(connection, [done], "no array", by=by)
    ] == ["finished"]
    assert run(connection, done["run_id"])["status"] == "failed"


def test_no_reports_bring_nothing(connection: Connection, by: uuid.UUID) -> None:
    first_task(connection, {"a": []})
    assert complete_and_claim(connection, [], by=by) == []


def test_a_worker_that_is_not_registered_reports_but_takes_nothing(connection: Connection) -> None:
    done = first_task(connection, {"a": [], "b": ["a"]})
    assert complete_and_claim(connection, [done], by=uuid.uuid4()) == []
    assert task(connection, done["run_id"], "a")["status"] == "completed"
    assert steps_of(claim(connection, "f", 9)) == ["b"]


# Leases and fences of what was handed over


def test_what_was_handed_over_is_not_granted_again(connection: Connection, by: uuid.UUID) -> None:
    done = source_of_a_map(connection)
    complete_and_claim(connection, [done], [1, 2], by=by, lease=77)
    assert claim(connection, "f", 9) == []
    assert all(70 < one["delay"] <= 77 for one in messages(connection, "f"))


def test_after_its_lease_it_is_recovered_with_the_next_fence(
    connection: Connection, by: uuid.UUID
) -> None:
    done = first_task(connection, {"a": [], "b": ["a"]})
    (lost,) = complete_and_claim(connection, [done], by=by)
    expire(connection, "f")
    live = claim_one(connection, "f")
    assert (live["attempt"], live["tries"], live["recovered"]) == (2, 2, True)
    assert succeed(connection, [lost, live]) == ["stale", "accepted"]
    found = [
        (one["attempt"], one["outcome"], one["worker_id"])
        for one in attempts(connection, done["run_id"])
    ]
    assert found[0] == (1, "lost", by)


def test_every_item_of_a_map_is_granted_once(connection: Connection, by: uuid.UUID) -> None:
    done = source_of_a_map(connection)
    granted = complete_and_claim(connection, [done], list(range(20)), by=by, qty=7)
    granted += claim(connection, "f", 100)
    assert indexes_of(granted) == list(range(20))
    assert succeed(connection, granted) == ["accepted"] * 20
    assert state(connection, done["run_id"], "items")["status"] == "completed"
