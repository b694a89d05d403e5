"""What must never be so is found, exactly that and nothing else; a healthy database has no finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.random_runs import Scenario, play, scenarios, set_stage, singly
from tests.support.sql import (
    Connection,
    Row,
    call,
    change,
    claim,
    define,
    fail_batch,
    finish,
    linear,
    mapped,
    rows,
    run,
    start,
    task,
    value,
    work,
    worker,
)
from tests.support.tasks import one_step, version

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

SETTINGS = settings(
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def found(connection: Connection, run_ids: Sequence[uuid.UUID] | None = None) -> list[Row]:
    """Return the findings of check_invariants, but for leases that ran out on purpose."""
    return call(connection, "check_invariants", run_ids=None if run_ids is None else list(run_ids))


def slugs(connection: Connection, run_ids: Sequence[uuid.UUID] | None = None) -> list[str]:
    return sorted(finding["invariant"] for finding in found(connection, run_ids))


def only(connection: Connection, run_id: uuid.UUID) -> Row:
    """Return the only finding, which the whole database and the run alone show alike."""
    findings = found(connection)
    assert findings == found(connection, [run_id])
    assert len(findings) == 1, findings
    return findings[0]


def live_map(connection: Connection) -> uuid.UUID:
    """Start `source -> items (map) -> total`, with three items, one of which is done, and return the run's id."""
    mapped(connection, "mapped", base_delay=0)
    run_id: uuid.UUID = start(connection, "mapped")["run_id"]
    finish(connection, "mapped", "source", [1, 2, 3])
    (granted,) = claim(connection, "mapped")
    call(
        connection,
        "complete_tasks",
        run_ids=[run_id],
        step_slugs=["items"],
        task_indexes=[granted["task_index"]],
        attempts=[1],
        outputs=[None],
    )
    return run_id


def completed(connection: Connection) -> uuid.UUID:
    """Work a run of `source -> items (map) -> total` off and return its id."""
    mapped(connection, "mapped")
    run_id: uuid.UUID = start(connection, "mapped")["run_id"]
    work(connection, "mapped", {"source": [1, 2]})
    assert run(connection, run_id)["status"] == "completed"
    return run_id


# Healthy


@pytest.mark.slow
@settings(SETTINGS)
@given(scenario=scenarios())
def test_random_runs_have_no_finding_at_any_moment(
    connection: Connection, scenario: Scenario
) -> None:
    by = set_stage_once(connection)

    def complete(connection: Connection, granted: Row, output: object) -> list[str]:
        assert found(connection) == []
        outcome = singly(connection, granted, output)
        assert found(connection) == []
        return outcome

    play(connection, by, scenario, complete)
    assert found(connection) == []


def set_stage_once(connection: Connection) -> uuid.UUID:
    if value(connection, "select to_regnamespace('realtime') is null"):
        return set_stage(connection)
    return worker(connection)


def test_an_empty_database_has_no_finding(connection: Connection) -> None:
    assert rows(connection, "select * from pgflow.invariant_violations") == []


@pytest.mark.parametrize("end", ["cancel", "fail", "complete", "retry"])
def test_a_run_that_ended_has_no_finding(connection: Connection, end: str) -> None:
    run_id = live_map(connection)
    if end == "cancel":
        call(connection, "cancel_run", run_id=run_id)
    elif end == "complete":
        work(connection, "mapped")
    else:
        fail_batch(connection, claim(connection, "mapped", 2), details={"final": True})
        assert run(connection, run_id)["status"] == "failed"
        if end == "retry":
            call(connection, "retry_run", run_id=run_id)
    assert found(connection) == []
    assert found(connection, [run_id]) == []


def test_a_large_map_between_its_slices_has_no_finding(connection: Connection) -> None:
    version(connection, "large", [{"slug": "items", "step_type": "map"}])
    start(connection, "large", list(range(20_001)))
    assert value(connection, "select count(*) from pgflow.fan_outs") == 1
    assert found(connection) == []


def test_batches_of_items_have_no_finding(connection: Connection) -> None:
    version(connection, "batched", [{"slug": "items", "step_type": "map", "batch_size": 2}])
    run_id = start(connection, "batched", [1, 2, 3])["run_id"]
    first = claim(connection, "batched")
    assert first[0]["items"] == 2
    assert found(connection) == []
    fail_batch(connection, first)
    assert found(connection) == []
    assert run(connection, run_id)["status"] == "started"


