"""Notifications: the same events on the channel pgflow_events, and queues with work on pgflow_wake."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    begin,
    call,
    claim,
    complete,
    define,
    diamond,
    fail,
    linear,
    run,
    start,
    work,
)
from tests.support.tasks import arrays

Heard = list[tuple[str, str]]


@pytest.fixture
def listener(committing: Connection) -> tuple[Connection, Heard]:
    """Give a connection that commits each statement and what it has heard so far, as (channel, payload)."""
    heard: Heard = []
    committing.add_notify_handler(lambda notice: heard.append((notice.channel, notice.payload)))
    committing.execute("listen pgflow_events")
    committing.execute("listen pgflow_wake")
    return committing, heard


def of(heard: Heard, channel: str) -> list[str]:
    return [payload for name, payload in heard if name == channel]


def events(heard: Heard) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in of(heard, "pgflow_events")]


def names(heard: Heard) -> list[str]:
    return [
        ":".join(filter(None, (one["event_type"], one.get("step_slug")))) for one in events(heard)
    ]


def test_a_linear_run_is_heard_in_order(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    linear(connection)
    start(connection, "linear")
    work(connection, "linear")
    steps = [f"step:{what}:{step}" for step in "abc" for what in ("started", "completed")]
    assert names(heard) == ["run:started", *steps, "run:completed"]


def test_the_payload_is_the_events_with_its_topic(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []})
    run_id = str(start(connection, "f", {"k": 1})["run_id"])
    work(connection, "f", {"a": [None, "x"]})
    topic = {"topic": f"pgflow:run:{run_id}", "run_id": run_id, "flow_slug": "f"}
    first, _, completed, last = events(heard)
    assert first == topic | {
        "event_type": "run:started",
        "status": "started",
        "input": {"k": 1},
        "remaining_steps": 1,
        "started_at": first["started_at"],
    }
    assert completed == topic | {
        "event_type": "step:completed",
        "status": "completed",
        "step_slug": "a",
        "output": [None, "x"],
        "completed_at": completed["completed_at"],
    }
    assert last["output"] == {"a": [None, "x"]}


@pytest.mark.parametrize("size", [5_000, 7_500, 7_990, 8_010, 100_000])
@pytest.mark.parametrize("letter", ["x", "é", '"'])
def test_an_output_of_any_size_is_told_whole_or_marked_truncated(
    listener: tuple[Connection, Heard], size: int, letter: str
) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": letter * size})
    assert run(connection, run_id)["output"] == {"a": letter * size}
    *_, completed, last = events(heard)
    assert (completed["event_type"], last["event_type"]) == ("step:completed", "run:completed")
    for one, whole in ((completed, letter * size), (last, {"a": letter * size})):
        assert one.get("output") == (None if one.get("truncated") else whole)
    assert size < 8_000 or last["truncated"] is True


@pytest.mark.parametrize("output", [0, "x" * 5_000])
def test_a_small_output_is_told_whole(listener: tuple[Connection, Heard], output: object) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []})
    start(connection, "f")
    work(connection, "f", {"a": output})
    assert [one.get("truncated") for one in events(heard)] == [None] * 4


def test_a_large_input_is_left_out(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []})
    given = {"items": list(range(10_000))}
    assert start(connection, "f", given)["input"] == given
    first = events(heard)[0]
    assert first["truncated"] is True
    assert "input" not in first


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_long_error_is_cut(listener: tuple[Connection, Heard], letter: str) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a", letter * 20_000)
    failed = [one for one in events(heard) if one["event_type"].endswith("failed")]
    assert sorted(one["event_type"] for one in failed) == ["run:failed", "step:failed"]
    for one in failed:
        assert one["truncated"] is True
        assert set(one["error_message"][:100]) == {letter}


def test_what_is_rolled_back_is_not_heard(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []})
    with connection.transaction(force_rollback=True):
        start(connection, "f")
    connection.execute("select 1")
    assert heard == []


def test_tasks_are_not_heard(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"m": {"step_type": "map"}}, base_delay=0)
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    heard.clear()
    begin(connection, "f", 2)
    complete(connection, run_id, "m", 1)
    fail(connection, run_id, "m", index=1)
    assert events(heard) == []


# pgflow_wake


def test_a_start_wakes_its_queue_once(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"a": [], "b": [], "m": {"step_type": "map"}})
    start(connection, "f", list(range(100)))
    assert of(heard, "pgflow_wake") == ["f"]


def test_a_completion_that_starts_steps_wakes_their_queue_once(
    listener: tuple[Connection, Heard],
) -> None:
    connection, heard = listener
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    begin(connection, "diamond")
    heard.clear()
    complete(connection, run_id, "root", 1)
    assert of(heard, "pgflow_wake") == ["diamond"]


def test_a_completion_that_starts_nothing_wakes_nobody(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [1, 2])["run_id"]
    begin(connection, "f", 2)
    heard.clear()
    complete(connection, run_id, "m", 1)
    complete(connection, run_id, "m", 1, 1)
    assert of(heard, "pgflow_wake") == []


def test_a_steps_own_queue_is_woken_by_its_name(listener: tuple[Connection, Heard]) -> None:
    connection, heard = listener
    define(connection, "f", {"a": {"queue": "gpu"}, "b": []})
    start(connection, "f")
    assert sorted(of(heard, "pgflow_wake")) == ["f", "gpu"]


def test_a_retry_that_is_due_later_wakes_those_who_sleep_past_it(
    listener: tuple[Connection, Heard],
) -> None:
    connection, heard = listener
    define(connection, "f", {"a": []}, base_delay=5)
    run_id = start(connection, "f")["run_id"]
    granted = claim(connection, "f")
    heard.clear()
    call(connection, "extend_leases", **arrays(granted), lease=60)
    assert of(heard, "pgflow_wake") == []
    fail(connection, run_id, "a")
    assert of(heard, "pgflow_wake") == ["f"]


def test_items_of_a_batch_that_are_due_at_once_wake_their_queue_once(
    listener: tuple[Connection, Heard],
) -> None:
    connection, heard = listener
    define(connection, "f", {"m": {"step_type": "map", "batch_size": 4}}, base_delay=0)
    start(connection, "f", [1, 2, 3, 4])
    heard.clear()
    granted = claim(connection, "f", 1)
    results = [{"output": 1}, {"error": "x"}, {"error": "y"}, {"output": 4}]
    call(connection, "split_batches", **arrays(granted), results=[Jsonb(results)])
    assert of(heard, "pgflow_wake") == ["f"]
