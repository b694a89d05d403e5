"""A retry removes the tasks downstream of what failed; whoever still holds one of them can't report to its successor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fused import complete_and_claim
from tests.support.sql import (
    Connection,
    Row,
    attempts,
    call,
    claim,
    complete_batch,
    fail_batch,
    run,
    start,
    task,
    worker,
)
from tests.support.tasks import version

if TYPE_CHECKING:
    import uuid

SINGLE: dict[str, Any] = {}
MAP: dict[str, Any] = {"step_type": "map"}
BATCHES: dict[str, Any] = {"step_type": "map", "batch_size": 2}
FORMS = [
    pytest.param(form, beside, id=f"{name}{'-beside-another' if beside else ''}")
    for name, form in {"single": SINGLE, "map": MAP, "batches": BATCHES}.items()
    for beside in (False, True)
]


def retried(
    connection: Connection, form: dict[str, Any], *, beside: bool
) -> tuple[uuid.UUID, Row, list[Row]]:
    """Fail a run while the child of a map with a failed item is held, and retry it.

    Returns the run, the held task of the child, and the tasks whose completion starts the child again.
    """
    steps = [
        {"slug": "items", "step_type": "map", "max_failed_tasks": 1},
        {"slug": "child", "depends_on": ["items"], **form},
        {"slug": "other"},
    ]
    if beside:  # so that the child does not start as the only one
        steps.append({"slug": "second", "depends_on": ["items"]})
    version(connection, "f", steps, max_attempts=1)
    run_id: uuid.UUID = start(connection, "f", [1, 2])["run_id"]
    first = claim(connection, "f", 10)
    items = [one for one in first if one["step_slug"] == "items"]
    assert fail_batch(connection, items[:1]) == ["accepted"]
    assert complete_batch(connection, items[1:], [10]) == ["accepted"]
    held = [one for one in claim(connection, "f", 10) if one["step_slug"] == "child"]
    assert {one["attempt"] for one in held} == {1}
    fail_batch(connection, [one for one in first if one["step_slug"] == "other"])
    assert run(connection, run_id)["status"] == "failed"
    call(connection, "retry_run", run_id=run_id)
    return (
        run_id,
        held[0],
        [one for one in claim(connection, "f", 10) if one["step_slug"] == "items"],
    )


@pytest.mark.parametrize(("form", "beside"), FORMS)
@pytest.mark.parametrize("taken", [False, True])
def test_a_removed_task_cannot_be_completed_in_the_place_of_its_successor(
    connection: Connection, form: dict[str, Any], beside: bool, taken: bool
) -> None:
    run_id, zombie, again = retried(connection, form, beside=beside)
    mine = worker(connection, "f")
    if taken:
        back = complete_and_claim(connection, again, 20, by=mine)
    else:
        assert complete_batch(connection, again, [20]) == ["accepted"]
        back = claim(connection, "f", 10, worker_id=mine)
    granted = [one for one in back if one["step_slug"] == "child" and one["task_index"] == 0]
    assert [(one["attempt"], one["tries"]) for one in granted] == [(2, 1)]
    assert complete_batch(connection, [zombie], [["from", "the grave"]]) == ["stale"]
    assert task(connection, run_id, "child")["status"] == "started"
    assert complete_batch(connection, granted, [["right", "right"]]) == ["accepted"]
    done = [one for one in attempts(connection, run_id) if one["step_slug"] == "child"]
    assert [(one["attempt"], one["outcome"]) for one in done if one["task_index"] == 0] == [
        (2, "completed")
    ]


def test_a_successor_has_all_its_attempts(connection: Connection) -> None:
    run_id, _, again = retried(connection, {"max_attempts": 2}, beside=False)
    assert complete_batch(connection, again, [20]) == ["accepted"]
    call(connection, "check_invariants", run_ids=[run_id])
    for attempt in (2, 3):
        granted = [one for one in claim(connection, "f", 10) if one["step_slug"] == "child"]
        assert [one["attempt"] for one in granted] == [attempt]
        connection.execute("update pgflow.step_states set base_delay = 0")
        assert fail_batch(connection, granted) == ["accepted"]
    assert run(connection, run_id)["status"] == "failed"
    assert not call(connection, "check_invariants", run_ids=[run_id])


def test_fences_count_on_through_several_retries(connection: Connection) -> None:
    run_id, _, again = retried(connection, SINGLE, beside=False)
    assert fail_batch(connection, again) == ["accepted"]
    (held,) = claim(connection, "f", 10)
    assert (held["step_slug"], held["attempt"]) == ("child", 2)
    other = task(connection, run_id, "other")
    assert other["status"] == "started", "granted together with the items"
    assert fail_batch(connection, [{**other, "attempt": other["attempts_count"]}]) == ["accepted"]
    call(connection, "retry_run", run_id=run_id)
    items = [one for one in claim(connection, "f", 10) if one["step_slug"] == "items"]
    assert complete_batch(connection, items, [20]) == ["accepted"]
    (granted,) = claim(connection, "f", 10)
    assert (granted["step_slug"], granted["attempt"], granted["tries"]) == ("child", 3, 1)
    assert complete_batch(connection, [held], ["from the grave"]) == ["stale"]
