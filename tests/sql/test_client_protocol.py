"""The exact statements of workers and clients in other languages (section 18), with parameters of no stated type."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.support.sql import (
    Connection,
    begin,
    define,
    messages,
    row,
    rows,
    run,
    start,
    statuses,
    task,
    worker,
)
from tests.support.tasks import one_step, started_map, untyped

READ = """SELECT * FROM pgmq.read_with_poll(queue_name => $1, vt => $2, qty => $3,
  max_poll_seconds => $4, poll_interval_ms => $5)"""
START_TASKS = "SELECT * FROM pgflow.start_tasks(flow_slug => $1, msg_ids => $2::bigint[], worker_id => $3::uuid)"
COMPLETE = """SELECT pgflow.complete_task(run_id => $1::uuid, step_slug => $2::text, task_index => $3::int,
  output => $4::jsonb)"""
FAIL = """SELECT pgflow.fail_task(run_id => $1::uuid, step_slug => $2::text, task_index => $3::int,
  error_message => $4::text)"""
HEARTBEAT = """UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp() WHERE worker_id = $1
  RETURNING (deprecated_at IS NOT NULL) AS is_deprecated"""
SHAPE = {
    "steps": [
        {
            "slug": "a",
            "stepType": "single",
            "dependencies": [],
            "whenUnmet": "skip",
            "whenExhausted": "fail",
            "requiredInputPattern": {"defined": False},
            "forbiddenInputPattern": {"defined": False},
        }
    ]
}


def registered(connection: Connection) -> str:
    return str(worker(connection))


# @pgflow/core


def test_start_flow(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    statement = "SELECT * FROM pgflow.start_flow(flow_slug => $1::text, input => $2::jsonb)"
    (started,) = untyped(connection, statement, "f", '{"x": 1}')
    assert (started["status"], started["flow_slug"], started["remaining_steps"]) == (
        "started",
        "f",
        "1",
    )


def test_start_flow_with_an_id(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    given = str(uuid.uuid4())
    statement = "SELECT * FROM pgflow.start_flow(flow_slug => $1::text, input => $2::jsonb, run_id => $3::uuid)"
    (started,) = untyped(connection, statement, "f", "{}", given)
    assert started["run_id"] == given


def test_read_messages(connection: Connection) -> None:
    run_id = one_step(connection)
    (read,) = untyped(connection, READ, "f", "5", "10", "1", "100")
    body = {"flow_slug": "f", "run_id": str(run_id), "step_slug": "a", "task_index": 0}
    assert json.loads(read["message"] or "") == body
    assert read["msg_id"] == "1"


def test_start_tasks(connection: Connection) -> None:
    run_id = one_step(connection)
    (granted,) = untyped(connection, START_TASKS, "f", "{1}", registered(connection))
    assert (granted["run_id"], granted["msg_id"], granted["input"]) == (str(run_id), "1", "{}")


def test_start_tasks_of_nothing(connection: Connection) -> None:
    one_step(connection)
    assert untyped(connection, START_TASKS, "f", "{}", registered(connection)) == []


@pytest.mark.parametrize("output", ["null", "0", '{"x": [1]}', '"text"'])
def test_complete_task(connection: Connection, output: str) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    assert len(untyped(connection, COMPLETE, str(run_id), "a", "0", output)) == 1
    assert run(connection, run_id)["output"] == {"a": json.loads(output)}


def test_complete_task_with_no_output_at_all(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    untyped(connection, COMPLETE, str(run_id), "a", "0", None)
    assert task(connection, run_id, "a")["status"] == "completed"


def test_fail_task(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    assert len(untyped(connection, FAIL, str(run_id), "a", "0", "boom")) == 1
    assert task(connection, run_id, "a")["error_message"] == "boom"


# The worker


def test_track_worker_function(connection: Connection) -> None:
    untyped(connection, "SELECT pgflow.track_worker_function($1)", "my-function")
    assert [
        one["function_name"] for one in rows(connection, "select * from pgflow.worker_functions")
    ] == ["my-function"]


def test_ensure_flow_compiled(connection: Connection) -> None:
    statement = "SELECT pgflow.ensure_flow_compiled($1, $2::jsonb, $3) AS result"
    found = [
        untyped(connection, statement, "f", json.dumps(SHAPE), "false")[0]["result"]
        for _ in range(2)
    ]
    assert [json.loads(one or "")["status"] for one in found] == ["compiled", "verified"]


def test_ensure_flow_compiled_tells_a_mismatch(connection: Connection) -> None:
    define(connection, "f", {"b": []})
    statement = "SELECT pgflow.ensure_flow_compiled($1, $2::jsonb, $3) AS result"
    (found,) = untyped(connection, statement, "f", json.dumps(SHAPE), "false")
    assert json.loads(found["result"] or "") == {
        "status": "mismatch",
        "differences": ["Step at index 0: slug differs 'a' vs 'b'"],
    }


def test_registration(connection: Connection) -> None:
    given = str(uuid.uuid4())
    statement = "INSERT INTO pgflow.workers (queue_name, worker_id, function_name) VALUES ($1, $2, $3) RETURNING *"
    (inserted,) = untyped(connection, statement, "f", given, "my-function")
    assert (inserted["worker_id"], inserted["stopped_at"], inserted["deprecated_at"]) == (
        given,
        None,
        None,
    )


def test_heartbeat(connection: Connection) -> None:
    given = registered(connection)
    assert untyped(connection, HEARTBEAT, given) == [{"is_deprecated": "f"}]


def test_heartbeat_of_a_deprecated_worker(connection: Connection) -> None:
    given = registered(connection)
    statement = """UPDATE pgflow.workers SET deprecated_at = clock_timestamp(), last_heartbeat_at = clock_timestamp()
      WHERE worker_id = $1"""
    untyped(connection, statement, given)
    assert untyped(connection, HEARTBEAT, given) == [{"is_deprecated": "t"}]


def test_shutdown(connection: Connection) -> None:
    given = registered(connection)
    untyped(connection, "SELECT pgflow.mark_worker_stopped($1::uuid)", given)
    stopped = "select stopped_at is not null as stopped from pgflow.workers where worker_id = %s"
    assert row(connection, stopped, given) == {"stopped": True}


def test_the_lazy_look_at_the_runs_input(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f", {"x": 1})["run_id"]
    (found,) = untyped(connection, "SELECT input FROM pgflow.runs WHERE run_id = $1", str(run_id))
    assert found == {"input": '{"x": 1}'}


def test_a_worker_of_batches_works_a_run_off(connection: Connection) -> None:
    run_id = started_map(connection, 12)
    given = registered(connection)
    while messages(connection, "mapped"):
        read = untyped(connection, READ, "mapped", "5", "10", "1", "100")
        ids = "{" + ",".join(str(one["msg_id"]) for one in read) + "}"
        for granted in untyped(connection, START_TASKS, "mapped", ids, given):
            arguments = (
                granted["run_id"],
                granted["step_slug"],
                granted["task_index"],
                granted["input"],
            )
            untyped(connection, COMPLETE, *arguments)
    assert run(connection, run_id)["output"] == {"total": {"items": list(range(12))}}
    assert messages(connection, "mapped") == []


# Plain queue workers


def test_a_queue_without_a_flow(connection: Connection) -> None:
    untyped(connection, "SELECT pgmq.create($1)", "plain")
    assert "plain" in {
        one["queue_name"]
        for one in untyped(connection, "SELECT queue_name FROM pgmq.list_queues()")
    }
    rows(connection, "select pgmq.send('plain', '{}'::jsonb)")
    (read,) = untyped(connection, READ, "plain", "5", "10", "1", "100")
    untyped(
        connection,
        "UPDATE pgmq.q_plain SET vt = clock_timestamp() WHERE msg_id = $1::bigint",
        read["msg_id"],
    )
    untyped(
        connection,
        "SELECT pgmq.archive(queue_name => $1, msg_id => $2::bigint)",
        "plain",
        read["msg_id"],
    )
    assert messages(connection, "plain") == []


# The browser and the compiler


def test_start_flow_with_states(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    given = str(uuid.uuid4())
    statement = """SELECT pgflow.start_flow_with_states(flow_slug => $1, input => $2::jsonb, run_id => $3::uuid) AS result"""
    found = json.loads(untyped(connection, statement, "f", '{"x": 1}', given)[0]["result"] or "")
    assert (found["run"]["run_id"], found["run"]["input"]) == (given, {"x": 1})
    assert {one["step_slug"]: one["status"] for one in found["steps"]} == {
        "a": "started",
        "b": "created",
    }


def test_get_run_with_states(connection: Connection) -> None:
    run_id = one_step(connection)
    statement = "SELECT pgflow.get_run_with_states(run_id => $1) AS result"
    found = json.loads(untyped(connection, statement, str(run_id))[0]["result"] or "")
    assert found["run"]["run_id"] == str(run_id)


def test_a_compiled_flow(connection: Connection) -> None:
    for statement in (
        "SELECT pgflow.create_flow('f', max_attempts => 2, base_delay => 1, timeout => 9);",
        "SELECT pgflow.add_step('f', 'a', step_type => 'map');",
        """SELECT pgflow.add_step('f', 'b', ARRAY['a'], max_attempts => 4, start_delay => 3,
          required_input_pattern => '{"a": [1]}', when_unmet => 'skip-cascade', when_exhausted => 'skip');""",
        "SELECT pgflow.add_step('f', 'c', forbidden_input_pattern => '{}', base_delay => 1, timeout => 5);",
    ):
        untyped(connection, statement)
    assert statuses(connection, start(connection, "f", [1])["run_id"]) == {
        "a": "started",
        "b": "created",
        "c": "started",
    }
    stored = row(connection, "select * from pgflow.steps where step_slug = 'b'")
    assert (
        stored["opt_max_attempts"],
        stored["opt_start_delay"],
        stored["required_input_pattern"],
    ) == (4, 3, {"a": [1]})


@pytest.mark.parametrize("prepared", [START_TASKS, COMPLETE, FAIL])
def test_statements_can_be_prepared_without_types(connection: Connection, prepared: str) -> None:
    untyped(connection, "PREPARE untyped AS " + prepared)
    untyped(connection, "DEALLOCATE untyped")
