"""Maps that are created in slices, while their first tasks run: every item once, whoever works, whatever happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fused import complete_and_claim
from tests.support.slices import (
    COUNT,
    EACH,
    MAX_SLICE,
    SLICE,
    chain,
    created,
    drain,
    fan_outs,
    given,
    root_map_of,
)
from tests.support.sql import (
    Connection,
    Row,
    change,
    claim,
    complete_batch,
    messages,
    run,
    start,
    state,
    statuses,
    worker,
)
from tests.support.tasks import Steps, break_down, indexes_of, succeed, version

if TYPE_CHECKING:
    from datetime import datetime


@pytest.fixture
def connection(sliced: Connection) -> Connection:
    return sliced


# All items, once, in order


@pytest.mark.parametrize("qty", [1, 3, 5, 100])
def test_a_map_over_its_parents_array_gives_every_item_once(
    connection: Connection, qty: int
) -> None:
    run_id = chain(connection, {"slug": "items"})
    assert given(drain(connection, qty=qty)) == EACH
    assert state(connection, run_id, "items")["output"] is not None
    assert run(connection, run_id)["output"] == {
        "items": [f"items:{100 + index}" for index in range(COUNT)]
    }
    assert fan_outs(connection) == []


def test_a_map_over_the_runs_input_gives_every_item_once(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    assert given(drain(connection)) == EACH
    assert run(connection, run_id)["status"] == "completed"


def test_a_map_of_a_fixed_size_gives_every_number_once(connection: Connection) -> None:
    run_id = root_map_of(connection, 0, initial_tasks=COUNT)
    assert created(connection, run_id) == SLICE
    done = drain(connection)
    assert [index for index, _ in given(done)] == list(range(COUNT))
    assert run(connection, run_id)["status"] == "completed"


def test_a_map_over_outputs_that_are_kept_in_tasks_gives_every_one_once(
    connection: Connection,
) -> None:
    run_id = chain(connection, {"slug": "items"}, {"slug": "more", "max_failed_tasks": 1})
    drained: list[Row] = []
    while len(drained) < COUNT:
        for one in claim(connection, "f", 3):
            drained.append(one)
            complete_batch(connection, [one], [f"{one['input']}: " + "x" * 30])
    assert (state(connection, run_id, "items")["output"], created(connection, run_id, "more")) == (
        None,
        SLICE,
    )
    done = given(drain(connection), "more")
    assert done == [(index, f"{100 + index}: " + "x" * 30) for index in range(COUNT)]


def test_an_item_that_failed_is_null_in_the_next_map(connection: Connection) -> None:
    chain(connection, {"slug": "items", "max_failed_tasks": 2}, {"slug": "more"})
    done: list[Row] = []
    while len(done) < COUNT:
        for one in claim(connection, "f", 3):
            done.append(one)
            if one["task_index"] in {3, 17}:
                break_down(connection, [one], final=True)
            else:
                succeed(connection, [one], "x" * 40)
    more = dict(given(drain(connection), "more"))
    assert sorted(more) == list(range(COUNT))
    assert [index for index in more if more[index] is None] == [3, 17]


def test_batches_of_items_come_whole_and_in_order(connection: Connection) -> None:
    count = 3 * MAX_SLICE + 5
    version(connection, "f", [{"slug": "items", "step_type": "map"}], base_delay=0)
    change(connection, "update pgflow.steps set opt_batch_size = 3")
    run_id = start(connection, "f", list(range(count)))["run_id"]
    assert created(connection, run_id) == SLICE
    found = claim(connection, "f", 1)
    complete_batch(connection, found, [one["input"] for one in found])
    claim(connection, "f", 0)
    assert created(connection, run_id) == 2 * SLICE
    while granted := claim(connection, "f", 3):
        complete_batch(connection, granted, [one["input"] for one in granted])
        found += granted
    found.sort(key=lambda one: one["task_index"])
    assert [item for one in found for item in one["input"]] == list(range(count))
    assert [(one["task_index"], one["items"]) for one in found] == [
        (first, min(3, count - first)) for first in range(0, count, 3)
    ]
    assert (run(connection, run_id)["status"], fan_outs(connection)) == ("completed", [])


@pytest.mark.parametrize("size", [1, 3])
def test_a_map_up_to_the_limit_is_created_whole(connection: Connection, size: int) -> None:
    version(connection, "f", [{"slug": "items", "step_type": "map"}], base_delay=0)
    change(connection, "update pgflow.steps set opt_batch_size = %s", size)
    run_id = start(connection, "f", list(range(MAX_SLICE * size)))["run_id"]
    assert (created(connection, run_id), fan_outs(connection)) == (MAX_SLICE, [])


def test_two_maps_in_one_queue_both_come_to_their_end(connection: Connection) -> None:
    runs = [root_map_of(connection, COUNT) for _ in range(2)]
    done = drain(connection, qty=7)
    for run_id in runs:
        assert given([one for one in done if one["run_id"] == run_id]) == EACH
        assert run(connection, run_id)["status"] == "completed"


def test_messages_of_all_slices_are_due_in_the_order_of_the_items(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    due: dict[int, datetime] = {}
    for _ in range(COUNT):
        claim(connection, "f", 0)  # creates a slice, if one is due, before anything is claimed
        found = [one for one in messages(connection, "f") if "items" in one["message"].values()]
        due |= {one["message"]["task_index"]: one["vt"] for one in found if one["visible"]}
        succeed(connection, claim(connection, "f", 3))
    assert sorted(due, key=lambda index: due[index]) == list(range(COUNT))
    assert max(due.values()) <= run(connection, run_id)["started_at"]


# When slices are created


def test_the_first_slice_is_there_at_once_and_the_next_before_it_runs_out(
    connection: Connection,
) -> None:
    run_id = root_map_of(connection, COUNT)
    seen = [created(connection, run_id)]
    for _ in range(4):
        succeed(connection, claim(connection, "f", 2))
        seen.append(created(connection, run_id))
    assert seen[0] == SLICE
    assert seen[1:] == sorted(seen[1:])
    assert seen[-1] > 2 * SLICE


def test_claims_do_not_run_far_ahead_of_what_is_done(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    for _ in range(COUNT):
        claim(connection, "f", 0)
    assert created(connection, run_id) == SLICE
    held: list[Row] = []
    for _ in range(COUNT):
        held += claim(connection, "f", 1)
    assert created(connection, run_id) == len(held) == SLICE
    succeed(connection, held[:1])
    claim(connection, "f", 1)
    assert created(connection, run_id) == 2 * SLICE


def test_nothing_is_over_before_all_slices_exist(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    done = 0
    while created(connection, run_id) < COUNT:
        granted = claim(connection, "f", SLICE)
        done += len(granted)
        succeed(connection, granted)
        found = state(connection, run_id, "items")
        assert (found["status"], found["remaining_tasks"]) == ("started", COUNT - done)
    assert done < COUNT
    assert statuses(connection, run_id) == {"items": "started", "end": "created"}
    drain(connection)
    assert run(connection, run_id)["status"] == "completed"


def test_what_is_handed_over_comes_of_the_first_slice(connection: Connection) -> None:
    steps: Steps = [
        {"slug": "source"},
        {"slug": "items", "step_type": "map", "depends_on": ["source"]},
    ]
    version(connection, "f", steps)
    run_id = start(connection, "f")["run_id"]
    by = worker(connection)
    source = claim(connection, "f", worker_id=by)
    array = [item for _, item in EACH]
    held = complete_and_claim(connection, source, array, by=by, qty=100)
    assert given(held) == EACH[:SLICE]
    done: list[Row] = []
    while held:
        done += held
        held = complete_and_claim(connection, held, 1, by=by)
        held += claim(connection, "f", 100, worker_id=by)
    assert indexes_of(done) == list(range(COUNT))
    assert run(connection, run_id)["status"] == "completed"
