"""pgflow.complete_and_claim: completions as by complete_tasks, and what they made ready for the same worker."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.sql import (
    call,
    claim,
    define,
    jsonb,
    messages,
    run,
    start,
    task,
    tasks,
    worker,
)
from tests.support.tasks import claim_one, one_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.sql import Connection

    Row = dict[str, Any]


def complete_and_claim(
    connection: Connection,
    done: Sequence[Row],
    outputs: Sequence[object],
    *,
    worker_id: uuid.UUID,
    qty: int = 10,
    queues: Sequence[str] = ("f",),
    **more: object,
) -> tuple[list[Row], list[Row]]:
    """Return the reports that were not accepted, and the granted tasks."""
    rows = call(
        connection,
        "complete_and_claim",
        run_ids=[one["run_id"] for one in done],
        step_slugs=[one["step_slug"] for one in done],
        task_indexes=[one["task_index"] for one in done],
        attempts=[one["attempt"] for one in done],
        outputs=[jsonb(output) for output in outputs],
        worker_id=worker_id,
        queue_names=list(queues),
        qty=qty,
        **more,
    )
    return (
        [one for one in rows if one["outcome"] is not None],
        [one for one in rows if one["outcome"] is None],
    )


def chain(connection: Connection) -> uuid.UUID:
    define(connection, "f", {"a": [], "b": ["a"]})
    return start(connection, "f")["run_id"]  # type: ignore[no-any-return]


def test_the_next_step_comes_with_the_completion(connection: Connection) -> None:
    run_id = chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    refused, granted = complete_and_claim(connection, [first], [{"n": 1}], worker_id=by)
    assert refused == []
    (second,) = granted
    assert (second["step_slug"], second["attempt"], second["input"]) == ("b", 1, {"a": {"n": 1}})
    assert task(connection, run_id, "a")["status"] == "completed"
    found = task(connection, run_id, "b")
    assert (found["status"], found["last_worker_id"]) == ("started", by)
    assert {name: second[name] for name in ("flow_slug", "queue_name", "step_type", "tries")} == {
        "flow_slug": "f",
        "queue_name": "f",
        "step_type": "single",
        "tries": 1,
    }


def test_what_was_handed_over_is_leased(connection: Connection) -> None:
    chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    complete_and_claim(connection, [first], [1], worker_id=by, lease=45)
    (message,) = messages(connection, "f")
    assert not message["visible"]
    assert round(message["delay"]) == 45
    assert claim(connection, "f") == []


def test_not_more_than_the_room(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}})
    run_id = start(connection, "f")["run_id"]
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    _, granted = complete_and_claim(connection, [first], [list(range(7))], worker_id=by, qty=3)
    assert sorted(one["task_index"] for one in granted) == [0, 1, 2]
    statuses = [one["status"] for one in tasks(connection, run_id, "m")]
    assert sorted(statuses) == ["queued"] * 4 + ["started"] * 3


def test_no_room_only_completes(connection: Connection) -> None:
    run_id = chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    assert complete_and_claim(connection, [first], [1], worker_id=by, qty=0) == ([], [])
    assert task(connection, run_id, "b")["status"] == "queued"
    assert messages(connection, "f")[0]["visible"]


def test_only_steps_that_the_worker_has_handlers_for(connection: Connection) -> None:
    run_id = chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    _, granted = complete_and_claim(
        connection, [first], [1], worker_id=by, handlers=["f.a(single:)"]
    )
    assert granted == []
    assert task(connection, run_id, "b")["status"] == "queued"


def test_only_queues_that_the_worker_serves(connection: Connection) -> None:
    run_id = chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    define(connection, "g", {"a": []})
    _, granted = complete_and_claim(connection, [first], [1], worker_id=by, queues=["g"])
    assert granted == []
    assert task(connection, run_id, "b")["status"] == "queued"


def test_a_delayed_step_waits_for_its_time(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": {"deps": ["a"], "start_delay": 60}})
    run_id = start(connection, "f")["run_id"]
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    assert complete_and_claim(connection, [first], [1], worker_id=by) == ([], [])
    assert task(connection, run_id, "b")["status"] == "queued"


def test_fault_04_repeating_answers_already_accepted(connection: Connection) -> None:
    chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    complete_and_claim(connection, [first], [1], worker_id=by)
    refused, _ = complete_and_claim(connection, [first], [2], worker_id=by)
    assert [(one["step_slug"], one["task_index"], one["outcome"]) for one in refused] == [
        ("a", 0, "already_accepted")
    ]


def test_fault_05_a_stale_fence_changes_nothing(connection: Connection) -> None:
    run_id = chain(connection)
    by = worker(connection, "f")
    (first,) = claim(connection, "f", worker_id=by)
    stale = {**first, "attempt": 0}
    refused, granted = complete_and_claim(connection, [stale], [1], worker_id=by)
    assert [one["outcome"] for one in refused] == ["stale"]
    assert refused[0]["run_id"] == run_id
    assert granted == []
    assert task(connection, run_id, "a")["status"] == "started"


def test_accepted_and_refused_reports_of_one_batch_are_told_apart(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    by = worker(connection, "f")
    done = sorted(claim(connection, "f", 3, worker_id=by), key=lambda one: one["task_index"])
    done[1]["attempt"] = 0
    refused, granted = complete_and_claim(connection, done, [1, 2, 3], worker_id=by)
    assert [(one["task_index"], one["outcome"]) for one in refused] == [(1, "stale")]
    assert granted == []
    assert [one["status"] for one in tasks(connection, run_id, "m")] == [
        "completed", "started", "completed",
    ]  # fmt: skip


def test_the_end_of_a_run_hands_nothing_over(connection: Connection) -> None:
    run_id = one_step(connection)
    by = worker(connection, "f")
    done = claim_one(connection, "f", worker_id=by)
    assert complete_and_claim(connection, [done], [1], worker_id=by) == ([], [])
    assert run(connection, run_id)["status"] == "completed"


def test_an_unregistered_worker_is_refused(connection: Connection) -> None:
    chain(connection)
    done = claim_one(connection, "f")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        complete_and_claim(connection, [done], [1], worker_id=uuid.uuid4())
