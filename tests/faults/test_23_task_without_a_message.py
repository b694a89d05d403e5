"""Fault 23: an unfinished task whose message is gone is found, sent again and worked to its end."""

from __future__ import annotations

import pytest

from tests.support.sql import Connection, claim, diamond, messages, rows, run, start, value, work
from tests.support.tasks import break_down, claim_one, one_step, root_map, succeed

RESEND = "select pgflow.resend_lost_messages()"


def test_a_run_that_lost_its_message_would_wait_for_ever(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(connection, "delete from pgmq.q_f")
    assert claim(connection, "f", 9) == []
    assert run(connection, run_id)["status"] == "started"
    assert value(connection, RESEND) == 1
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


@pytest.mark.parametrize("lost_after", ["root", "left", "right"])
def test_a_diamond_survives_a_loss_at_each_stage(connection: Connection, lost_after: str) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    while run(connection, run_id)["status"] == "started":
        granted = claim(connection, "diamond", 1)
        if not granted:
            assert value(connection, RESEND) > 0
            continue
        succeed(connection, granted)
        if granted[0]["step_slug"] == lost_after:
            rows(connection, "delete from pgmq.q_diamond")
    assert run(connection, run_id)["remaining_steps"] == 0


def test_a_map_that_lost_half_its_messages_completes(connection: Connection) -> None:
    run_id = root_map(connection, 20)
    rows(connection, "delete from pgmq.q_numbers where mod(msg_id, 2) = 0")
    assert value(connection, RESEND) == 10
    succeed(connection, claim(connection, "numbers", 50), "x")
    assert run(connection, run_id)["output"] == {"items": ["x"] * 20}


def test_a_retry_that_lost_its_message_goes_on_with_its_attempts(connection: Connection) -> None:
    one_step(connection, max_attempts=2)
    break_down(connection, claim(connection, "f"))
    rows(connection, "delete from pgmq.q_f")
    assert value(connection, RESEND) == 1
    rows(connection, "update pgmq.q_f set vt = clock_timestamp()")
    granted = claim_one(connection, "f")
    assert (granted["attempt"], granted["tries"]) == (2, 2)


def test_messages_match_unfinished_tasks_one_to_one_afterwards(connection: Connection) -> None:
    run_id = root_map(connection, 6)
    succeed(connection, claim(connection, "numbers", 2))
    rows(
        connection,
        "delete from pgmq.q_numbers where msg_id in (select msg_id from pgmq.q_numbers limit 2)",
    )
    value(connection, RESEND)
    unfinished = "select message_id from pgflow.step_tasks where run_id = %s and status in ('queued', 'started')"
    assert {one["message_id"] for one in rows(connection, unfinished, run_id)} == {
        one["msg_id"] for one in messages(connection, "numbers")
    }
