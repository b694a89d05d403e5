"""Orders that users rely on (section 19 of the contract)."""

from __future__ import annotations

import pytest

from tests.support.sql import (
    Connection,
    begin,
    complete,
    define,
    fail,
    messages,
    rows,
    run,
    start,
    tasks,
    value,
)
from tests.support.tasks import one_step, started_map


def sent(connection: Connection, flow: str) -> list[str]:
    """Return the steps of the live messages in the order in which they were sent."""
    return [one["message"]["step_slug"] for one in messages(connection, flow)]


def test_a_maps_messages_are_sent_in_the_order_of_its_tasks(connection: Connection) -> None:
    run_id = started_map(connection, 25)
    ids = [one["message_id"] for one in tasks(connection, run_id, "items")]
    assert ids == sorted(ids)
    assert [one["message"]["task_index"] for one in messages(connection, "mapped")] == list(
        range(25)
    )


@pytest.mark.parametrize(
    "steps",
    [
        ("root_a", "root_b"),
        ("connected_root", "disconnected_root"),
        ("array_producer", "single_src"),
        ("producer_a", "producer_b"),
        ("branch1", "branch2", "branch3"),
    ],
)
def test_root_steps_are_sent_in_the_order_of_definition(
    connection: Connection, steps: tuple[str, ...]
) -> None:
    define(connection, "f", {step: [] for step in steps})
    start(connection, "f")
    assert sent(connection, "f") == list(steps)


def test_reads_of_one_message_come_in_that_order(connection: Connection) -> None:
    define(connection, "f", {"root_a": [], "root_b": [], "root_c": []})
    start(connection, "f")
    assert [begin(connection, "f")[0]["step_slug"] for _ in range(3)] == [
        "root_a",
        "root_b",
        "root_c",
    ]


def test_what_becomes_ready_later_is_sent_later(connection: Connection) -> None:
    define(connection, "f", {"a": [], "z": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    complete(connection, run_id, "a")
    start(connection, "f")
    assert sent(connection, "f") == ["z", "b", "a", "z"]


def test_siblings_that_become_ready_together_are_sent_in_the_order_of_definition(
    connection: Connection,
) -> None:
    define(
        connection, "f", {"root": [], "branch1": ["root"], "branch2": ["root"], "branch3": ["root"]}
    )
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    complete(connection, run_id, "root")
    assert sent(connection, "f") == ["branch1", "branch2", "branch3"]


def test_a_retry_without_delay_is_readable_in_the_same_transaction(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert len(begin(connection, "f")) == 1


def test_a_requeued_task_is_readable_in_the_same_transaction(connection: Connection) -> None:
    one_step(connection)
    begin(connection, "f")
    rows(
        connection,
        "update pgflow.step_tasks set queued_at = now() - interval '1 day', started_at = now() - interval '1 day'",
    )
    assert value(connection, "select pgflow.requeue_stalled_tasks()") == 1
    assert len(begin(connection, "f")) == 1


def test_a_started_task_is_not_startable_though_its_message_can_be_read(
    connection: Connection,
) -> None:
    one_step(connection)
    begin(connection, "f")
    rows(connection, "update pgmq.q_f set vt = clock_timestamp()")
    assert begin(connection, "f") == []


def test_a_task_read_for_a_second_completes_long_after(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f", vt=1)
    rows(connection, "update pgmq.q_f set vt = clock_timestamp() - interval '1 hour'")
    complete(connection, run_id, "a", 1)
    assert run(connection, run_id)["output"] == {"a": 1}


def test_runs_are_worked_first_in_first_out(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    started = [start(connection, "f")["run_id"] for _ in range(4)]
    assert [begin(connection, "f")[0]["run_id"] for _ in range(4)] == started
