"""Batches of items that are reported, taken apart and ended by several sessions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    complete_batch,
    messages,
    run,
    tasks,
    value,
)
from tests.support.sql import start as begin_run
from tests.support.tasks import arrays, break_down, expire, indexes_of, outcomes, root_map, version

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from tests.races.stage import Stage

FLOW = "numbers"
HOLD_RUN = "select 1 from pgflow.runs where run_id = %s for update"
HOLD_TASKS = "select 1 from pgflow.step_tasks where run_id = %s for update"
ODD_ONE_FAILS: list[dict[str, object]] = [{"output": 0}, {"error": "boom"}, {"released": True}]


def split(session: Connection, granted: list[Row], **details: object) -> list[str]:
    """Report batches of three: one item completed, one failed, one goes back."""
    result = [ODD_ONE_FAILS[0], ODD_ONE_FAILS[1] | {"details": details}, ODD_ONE_FAILS[2]]
    found = call(
        session, "split_batches", **arrays(granted), results=[Jsonb(result)] * len(granted)
    )
    return [one["outcome"] for one in found]


def two_runs(connection: Connection) -> tuple[list[uuid.UUID], list[Row]]:
    """Start two runs of two batched maps each, all batches granted; in the order of their keys."""
    steps: list[dict[str, Any]] = [
        {"slug": slug, "step_type": "map", "batch_size": 3} for slug in ("a", "b")
    ]
    version(connection, FLOW, steps, base_delay=0)
    runs = sorted(begin_run(connection, FLOW, list(range(6)))["run_id"] for _ in range(2))
    granted = claim(connection, FLOW, 99)
    assert len(granted) == 8
    return runs, sorted(
        granted, key=lambda one: (one["run_id"], one["step_slug"], one["task_index"])
    )


@pytest.mark.parametrize(
    "other", ["complete", "fail", "split", "end", "extend", "release", "cancel", "claim"]
)
@pytest.mark.parametrize("one", ["complete", "fail", "split", "end"])
@pytest.mark.parametrize("hold", [HOLD_RUN, HOLD_TASKS], ids=["run", "tasks"])
def test_any_two_reports_of_batches_do_not_deadlock(
    stage: Stage, one: str, other: str, hold: str
) -> None:
    runs, granted = two_runs(stage.setup)
    acts: dict[str, Callable[[Connection], object]] = {
        "complete": lambda session: complete_batch(session, granted, [[1, 2, 3]] * 8),
        "fail": lambda session: break_down(session, granted[::-1]),
        "split": lambda session: split(session, granted),
        "end": lambda session: split(session, granted[::-1], final=True),
        "extend": lambda session: outcomes(session, "extend_leases", granted),
        "release": lambda session: outcomes(session, "release_tasks", granted[::-1]),
        "cancel": lambda session: [call(session, "cancel_run", run_id=run_id) for run_id in runs],
        "claim": lambda session: claim(session, FLOW, 99),
    }
    gate = stage.gate(hold, runs[1])
    actors = stage.together(gate, acts[one], acts[other])
    assert [actor.error for actor in actors] == [None, None]


def test_of_two_reports_about_a_batch_one_counts(stage: Stage) -> None:
    run_id = root_map(stage.setup, 3, FLOW, batch_size=3)
    granted = claim(stage.setup, FLOW, 1)
    gate = stage.gate(HOLD_TASKS, run_id)
    splitting, completing = stage.together(
        gate,
        lambda session: split(session, granted),
        lambda session: complete_batch(session, granted, [[1, 2, 3]]),
    )
    assert splitting.result() == ["accepted"]
    assert completing.result() == ["already_accepted"], "the first item's completion is the batch's"
    assert [one["status"] for one in tasks(stage.setup, run_id)] == [
        "completed",
        "queued",
        "queued",
    ]


def test_two_claims_take_a_lost_batch_apart_once(stage: Stage) -> None:
    run_id = root_map(stage.setup, 6, FLOW, batch_size=3)
    claim(stage.setup, FLOW, 9)
    expire(stage.setup, FLOW)
    first, second = stage.session(), stage.session()
    one, other = claim(first, FLOW, 1), claim(second, FLOW, 1)
    assert indexes_of(one + other) == [0, 3]
    assert claim(second, FLOW, 9) != []
    first.commit()
    second.commit()
    rest = claim(stage.setup, FLOW, 9)
    found = tasks(stage.setup, run_id)
    assert [task["task_index"] for task in found] == list(range(6))
    assert {task["attempts_count"] for task in found} == {2}
    assert len(rest) == 2


def test_a_claim_does_not_wait_for_who_holds_the_run_of_a_lost_batch(stage: Stage) -> None:
    """It grants the batch whole then: taking it apart needs the run to stay."""
    run_id = root_map(stage.setup, 3, FLOW, batch_size=3)
    claim(stage.setup, FLOW, 1)
    expire(stage.setup, FLOW)
    gate = stage.gate(HOLD_RUN, run_id)
    claiming = stage.act(lambda session: claim(session, FLOW, 1))
    (granted,) = claiming.result()
    assert (granted["items"], granted["attempt"], granted["recovered"]) == (3, 2, True)
    gate.commit()
    assert complete_batch(stage.setup, [granted], [[1, 2, 3]]) == ["accepted"]


@pytest.mark.parametrize("ending", ["prune", "delete"])
def test_nothing_is_deleted_under_a_claim_that_takes_a_batch_apart(
    stage: Stage, ending: str
) -> None:
    run_id = root_map(stage.setup, 3, FLOW, batch_size=3)
    claim(stage.setup, FLOW, 1)
    expire(stage.setup, FLOW)
    claiming = stage.session()
    claim(claiming, FLOW, 1)
    deletes = {
        "prune": "select pgflow.prune_data_older_than('-1 s'::interval)",
        "delete": f"select pgflow.delete_flow_and_data('{FLOW}')",
    }

    def end(session: Connection) -> object:
        call(session, "cancel_run", run_id=run_id)
        return value(session, deletes[ending])

    deleting = stage.act(end)
    assert stage.blocked(deleting)
    claiming.commit()
    assert deleting.error is None
    assert tasks(stage.setup, run_id) == []


def test_a_cancellation_behind_a_split_leaves_no_message(stage: Stage) -> None:
    run_id = root_map(stage.setup, 3, FLOW, batch_size=3)
    granted = claim(stage.setup, FLOW, 1)
    splitting = stage.session()
    assert split(splitting, granted) == ["accepted"]
    cancelling = stage.act(lambda session: call(session, "cancel_run", run_id=run_id))
    assert stage.blocked(cancelling)
    splitting.commit()
    assert cancelling.error is None
    assert run(stage.setup, run_id)["status"] == "cancelled"
    assert messages(stage.setup, FLOW) == []


def test_two_splits_of_a_run_that_a_condition_may_fail_do_not_deadlock(stage: Stage) -> None:
    """Completing items may end the run: each holds it exclusively from the start, and not only then."""
    steps: list[dict[str, Any]] = [
        {"slug": "items", "step_type": "map", "batch_size": 3},
        {
            "slug": "after",
            "depends_on": ["items"],
            "required_input_pattern": {"items": [7]},
            "when_unmet": "fail",
        },
    ]
    version(stage.setup, FLOW, steps)
    run_id = begin_run(stage.setup, FLOW, list(range(6)))["run_id"]
    first, second = claim(stage.setup, FLOW, 9)
    gate = stage.gate(HOLD_TASKS, run_id)
    actors = stage.together(
        gate, lambda session: split(session, [first]), lambda session: split(session, [second])
    )
    assert [actor.error for actor in actors] == [None, None]
    assert [actor.result() for actor in actors] == [["accepted"], ["accepted"]]
