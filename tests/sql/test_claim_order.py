"""In which order tasks are claimed: mostly what is due longest, and a share of the latest, so that nobody waits behind a backlog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.slices import SLICE, created, root_map_of
from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    define,
    jsonb,
    rows,
    start,
    value,
    worker,
)
from tests.support.tasks import indexes_of, root_map, succeed

if TYPE_CHECKING:
    import uuid


@pytest.fixture
def small(connection: Connection) -> uuid.UUID:
    """A run of one small task that starts behind 5,000 of an older one, in the same queue."""
    define(connection, "f", {"items": {"step_type": "map"}})
    define(connection, "g", {"a": {"queue": "f"}})
    start(connection, "f", list(range(5000)))
    age(connection, 60)
    run_id: uuid.UUID = start(connection, "g")["run_id"]
    return run_id


def age(connection: Connection, seconds: float) -> None:
    """Let everything in the queue be due for so much longer: a transaction of its own would start it earlier."""
    connection.execute(f"update pgmq.q_f set vt = vt - interval '{seconds} s'".encode())


def runs_of(tasks: list[Row]) -> set[uuid.UUID]:
    return {one["run_id"] for one in tasks}


# A small run behind a large one


@pytest.mark.parametrize("qty", [2, 3, 4, 10, 100, 300])
def test_the_first_claim_has_a_small_run_behind_a_large_one(
    connection: Connection, small: uuid.UUID, qty: int
) -> None:
    granted = claim(connection, "f", qty)
    assert len(granted) == qty
    assert small in runs_of(granted)


def by_chance(connection: Connection, by: uuid.UUID) -> list[Row]:
    return call(connection, "claim_tasks", queue_name="f", worker_id=by, qty=1)


def test_claims_of_single_tasks_have_it_soon(connection: Connection, small: uuid.UUID) -> None:
    by = worker(connection)
    tries = [by_chance(connection, by) for _ in range(40)]  # wrong in one of 10^12
    assert small in runs_of([one for granted in tries for one in granted])


def test_claims_of_single_tasks_take_from_both_ends(connection: Connection) -> None:
    root_map(connection, 80, "f")
    by = worker(connection)
    found = [by_chance(connection, by)[0]["task_index"] for _ in range(40)]
    oldest = [index for index in found if index < 40]
    newest = [index for index in found if index >= 40]
    assert oldest == list(range(len(oldest)))
    assert newest == list(range(79, 79 - len(newest), -1))
    assert min(len(oldest), len(newest)) > 0


def test_a_worker_for_some_steps_has_it_too(connection: Connection, small: uuid.UUID) -> None:
    assert runs_of(claim(connection, "f", 4, handlers=["f.items(map:)", "g.a(single:)"])) > {small}
    start(connection, "g")
    granted = claim(connection, "f", 4, handlers=["f.items"])
    assert {one["flow_slug"] for one in granted} == {"f"}


# The shares


@pytest.mark.parametrize(
    ("qty", "oldest"), [(2, 1), (3, 2), (4, 3), (5, 3), (8, 6), (9, 6), (20, 15)]
)
def test_three_quarters_are_the_oldest_and_the_rest_the_latest(
    connection: Connection, qty: int, oldest: int
) -> None:
    root_map(connection, 100, "f")
    expected = [*range(oldest), *range(100 - (qty - oldest), 100)]
    assert indexes_of(claim(connection, "f", qty)) == expected


@pytest.mark.parametrize("qty", [1, 2, 3, 4, 5, 7, 10, 11])
@pytest.mark.parametrize("due", [1, 2, 3, 5, 10])
def test_a_claim_has_as_many_as_it_asks_for_or_all_that_are_due(
    connection: Connection, qty: int, due: int
) -> None:
    root_map(connection, due, "f")
    granted = indexes_of(claim(connection, "f", qty))
    assert len(granted) == len(set(granted)) == min(qty, due)


def test_nothing_is_left_behind_while_newer_work_keeps_coming(connection: Connection) -> None:
    old = root_map(connection, 60, "f")
    age(connection, 60)
    define(connection, "g", {"a": {"queue": "f"}})
    by = worker(connection)
    waiting = set(range(60))
    for _ in range(20):
        for _ in range(4):
            start(connection, "g")
        granted = claim(connection, "f", 4, worker_id=by)
        assert len(granted) == 4
        waiting -= {one["task_index"] for one in granted if one["run_id"] == old}
    assert waiting == set()  # three a round


def test_what_came_back_is_claimed_before_long_too(connection: Connection) -> None:
    define(connection, "f", {"items": {"step_type": "map"}}, base_delay=0)
    start(connection, "f", list(range(300)))
    (lost,) = claim(connection, "f", 1, lease=0)
    granted = claim(connection, "f", 8)
    again = [one for one in granted if one["task_index"] == lost["task_index"]]
    assert [(one["attempt"], one["recovered"]) for one in again] == [(2, True)]


def test_what_is_not_due_is_never_taken(connection: Connection) -> None:
    root_map(connection, 20, "f")
    rows(
        connection,
        "update pgmq.q_f set vt = now() + interval '1 h' where (message ->> 'task_index')::int not in (5, 6)",
    )
    assert indexes_of(claim(connection, "f", 10)) == [5, 6]


# Slices


def test_a_late_slice_of_an_old_map_is_not_newer_than_a_run_that_came_before_it(
    sliced: Connection,
) -> None:
    large = root_map_of(sliced, 100)
    define(sliced, "g", {"a": {"queue": "f"}})
    age(sliced, 60)
    rows(sliced, "update pgflow.step_states set started_at = started_at - interval '60 s'")
    succeed(sliced, claim(sliced, "f", SLICE)[1:])
    small = start(sliced, "g")["run_id"]
    assert created(sliced, large) == SLICE
    granted = claim(sliced, "f", 4)
    assert created(sliced, large) == 2 * SLICE
    assert runs_of(granted) == {small, large}


def test_of_two_sliced_maps_neither_waits_for_the_other(sliced: Connection) -> None:
    first = root_map_of(sliced, 200)
    age(sliced, 60)
    second = root_map_of(sliced, 200)
    done = dict.fromkeys((first, second), 0)
    for _ in range(40):
        granted = claim(sliced, "f", 4)
        succeed(sliced, granted)
        for one in granted:
            done[one["run_id"]] += 1
    assert min(done.values()) > 30
    assert value(sliced, "select count(*) from pgflow.fan_outs") == 2


def test_a_small_run_goes_through_beside_a_sliced_map(sliced: Connection) -> None:
    root_map_of(sliced, 1000)
    define(sliced, "g", {"a": {"queue": "f"}, "b": {"deps": ["a"], "queue": "f"}})
    by = worker(sliced)
    (small,) = call(sliced, "start_flow", flow_slug="g", input=jsonb({}))
    claims = 0
    while (
        value(sliced, "select status from pgflow.runs where run_id = %s", small["run_id"])
        == "started"
    ):
        succeed(sliced, claim(sliced, "f", 8, worker_id=by))
        claims += 1
        assert claims < 30
