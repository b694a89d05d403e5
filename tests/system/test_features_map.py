"""Feature A13: items of a map that fail for good, under each failure policy, and their reprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from pgflow import Client, Flow, NonRetryable, at_most, current_task
from tests.support.features import output, perform, resume

if TYPE_CHECKING:
    from pgflow._flow.options import AtMost
    from pgflow.database import Database


def picky(
    policy: Literal["continue"] | AtMost, *, bad_every: int | None, performed: list[int]
) -> Flow[int]:
    """Return a flow whose map refuses every so manieth item."""
    flow = Flow[int]("picky", base_delay=0, max_attempts=2)

    @flow.step()
    def rows(count: int) -> list[dict[str, int]]:
        return [{"row": number} for number in range(count)]

    @flow.map(over=rows, failure_policy=policy)
    def load(row: dict[str, int]) -> int:
        performed.append(row["row"])
        if bad_every and row["row"] % bad_every == bad_every - 1:
            raise NonRetryable(f"row {row['row']} is bad")
        return row["row"]

    @flow.step(depends_on=(load,))
    def report(loaded: list[int | None]) -> dict[str, int]:
        assert current_task().step_slug == "report"
        return {
            "loaded": sum(row is not None for row in loaded),
            "in_place": sum(row == place for place, row in enumerate(loaded)),
        }

    return flow


async def test_a13_of_10000_items_the_bad_percent_is_listed_and_reprocessed_by_one_call(
    db: Database,
) -> None:
    performed: list[int] = []
    policy = at_most(percent=1)
    run = await perform(db, picky(policy, bad_every=100, performed=performed), 10_000)
    assert output(run) == {"report": {"loaded": 9_900, "in_place": 9_900}}
    assert sorted(performed) == list(range(10_000))
    client = Client(db)
    bad = await client.failed_tasks(run.run_id)
    assert [task.task_index for task in bad] == list(range(99, 10_000, 100))
    for task in bad:
        assert task.input is not None
        assert task.input.parse() == {"row": task.task_index}
        assert task.error_message == f"NonRetryable: row {task.task_index} is bad"
    performed.clear()
    await client.retry(run.run_id)
    run = await resume(db, picky(policy, bad_every=None, performed=performed), run.run_id)
    assert output(run) == {"report": {"loaded": 10_000, "in_place": 10_000}}
    assert sorted(performed) == [task.task_index for task in bad]
    assert await client.failed_tasks(run.run_id) == []


@pytest.mark.parametrize(
    ("policy", "loaded"),
    [
        ("fail", None),
        ("continue", 30),
        (at_most(10), 30),
        (at_most(9), None),
        (at_most(percent=25), 30),
        (at_most(percent=24), None),
    ],
    ids=str,
)
async def test_a13_each_policy_decides_whether_ten_bad_items_of_forty_fail_the_run(
    db: Database, policy: Any, loaded: int | None
) -> None:
    run = await perform(db, picky(policy, bad_every=4, performed=[]), 40)
    if loaded is not None:
        assert output(run) == {"report": {"loaded": loaded, "in_place": loaded}}
        assert len(await Client(db).failed_tasks(run.run_id)) == 10
        return
    assert run.status == "failed"
    assert "is bad" in (run.error_message or "")
    assert await Client(db).failed_tasks(run.run_id)
