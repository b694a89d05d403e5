"""Faults 36 to 42 from end to end: a value comes back as it went, or its task fails with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Client, EncodingError, Flow
from pgflow.codec import MAX_VALUE_BYTES
from pgflow.execute import execute_async
from tests.support.features import output, perform
from tests.support.runs import count_runs

if TYPE_CHECKING:
    from pgflow.database import Database

TEN_MEGABYTES = 10_000_000


def echo(flow: Flow[Any]) -> Flow[Any]:
    flow.step(name="echo")(lambda value: value)
    return flow


async def test_fault_36_ten_megabytes_pass_as_input_and_output(db: Database) -> None:
    text = "x" * TEN_MEGABYTES
    assert output(await perform(db, echo(Flow("large")), text)) == {"echo": text}


async def test_fault_36_an_input_beyond_the_limit_is_refused_at_the_entry(db: Database) -> None:
    with pytest.raises(EncodingError, match="at most 64 MiB"):
        await Client(db).start(echo(Flow("huge")), "x" * MAX_VALUE_BYTES)
    assert await count_runs(db) == 0


ODD: dict[str, tuple[Any, str]] = {
    "too large": ("x" * MAX_VALUE_BYTES, "at most 64 MiB"),
    "NUL": ("a\x00b", "NUL"),
    "lone surrogate": ("\ud800", "surrogate"),
    "infinity": ({"a": [float("inf")]}, "$.a[0]"),
    "digits": (10**5000, "digits"),
    "unserialisable": (object(), "object has no JSON form"),
}


async def test_faults_36_to_42_an_output_that_cannot_be_stored_fails_its_task_with_the_reason(
    db: Database,
) -> None:
    flow = Flow[list[str]]("odd", base_delay=0, max_attempts=1)

    @flow.map(failure_policy="continue")
    def produce(name: str) -> Any:
        if name == "deep":
            value: Any = []
            for _ in range(100_000):
                value = [value]
            return value
        if name == "bad error":
            raise ValueError("a\x00b\ud800")
        return ODD.get(name, (name, ""))[0]

    names = [*ODD, "deep", "bad error", "fine"]
    run = await perform(db, flow, names)
    assert output(run) == {"produce": [None] * (len(names) - 1) + ["fine"]}
    reasons = {name: reason for name, (_, reason) in ODD.items()}
    reasons |= {"deep": "nested deeper than 100 levels", "bad error": "ValueError: a"}
    failed = await db.failed_tasks(run.run_id)
    assert len(failed) == len(reasons)
    for task in failed:
        assert reasons[names[task.task_index]] in (task.error_message or "")


async def test_fault_41_numbers_come_back_as_they_went(db: Database) -> None:
    floats = [0.0, 0.5, 0.1, -1.0, 1e16, 1e308, 5e-324, 1e-7]
    integers = [0, -1, 2**53 + 1, 10**30, -(10**300)]
    flow = Flow[tuple[list[float], list[int]]]("numbers")

    @flow.step()
    def send(given: tuple[list[float], list[int]]) -> tuple[list[float], list[int]]:
        assert given == (floats, integers)
        return given

    @flow.step(depends_on=(send,))
    def receive(sent: tuple[list[float], list[int]]) -> list[str]:
        return [repr(number) for numbers in sent for number in numbers]

    result = await execute_async(flow, (floats, integers), dsn=db)
    assert result[receive] == [repr(number) for number in (*floats, *integers)]
