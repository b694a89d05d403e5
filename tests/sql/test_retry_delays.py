"""pgflow.fail_tasks with attempts left: how long a task waits, capped and spread."""

from __future__ import annotations

from tests.support.sql import (
    Connection,
    claim,
    messages,
    start,
    state,
    tasks,
)
from tests.support.tasks import (
    break_down,
    one_step,
    outcomes,
    root_map,
    started_map,
    version,
)


def test_the_delay_is_capped_by_max_delay(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a", "base_delay": 100, "max_delay": 30, "max_attempts": 9}])
    start(connection, "f")
    break_down(connection, claim(connection, "f"))
    assert round(messages(connection, "f")[0]["delay"]) == 30


def test_a_flows_max_delay_is_inherited(connection: Connection) -> None:
    version(
        connection,
        "f",
        [{"slug": "a"}, {"slug": "b", "max_delay": 400}],
        base_delay=500,
        max_delay=30,
    )
    start(connection, "f")
    break_down(connection, claim(connection, "f", 2))
    assert [round(one["delay"]) for one in messages(connection, "f")] == [30, 400]


def test_jitter_spreads_the_delays(connection: Connection) -> None:
    root_map(connection, 40, base_delay=500, jitter=0.5)
    break_down(connection, claim(connection, "numbers", 40))
    delays = [one["delay"] for one in messages(connection, "numbers")]
    assert len({round(one) for one in delays}) > 10
    assert all(499 <= one <= 1501 for one in delays)


def test_without_jitter_the_delay_is_exact(connection: Connection) -> None:
    root_map(connection, 10, base_delay=500)
    break_down(connection, claim(connection, "numbers", 10))
    assert {round(one["delay"]) for one in messages(connection, "numbers")} == {1000}


def test_a_released_grant_does_not_lengthen_the_delay(connection: Connection) -> None:
    one_step(connection, base_delay=10)
    outcomes(connection, "release_tasks", claim(connection, "f"))
    break_down(connection, claim(connection, "f"))
    assert round(messages(connection, "f")[0]["delay"]) == 20


def test_a_single_failure_of_a_big_map_leaves_the_others_alone(connection: Connection) -> None:
    run_id = started_map(connection, 50)
    break_down(connection, claim(connection, "mapped", 1))
    assert [one["status"] for one in tasks(connection, run_id, "items")] == ["queued"] * 50
    assert state(connection, run_id, "items")["remaining_tasks"] == 50
