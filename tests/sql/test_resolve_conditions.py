"""pgflow.cascade_resolve_conditions: rounds of conditions and empty maps, and direct calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.conditions import NEVER, required
from tests.support.sql import (
    Connection,
    define,
    finish,
    rows,
    run,
    start,
    statuses,
    value,
)


def resolve(connection: Connection, run_id: object) -> bool:
    return bool(value(connection, "select pgflow.cascade_resolve_conditions(run_id => %s)", run_id))


# Rounds, together with empty maps


def test_skips_ripple_through_conditions(connection: Connection) -> None:
    steps = {"s0": required(NEVER)} | {
        f"s{n}": required({f"s{n - 1}": {}}, f"s{n - 1}") for n in range(1, 60)
    }
    define(connection, "f", steps)
    assert start(connection, "f")["status"] == "completed"


def test_a_condition_behind_an_empty_map_is_evaluated(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"m": {"step_type": "map"}, "b": required({"m": [1]}, "m"), "c": required({"m": []}, "m")},
    )
    run_id = start(connection, "f", [])["run_id"]
    assert statuses(connection, run_id) == {"m": "completed", "b": "skipped", "c": "started"}


def test_a_failing_condition_behind_an_empty_map_fails_the_run(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"m": {"step_type": "map"}, "b": required({"m": [1]}, "m", when_unmet="fail")},
    )
    started = start(connection, "f", [])
    assert started["status"] == "failed"
    assert statuses(connection, started["run_id"]) == {"m": "completed", "b": "failed"}


def test_empty_maps_and_skips_alternate(connection: Connection) -> None:
    steps: dict[str, dict[str, Any]] = {"m0": {"step_type": "map"}}
    for n in range(30):
        steps[f"s{n}"] = required({f"m{n}": [1]}, f"m{n}")
        steps[f"m{n + 1}"] = {"deps": [f"s{n}"], "step_type": "map"}
    define(connection, "f", steps)
    started = start(connection, "f", [])
    assert (started["status"], started["output"]) == ("completed", {"m30": []})


def test_a_map_that_its_condition_skips_does_not_demand_an_array(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": required({"a": [1]}, "a", step_type="map")})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", "not an array")
    assert statuses(connection, run_id) == {"a": "completed", "m": "skipped"}
    assert run(connection, run_id)["status"] == "completed"


# Direct calls


def opened(connection: Connection, mode: str) -> object:
    """Start a run and open, by hand, its step b, whose condition is unmet."""
    define(connection, "f", {"a": [], "b": required(NEVER, "a", when_unmet=mode), "c": ["b"]})
    run_id = start(connection, "f")["run_id"]
    update = (
        "update pgflow.step_states set remaining_deps = 0 where run_id = %s and step_slug = 'b'"
    )
    connection.execute(update, [run_id])
    return run_id


@pytest.mark.parametrize(
    ("mode", "answer"), [("fail", False), ("skip", True), ("skip-cascade", True)]
)
def test_answers_false_only_when_the_run_failed(
    connection: Connection, mode: str, answer: bool
) -> None:
    assert resolve(connection, opened(connection, mode)) is answer


@pytest.mark.parametrize(
    ("mode", "expected"), [("fail", "created"), ("skip", "created"), ("skip-cascade", "skipped")]
)
def test_starts_nothing_by_itself(connection: Connection, mode: str, expected: str) -> None:
    run_id = opened(connection, mode)
    resolve(connection, run_id)
    query = "select status from pgflow.step_states where run_id = %s and step_slug = 'c'"
    assert value(connection, query, run_id) == expected


@pytest.mark.parametrize(("status", "answer"), [("failed", False), ("completed", True)])
def test_does_nothing_on_a_finished_run(connection: Connection, status: str, answer: bool) -> None:
    run_id = opened(connection, "skip")
    connection.execute("update pgflow.runs set status = %s where run_id = %s", [status, run_id])
    assert resolve(connection, run_id) is answer
    query = "select status from pgflow.step_states where run_id = %s and step_slug = 'b'"
    assert value(connection, query, run_id) == "created"


def test_a_second_call_changes_nothing(connection: Connection) -> None:
    run_id = opened(connection, "skip")
    resolve(connection, run_id)
    before = (
        rows(connection, "select * from pgflow.step_states order by step_slug"),
        rows(connection, "select * from pgflow.runs"),
    )
    resolve(connection, run_id)
    after = (
        rows(connection, "select * from pgflow.step_states order by step_slug"),
        rows(connection, "select * from pgflow.runs"),
    )
    assert before == after
