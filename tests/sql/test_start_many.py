"""pgflow.start_many: runs in the order of their inputs, one for each key, all of one plan, or none at all."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    SQL_NULL,
    Connection,
    Row,
    call,
    define,
    diamond,
    event_names,
    jsonb,
    linear,
    messages,
    record_events,
    refused,
    rows,
    run,
    state,
    statuses,
    tasks,
    work,
)
from tests.support.tasks import version


def start_many(connection: Connection, flow: str, *inputs: object, **more: Any) -> list[Row]:
    """Start a run for each input and return the rows as they came."""
    if "keys" in more:
        more["idempotency_keys"] = more.pop("keys")
    given = [jsonb(one) for one in inputs]
    return call(connection, "start_many", flow_slug=flow, inputs=given, **more)


def inputs_of(started: list[Row]) -> list[object]:
    return [one["input"] for one in started]


def as_stored(connection: Connection, started: list[Row]) -> bool:
    return started == [run(connection, one["run_id"]) for one in started]


# Order and rows


def test_runs_come_back_in_the_order_of_the_inputs(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    started = start_many(connection, "f", *range(50))
    assert inputs_of(started) == list(range(50))
    assert len({one["run_id"] for one in started}) == 50
    assert as_stored(connection, started)


def test_messages_are_sent_in_that_order(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    started = start_many(connection, "f", *range(5))
    sent = [
        (one["message"]["run_id"], one["message"]["step_slug"]) for one in messages(connection, "f")
    ]
    assert sent == [(str(one["run_id"]), step) for one in started for step in "ab"]


def test_each_run_is_as_start_flow_makes_it(connection: Connection) -> None:
    record_events(connection)
    diamond(connection, "f")
    (alone,) = call(connection, "start_flow", flow_slug="f", input=Jsonb({"n": 1}))
    both = start_many(connection, "f", {"n": 1}, {"n": 1})
    names = {"run_id", "message_id"}

    def of(one: Row) -> list[object]:
        query = "select * from pgflow.step_states where run_id = %s order by step_index"
        found = [run(connection, one["run_id"]), *rows(connection, query, one["run_id"])]
        found += tasks(connection, one["run_id"])
        plain = [{name: row[name] for name in row if name not in names} for row in found]
        return [*plain, event_names(connection, one["run_id"])]

    assert of(both[0]) == of(both[1]) == of(alone)


def test_all_of_them_run_to_their_end(connection: Connection) -> None:
    linear(connection, "f")
    started = start_many(connection, "f", *range(7))
    work(connection, "f", {"c": lambda task: task["input"]["b"]})
    assert {run(connection, one["run_id"])["status"] for one in started} == {"completed"}


def test_no_inputs_start_nothing(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert start_many(connection, "f") == []
    assert rows(connection, "select * from pgflow.start_many('f', null)") == []
    assert rows(connection, "select * from pgflow.runs") == []


def test_given_ids_are_taken(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    given = [uuid.uuid4(), None, uuid.uuid4()]
    started = start_many(connection, "f", 0, 1, 2, run_ids=given)
    assert [started[0]["run_id"], started[2]["run_id"]] == [given[0], given[2]]
    assert started[1]["run_id"] not in given
    assert inputs_of(started) == [0, 1, 2]


# Keys


def test_inputs_of_one_key_have_one_run(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    started = start_many(connection, "f", *range(5), keys=["x", "y", "x", "y", "z"])
    assert inputs_of(started) == [0, 1, 0, 1, 4]
    assert started[0] == started[2]
    assert as_stored(connection, started)
    assert len(messages(connection, "f")) == 3


def test_a_key_seen_before_gives_its_run_as_it_is_now(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    (before,) = start_many(connection, "f", "old", keys=["x"])
    work(connection, "f")
    started = start_many(connection, "f", "new", "newer", keys=["y", "x"])
    assert inputs_of(started) == ["new", "old"]
    assert started[1]["run_id"] == before["run_id"]
    assert (started[1]["status"], started[1]["output"]) == ("completed", {"a": "a"})


def test_keys_seen_before_and_no_others_start_nothing(connection: Connection) -> None:
    record_events(connection)
    define(connection, "f", {"a": []})
    before = start_many(connection, "f", 1, 2, keys=["x", "y"])
    assert start_many(connection, "f", 3, 4, keys=["y", "x"]) == before[::-1]
    assert len(messages(connection, "f")) == 2
    assert event_names(connection, before[0]["run_id"]) == ["run:started", "step:a:started"]


def test_inputs_without_a_key_keep_their_places_among_those_with_one(
    connection: Connection,
) -> None:
    define(connection, "f", {"a": []})
    start_many(connection, "f", "first", keys=["x"])
    keys = [None, "x", None, "y", "x", None, "y"]
    started = start_many(connection, "f", *range(7), keys=keys)
    assert inputs_of(started) == [0, "first", 2, 3, "first", 5, 3]
    assert [one["idempotency_key"] for one in started] == keys
    assert as_stored(connection, started)


def test_keys_and_conditions_together_keep_the_order(connection: Connection) -> None:
    condition = {"required_input_pattern": {"go": True}}
    define(connection, "f", {"a": condition})
    inputs = [{"go": n % 2 == 0, "n": n} for n in range(6)]
    started = start_many(connection, "f", *inputs, keys=[None, "x", None, "y", "x", None])
    assert [one["input"]["n"] for one in started] == [0, 1, 2, 3, 1, 5]
    assert [one["status"] for one in started] == [
        *["started", "completed", "started", "completed", "completed", "completed"]
    ]
    assert as_stored(connection, started)


def test_keys_are_per_flow(connection: Connection) -> None:
    for flow in ("f", "g"):
        define(connection, flow, {"a": []})
    (one,) = start_many(connection, "f", 1, keys=["x"])
    (other,) = start_many(connection, "g", 2, keys=["x"])
    assert one["run_id"] != other["run_id"]


# Shapes


def test_root_maps_take_the_sizes_of_their_inputs(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"step_type": "map"}})
    started = start_many(connection, "f", [1, 2, 3], [], [4])
    assert [one["status"] for one in started] == ["started", "completed", "started"]
    assert [state(connection, one["run_id"], "m")["initial_tasks"] for one in started] == [3, 0, 1]
    given = [[one["input"] for one in tasks(connection, each["run_id"], "n")] for each in started]
    assert given == [[1, 2, 3], [], [4]]
    assert as_stored(connection, started)


def test_maps_of_a_fixed_size_have_it_in_each_run(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map", "initial_tasks": 2}})
    started = start_many(connection, "f", {}, None)
    assert [len(tasks(connection, one["run_id"])) for one in started] == [2, 2]


def test_conditions_are_resolved_in_each_run(connection: Connection) -> None:
    steps = {
        "a": {"required_input_pattern": {"a": True}},
        "b": {"required_input_pattern": {"b": True}, "when_unmet": "fail"},
    }
    define(connection, "f", steps)
    started = start_many(
        connection, "f", {"a": True, "b": True}, {"b": True}, {"a": True}, {"a": 1, "b": True}
    )
    assert [one["status"] for one in started] == ["started", "started", "failed", "started"]
    found = [statuses(connection, one["run_id"])["a"] for one in started]
    assert found[:2] + found[3:] == ["started", "skipped", "skipped"]
    assert as_stored(connection, started)


def test_runs_of_a_flow_without_steps_are_complete(connection: Connection) -> None:
    define(connection, "f", {})
    started = start_many(connection, "f", 1, 2)
    assert [(one["status"], one["output"], one["input"]) for one in started] == [
        ("completed", None, 1),
        ("completed", None, 2),
    ]


def test_steps_of_several_queues_go_to_theirs(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": {"queue": "gpu"}})
    start_many(connection, "f", 1, 2, 3)
    assert len(messages(connection, "f")) == len(messages(connection, "gpu")) == 3


@pytest.mark.parametrize(("named", "steps"), [({}, {"b"}), ({"version": 1}, {"a"})])
def test_runs_have_the_version_that_is_asked_for(
    connection: Connection, named: dict[str, int], steps: set[str]
) -> None:
    version(connection, "f", [{"slug": "a"}], max_attempts=5)
    version(connection, "f", [{"slug": "b"}], max_attempts=7)
    for _ in range(2):
        started = start_many(connection, "f", 1, 2, **named)
        assert {one["flow_version"] for one in started} == {named.get("version", 2)}
        for one in started:
            assert set(statuses(connection, one["run_id"])) == steps


# Errors: the whole call or nothing


def nothing_was_started(connection: Connection) -> bool:
    return not rows(connection, "select * from pgflow.runs") and not messages(connection, "f")


def test_an_unknown_flow_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
        start_many(connection, "nobody", 1)


def test_an_unknown_version_is_refused(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a"}])
    with refused(connection, 'Flow "f" has no version 9', "P0002"):
        start_many(connection, "f", 1, version=9)


def test_one_null_among_the_inputs_refuses_all(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    with pytest.raises(psycopg.errors.NotNullViolation), connection.transaction():
        start_many(connection, "f", 1, SQL_NULL, 2)
    assert nothing_was_started(connection)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"no": "array"}, "Flow f has root map steps but input is not an array (got object)"),
        (SQL_NULL, "Flow f has root map steps but input is NULL"),
    ],
)
def test_one_input_that_a_root_map_cannot_go_over_refuses_all(
    connection: Connection, bad: object, text: str
) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    with refused(connection, text):
        start_many(connection, "f", [1], bad, [2])
    assert nothing_was_started(connection)


def test_one_blank_key_refuses_all(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        start_many(connection, "f", 1, 2, keys=["x", " "])
    assert nothing_was_started(connection)


def test_one_id_given_twice_refuses_all(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    given = uuid.uuid4()
    with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
        start_many(connection, "f", 1, 2, run_ids=[given, given])
    assert nothing_was_started(connection)


@pytest.mark.parametrize("named", [{"keys": ["x"]}, {"keys": list("xyz")}, {"run_ids": []}])
def test_keys_and_ids_must_be_as_many_as_the_inputs(
    connection: Connection, named: dict[str, Any]
) -> None:
    define(connection, "f", {"a": []})
    text = "There are 2 inputs, so there must be as many idempotency_keys and run_ids, or none"
    with refused(connection, text, "22023"):
        start_many(connection, "f", 1, 2, **named)
    assert nothing_was_started(connection)
