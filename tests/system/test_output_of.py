"""Run.output_of: what any step of a run gave, decoded by its handler's annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from pgflow import Client, Flow, RunNotFound, UsageError
from tests.support.runs import claim, report, work

if TYPE_CHECKING:
    from pgflow.database import Database


@dataclass
class Receipt:
    number: int


flow = Flow[int]("numbers")


@flow.step()
def source(count: int) -> list[int]:
    return list(range(count))


@flow.map(over=source)
def receipts(number: int) -> Receipt:
    return Receipt(number)


@flow.step(depends_on=(receipts,))
def total(receipts: list[Receipt]) -> int:
    return len(receipts)


FUNCTIONS = {
    "source": lambda count: list(range(count)),
    "receipts": lambda number: {"number": number},
    "total": lambda given: len(given["receipts"]),
}


async def test_a_step_that_is_no_leaf_gives_its_output(db: Database) -> None:
    run = await Client(db).start(flow, 2)
    await work(db, "numbers", FUNCTIONS)
    assert await run.output_of(receipts) == [Receipt(0), Receipt(1)]
    assert await run.output_of("receipts") == [Receipt(0), Receipt(1)]
    assert await run.output_of(total) == 2
    bare = await Client(db).get(run.id)
    assert await bare.output_of("receipts") == [{"number": 0}, {"number": 1}]


async def test_it_is_there_while_the_run_goes_on_and_not_before(db: Database) -> None:
    run = await Client(db).start(flow, 2)
    with pytest.raises(UsageError, match="step source is started, so it has no output"):
        await run.output_of(source)
    (task,) = await claim(db, "numbers")
    await report(db, task, [0, 1])
    assert await run.output_of(source) == [0, 1]


async def test_a_large_map_is_read_from_its_tasks(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._run.PAGE", 3)
    async with db.transaction() as connection:
        await connection.execute("""create or replace function pgflow._max_aggregate_bytes() returns bigint
          language sql immutable as 'select 10::bigint'""")
    run = await Client(db).start(flow, 10)
    given = {**FUNCTIONS, "total": lambda _: 10}
    await work(db, "numbers", given)
    assert await run.output_of(receipts) == [Receipt(number) for number in range(10)]


async def test_what_does_not_exist_is_named(db: Database) -> None:
    run = await Client(db).start(flow, 1)
    with pytest.raises(UsageError, match="no step 'totl' - did you mean 'total'"):
        await run.output_of("totl")
    run.id = uuid4()
    with pytest.raises(RunNotFound):
        await run.output_of(total)
