"""A retry takes up everything that failed, also what failed after its run had, and nothing before its parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    call,
    claim,
    complete_batch,
    define,
    fail_batch,
    run,
    start,
    statuses,
    tasks,
    work,
)
from tests.support.tasks import version

if TYPE_CHECKING:
    import uuid


def is_healthy(connection: Connection) -> bool:
    return call(connection, "check_invariants") == []


@pytest.mark.parametrize("step", [None, "a"])
def test_a_task_that_failed_after_its_run_is_taken_up(
    connection: Connection, step: str | None
) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    held = {task["step_slug"]: task for task in claim(connection, "f", 2)}
    assert fail_batch(connection, [held["a"]]) == ["accepted"]
    assert fail_batch(connection, [held["b"]]) == ["finished"]
    assert [task["status"] for task in tasks(connection, run_id)] == ["failed", "failed"]
    call(connection, "retry_run", run_id=run_id, step_slug=step)
    assert is_healthy(connection)
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_a_map_that_was_under_way_goes_on_with_true_counters(connection: Connection) -> None:
    steps: list[dict[str, object]] = [
        {"slug": "a"},
        {"slug": "m", "step_type": "map", "max_failed_tasks": 2},
    ]
    version(connection, "f", steps, max_attempts=1)
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    held = claim(connection, "f", 4)
    items = [task for task in held if task["step_slug"] == "m"]
    assert fail_batch(connection, items[:1]) == ["accepted"]
    fail_batch(connection, [task for task in held if task["step_slug"] == "a"])
    assert fail_batch(connection, items[1:2]) == ["finished"]
    call(connection, "retry_run", run_id=run_id)
    assert is_healthy(connection)
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


@pytest.fixture
def two_maps(connection: Connection) -> uuid.UUID:
    """A run of a map behind a map, one of whose items have each failed, and which completed all the same."""
    steps: list[dict[str, object]] = [
        {"slug": "m", "step_type": "map", "max_failed_tasks": 1},
        {"slug": "n", "step_type": "map", "max_failed_tasks": 1, "depends_on": ["m"]},
    ]
    version(connection, "f", steps, max_attempts=1)
    run_id: uuid.UUID = start(connection, "f", [1, 2])["run_id"]
    for _ in range(2):
        held = sorted(claim(connection, "f", 2), key=lambda task: int(task["task_index"]))
        fail_batch(connection, held[:1])
        complete_batch(connection, held[1:], ["old"])
    assert run(connection, run_id)["status"] == "completed"
    return run_id


def test_a_failed_step_behind_another_waits_for_it(
    connection: Connection, two_maps: uuid.UUID
) -> None:
    call(connection, "retry_run", run_id=two_maps)
    assert statuses(connection, two_maps) == {"m": "started", "n": "created"}
    assert tasks(connection, two_maps, "n") == []
    assert is_healthy(connection)
    work(connection, "f", {"m": "M", "n": lambda task: task["input"]})
    assert run(connection, two_maps)["output"] == {"n": ["M", "old"]}
    assert is_healthy(connection)


def test_named_alone_it_runs_on_what_its_parent_has(
    connection: Connection, two_maps: uuid.UUID
) -> None:
    call(connection, "retry_run", run_id=two_maps, step_slug="n")
    assert statuses(connection, two_maps) == {"m": "completed", "n": "started"}
    work(connection, "f", {"n": "N"})
    assert run(connection, two_maps)["output"] == {"n": ["N", "old"]}
