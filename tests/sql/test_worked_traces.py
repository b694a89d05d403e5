"""The worked traces of section 17 of the contract, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sql import (
    Connection,
    archived,
    begin,
    complete,
    define,
    fail,
    linear,
    make_visible,
    mapped,
    messages,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
    work,
)

if TYPE_CHECKING:
    import uuid


def trace(connection: Connection, run_id: uuid.UUID, step: str) -> tuple[Any, ...]:
    """Return status, remaining_deps, initial_tasks and remaining_tasks of a step, as the contract notes them."""
    found = state(connection, run_id, step)
    return tuple(
        found[column] for column in ("status", "remaining_deps", "initial_tasks", "remaining_tasks")
    )


def test_linear(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    started = start(connection, "f", {"x": 1})
    run_id = started["run_id"]
    assert started["remaining_steps"] == 2
    assert trace(connection, run_id, "a") == ("started", 0, 1, 1)
    assert trace(connection, run_id, "b") == ("created", 1, 1, None)
    assert [one["msg_id"] for one in messages(connection, "f")] == [1]

    (granted,) = begin(connection, "f")
    assert (granted["input"], granted["flow_input"]) == ({}, {"x": 1})
    assert task(connection, run_id, "a")["attempts_count"] == 1

    complete(connection, run_id, "a", 7)
    assert [one["msg_id"] for one in archived(connection, "f")] == [1]
    assert (state(connection, run_id, "a")["status"], state(connection, run_id, "a")["output"]) == (
        "completed",
        7,
    )
    assert trace(connection, run_id, "b") == ("started", 0, 1, 1)
    assert [one["msg_id"] for one in messages(connection, "f")] == [2]
    assert run(connection, run_id)["remaining_steps"] == 1

    (granted,) = begin(connection, "f")
    assert (granted["input"], granted["flow_input"]) == ({"a": 7}, None)

    complete(connection, run_id, "b", 8)
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"b": 8},
    )


def test_map(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", [10, 20, 30])
    assert trace(connection, run_id, "items") == ("started", 0, 3, 3)
    assert [one["message"]["task_index"] for one in messages(connection, "mapped")] == [0, 1, 2]
    assert [one["input"] for one in begin(connection, "mapped", 3)] == [10, 20, 30]
    for index in (2, 0, 1):
        complete(connection, run_id, "items", index * 100, index)
    assert state(connection, run_id, "items")["output"] == [0, 100, 200]
    assert begin(connection, "mapped")[0]["input"] == {"items": [0, 100, 200]}


def test_map_over_an_empty_array(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", [])
    assert trace(connection, run_id, "items") == ("completed", 0, 0, 0)
    assert state(connection, run_id, "items")["output"] == []
    assert tasks(connection, run_id, "items") == []
    assert trace(connection, run_id, "total") == ("started", 0, 1, 1)


def test_map_over_no_array(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", 5)
    assert run(connection, run_id)["status"] == "failed"
    assert state(connection, run_id, "source")["error_message"].startswith("[TYPE_VIOLATION]")


def test_retry(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=3, base_delay=5)
    run_id = start(connection, "f")["run_id"]
    for delay in (10, 20):
        begin(connection, "f")
        assert fail(connection, run_id, "a")["status"] == "queued"
        assert round(messages(connection, "f")[0]["delay"]) == delay
        make_visible(connection, "f")
    begin(connection, "f")
    assert fail(connection, run_id, "a")["status"] == "failed"
    assert run(connection, run_id)["status"] == "failed"


def test_skip(connection: Connection) -> None:
    define(connection, "f", {"a": {"when_exhausted": "skip", "max_attempts": 1}, "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    assert fail(connection, run_id, "a")["status"] == "failed"
    assert (
        state(connection, run_id, "a")["status"],
        state(connection, run_id, "a")["skip_reason"],
    ) == (
        "skipped",
        "handler_failed",
    )
    assert begin(connection, "f")[0]["input"] == {}
    complete(connection, run_id, "b", 1)
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"b": 1},
    )


def test_branch(connection: Connection) -> None:
    steps = {
        "x": {"required_input_pattern": {"role": "admin"}},
        "y": {"forbidden_input_pattern": {"role": "admin"}},
        "j": ["x", "y"],
    }
    define(connection, "f", steps)
    run_id = start(connection, "f", {"role": "user"})["run_id"]
    assert statuses(connection, run_id) == {"x": "skipped", "y": "started", "j": "created"}
    assert state(connection, run_id, "j")["remaining_deps"] == 1
    begin(connection, "f")
    complete(connection, run_id, "y", "plain")
    assert begin(connection, "f")[0]["input"] == {"y": "plain"}


def test_late_callbacks(connection: Connection) -> None:
    define(
        connection, "f", {"m": {"step_type": "map", "when_exhausted": "skip", "max_attempts": 1}}
    )
    run_id = start(connection, "f", [1, 2])["run_id"]
    begin(connection, "f", 2)
    fail(connection, run_id, "m", index=0)
    assert state(connection, run_id, "m")["status"] == "skipped"
    assert len(archived(connection, "f")) == 2
    before = task(connection, run_id, "m", 1)
    assert complete(connection, run_id, "m", "late", 1) == before
    assert fail(connection, run_id, "m", "late", 1) == before


def test_linear_of_three_works_off_by_itself(connection: Connection) -> None:
    linear(connection)
    run_id = start(connection, "linear")["run_id"]
    work(connection, "linear")
    assert statuses(connection, run_id) == dict.fromkeys("abc", "completed")