# Counters


@pytest.mark.parametrize(
    ("step", "counter", "wrong", "truth"),
    [
        ("total", "remaining_deps", 2, 1),
        ("items", "remaining_deps", 1, 0),
        ("items", "remaining_tasks", 3, 2),
        ("items", "failed_tasks", 1, 0),
    ],
)
def test_a_wrong_counter_of_a_step_is_found_with_its_truth(
    connection: Connection, step: str, counter: str, wrong: int, truth: int
) -> None:
    run_id = live_map(connection)
    change(
        connection,
        f"update pgflow.step_states set {counter} = %s where run_id = %s and step_slug = %s",
        wrong,
        run_id,
        step,
    )
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["step_slug"]) == (counter, step)
    assert finding["detail"] == f"{counter} is {wrong}, but should be {truth}."
    assert change(connection, finding["mend"]) == 1
    assert found(connection) == []


def test_a_wrong_number_of_items_is_found(connection: Connection) -> None:
    run_id = live_map(connection)
    change(
        connection,
        """update pgflow.step_states set initial_tasks = 4, remaining_tasks = 3
        where run_id = %s and step_slug = 'items'""",
        run_id,
    )
    assert only(connection, run_id)["invariant"] == "initial_tasks"


def test_a_wrong_counter_of_a_run_is_found(connection: Connection) -> None:
    run_id = live_map(connection)
    change(connection, "update pgflow.runs set remaining_steps = 1")
    finding = only(connection, run_id)
    assert finding["invariant"] == "remaining_steps"
    assert change(connection, finding["mend"]) == 1
    assert run(connection, run_id)["remaining_steps"] == 2
    assert found(connection) == []


def test_a_task_that_is_gone_is_found(connection: Connection) -> None:
    version(connection, "large", [{"slug": "items", "step_type": "map"}])
    run_id = start(connection, "large", list(range(20_001)))["run_id"]
    change(connection, "update pgflow.fan_outs set next_index = next_index + 1")
    assert only(connection, run_id)["invariant"] == "missing_tasks"


def test_a_map_that_stays_paused_is_found(connection: Connection) -> None:
    version(connection, "large", [{"slug": "items", "step_type": "map"}])
    run_id = start(connection, "large", list(range(20_001)))["run_id"]
    change(connection, "update pgflow.fan_outs set paused = true")
    finding = only(connection, run_id)
    assert finding["invariant"] == "paused_map"
    assert change(connection, finding["mend"]) == 1
    assert found(connection) == []


# Order and ends


def test_a_step_that_started_before_its_parents_is_found(connection: Connection) -> None:
    linear(connection)
    run_id = start(connection, "linear")["run_id"]
    finish(connection, "linear", "a")
    change(
        connection,
        """update pgflow.step_states
        set status = 'completed', remaining_tasks = 0, started_at = now(), completed_at = now(), initial_tasks = 0
        where step_slug = 'c'""",
    )
    change(
        connection,
        "update pgflow.step_states set step_type = 'map', deps = '{b}', fixed_size = true where step_slug = 'c'",
    )
    change(connection, "update pgflow.runs set remaining_steps = 1")
    assert only(connection, run_id)["invariant"] == "step_before_parents"


def test_a_ready_step_that_has_not_started_is_found(connection: Connection) -> None:
    linear(connection)
    run_id = start(connection, "linear")["run_id"]
    change(connection, "delete from pgflow.step_tasks")
    change(connection, "delete from pgmq.q_linear")
    change(
        connection,
        """update pgflow.step_states set status = 'created', started_at = null, remaining_tasks = null
        where step_slug = 'a'""",
    )
    finding = only(connection, run_id)
    assert finding["invariant"] == "step_not_started"
    connection.execute(finding["mend"].encode())
    assert found(connection) == []
    assert len(claim(connection, "linear")) == 1


def test_a_live_run_in_which_nothing_can_move_is_found(connection: Connection) -> None:
    run_id = completed(connection)
    change(connection, "update pgflow.runs set status = 'started', completed_at = null")
    assert only(connection, run_id)["invariant"] == "stuck_run"


