"""pgflow.claim_tasks: due tasks of a queue, granted to a worker for a lease."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    call,
    claim,
    define,
    messages,
    start,
    task,
    value,
    worker,
)
from tests.support.tasks import (
    claim_one,
    expire,
    indexes_of,
    one_step,
    root_map,
    started_map,
    steps_of,
    succeed,
    version,
)

COLUMNS = [
    *(
        "flow_slug",
        "run_id",
        "step_slug",
        "task_index",
        "attempt",
        "input",
        "flow_input",
        "msg_id",
        "queue_name",
    ),
    *("step_type", "tries", "max_attempts", "timeout", "exhausted", "deferred"),
    *("items", "recovered"),
]

# What is granted


def test_marks_the_task_started(connection: Connection) -> None:
    run_id = one_step(connection)
    by = worker(connection)
    claim(connection, "f", worker_id=by)
    found = task(connection, run_id, "a")
    assert (found["status"], found["last_worker_id"], found["attempts_count"]) == ("started", by, 1)
    assert found["started_at"] is not None


def test_returns_granted_tasks(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=4, timeout=77)
    granted = claim_one(connection, "f")
    assert list(granted) == COLUMNS
    expected = {
        "flow_slug": "f",
        "run_id": run_id,
        "step_slug": "a",
        "task_index": 0,
        "attempt": 1,
        "input": {},
        "flow_input": {},
        "msg_id": task(connection, run_id, "a")["message_id"],
        "queue_name": "f",
        "step_type": "single",
        "tries": 1,
        "max_attempts": 4,
        "timeout": 77,
        "exhausted": False,
        "deferred": [],
        "items": None,
        "recovered": False,
    }
    assert granted == expected


def test_a_steps_own_limits_go_before_the_flows(connection: Connection) -> None:
    define(connection, "f", {"a": {"max_attempts": 7, "timeout": 70}}, max_attempts=2, timeout=20)
    start(connection, "f")
    granted = claim_one(connection, "f")
    assert (granted["max_attempts"], granted["timeout"]) == (7, 70)


def test_grants_at_most_so_many(connection: Connection) -> None:
    root_map(connection, 5)
    assert [len(claim(connection, "numbers", 2)) for _ in range(4)] == [2, 2, 1, 0]


def test_grants_each_task_once(connection: Connection) -> None:
    root_map(connection, 5)
    granted = claim(connection, "numbers", 3) + claim(connection, "numbers", 3)
    assert indexes_of(granted) == [0, 1, 2, 3, 4]


def test_grants_the_oldest_and_some_of_the_newest(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    started = [start(connection, "f")["run_id"] for _ in range(9)]
    first = {one["run_id"] for one in claim(connection, "f", 4)}
    assert first == {*started[:3], started[-1]}
    assert {one["run_id"] for one in claim(connection, "f", 4)} == {*started[3:6], started[-2]}


def test_a_single_claim_takes_the_oldest_or_the_newest(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    started = [start(connection, "f")["run_id"] for _ in range(60)]
    by = worker(connection)
    taken = []
    for _ in range(40):
        (granted,) = call(connection, "claim_tasks", queue_name="f", worker_id=by, qty=1)
        assert granted["run_id"] in {started[0], started[-1]}
        taken.append(started.index(granted["run_id"]) == 0)
        started.remove(granted["run_id"])
    assert set(taken) == {True, False}  # by chance: the same 40 times has a probability of 2 ** -39


def test_mixes_runs_and_steps(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    for _ in range(2):
        start(connection, "f")
    assert steps_of(claim(connection, "f", 9)) == ["a", "a", "b", "b"]


def test_an_empty_queue_grants_nothing(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert claim(connection, "f") == []


def test_a_quantity_of_0_grants_nothing(connection: Connection) -> None:
    run_id = one_step(connection)
    assert claim(connection, "f", 0) == []
    assert (task(connection, run_id, "a")["status"], messages(connection, "f")[0]["visible"]) == (
        "queued",
        True,
    )


def test_a_delayed_task_is_not_due(connection: Connection) -> None:
    define(connection, "f", {"a": {"start_delay": 60}})
    start(connection, "f")
    assert claim(connection, "f") == []
    expire(connection, "f")
    assert len(claim(connection, "f")) == 1


def test_a_task_of_another_queue_is_not_granted(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a"}, {"slug": "b", "queue": "gpu"}])
    start(connection, "f")
    assert steps_of(claim(connection, "f", 9)) == ["a"]
    (granted,) = claim(connection, "gpu", 9)
    assert (granted["step_slug"], granted["queue_name"]) == ("b", "gpu")


def test_an_unknown_worker_is_refused(connection: Connection) -> None:
    one_step(connection)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
        claim(connection, "f", worker_id=uuid.uuid4())


# Inputs


def test_a_map_task_gets_its_element(connection: Connection) -> None:
    started_map(connection, 3)
    granted = claim(connection, "mapped", 3)
    assert sorted((one["task_index"], one["input"]) for one in granted) == [(0, 0), (1, 1), (2, 2)]
    assert {(one["step_type"], one["flow_input"]) for one in granted} == {("map", None)}


def test_a_single_step_gets_its_parents_outputs(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": ["a", "b"]})
    start(connection, "f", {"x": 1})
    roots = claim(connection, "f", 2)
    assert [one["flow_input"] for one in roots] == [{"x": 1}, {"x": 1}]
    succeed(connection, roots, 5)
    granted = claim_one(connection, "f")
    assert (granted["input"], granted["flow_input"]) == ({"a": 5, "b": 5}, None)


def test_a_skipped_parent_is_absent(connection: Connection) -> None:
    define(connection, "f", {"a": {"required_input_pattern": {"go": 1}}, "b": ["a"]})
    start(connection, "f")
    assert claim_one(connection, "f")["input"] == {}


def test_a_map_of_fixed_size_gets_the_input_of_a_single_step(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a", "step_type": "map", "initial_tasks": 2}])
    start(connection, "f", {"x": 1})
    granted = claim(connection, "f", 9)
    assert indexes_of(granted) == [0, 1]
    assert [(one["input"], one["flow_input"]) for one in granted] == [({}, {"x": 1})] * 2


def test_a_json_null_element_is_not_sql_null(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    start(connection, "f", [None])
    query = "select jsonb_typeof(input) from pgflow.claim_tasks('f', %s, 1)"
    assert value(connection, query, worker(connection)) == "null"


# Leases


def test_the_message_is_hidden_for_the_lease(connection: Connection) -> None:
    one_step(connection, timeout=1000)
    claim(connection, "f", lease=45)
    assert round(messages(connection, "f")[0]["delay"]) == 45


def test_the_lease_is_30_seconds_unless_said_otherwise(connection: Connection) -> None:
    one_step(connection)
    call(connection, "claim_tasks", queue_name="f", worker_id=worker(connection), qty=1)
    assert round(messages(connection, "f")[0]["delay"]) == 30


def test_the_lease_counts_from_the_wall_clock(connection: Connection) -> None:
    one_step(connection)
    connection.execute("select pg_sleep(0.05)")
    claim(connection, "f", lease=0)
    late = value(connection, "select vt > now() + interval '40 ms' from pgmq.q_f")
    assert late
