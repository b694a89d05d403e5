"""pgflow.ensure_flow_compiled: a worker's shape against the stored one."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.support.sql import Connection, call, define, messages, row, rows, run, start, value, work


def shape(*slugs: str, **options: object) -> dict[str, Any]:
    undefined = {"defined": False}
    steps = [
        {
            "slug": slug,
            "stepType": "single",
            "dependencies": [],
            "whenUnmet": "skip",
            "whenExhausted": "fail",
            "requiredInputPattern": undefined,
            "forbiddenInputPattern": undefined,
        }
        for slug in slugs
    ]
    return {"steps": steps, "options": options}


def ensure(
    connection: Connection, flow: str, given: dict[str, Any], **named: object
) -> dict[str, Any]:
    (answer,) = call(
        connection, "ensure_flow_compiled", flow_slug=flow, shape=Jsonb(given), **named
    )
    return dict(answer["ensure_flow_compiled"])


def step_slugs(connection: Connection, flow: str) -> list[str]:
    query = "select step_slug from pgflow.steps where flow_slug = %s order by step_index"
    return [one["step_slug"] for one in rows(connection, query, flow)]


def test_an_unknown_flow_is_compiled(connection: Connection) -> None:
    assert ensure(connection, "f", shape("a", "b"))["status"] == "compiled"
    assert step_slugs(connection, "f") == ["a", "b"]


def test_a_compiled_flow_has_the_options_and_queue_of_its_shape(connection: Connection) -> None:
    ensure(connection, "f", shape("a", maxAttempts=7))
    assert value(connection, "select opt_max_attempts from pgflow.flows") == 7
    assert value(connection, "select count(*) from pgmq.list_queues() where queue_name = 'f'") == 1


def test_the_same_shape_is_verified(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    assert ensure(connection, "f", shape("a")) == {"status": "verified", "differences": []}


def test_a_flow_made_by_add_step_is_verified(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    assert ensure(connection, "f", shape("a", "b")) == {"status": "verified", "differences": []}


def test_options_alone_are_verified_and_not_stored(connection: Connection) -> None:
    ensure(connection, "f", shape("a", maxAttempts=7))
    assert ensure(connection, "f", shape("a", maxAttempts=8))["status"] == "verified"
    assert value(connection, "select opt_max_attempts from pgflow.flows") == 7


def test_verifying_keeps_runs(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    start(connection, "f")
    ensure(connection, "f", shape("a"), allow_data_loss=True)
    assert value(connection, "select count(*) from pgflow.runs") == 1


def test_another_shape_is_a_mismatch(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    answer = ensure(connection, "f", shape("b"))
    assert answer == {
        "status": "mismatch",
        "differences": ["Step at index 0: slug differs 'b' vs 'a'"],
    }


def test_a_mismatch_changes_nothing(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    before = start(connection, "f")
    ensure(connection, "f", shape("a", "b"))
    assert step_slugs(connection, "f") == ["a"]
    assert row(connection, "select * from pgflow.runs") == before
    assert len(messages(connection, "f")) == 1


def test_allow_data_loss_recompiles(connection: Connection) -> None:
    ensure(connection, "f", shape("a", maxAttempts=7))
    answer = ensure(connection, "f", shape("b", "c", maxAttempts=8), allow_data_loss=True)
    assert answer["status"] == "recompiled"
    assert answer["differences"][0] == "Step count differs: 2 vs 1"
    assert step_slugs(connection, "f") == ["b", "c"]
    assert value(connection, "select opt_max_attempts from pgflow.flows") == 8


def test_recompiling_deletes_runs_and_messages(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    run_id = start(connection, "f")["run_id"]
    ensure(connection, "f", shape("b"), allow_data_loss=True)
    assert rows(connection, "select 1 from pgflow.runs where run_id = %s", run_id) == []
    assert rows(connection, "select 1 from pgflow.step_states where run_id = %s", run_id) == []
    assert rows(connection, "select 1 from pgflow.step_tasks where run_id = %s", run_id) == []
    assert messages(connection, "f") == []


def test_recompiling_leaves_other_flows(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    ensure(connection, "g", shape("a"))
    other = start(connection, "g")
    ensure(connection, "f", shape("b"), allow_data_loss=True)
    assert step_slugs(connection, "g") == ["a"]
    assert row(connection, "select * from pgflow.runs") == other
    assert len(messages(connection, "g")) == 1


def test_a_recompiled_flow_runs(connection: Connection) -> None:
    ensure(connection, "f", shape("a"))
    start(connection, "f")
    ensure(connection, "f", shape("b"), allow_data_loss=True)
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"b": 1})
    assert run(connection, run_id)["output"] == {"b": 1}


def test_arguments_are_taken_by_position(connection: Connection) -> None:
    query = """select pgflow.ensure_flow_compiled('f', '{"steps": []}'::jsonb, false) as result"""
    assert value(connection, query)["status"] == "compiled"


def test_calls_for_one_flow_are_serialised(connection: Connection) -> None:
    held = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    before = value(connection, held)
    ensure(connection, "f", shape("a"))
    after = value(connection, held)
    ensure(connection, "f", shape("a"))
    assert after > before
    assert value(connection, held) == after