def test_a_completed_run_with_an_open_step_is_found(connection: Connection) -> None:
    run_id = completed(connection)
    change(
        connection,
        """update pgflow.step_states set status = 'started', completed_at = null, output = null
        where step_slug = 'total'""",
    )
    change(connection, "update pgflow.runs set remaining_steps = 1, output = null")
    assert only(connection, run_id)["invariant"] == "run_over_steps_open"


def test_a_failed_run_without_a_failed_step_is_found(connection: Connection) -> None:
    run_id = live_map(connection)
    call(connection, "cancel_run", run_id=run_id)
    change(
        connection,
        "update pgflow.runs set status = 'failed', failed_at = now(), cancelled_at = null",
    )
    assert only(connection, run_id)["invariant"] == "failed_run_without_failed_step"


def test_two_runs_of_one_key_are_found(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    first = start(connection, "f", idempotency_key="k")["run_id"]
    second = start(connection, "f")["run_id"]
    connection.execute("drop index pgflow.runs_idempotency_key_idx")
    change(connection, "update pgflow.runs set idempotency_key = 'k'")
    assert slugs(connection) == ["duplicate_key", "duplicate_key"]
    assert slugs(connection, [second]) == ["duplicate_key"]
    assert first != second


# Times


@pytest.mark.parametrize(
    ("invariant", "statement"),
    [
        ("run_times", "update pgflow.runs set failed_at = now()"),
        ("step_times", "update pgflow.step_states set started_at = null where status = 'started'"),
        ("step_times", "update pgflow.step_states set started_at = now() where status = 'created'"),
        (
            "step_times",
            "update pgflow.step_states set completed_at = null where status = 'completed'",
        ),
        (
            "task_times",
            "update pgflow.step_tasks set completed_at = null where status = 'completed' and step_slug = 'items'",
        ),
    ],
)
def test_times_that_a_status_does_not_have_are_found(
    connection: Connection, invariant: str, statement: str
) -> None:
    run_id = live_map(connection)
    assert change(connection, statement) == 1
    assert only(connection, run_id)["invariant"] == invariant


# Tasks


def test_a_grant_beyond_the_attempts_is_found(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    claim(connection, "f")
    change(connection, "update pgflow.step_tasks set attempts_count = 2")
    assert found(connection) == []
    change(connection, "update pgflow.step_tasks set attempts_count = 3")
    assert only(connection, run_id)["invariant"] == "too_many_attempts"


def test_a_running_task_that_nobody_holds_is_found(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    change(connection, "delete from pgflow.workers")
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["severity"]) == ("started_without_worker", "warning")


def test_a_grant_after_the_end_of_the_run_is_found(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    call(connection, "cancel_run", run_id=run_id)
    change(connection, "update pgflow.step_tasks set started_at = now() + interval '59 s'")
    assert found(connection) == []
    change(connection, "update pgflow.step_tasks set started_at = now() + interval '61 s'")
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["severity"]) == ("granted_after_end", "warning")


# Outputs


def test_an_output_of_a_step_that_is_not_its_tasks_is_found(connection: Connection) -> None:
    run_id = completed(connection)
    change(
        connection,
        """update pgflow.step_states set output = '["items"]' where step_slug = 'items'""",
    )
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["step_slug"]) == ("step_output", "items")
    assert change(connection, finding["mend"]) == 1
    assert found(connection) == []


def test_an_output_of_a_run_that_is_not_its_steps_is_found(connection: Connection) -> None:
    run_id = completed(connection)
    change(connection, "update pgflow.runs set output = '{}'")
    finding = only(connection, run_id)
    assert finding["invariant"] == "run_output"
    assert change(connection, finding["mend"]) == 1
    assert found(connection) == []


def test_a_batch_with_too_few_outputs_is_found(connection: Connection) -> None:
    version(connection, "batched", [{"slug": "items", "step_type": "map", "batch_size": 2}])
    run_id = start(connection, "batched", [1, 2, 3, 4])["run_id"]
    (granted,) = claim(connection, "batched")
    call(
        connection,
        "complete_tasks",
        run_ids=[run_id],
        step_slugs=["items"],
        task_indexes=[granted["task_index"]],
        attempts=[1],
        outputs=["[1, 2]"],
    )
    assert found(connection) == []
    change(connection, "update pgflow.step_tasks set output = '[1]' where status = 'completed'")
    assert only(connection, run_id)["invariant"] == "batch_output"


# Messages


def test_a_lost_message_is_found(connection: Connection) -> None:
    run_id = live_map(connection)
    change(connection, "delete from pgmq.q_mapped where (message ->> 'task_index')::int = 2")
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["task_index"]) == ("lost_message", 2)
    assert finding["msg_id"] == task(connection, run_id, "items", 2)["message_id"]
    assert finding["safe"]


