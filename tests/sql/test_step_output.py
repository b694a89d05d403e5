"""pgflow.step_output: the outputs of a step's tasks, in pages."""

from __future__ import annotations

import uuid

from tests.support.sql import SQL_NULL, Connection, call, claim, complete_batch, jsonb, rows
from tests.support.tasks import (
    break_down,
    one_step,
    outcomes,
    root_map,
    started_map,
    succeed,
    version,
)


def page(
    connection: Connection, run_id: uuid.UUID, step: str = "items", **named: int
) -> list[tuple[int, object]]:
    found = call(connection, "step_output", run_id=run_id, step_slug=step, **named)
    return [(one["task_index"], one["output"]) for one in found]


def doubled(connection: Connection, count: int) -> uuid.UUID:
    run_id = root_map(connection, count)
    granted = claim(connection, "numbers", count)[::-1]
    complete_batch(connection, granted, [one["input"] * 2 for one in granted])
    return run_id


def test_gives_all_outputs_by_index(connection: Connection) -> None:
    assert page(connection, doubled(connection, 12)) == [(index, index * 2) for index in range(12)]


def test_gives_at_most_so_many_rows(connection: Connection) -> None:
    assert page(connection, doubled(connection, 5), max_rows=2) == [(0, 0), (1, 2)]


def test_goes_on_after_an_index(connection: Connection) -> None:
    run_id = doubled(connection, 5)
    assert page(connection, run_id, after_index=1, max_rows=2) == [(2, 4), (3, 6)]
    assert page(connection, run_id, after_index=4) == []


def test_pages_add_up_to_the_whole(connection: Connection) -> None:
    run_id = doubled(connection, 10)
    found: list[tuple[int, object]] = []
    while new := page(connection, run_id, after_index=found[-1][0] if found else -1, max_rows=3):
        found += new
    assert found == page(connection, run_id)


def test_gives_a_thousand_rows_unless_said_otherwise(connection: Connection) -> None:
    assert len(page(connection, doubled(connection, 1001))) == 1000


def test_a_single_step_has_one_row(connection: Connection) -> None:
    run_id = one_step(connection)
    succeed(connection, claim(connection, "f"), {"x": 1})
    assert page(connection, run_id, "a") == [(0, {"x": 1})]


def test_null_outputs_have_their_row(connection: Connection) -> None:
    run_id = root_map(connection, 2)
    granted = sorted(claim(connection, "numbers", 2), key=lambda one: one["task_index"])
    outcomes(connection, "complete_tasks", granted, outputs=[jsonb(SQL_NULL), jsonb(None)])
    assert page(connection, run_id) == [(0, None), (1, None)]


def test_an_empty_map_has_no_rows(connection: Connection) -> None:
    assert page(connection, started_map(connection, 0)) == []


def test_an_unknown_step_has_no_rows(connection: Connection) -> None:
    assert page(connection, one_step(connection), "nope") == []


def test_an_unknown_run_has_no_rows(connection: Connection) -> None:
    assert page(connection, uuid.uuid4()) == []


def test_a_failed_item_keeps_its_place(connection: Connection) -> None:
    version(
        connection,
        "f",
        [{"slug": "items", "step_type": "map", "max_attempts": 1, "max_failed_percent": 100}],
    )
    (started,) = call(connection, "start_flow", flow_slug="f", input=jsonb([0, 1, 2]))
    granted = sorted(claim(connection, "f", 3), key=lambda one: one["task_index"])
    break_down(connection, [granted[1]])
    succeed(connection, [granted[0], granted[2]], "ok")
    assert page(connection, started["run_id"]) == [(0, "ok"), (1, None), (2, "ok")]


def test_is_cheap_for_one_page_of_many(connection: Connection) -> None:
    run_id = doubled(connection, 3000)
    rows(connection, "analyze pgflow.step_tasks")
    assert page(connection, run_id, after_index=2500, max_rows=2) == [(2501, 5002), (2502, 5004)]
