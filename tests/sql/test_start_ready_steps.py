"""pgflow.start_ready_steps: ready steps get their tasks and messages, once."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.sql import (
    Connection,
    define,
    event_names,
    finish,
    messages,
    payload,
    record_events,
    row,
    rows,
    start,
    state,
    statuses,
    task,
    tasks,
)


def start_ready(connection: Connection, run_id: uuid.UUID) -> None:
    row(connection, "select pgflow.start_ready_steps(run_id => %s)", run_id)


def opened(connection: Connection, **step: Any) -> uuid.UUID:
    """Start a -> b and make b ready by hand."""
    define(connection, "f", {"a": [], "b": {"deps": ["a"], **step}})
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    update = """update pgflow.step_states set remaining_deps = 0, initial_tasks = coalesce(initial_tasks, 2)
      where run_id = %s and step_slug = 'b'"""
    connection.execute(update, [run_id])
    return run_id


def everything(connection: Connection) -> list[object]:
    queries = (
        "select * from pgflow.runs",
        "select * from pgflow.step_states order by step_slug",
        "select * from pgflow.step_tasks order by step_slug, task_index",
        "select * from pgmq.q_f order by msg_id",
    )
    return [rows(connection, query) for query in queries]


def test_starts_a_ready_step(connection: Connection) -> None:
    run_id = opened(connection)
    start_ready(connection, run_id)
    found = state(connection, run_id, "b")
    assert (found["status"], found["initial_tasks"], found["remaining_tasks"]) == ("started", 1, 1)
    assert found["started_at"] is not None


def test_leaves_the_run_as_it_is(connection: Connection) -> None:
    run_id = opened(connection)
    before = row(connection, "select * from pgflow.runs")
    start_ready(connection, run_id)
    assert row(connection, "select * from pgflow.runs") == before


def test_makes_queued_tasks_with_their_messages(connection: Connection) -> None:
    run_id = opened(connection)
    start_ready(connection, run_id)
    found = task(connection, run_id, "b")
    columns = ("task_index", "status", "attempts_count", "started_at", "output", "message_id")
    sent = messages(connection, "f")[-1]["msg_id"]
    assert tuple(found[column] for column in columns) == (0, "queued", 0, None, None, sent)


def test_the_message_has_exactly_four_keys(connection: Connection) -> None:
    run_id = opened(connection)
    start_ready(connection, run_id)
    expected = {"flow_slug": "f", "run_id": str(run_id), "step_slug": "b", "task_index": 0}
    assert messages(connection, "f")[-1]["message"] == expected


def test_calling_again_changes_nothing(connection: Connection) -> None:
    run_id = opened(connection)
    start_ready(connection, run_id)
    before = everything(connection)
    start_ready(connection, run_id)
    assert everything(connection) == before


def test_calling_for_a_run_that_needs_nothing_changes_nothing(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    before = everything(connection)
    start_ready(connection, run_id)
    assert everything(connection) == before


def test_an_unknown_run_is_no_error(connection: Connection) -> None:
    start_ready(connection, uuid.uuid4())
    assert rows(connection, "select * from pgflow.step_tasks") == []


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_does_nothing_on_a_finished_run(connection: Connection, status: str) -> None:
    run_id = opened(connection)
    connection.execute("update pgflow.runs set status = %s where run_id = %s", [status, run_id])
    start_ready(connection, run_id)
    assert statuses(connection, run_id)["b"] == "created"
    assert tasks(connection, run_id, "b") == []


@pytest.mark.parametrize(("remaining_deps", "initial_tasks"), [(1, 1), (0, 0), (0, None)])
def test_leaves_a_step_that_is_not_ready(
    connection: Connection, remaining_deps: int, initial_tasks: int | None
) -> None:
    run_id = opened(connection)
    update = "update pgflow.step_states set remaining_deps = %s, initial_tasks = %s where step_slug = 'b'"
    connection.execute(update, [remaining_deps, initial_tasks])
    start_ready(connection, run_id)
    assert statuses(connection, run_id)["b"] == "created"


def test_starts_only_steps_of_this_run(connection: Connection) -> None:
    first = opened(connection)
    second = start(connection, "f")["run_id"]
    connection.execute(
        "update pgflow.step_states set remaining_deps = 0 where run_id = %s", [second]
    )
    start_ready(connection, first)
    assert statuses(connection, second)["b"] == "created"


def test_starts_all_ready_steps_of_the_run(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"], "c": ["a"], "d": ["b"]})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a")
    assert statuses(connection, run_id) == {
        "a": "completed",
        "b": "started",
        "c": "started",
        "d": "created",
    }


def test_emits_one_started_event_per_step(connection: Connection) -> None:
    record_events(connection)
    run_id = opened(connection)
    start_ready(connection, run_id)
    start_ready(connection, run_id)
    assert event_names(connection, run_id).count("step:b:started") == 1
    found = payload(connection, run_id, "step:b:started")
    assert (found["remaining_tasks"], found["remaining_deps"]) == (1, 0)


def test_a_map_gets_a_task_and_a_message_per_element(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", list(range(20)))["run_id"]
    assert [one["task_index"] for one in tasks(connection, run_id)] == list(range(20))
    assert [one["message"]["task_index"] for one in messages(connection, "f")] == list(range(20))


def test_message_ids_ascend_with_the_task_index(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", list(range(300)))["run_id"]
    ids = [one["message_id"] for one in tasks(connection, run_id)]
    assert ids == sorted(ids)
    sent = {one["msg_id"]: one["message"]["task_index"] for one in messages(connection, "f")}
    assert [sent[one] for one in ids] == list(range(300))


def test_messages_of_later_steps_have_higher_ids(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"], "c": ["b"]})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a")
    finish(connection, "f", "b")
    ids = [task(connection, run_id, step)["message_id"] for step in "abc"]
    assert ids == sorted(set(ids))


# Start delays


@pytest.mark.parametrize("delay", [None, 0])
def test_without_a_delay_the_message_is_visible_at_once(
    connection: Connection, delay: int | None
) -> None:
    define(connection, "f", {"a": {"start_delay": delay}})
    start(connection, "f")
    assert [one["visible"] for one in messages(connection, "f")] == [True]


@pytest.mark.parametrize("delay", [1, 5, 3600, 365 * 86_400])
def test_a_delay_hides_the_message_for_so_long(connection: Connection, delay: int) -> None:
    define(connection, "f", {"a": {"start_delay": delay}})
    start(connection, "f")
    (message,) = messages(connection, "f")
    assert delay - 2 < message["delay"] <= delay


def test_a_delay_counts_for_every_task_of_a_map(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map", "start_delay": 10}})
    start(connection, "f", [1, 2, 3])
    found = messages(connection, "f")
    assert len(found) == 3
    assert all(8 < message["delay"] <= 10 for message in found)


def test_a_delay_starts_with_the_step(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": {"deps": ["a"], "start_delay": 10}})
    run_id = start(connection, "f")["run_id"]
    connection.execute("select pg_sleep(0.2)")
    finish(connection, "f", "a")
    (message,) = messages(connection, "f")
    # Measured by the wall clock, so the sleep inside this transaction is not part of the delay.
    assert 9.9 < message["delay"] <= 10
    assert state(connection, run_id, "b")["status"] == "started"


def test_each_step_has_its_own_delay(connection: Connection) -> None:
    define(connection, "f", {"a": {"start_delay": 100}, "b": [], "c": {"start_delay": 10}})
    start(connection, "f")
    found = {
        one["message"]["step_slug"]: round(max(0, one["delay"]))
        for one in messages(connection, "f")
    }
    assert found == {"a": 100, "b": 0, "c": 10}
