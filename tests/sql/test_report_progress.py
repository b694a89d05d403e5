"""pgflow.report_progress: what a running attempt says of itself."""

from __future__ import annotations

import uuid
from typing import Any

from tests.support.sql import Connection, Row, call, jsonb, task, value
from tests.support.tasks import break_down, claim_one, lost_task, one_step, succeed


def progress(connection: Connection, granted: Row, told: object, **changes: Any) -> bool:
    named = {
        name: granted[name] for name in ("run_id", "step_slug", "task_index", "attempt")
    } | changes
    (found,) = call(connection, "report_progress", **named, progress=jsonb(told))
    (answer,) = found.values()
    assert isinstance(answer, bool)
    return answer


def test_keeps_the_latest_progress(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    assert progress(connection, granted, {"fraction": 0.5, "message": "half"})
    assert progress(connection, granted, {"fraction": 0.9})
    assert task(connection, run_id, "a")["progress"] == {"fraction": 0.9}


def test_a_stale_fence_is_refused(connection: Connection) -> None:
    run_id = one_step(connection)
    stale, live = lost_task(connection, "f")
    progress(connection, live, {"fraction": 0.1})
    assert progress(connection, stale, {"fraction": 0.9}) is False
    assert task(connection, run_id, "a")["progress"] == {"fraction": 0.1}


def test_a_task_that_is_over_is_refused(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    progress(connection, granted, 1)
    succeed(connection, [granted])
    assert progress(connection, granted, 2) is False
    assert task(connection, run_id, "a")["progress"] in {1, None}


def test_a_task_that_waits_for_its_retry_is_refused(connection: Connection) -> None:
    one_step(connection)
    granted = claim_one(connection, "f")
    break_down(connection, [granted])
    assert progress(connection, granted, 2) is False


def test_an_unknown_task_is_refused(connection: Connection) -> None:
    one_step(connection)
    granted = claim_one(connection, "f")
    assert progress(connection, granted, 1, run_id=uuid.uuid4()) is False


def test_changes_no_status(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    before = task(connection, run_id, "a")
    progress(connection, granted, 1)
    assert task(connection, run_id, "a") == before | {"progress": 1}


def test_is_callable_in_a_select(connection: Connection) -> None:
    one_step(connection)
    granted = claim_one(connection, "f")
    query = "select pgflow.report_progress(%s, 'a', 0, 1, '{}'::jsonb)"
    assert value(connection, query, granted["run_id"]) is True
