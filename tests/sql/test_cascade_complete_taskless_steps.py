"""pgflow.cascade_complete_taskless_steps: empty maps complete, however long their chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    begin,
    define,
    event_names,
    finish,
    payload,
    record_events,
    rows,
    run,
    start,
    state,
    statuses,
    tasks,
    value,
    work,
)

if TYPE_CHECKING:
    import uuid


def cascade(connection: Connection, run_id: uuid.UUID) -> int:
    return int(
        value(connection, "select pgflow.cascade_complete_taskless_steps(run_id => %s)", run_id)
    )


def chain(connection: Connection, length: int) -> str:
    """Create a chain of maps, the first one a root."""
    steps = {
        f"m{n}": {"deps": [f"m{n - 1}"] if n else [], "step_type": "map"} for n in range(length)
    }
    return define(connection, "chain", steps)


def emptied(connection: Connection) -> uuid.UUID:
    """Start a -> m (map) -> n (map) -> end, and make m empty and ready by hand."""
    steps = {
        "a": [],
        "m": {"deps": ["a"], "step_type": "map"},
        "n": {"deps": ["m"], "step_type": "map"},
        "end": ["n"],
    }
    define(connection, "f", steps)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    update = """update pgflow.step_states set remaining_deps = 0, initial_tasks = 0
      where run_id = %s and step_slug = 'm'"""
    connection.execute(update, [run_id])
    return run_id


def test_returns_how_many_steps_completed(connection: Connection) -> None:
    assert cascade(connection, emptied(connection)) == 2


def test_a_second_call_completes_none(connection: Connection) -> None:
    run_id = emptied(connection)
    cascade(connection, run_id)
    assert cascade(connection, run_id) == 0


def test_returns_0_where_nothing_is_empty(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert cascade(connection, start(connection, "f")["run_id"]) == 0


def test_returns_0_on_a_failed_run_with_nothing_ready(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    connection.execute(
        "update pgflow.runs set status = 'failed', failed_at = now() where run_id = %s", [run_id]
    )
    assert cascade(connection, run_id) == 0


def test_an_empty_map_completes_with_an_empty_array(connection: Connection) -> None:
    run_id = emptied(connection)
    cascade(connection, run_id)
    found = state(connection, run_id, "m")
    columns = ("status", "initial_tasks", "remaining_tasks", "output")
    assert tuple(found[column] for column in columns) == ("completed", 0, 0, [])
    assert found["started_at"] == found["completed_at"] is not None


def test_a_single_step_without_tasks_completes_with_null(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    update = "update pgflow.step_states set remaining_deps = 0, initial_tasks = 0 where step_slug = 'b' and run_id = %s"
    connection.execute(update, [run_id])
    assert cascade(connection, run_id) == 1
    found = state(connection, run_id, "b")
    assert (found["status"], found["output"]) == ("completed", None)


def test_makes_no_tasks(connection: Connection) -> None:
    run_id = emptied(connection)
    cascade(connection, run_id)
    assert [one["step_slug"] for one in tasks(connection, run_id)] == ["a"]


def test_map_children_become_empty_as_well(connection: Connection) -> None:
    run_id = emptied(connection)
    cascade(connection, run_id)
    found = state(connection, run_id, "n")
    assert (found["status"], found["initial_tasks"], found["output"]) == ("completed", 0, [])


def test_counters_drop(connection: Connection) -> None:
    run_id = emptied(connection)
    cascade(connection, run_id)
    assert state(connection, run_id, "end")["remaining_deps"] == 0
    assert run(connection, run_id)["remaining_steps"] == 2


def test_starts_nothing_by_itself(connection: Connection) -> None:
    run_id = emptied(connection)
    cascade(connection, run_id)
    assert statuses(connection, run_id)["end"] == "created"


def test_emits_completed_in_order_and_never_started(connection: Connection) -> None:
    record_events(connection)
    run_id = emptied(connection)
    cascade(connection, run_id)
    assert event_names(connection, run_id)[2:] == ["step:m:completed", "step:n:completed"]


def test_the_event_of_an_empty_map_tells_all(connection: Connection) -> None:
    record_events(connection)
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"deps": ["m"], "step_type": "map"}})
    run_id = start(connection, "f", [])["run_id"]
    for slug in "mn":
        found = payload(connection, run_id, f"step:{slug}:completed")
        expected = {
            "event_type": "step:completed",
            "run_id": str(run_id),
            "step_slug": slug,
            "status": "completed",
            "output": [],
            "remaining_tasks": 0,
            "remaining_deps": 0,
        }
        assert {key: found[key] for key in expected} == expected
        assert found["started_at"] == found["completed_at"] is not None


# Through start_flow and complete_task


@pytest.mark.parametrize("length", [1, 2, 49, 51, 120])
def test_a_chain_of_empty_maps_completes_at_the_start(connection: Connection, length: int) -> None:
    started = start(connection, chain(connection, length), [])
    assert (started["status"], started["remaining_steps"]) == ("completed", 0)
    assert started["output"] == {f"m{length - 1}": []}


def test_the_events_of_a_chain_are_in_dependency_order(connection: Connection) -> None:
    record_events(connection)
    run_id = start(connection, chain(connection, 5), [])["run_id"]
    steps = [f"step:m{n}:completed" for n in range(5)]
    assert event_names(connection, run_id) == ["run:started", *steps, "run:completed"]


def test_a_run_with_only_empty_maps_sends_no_message(connection: Connection) -> None:
    start(connection, chain(connection, 3), [])
    assert begin(connection, "chain") == []


def test_an_empty_array_from_a_parent_empties_the_map(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}, "end": ["m"]})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", [])
    assert statuses(connection, run_id) == {"a": "completed", "m": "completed", "end": "started"}
    (task,) = begin(connection, "f")
    assert task["input"] == {"m": []}


def test_an_empty_map_does_not_wait_for_full_siblings(connection: Connection) -> None:
    steps = {
        "a": [],
        "b": [],
        "m": {"deps": ["a"], "step_type": "map"},
        "n": {"deps": ["b"], "step_type": "map"},
    }
    define(connection, "f", steps | {"join": ["m", "n"]})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": [], "b": [1, 2], "join": lambda task: task["input"]})
    assert run(connection, run_id)["output"] == {"join": {"m": [], "n": ["n", "n"]}}


def test_a_step_that_waits_for_another_parent_is_not_started(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "b": [], "join": ["m", "b"]})
    run_id = start(connection, "f", [])["run_id"]
    assert statuses(connection, run_id) == {"m": "completed", "b": "started", "join": "created"}
    assert state(connection, run_id, "join")["remaining_deps"] == 1


def test_a_fan_out_of_empty_maps_completes(connection: Connection) -> None:
    steps: dict[str, object] = {"root": {"step_type": "map"}}
    steps |= {f"m{n}": {"deps": ["root"], "step_type": "map"} for n in range(10)}
    define(connection, "f", steps | {"join": [f"m{n}" for n in range(10)]})
    run_id = start(connection, "f", [])["run_id"]
    assert state(connection, run_id, "join")["remaining_deps"] == 0
    assert [one["step_slug"] for one in rows(connection, "select * from pgflow.step_tasks")] == [
        "join"
    ]
