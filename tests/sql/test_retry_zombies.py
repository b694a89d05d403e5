"""pgflow.retry_run, while somebody still holds tasks of before, and when more than one step is to be taken up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.fused import complete_and_claim
from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    define,
    fail,
    refused,
    run,
    start,
    statuses,
    task,
    tasks,
    work,
    worker,
)
from tests.support.tasks import break_down, claim_one, outcomes, succeed, version

if TYPE_CHECKING:
    import uuid


def retry(connection: Connection, run_id: uuid.UUID, step: str | None = None) -> None:
    call(connection, "retry_run", run_id=run_id, step_slug=step)


def half_failed(connection: Connection, last: str = "single") -> tuple[uuid.UUID, list[Row]]:
    """Start `items (map) -> last`, fail one of two items; return the run and the granted tasks of `last`."""
    items = {"slug": "items", "step_type": "map", "max_attempts": 1, "max_failed_tasks": 1}
    after = {"slug": "last", "step_type": last, "depends_on": ["items"], "max_failed_tasks": 2}
    version(connection, "f", [items, after], max_attempts=1)
    run_id: uuid.UUID = start(connection, "f", [1, 2])["run_id"]
    good, bad = claim(connection, "f", 2)
    break_down(connection, [bad])
    succeed(connection, [good])
    return run_id, claim(connection, "f", 9)


def redo(connection: Connection, run_id: uuid.UUID) -> None:
    """Retry the run and complete what is due."""
    retry(connection, run_id)
    succeed(connection, claim(connection, "f", 9))


def test_a_task_that_was_deleted_gives_no_fence_to_its_successor(connection: Connection) -> None:
    run_id, old = half_failed(connection)
    succeed(connection, old, "half")
    redo(connection, run_id)
    new = claim_one(connection, "f")
    assert (new["step_slug"], new["attempt"], new["tries"]) == ("last", 2, 1)
    assert outcomes(connection, "extend_leases", old) == ["stale"]
    assert succeed(connection, old, "half") == ["stale"]
    assert succeed(connection, [new], "whole") == ["accepted"]
    assert run(connection, run_id)["output"] == {"last": "whole"}


def test_the_same_for_a_map(connection: Connection) -> None:
    run_id, old = half_failed(connection, "map")
    succeed(connection, old, "half")
    redo(connection, run_id)
    new = claim(connection, "f", 9)
    assert [(one["attempt"], one["tries"]) for one in new] == [(2, 1), (2, 1)]
    assert set(succeed(connection, old)) == {"stale"}


def test_the_same_for_tasks_that_a_completion_brings(connection: Connection) -> None:
    run_id, old = half_failed(connection)
    succeed(connection, old)
    retry(connection, run_id)
    (new,) = complete_and_claim(connection, claim(connection, "f"), by=worker(connection))
    assert (new["step_slug"], new["attempt"], new["tries"]) == ("last", 2, 1)
    assert task(connection, run_id, "last")["attempts_count"] == 2


def test_each_retry_goes_on_behind_the_fences_of_the_last(connection: Connection) -> None:
    run_id, old = half_failed(connection)
    for fence in (2, 3):
        succeed(connection, old)
        retry(connection, run_id)
        break_down(connection, claim(connection, "f", 9))
        old = claim(connection, "f", 9)
        assert [one["attempt"] for one in old] == [fence]


def test_a_task_that_failed_after_its_run_is_taken_up(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    claim(connection, "f", 2)
    fail(connection, run_id, "a")
    fail(connection, run_id, "b")
    assert task(connection, run_id, "b")["status"] == "failed"
    retry(connection, run_id)
    assert {one["status"] for one in tasks(connection, run_id)} == {"queued"}
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_what_failed_in_a_step_under_way_is_taken_up_as_well(connection: Connection) -> None:
    items = {"slug": "items", "step_type": "map", "max_failed_tasks": 1}
    version(connection, "f", [items, {"slug": "other"}], max_attempts=1)
    run_id = start(connection, "f", [1, 2])["run_id"]
    granted = {(one["step_slug"], one["task_index"]): one for one in claim(connection, "f", 3)}
    break_down(connection, [granted["items", 0]])
    break_down(connection, [granted["other", 0]])
    retry(connection, run_id)
    assert [one["status"] for one in tasks(connection, run_id, "items")] == ["queued", "queued"]
    work(connection, "f")
    assert run(connection, run_id)["output"] == {"items": ["items", "items"], "other": "other"}


def test_what_failed_together_with_the_run_is_taken_up(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    break_down(connection, claim(connection, "f", 2))
    retry(connection, run_id)
    assert {one["status"] for one in tasks(connection, run_id)} == {"queued"}
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_a_failed_step_behind_another_one_starts_anew(connection: Connection) -> None:
    run_id, old = half_failed(connection, "map")
    break_down(connection, old[:1])
    succeed(connection, old[1:])
    retry(connection, run_id)
    assert statuses(connection, run_id) == {"items": "started", "last": "created"}
    assert tasks(connection, run_id, "last") == []
    work(connection, "f")
    assert run(connection, run_id)["output"] == {"last": ["last", "last"]}


def test_a_run_can_not_go_on_while_another_step_has_failed(connection: Connection) -> None:
    items = {"slug": "items", "step_type": "map", "max_failed_tasks": 1}
    version(connection, "f", [items, {"slug": "other"}], max_attempts=1)
    run_id = start(connection, "f", [1, 2])["run_id"]
    granted = sorted(
        claim(connection, "f", 3), key=lambda one: (one["step_slug"], one["task_index"])
    )
    break_down(connection, granted[:1])
    succeed(connection, granted[1:2])
    break_down(connection, granted[2:])
    with refused(
        connection,
        f'Run {run_id} has failed in step "other", so it can\'t go on with step "items" alone',
        "55000",
    ):
        retry(connection, run_id, "items")
    retry(connection, run_id, "other")
    assert statuses(connection, run_id) == {"items": "completed", "other": "started"}
