"""pgflow.resend_lost_messages: unfinished tasks without a message get a new one."""

from __future__ import annotations

from tests.support.sql import (
    Connection,
    begin,
    claim,
    define,
    messages,
    rows,
    run,
    start,
    task,
    tasks,
    value,
)
from tests.support.tasks import break_down, claim_one, one_step, root_map, started_map, succeed


def resend(connection: Connection) -> int:
    result = value(connection, "select pgflow.resend_lost_messages()")
    assert isinstance(result, int)
    return result


def test_nothing_is_lost_in_a_healthy_database(connection: Connection) -> None:
    started_map(connection, 3)
    claim(connection, "mapped", 1)
    assert resend(connection) == 0
    assert len(messages(connection, "mapped")) == 3


def test_a_queued_task_gets_a_new_message(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(connection, "delete from pgmq.q_f")
    assert resend(connection) == 1
    (message,) = messages(connection, "f")
    body = {"flow_slug": "f", "run_id": str(run_id), "step_slug": "a", "task_index": 0}
    assert (message["message"], message["visible"]) == (body, True)
    assert task(connection, run_id, "a")["message_id"] == message["msg_id"]


def test_the_task_is_worked_as_usual(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(connection, "delete from pgmq.q_f")
    resend(connection)
    granted = claim_one(connection, "f")
    assert (granted["attempt"], granted["tries"]) == (1, 1)
    succeed(connection, [granted])
    assert run(connection, run_id)["status"] == "completed"


def test_a_second_call_sends_nothing(connection: Connection) -> None:
    one_step(connection)
    rows(connection, "delete from pgmq.q_f")
    resend(connection)
    assert resend(connection) == 0


def test_a_task_whose_message_id_is_gone_is_found(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(connection, "delete from pgmq.q_f")
    rows(connection, "update pgflow.step_tasks set message_id = null")
    assert resend(connection) == 1
    assert task(connection, run_id, "a")["message_id"] is not None


def test_an_archived_message_of_an_unfinished_task_counts_as_lost(connection: Connection) -> None:
    one_step(connection)
    rows(connection, "select pgmq.archive('f', msg_id) from pgmq.q_f")
    assert resend(connection) == 1


def test_a_started_task_is_recovered_by_its_new_message(connection: Connection) -> None:
    one_step(connection)
    claim(connection, "f")
    rows(connection, "delete from pgmq.q_f")
    assert resend(connection) == 1
    rows(connection, "update pgmq.q_f set vt = clock_timestamp()")
    granted = claim_one(connection, "f")
    assert (granted["attempt"], granted["tries"]) == (2, 2)


def test_only_the_lost_ones_of_a_map_are_sent(connection: Connection) -> None:
    run_id = root_map(connection, 5)
    rows(connection, "delete from pgmq.q_numbers where msg_id in (2, 4)")
    assert resend(connection) == 2
    sent = [
        (one["msg_id"], one["message"]["task_index"]) for one in messages(connection, "numbers")
    ]
    assert sorted(index for _, index in sent) == [0, 1, 2, 3, 4]
    assert {(one["message_id"], one["task_index"]) for one in tasks(connection, run_id)} == set(
        sent
    )


def test_tasks_of_ended_runs_need_no_message(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    start(connection, "f")
    break_down(connection, claim(connection, "f", 1))
    assert resend(connection) == 0
    assert messages(connection, "f") == []


def test_completed_tasks_need_no_message(connection: Connection) -> None:
    started_map(connection, 2)
    succeed(connection, claim(connection, "mapped", 1))
    assert resend(connection) == 0


def test_permanently_stalled_tasks_need_no_message(connection: Connection) -> None:
    one_step(connection)
    begin(connection, "f")
    rows(connection, "update pgflow.step_tasks set permanently_stalled_at = now()")
    rows(connection, "delete from pgmq.q_f")
    assert resend(connection) == 0


def test_several_flows_are_mended_at_once(connection: Connection) -> None:
    for flow in ("f", "g"):
        one_step(connection, flow)
        rows(connection, f"delete from pgmq.q_{flow}")
    assert resend(connection) == 2
    assert [len(messages(connection, flow)) for flow in "fg"] == [1, 1]


def test_a_steps_own_queue_is_used(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    rows(connection, "select pgflow.ensure_queue('gpu')")
    rows(connection, "update pgflow.steps set opt_queue = 'gpu'")
    start(connection, "f")
    rows(connection, "delete from pgmq.q_gpu")
    assert resend(connection) == 1
    assert (len(messages(connection, "gpu")), len(messages(connection, "f"))) == (1, 0)
