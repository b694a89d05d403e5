"""Feature C1: conditions and skip modes, written in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow
from pgflow.execute import execute_async
from tests.support.features import output, perform, steps_of

if TYPE_CHECKING:
    from pgflow.database import Database
    from pgflow.records import RunRecord


async def statuses(db: Database, run: RunRecord) -> dict[str, str]:
    return {slug: str(step.status) for slug, step in (await steps_of(db, run)).items()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"kind": "a", "size": 1}, "only_a, not_b"),
        ({"kind": "b"}, "nothing"),
        ({"kind": "c"}, "not_b"),
    ],
    ids=["a", "b", "c"],
)
async def test_c1_a_root_step_depends_on_the_runs_input(
    db: Database, given: dict[str, Any], expected: str
) -> None:
    flow = Flow[dict[str, Any]]("by_input")

    @flow.step(if_={"kind": "a"})
    def only_a(_: dict[str, Any]) -> str:
        return "only_a"

    @flow.step(if_not={"kind": "b"})
    def not_b(_: dict[str, Any]) -> str:
        return "not_b"

    @flow.step(depends_on=(only_a, not_b))
    def joined(first: str | None, second: str | None) -> str:
        return ", ".join(filter(None, (first, second))) or "nothing"

    assert (await execute_async(flow, given, dsn=db))[joined] == expected


async def test_c1_other_steps_depend_on_what_their_dependencies_gave(db: Database) -> None:
    flow = Flow[int]("by_output")

    @flow.step()
    def check(number: int) -> dict[str, Any]:
        return {"even": number % 2 == 0, "number": number}

    @flow.step(depends_on=(check,), if_={"check": {"even": True}})
    def halve(checked: dict[str, Any]) -> float:
        return float(checked["number"] / 2)

    @flow.step(depends_on=(check,), if_not={"check": {"even": True}})
    def triple(checked: dict[str, Any]) -> int:
        return int(checked["number"]) * 3

    even, odd = [await perform(db, flow, number) for number in (8, 9)]
    assert output(even) == {"halve": 4.0}
    assert output(odd) == {"triple": 27}
    skipped = (await steps_of(db, odd))["halve"]
    assert (skipped.status, skipped.skip_reason) == ("skipped", "condition_unmet")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("skip", {"gate": "skipped", "after": "completed", "last": "completed"}),
        ("skip-cascade", {"gate": "skipped", "after": "skipped", "last": "skipped"}),
        ("fail", {"gate": "failed", "after": "created", "last": "created"}),
    ],
)
@pytest.mark.parametrize("cause", ["when_unmet", "when_exhausted"])
async def test_c1_each_mode_decides_what_follows(
    db: Database, cause: str, mode: Any, expected: dict[str, str]
) -> None:
    flow = Flow[dict[str, Any]]("modes", base_delay=0, max_attempts=2)
    calls: list[str] = []

    def gate(_: Any) -> str:
        calls.append("gate")
        raise ValueError("used up")

    options: dict[str, Any] = {cause: mode}
    if cause == "when_unmet":
        options["if_"] = {"open": True}
    step: Any = flow.step(name="gate", **options)(gate)

    @flow.step(depends_on=(step,))
    def after(value: str | None) -> str:
        calls.append("after")
        return f"after {value}"

    @flow.step(depends_on=(after,))
    def last(value: str | None) -> str:
        return f"last {value}"

    run = await perform(db, flow, {"open": False})
    assert await statuses(db, run) == expected
    assert run.status == ("failed" if mode == "fail" else "completed")
    assert calls.count("gate") == (0 if cause == "when_unmet" else 2)
    assert calls.count("after") == (mode == "skip")
    if mode == "skip":
        assert output(run) == {"last": "last after None"}
