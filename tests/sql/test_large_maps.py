"""Maps of many or heavy items (faults 37 and 46)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    Row,
    begin,
    call,
    claim,
    complete,
    define,
    rows,
    run,
    start,
    state,
    statuses,
    tasks,
    value,
    worker,
)
from tests.support.tasks import claim_one, root_map, started_map, succeed

if TYPE_CHECKING:
    import uuid

# 37: heavy outputs

COMPLETE_HEAVY = """select outcome from pgflow.complete_tasks(
  array[%s]::uuid[], array[%s], array[%s], array[%s], array[to_jsonb(repeat('x', %s))])"""


def heavy_map(connection: Connection, count: int, size: int) -> uuid.UUID:
    """Complete the items of a map with outputs of so many bytes, made in the server; return the run's id."""
    run_id = started_map(connection, count)
    for one in sorted(claim(connection, "mapped", count), key=lambda task: task["task_index"]):
        arguments = [one["run_id"], one["step_slug"], one["task_index"], one["attempt"], size]
        assert value(connection, COMPLETE_HEAVY, *arguments) == "accepted"
    return run_id


def last_size(connection: Connection, run_id: uuid.UUID, after: int) -> list[Row]:
    """Return the index and size of what a page behind an index has."""
    query = "select task_index, length(output #>> '{}') as size from pgflow.step_output(%s, 'items', %s)"
    return rows(connection, query, run_id, after)


@pytest.mark.slow
def test_fault_37_outputs_over_256_mb_together_complete_the_step(connection: Connection) -> None:
    run_id = heavy_map(connection, 5, 55_000_000)
    assert statuses(connection, run_id) == {
        "source": "completed",
        "items": "completed",
        "total": "started",
    }
    assert value(
        connection, "select output is null from pgflow.step_states where step_slug = 'items'"
    )
    assert last_size(connection, run_id, 3) == [{"task_index": 4, "size": 55_000_000}]


def test_fault_37_the_consumer_is_told_to_read_in_pages(connection: Connection) -> None:
    run_id = heavy_map(connection, 3, 20_000_000)
    granted = claim_one(connection, "mapped")
    assert (granted["step_slug"], granted["input"], granted["deferred"]) == ("total", {}, ["items"])
    assert last_size(connection, run_id, 1) == [{"task_index": 2, "size": 20_000_000}]
    succeed(connection, [granted], 3)
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"total": 3},
    )


def test_fault_37_a_heavy_map_as_leaf_completes_the_run(connection: Connection) -> None:
    run_id = root_map(connection, 2)
    for one in claim(connection, "numbers", 2):
        arguments = [one["run_id"], one["step_slug"], one["task_index"], one["attempt"], 30_000_000]
        assert value(connection, COMPLETE_HEAVY, *arguments) == "accepted"
    assert run(connection, run_id)["status"] == "completed"
    assert last_size(connection, run_id, 0) == [{"task_index": 1, "size": 30_000_000}]


def test_fault_37_a_map_over_a_heavy_map_gets_its_elements(connection: Connection) -> None:
    define(connection, "mapped", {"source": [], "items": {"deps": ["source"], "step_type": "map"}})
    call(
        connection,
        "add_step",
        flow_slug="mapped",
        step_slug="next",
        deps_slugs=["items"],
        step_type="map",
    )
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", [0, 1])
    for one in claim(connection, "mapped", 2):
        arguments = [one["run_id"], one["step_slug"], one["task_index"], one["attempt"], 12_000_000]
        value(connection, COMPLETE_HEAVY, *arguments)
    query = "select task_index, length(input #>> '{}') as size from pgflow.claim_tasks('mapped', %s, 9) order by 1"
    found = rows(connection, query, worker(connection))
    assert found == [{"task_index": index, "size": 12_000_000} for index in range(2)]


def test_a_small_map_is_not_deferred(connection: Connection) -> None:
    heavy_map(connection, 2, 1000)
    granted = claim_one(connection, "mapped")
    assert granted["deferred"] == []
    assert granted["input"] == {"items": ["x" * 1000] * 2}


# 46: numbers of items


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fault_46_a_map_of_few_items_puts_out_as_many(connection: Connection, count: int) -> None:
    run_id = root_map(connection, count)
    if count:
        succeed(connection, claim(connection, "numbers", 9), "x")
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"items": ["x"] * count},
    )


@pytest.mark.parametrize("length", [2, 5])
def test_fault_46_maps_over_an_empty_map_are_empty(connection: Connection, length: int) -> None:
    steps: dict[str, object] = {"m0": {"step_type": "map"}}
    for number in range(1, length):
        steps[f"m{number}"] = {"deps": [f"m{number - 1}"], "step_type": "map"}
    define(connection, "f", steps)
    run_id = start(connection, "f", [])["run_id"]
    assert run(connection, run_id)["output"] == {f"m{length - 1}": []}
    assert tasks(connection, run_id) == []


def test_fault_46_several_thousand_items_come_out_in_order(connection: Connection) -> None:
    run_id = root_map(connection, 1500)
    while granted := claim(connection, "numbers", 500):
        outputs = [Jsonb(one["input"] * 2) for one in granted]
        named = {
            name: [one[name] for one in granted]
            for name in ("run_id", "step_slug", "task_index", "attempt")
        }
        keys = {
            "run_id": "run_ids",
            "step_slug": "step_slugs",
            "task_index": "task_indexes",
            "attempt": "attempts",
        }
        call(
            connection,
            "complete_tasks",
            **{keys[name]: found for name, found in named.items()},
            outputs=outputs,
        )
    assert state(connection, run_id, "items")["output"] == [index * 2 for index in range(1500)]
