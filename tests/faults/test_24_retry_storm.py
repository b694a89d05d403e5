"""Fault 24: whatever the number of attempts and the delays, a failure can be recorded; delays are capped and spread."""

from __future__ import annotations

import pytest

from tests.support.sql import (
    Connection,
    attempts,
    begin,
    claim,
    fail,
    messages,
    rows,
    run,
    start,
    task,
    value,
)
from tests.support.tasks import break_down, expire, one_step, root_map, succeed, version

HUGE = 2_147_483_647


@pytest.mark.parametrize("attempts_count", [29, 60, 1100, 2_000_000_000])
def test_a_failure_is_recorded_after_any_number_of_attempts(
    connection: Connection, attempts_count: int
) -> None:
    run_id = one_step(connection, max_attempts=HUGE, base_delay=5)
    begin(connection, "f")
    rows(connection, "update pgflow.step_tasks set attempts_count = %s", attempts_count)
    failed = fail(connection, run_id, "a", "no luck")
    assert (failed["status"], failed["error_message"]) == ("queued", "no luck")
    assert value(connection, "select isfinite(vt) and vt > clock_timestamp() from pgmq.q_f")


def test_the_largest_delays_do_not_overflow(connection: Connection) -> None:
    steps = [{"slug": "a", "base_delay": HUGE, "max_delay": HUGE, "jitter": 1, "max_attempts": 99}]
    version(connection, "f", steps)
    run_id = start(connection, "f")["run_id"]
    for _ in range(3):
        assert break_down(connection, claim(connection, "f")) == ["accepted"]
        expire(connection, "f")
    assert task(connection, run_id, "a")["attempts_count"] == 3


def test_a_cap_holds_for_every_attempt(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a", "base_delay": 7, "max_delay": 60, "max_attempts": 99}])
    start(connection, "f")
    delays = []
    for _ in range(6):
        break_down(connection, claim(connection, "f"))
        delays.append(round(messages(connection, "f")[0]["delay"]))
        expire(connection, "f")
    assert delays == [14, 28, 56, 60, 60, 60]


def test_a_map_that_fails_as_a_whole_does_not_come_back_as_a_whole(connection: Connection) -> None:
    root_map(connection, 200, base_delay=100, jitter=0.5)
    break_down(connection, claim(connection, "numbers", 200))
    delays = sorted(one["delay"] for one in messages(connection, "numbers"))
    assert delays[0] >= 190
    assert delays[-1] <= 310
    assert delays[-1] - delays[0] > 50


def test_jitter_keeps_to_the_cap(connection: Connection) -> None:
    root_map(connection, 50, base_delay=100, max_delay=100, jitter=0.5)
    break_down(connection, claim(connection, "numbers", 50))
    assert all(one["delay"] <= 151 for one in messages(connection, "numbers"))


def test_many_attempts_are_all_on_record(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=30, base_delay=0)
    for _ in range(29):
        break_down(connection, claim(connection, "f"))
    succeed(connection, claim(connection, "f"), "at last")
    assert run(connection, run_id)["output"] == {"a": "at last"}
    assert [one["attempt"] for one in attempts(connection, run_id)] == list(range(1, 31))
