"""Events: one realtime.send for each transition of a run or step, in order (contract, section 16)."""

from __future__ import annotations

import pytest

from tests.support.sql import (
    Connection,
    begin,
    complete,
    define,
    diamond,
    event_names,
    events,
    fail,
    finish,
    linear,
    payload,
    record_events,
    rows,
    run,
    start,
    value,
    work,
)

SENT = "select count(*) from realtime.messages"


@pytest.fixture(autouse=True)
def sink(connection: Connection) -> None:
    record_events(connection)


# The envelope


def test_topic_is_the_runs_and_not_private(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f")
    found = rows(connection, "select distinct topic, private from realtime.messages")
    assert found == [{"topic": f"pgflow:run:{run_id}", "private": False}]


@pytest.mark.parametrize(
    ("event", "event_type"),
    [
        ("run:started", "run:started"),
        ("run:completed", "run:completed"),
        ("step:a:started", "step:started"),
        ("step:a:completed", "step:completed"),
    ],
)
def test_the_event_type_is_the_name_without_the_slug(
    connection: Connection, event: str, event_type: str
) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f")
    assert payload(connection, run_id, event)["event_type"] == event_type


def test_events_of_runs_do_not_mix(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    first, second = (start(connection, "f")["run_id"] for _ in range(2))
    assert [one["payload"]["run_id"] for one in events(connection, first)] == [str(first)] * 2
    assert [one["payload"]["run_id"] for one in events(connection, second)] == [str(second)] * 2


# Which events, and in which order


def test_a_linear_run(connection: Connection) -> None:
    linear(connection)
    run_id = start(connection, "linear")["run_id"]
    work(connection, "linear")
    expected = [f"step:{step}:{what}" for step in "abc" for what in ("started", "completed")]
    assert event_names(connection, run_id) == ["run:started", *expected, "run:completed"]


def test_a_diamond_has_exactly_one_event_per_transition(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    work(connection, "diamond")
    names = event_names(connection, run_id)
    steps = ("root", "left", "right", "merge")
    expected = {f"step:{step}:{what}" for step in steps for what in ("started", "completed")}
    assert len(names) == len(set(names)) == 10
    assert set(names) == expected | {"run:started", "run:completed"}
    assert names.index("step:root:completed") < names.index("step:left:started")
    assert names.index("step:right:completed") < names.index("step:merge:started")


def test_run_completed_comes_last(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a")
    assert "run:completed" not in event_names(connection, run_id)
    begin(connection, "f")
    complete(connection, run_id, "b", 1)
    assert event_names(connection, run_id)[-1] == "run:completed"


def test_tasks_and_retries_have_no_events(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}}, base_delay=0)
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    begin(connection, "f", 3)
    fail(connection, run_id, "m", index=0)
    complete(connection, run_id, "m", 1, 1)
    assert event_names(connection, run_id) == ["run:started", "step:m:started"]


def test_a_repeated_completion_has_no_event(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    complete(connection, run_id, "a", 1)
    before = event_names(connection, run_id)
    complete(connection, run_id, "a", 2)
    fail(connection, run_id, "a")
    assert event_names(connection, run_id) == before


def test_a_refused_start_emits_nothing(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    with pytest.raises(Exception, match="not an array"), connection.transaction():
        start(connection, "f", {})
    assert value(connection, SENT) == 0


def test_a_repeated_start_with_a_key_emits_nothing_more(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f", idempotency_key="k")
    before = value(connection, SENT)
    start(connection, "f", idempotency_key="k")
    assert value(connection, SENT) == before == 2


# The sink


def test_the_sink_is_looked_up_at_each_event(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    connection.execute("drop schema realtime cascade")
    run_id = start(connection, "f")["run_id"]
    record_events(connection)
    work(connection, "f")
    assert event_names(connection, run_id) == ["step:a:completed", "run:completed"]


def test_everything_works_without_a_sink(connection: Connection) -> None:
    connection.execute("drop schema realtime cascade")
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    work(connection, "diamond")
    assert run(connection, run_id)["status"] == "completed"
