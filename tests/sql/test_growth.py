"""How the cost of maps grows (8.3 and 9.2 of the contract): in proportion, and never with what a batch does not touch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    claim,
    define,
    rows,
    start,
    value,
    worker,
)
from tests.support.tasks import buffers, root_map

if TYPE_CHECKING:
    from collections.abc import Callable


def fastest(act: Callable[[], object], times: int = 3) -> float:
    """Return the seconds of the fastest of several tries, so that a busy machine matters little."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        found.append(time.perf_counter() - begun)
    return min(found)


def array(count: int) -> Jsonb:
    return Jsonb(
        [{"id": index, "name": f"item {index}", "tags": ["a", "b"]} for index in range(count)]
    )


START = "select run_id from pgflow.start_flow('f', %s)"


def test_starting_a_map_costs_at_most_in_proportion_to_its_items(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    small, large = array(1000), array(10_000)
    rows(connection, START, small)
    quick = fastest(lambda: rows(connection, START, small))
    slow = fastest(lambda: rows(connection, START, large))
    assert slow < 20 * quick


def test_starting_a_map_touches_buffers_in_proportion_to_its_items(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    rows(connection, START, array(100))
    touched = [buffers(connection, START, array(count)) for count in (1000, 4000)]
    assert touched[1] < 6 * touched[0]


def test_starting_ten_tasks_of_ten_thousand_costs_little_more_than_of_a_hundred(
    connection: Connection,
) -> None:
    by = worker(connection)
    query = """select count(*) from pgflow.start_tasks(%s, array(
      select msg_id from pgmq.read(%s, 60, 10)), %s)"""

    def ten(flow: str) -> None:
        assert value(connection, query, flow, flow, by) == 10

    for flow, count in (("small", 100), ("large", 10_000)):
        define(connection, flow, {"m": {"step_type": "map"}})
        rows(connection, f"select run_id from pgflow.start_flow('{flow}', %s)", array(count))
    rows(connection, "analyze pgflow.step_tasks")
    ten("small")
    ten("large")
    small = fastest(lambda: ten("small"), 5)
    large = fastest(lambda: ten("large"), 5)
    assert large < 8 * small


@pytest.mark.parametrize("statistics", ["none", "of small flows", "up to date"])
@pytest.mark.parametrize("what", ["claim", "complete", "fail", "extend", "release"])
def test_a_batch_touches_as_many_buffers_whatever_the_size_of_its_map(
    connection: Connection, what: str, statistics: str
) -> None:
    touched = []
    for flow, count in (("small", 200), ("large", 5000)):
        root_map(connection, count, flow, max_attempts=3)
        if statistics == "up to date" or (statistics == "of small flows" and flow == "small"):
            rows(connection, "analyze pgflow.step_tasks")
            rows(connection, "analyze pgflow.step_states")
            rows(connection, "analyze pgflow.runs")
        touched.extend([cost_of(connection, what, flow), cost_of(connection, what, flow)])
    assert touched[3] < 3 * touched[1]


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("what", ["claim", "complete", "fail", "extend", "release"])
def test_a_session_with_old_plans_touches_as_many_buffers_per_task(
    connection: Connection, what: str, analyzed: bool
) -> None:
    if analyzed:
        rows(connection, "analyze")
    for number in range(8):
        root_map(connection, 3, f"warm{number}")
        cost_of(connection, what, f"warm{number}", 3)
    touched = []
    for count in (100, 1000):
        root_map(connection, count, f"cold{count}")
        touched.append(cost_of(connection, what, f"cold{count}", count) / count)
    assert touched[1] < 3 * touched[0]


@pytest.mark.parametrize("what", ["claim", "complete", "fail", "extend", "release"])
def test_a_batch_in_a_session_with_old_plans_takes_time_in_proportion_to_its_size(
    connection: Connection, what: str
) -> None:
    for number in range(8):
        root_map(connection, 3, f"warm{number}")
        cost_of(connection, what, f"warm{number}", 3)
    seconds = {}
    for count in (250, 2000):
        tries = []
        for number in range(2):
            root_map(connection, count, f"cold{count}_{number}")
            prepared = prepare(connection, what, f"cold{count}_{number}", count)
            begun = time.perf_counter()
            rows(connection, *prepared)
            tries.append(time.perf_counter() - begun)
        seconds[count] = min(tries)
    assert seconds[2000] < 3 * 8 * seconds[250]


def test_reports_of_many_runs_touch_buffers_in_proportion_to_their_number(
    connection: Connection,
) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    for _ in range(150):
        start(connection, "f")
    rows(connection, "analyze")
    touched = []
    for count in (10, 50):
        granted = claim(connection, "f", count)
        query = (
            "select * from pgflow.complete_tasks(%s, %s, %s, %s, array_fill('1'::jsonb, array[%s]))"
        )
        columns = ("run_id", "step_slug", "task_index", "attempt")
        arrays = ([one[column] for one in granted] for column in columns)
        touched.append(buffers(connection, query, *arrays, count))
    assert touched[1] < 8 * touched[0]


FUNCTIONS = {
    "complete": "complete_tasks(%s, %s, %s, %s, array_fill('1'::jsonb, array[{}]))",
    "fail": "fail_tasks(%s, %s, %s, %s, array_fill('boom'::text, array[{}]))",
    "extend": "extend_leases(%s, %s, %s, %s, 60)",
    "release": "release_tasks(%s, %s, %s, %s, 60)",
}


def prepare(connection: Connection, what: str, flow: str, count: int) -> tuple[Any, ...]:
    """Return a query and its arguments that do something to so many tasks; claims them unless that is what to do."""
    by = worker(connection)
    if what == "claim":
        return ("select * from pgflow.claim_tasks(%s, %s, %s)", flow, by, count)
    granted = claim(connection, flow, count, worker_id=by)
    columns = ("run_id", "step_slug", "task_index", "attempt")
    query = "select * from pgflow." + FUNCTIONS[what].format(count)
    return (query, *([one[column] for one in granted] for column in columns))


def cost_of(connection: Connection, what: str, flow: str, count: int = 10) -> int:
    """Return the buffers touched by one batch of tasks."""
    return buffers(connection, *prepare(connection, what, flow, count))


def test_a_claim_does_not_look_at_delayed_messages(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    by = worker(connection)
    query = "select * from pgflow.claim_tasks('f', %s, 10)"
    delayed = """insert into pgmq.q_f (vt, message)
      select clock_timestamp() + interval '2 days', '{}'::jsonb from generate_series(1, 20000)"""
    touched = []
    for statement in (delayed, "select 1"):
        start(connection, "f", list(range(30)))
        claim(connection, "f", 10, worker_id=by)
        touched.append(buffers(connection, query, by))
        rows(connection, statement)
        rows(connection, "analyze pgmq.q_f")
    assert touched[1] < 3 * touched[0]
