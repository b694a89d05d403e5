"""pgflow.fail_tasks after the run is over: a task that its holder gives up does not look started for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import Connection, Row, attempts, call, claim, define, start, state, task
from tests.support.tasks import break_down, expire

if TYPE_CHECKING:
    import uuid


def ended(connection: Connection, how: str) -> tuple[uuid.UUID, Row, Row]:
    """End a run while a task of it is held by its second attempt; return the stale grant of that task and the live one."""
    define(connection, "f", {"a": [], "b": []}, max_attempts=3)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    stale = {one["step_slug"]: one for one in claim(connection, "f", 2)}
    expire(connection, "f")
    live = {one["step_slug"]: one for one in claim(connection, "f", 2)}
    if how == "failed":
        break_down(connection, [live["a"]], final=True)
    else:
        call(connection, "cancel_run", run_id=run_id)
    return run_id, stale["b"], live["b"]


ENDS = pytest.mark.parametrize("how", ["failed", "cancelled"])


@ENDS
def test_a_stale_failure_leaves_the_live_attempt_alone(connection: Connection, how: str) -> None:
    run_id, stale, _ = ended(connection, how)
    assert break_down(connection, [stale]) == ["stale"]
    assert task(connection, run_id, "b")["status"] == "started"


@ENDS
def test_the_holders_failure_ends_the_task_and_nothing_else(
    connection: Connection, how: str
) -> None:
    run_id, _, live = ended(connection, how)
    before = (state(connection, run_id, "b"), attempts(connection, run_id))
    assert break_down(connection, [live], "late") == ["finished"]
    found = task(connection, run_id, "b")
    assert (found["status"], found["error_message"]) == ("failed", "late")
    assert (state(connection, run_id, "b"), attempts(connection, run_id)) == before