def test_the_messages_of_a_queue_that_is_gone_are_found(connection: Connection) -> None:
    run_id = live_map(connection)
    value(connection, "select pgmq.drop_queue('mapped')")
    assert slugs(connection) == ["lost_message"] * 2
    assert {finding["detail"] for finding in found(connection, [run_id])} == {
        "The task waits for a message, but its queue does not exist."
    }


@pytest.mark.parametrize(
    ("invariant", "body"),
    [
        ("message_without_task", """'{"hello": 1}'"""),
        ("message_without_task", "'5'"),
        ("message_without_task", """message || '{"task_index": 7}'"""),
        ("message_without_task", """message || '{"run_id": "nobody"}'"""),
        ("duplicate_message", "message"),
        ("message_of_finished_task", """message || '{"step_slug": "source", "task_index": 0}'"""),
    ],
)
def test_a_message_that_is_no_unfinished_tasks_is_found(
    connection: Connection, invariant: str, body: str
) -> None:
    live_map(connection)
    change(
        connection,
        f"""insert into pgmq.q_mapped (vt, message)
        select vt, ({body})::jsonb from pgmq.q_mapped where (message ->> 'task_index')::int = 2""",
    )
    (finding,) = found(connection)
    assert (finding["invariant"], finding["queue_name"]) == (invariant, "mapped")
    assert finding["msg_id"] == value(connection, "select max(msg_id) from pgmq.q_mapped")
    assert finding["safe"]


def test_a_message_of_a_run_that_is_over_is_found(connection: Connection) -> None:
    run_id = completed(connection)
    columns = "msg_id, vt, message"
    change(
        connection,
        f"""insert into pgmq.q_mapped ({columns}) overriding system value
        select {columns} from pgmq.a_mapped where message ->> 'step_slug' = 'total'""",
    )
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["step_slug"]) == ("message_of_finished_run", "total")


def test_a_lease_that_ran_out_long_ago_is_found(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    change(connection, "update pgmq.q_f set vt = clock_timestamp() - interval '4 minutes'")
    assert found(connection) == []
    change(connection, "update pgmq.q_f set vt = clock_timestamp() - interval '6 minutes'")
    finding = only(connection, run_id)
    assert (finding["invariant"], finding["severity"]) == ("expired_lease", "warning")
    assert not finding["safe"]


def test_a_quarantined_message_is_found_until_it_is_deleted(connection: Connection) -> None:
    one_step(connection)
    value(connection, """select pgmq.send('f', '{"hello": 1}'::jsonb)""")
    assert len(claim(connection, "f", 10)) == 1
    (finding,) = found(connection)
    assert (finding["invariant"], finding["severity"]) == ("quarantined_message", "warning")
    assert change(connection, finding["mend"].partition("then: ")[2]) == 1
    assert found(connection) == []


# Which runs


def test_a_run_that_ended_long_ago_is_only_looked_at_if_it_is_given(connection: Connection) -> None:
    run_id = completed(connection)
    change(connection, "update pgflow.runs set remaining_steps = 1")
    assert slugs(connection) == ["remaining_steps"]
    change(connection, "update pgflow.runs set started_at = now() - interval '25 hours'")
    assert slugs(connection) == []
    assert slugs(connection, [run_id, run_id]) == ["remaining_steps"]
    assert slugs(connection, []) == []


def test_an_old_run_that_lives_is_looked_at(connection: Connection) -> None:
    run_id = live_map(connection)
    change(
        connection,
        "update pgflow.runs set remaining_steps = 1, started_at = now() - interval '25 hours'",
    )
    assert only(connection, run_id)["invariant"] == "remaining_steps"
