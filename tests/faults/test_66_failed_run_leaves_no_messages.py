"""Fault 66: a failed run leaves zero live messages, however it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import Connection, claim, messages, run, start
from tests.support.tasks import break_down, expire, succeed, version

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

STEPS: list[dict[str, object]] = [
    {"slug": "a", "max_attempts": 1},
    {"slug": "waiting", "start_delay": 1000},
    {"slug": "elsewhere", "queue": "gpu"},
    {"slug": "m", "step_type": "map", "depends_on": ["a"], "max_attempts": 1},
    {
        "slug": "guarded",
        "depends_on": ["m"],
        "required_input_pattern": {"m": ["go"]},
        "when_unmet": "fail",
    },
]


def by_a_task(connection: Connection) -> None:
    break_down(connection, [one for one in claim(connection, "f", 9) if one["step_slug"] == "a"])


def by_a_type_violation(connection: Connection) -> None:
    succeed(
        connection,
        [one for one in claim(connection, "f", 9) if one["step_slug"] == "a"],
        "no array",
    )


def by_a_map_task(connection: Connection) -> None:
    succeed(
        connection, [one for one in claim(connection, "f", 9) if one["step_slug"] == "a"], [1, 2, 3]
    )
    break_down(connection, claim(connection, "f", 2)[:1])


def by_a_condition(connection: Connection) -> None:
    succeed(connection, [one for one in claim(connection, "f", 9) if one["step_slug"] == "a"], [1])
    succeed(
        connection, [one for one in claim(connection, "f", 9) if one["step_slug"] == "m"], "stop"
    )


def by_a_lost_worker(connection: Connection) -> None:
    granted = claim(connection, "f", 9)
    expire(connection, "f")
    again = [one for one in claim(connection, "f", 9) if one["exhausted"]]
    assert len(granted) == len(again) == 1
    break_down(connection, again, "lost", kind="lost")


@pytest.mark.parametrize(
    "end", [by_a_task, by_a_type_violation, by_a_map_task, by_a_condition, by_a_lost_worker]
)
def test_no_message_is_left(connection: Connection, end: Callable[[Connection], None]) -> None:
    version(connection, "f", STEPS)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    assert (len(messages(connection, "f")), len(messages(connection, "gpu"))) == (2, 1)
    end(connection)
    assert run(connection, run_id)["status"] == "failed"
    assert (messages(connection, "f"), messages(connection, "gpu")) == ([], [])


def test_messages_of_other_runs_stay(connection: Connection) -> None:
    version(connection, "f", STEPS)
    run_id = start(connection, "f")["run_id"]
    granted = claim(connection, "f", 9)
    other = start(connection, "f")["run_id"]
    break_down(connection, granted)
    assert run(connection, run_id)["status"] == "failed"
    left = messages(connection, "f") + messages(connection, "gpu")
    assert [one["message"]["run_id"] for one in left] == [str(other)] * 3
