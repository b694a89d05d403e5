"""The short way of a single step's only report, and the general way of any batch, leave the same tables behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.support.random_runs import (
    ARRAYS,
    OTHERS,
    Move,
    Scenario,
    begin_run,
    claim_all,
    generally,
    in_order,
    output_of,
    picture,
    play,
    scenarios,
    set_stage,
    singly,
    together,
    without_order,
)
from tests.support.sql import Connection, Row, claim, define, start, value
from tests.support.tasks import break_down, expire, succeed

if TYPE_CHECKING:
    import uuid

SETTINGS = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def by(connection: Connection) -> uuid.UUID:
    return set_stage(connection)


SKIPPED_CHILD = Scenario(
    steps=[
        {"slug": "s0", "depends_on": [], "max_attempts": 1, "when_exhausted": "skip-cascade"},
        {"slug": "s1", "depends_on": []},
        {"slug": "s2", "depends_on": ["s0", "s1"]},
    ],
    input={},
    moves=[Move("fail", 0, None)],
)
"""A child is skipped with one parent, and then the other parent completes."""


@pytest.mark.slow
@settings(SETTINGS, max_examples=100)
@given(scenario=scenarios())
@example(scenario=SKIPPED_CHILD)
def test_after_each_move_both_ways_have_left_the_same(
    connection: Connection, by: uuid.UUID, scenario: Scenario
) -> None:
    with connection.transaction(force_rollback=True):
        short = play(connection, by, scenario, singly)
        general = play(connection, by, scenario, generally)
    assert short == general


@pytest.mark.parametrize("output", [*ARRAYS, *OTHERS], ids=lambda output: repr(output)[:20])
@pytest.mark.parametrize("last", [False, True])
def test_both_ways_keep_any_output_alike(
    connection: Connection, by: uuid.UUID, output: object, last: bool
) -> None:
    steps = [{"slug": "s0", "depends_on": []}, {"slug": "s1", "depends_on": ["s0"]}]
    moves = [Move("complete", 0, output)] * 2
    scenario = Scenario(steps[: 1 if last else 2], {}, moves)
    short = play(connection, by, scenario, singly)
    assert short == play(connection, by, scenario, generally)
    assert short[-1][1]["run"]["status"] == "completed"


@settings(SETTINGS, max_examples=50)
@given(scenario=scenarios(tame=True))
def test_a_batch_of_all_that_is_ready_leaves_what_single_reports_leave(
    connection: Connection, by: uuid.UUID, scenario: Scenario
) -> None:
    with connection.transaction(force_rollback=True):
        one_by_one = begin_run(connection, scenario)
        held: list[Row] = []
        while held := in_order(held + claim_all(connection, by)):
            task = held.pop(0)
            assert singly(connection, task, output_of(scenario, task)) == ["accepted"]
        at_once = begin_run(connection, scenario)
        while held := in_order(claim_all(connection, by)):
            assert set(together(connection, scenario, held)) == {"accepted"}
        found = [without_order(picture(connection, run_id)) for run_id in (one_by_one, at_once)]
    assert found[0] == found[1]
    assert found[0]["run"]["status"] == "completed"


# Which reports take the short way: without these, the comparison above could be of the general way with itself

SHORTLY = "select is_done from pgflow._complete_single(%s, %s, %s, %s, '1', null)"


def goes_the_short_way(connection: Connection, task: Row) -> bool:
    names = ("run_id", "step_slug", "task_index", "attempt")
    return bool(value(connection, SHORTLY, *(task[name] for name in names)))


def granted(connection: Connection, **steps: object) -> Row:
    """Start a run of these steps and claim its first task."""
    define(connection, "f", steps, base_delay=0)
    start(connection, "f")
    return claim(connection, "f")[0]


@pytest.mark.parametrize("children", [0, 1, 3])
def test_a_plain_step_with_few_children_takes_the_short_way(
    connection: Connection, children: int
) -> None:
    more = {f"b{number}": ["a"] for number in range(children)}
    assert goes_the_short_way(connection, granted(connection, a=[], **more))


def test_so_does_a_later_attempt(connection: Connection) -> None:
    break_down(connection, [granted(connection, a=[])])
    assert goes_the_short_way(connection, claim(connection, "f")[0])


def test_a_step_with_many_children_does_not(connection: Connection) -> None:
    more = {f"b{number}": ["a"] for number in range(4)}
    assert not goes_the_short_way(connection, granted(connection, a=[], **more))


def test_nor_does_a_step_that_a_map_goes_over(connection: Connection) -> None:
    task = granted(connection, a=[], b={"deps": ["a"], "step_type": "map"})
    assert not goes_the_short_way(connection, task)


def test_nor_a_step_of_a_run_with_conditions(connection: Connection) -> None:
    condition = {"deps": ["a"], "required_input_pattern": {"a": 1}}
    assert not goes_the_short_way(connection, granted(connection, a=[], b=condition))


def test_nor_a_task_of_a_map(connection: Connection) -> None:
    task = granted(connection, a={"step_type": "map", "initial_tasks": 1})
    assert not goes_the_short_way(connection, task)


def test_nor_a_stale_report(connection: Connection) -> None:
    stale = granted(connection, a=[])
    expire(connection, "f")
    (live,) = claim(connection, "f")
    assert not goes_the_short_way(connection, stale)
    assert goes_the_short_way(connection, live)


def test_nor_a_repeated_report(connection: Connection) -> None:
    task = granted(connection, a=[])
    succeed(connection, [task])
    assert not goes_the_short_way(connection, task)


def test_nor_a_report_for_a_run_that_is_over(connection: Connection) -> None:
    task = granted(connection, a=[])
    value(connection, "select status from pgflow.cancel_run(%s)", task["run_id"])
    assert not goes_the_short_way(connection, task)
