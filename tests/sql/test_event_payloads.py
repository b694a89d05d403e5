"""Events: what the payload of each says (contract, section 16)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    begin,
    complete,
    define,
    diamond,
    event_names,
    fail,
    finish,
    payload,
    record_events,
    run,
    start,
    state,
    work,
)

if TYPE_CHECKING:
    import uuid


NEVER = {"required_input_pattern": {"never": True}}


@pytest.fixture(autouse=True)
def sink(connection: Connection) -> None:
    record_events(connection)


def instant(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


def started_run(connection: Connection, outputs: object) -> uuid.UUID:
    """Run `a` (single) to its end."""
    define(connection, "f", {"a": []})
    run_id: uuid.UUID = start(connection, "f", {"k": [1, None]})["run_id"]
    work(connection, "f", {"a": outputs})
    return run_id


def test_run_started(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond", {"k": [1, None]})["run_id"]
    found = payload(connection, run_id, "run:started")
    started_at = found.pop("started_at")
    assert found == {
        "event_type": "run:started",
        "run_id": str(run_id),
        "flow_slug": "diamond",
        "status": "started",
        "input": {"k": [1, None]},
        "remaining_steps": 4,
    }
    assert instant(started_at) == run(connection, run_id)["started_at"]


def test_run_completed(connection: Connection) -> None:
    run_id = started_run(connection, {"n": 1})
    found = payload(connection, run_id, "run:completed")
    completed_at = found.pop("completed_at")
    assert found == {
        "event_type": "run:completed",
        "run_id": str(run_id),
        "flow_slug": "f",
        "status": "completed",
        "output": {"a": {"n": 1}},
    }
    assert instant(completed_at) == run(connection, run_id)["completed_at"]


def test_run_failed(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a", "it broke")
    found = payload(connection, run_id, "run:failed")
    failed_at = found.pop("failed_at")
    assert found == {
        "event_type": "run:failed",
        "run_id": str(run_id),
        "flow_slug": "f",
        "status": "failed",
        "error_message": "it broke",
    }
    assert instant(failed_at) == run(connection, run_id)["failed_at"]


def test_step_started(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    found = payload(connection, run_id, "step:m:started")
    started_at = found.pop("started_at")
    assert found == {
        "event_type": "step:started",
        "run_id": str(run_id),
        "flow_slug": "f",
        "step_slug": "m",
        "status": "started",
        "remaining_tasks": 3,
        "remaining_deps": 0,
    }
    assert instant(started_at) == state(connection, run_id, "m")["started_at"]


@pytest.mark.parametrize("output", [0, "", False, None, [], {"k": None}, "text"])
def test_step_completed(connection: Connection, output: object) -> None:
    run_id = started_run(connection, output)
    found = payload(connection, run_id, "step:a:completed")
    completed_at = found.pop("completed_at")
    assert found == {
        "event_type": "step:completed",
        "run_id": str(run_id),
        "flow_slug": "f",
        "step_slug": "a",
        "status": "completed",
        "output": output,
    }
    assert instant(completed_at) == state(connection, run_id, "a")["completed_at"]


def test_step_completed_of_a_map_has_its_whole_array(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    begin(connection, "f", 3)
    for index in (2, 0, 1):
        complete(connection, run_id, "m", index * 10, index)
    assert payload(connection, run_id, "step:m:completed")["output"] == [0, 10, 20]


def test_step_completed_of_an_empty_map(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [])["run_id"]
    found = payload(connection, run_id, "step:m:completed")
    elapsed = instant(found.pop("completed_at")) - instant(found.pop("started_at"))
    assert 0 <= elapsed.total_seconds() < 0.1
    assert found == {
        "event_type": "step:completed",
        "run_id": str(run_id),
        "flow_slug": "f",
        "step_slug": "m",
        "status": "completed",
        "output": [],
        "remaining_tasks": 0,
        "remaining_deps": 0,
    }


def test_step_failed(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a", "it broke")
    found = payload(connection, run_id, "step:a:failed")
    failed_at = found.pop("failed_at")
    assert found == {
        "event_type": "step:failed",
        "run_id": str(run_id),
        "flow_slug": "f",
        "step_slug": "a",
        "status": "failed",
        "error_message": "it broke",
    }
    assert instant(failed_at) == state(connection, run_id, "a")["failed_at"]


def skipped_by_condition(connection: Connection) -> uuid.UUID:
    define(connection, "f", {"a": NEVER | {"when_unmet": "skip-cascade"}, "b": ["a"], "c": []})
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    return run_id


@pytest.mark.parametrize(
    ("step", "reason"), [("a", "condition_unmet"), ("b", "dependency_skipped")]
)
def test_step_skipped(connection: Connection, step: str, reason: str) -> None:
    run_id = skipped_by_condition(connection)
    found = payload(connection, run_id, f"step:{step}:skipped")
    skipped_at = found.pop("skipped_at")
    assert found == {
        "event_type": "step:skipped",
        "run_id": str(run_id),
        "flow_slug": "f",
        "step_slug": step,
        "status": "skipped",
        "skip_reason": reason,
    }
    assert instant(skipped_at) == state(connection, run_id, step)["skipped_at"]


@pytest.mark.parametrize("mode", ["skip", "skip-cascade"])
def test_step_skipped_after_its_attempts_tells_the_error(connection: Connection, mode: str) -> None:
    define(connection, "f", {"a": {"when_exhausted": mode}, "b": ["a"]}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a", "it broke")
    found = payload(connection, run_id, "step:a:skipped")
    assert (found["skip_reason"], found["error_message"]) == ("handler_failed", "it broke")


def test_a_type_violation_emits_both_failures_once(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", 5)
    names = event_names(connection, run_id)
    assert sorted(names) == ["run:failed", "run:started", "step:a:failed", "step:a:started"]
    text = "[TYPE_VIOLATION] Map step m expects array input but dependency a produced number"
    assert payload(connection, run_id, "step:a:failed")["error_message"] == text
