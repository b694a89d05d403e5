"""share_tasks: the death of a worker does not count against what it performed beside others, as long as that may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sql import call, define, start, value
from tests.support.sql import claim as claim_rows
from tests.support.tasks import expire

if TYPE_CHECKING:
    from tests.support.sql import Connection, Row


def claim(connection: Connection, queue: str, qty: int = 1) -> list[Row]:
    """Claim as a worker does, which asks for the losses of what is recovered."""
    return [
        task | {"losses": losses(connection, task)} for task in claim_rows(connection, queue, qty)
    ]


def losses(connection: Connection, task: Row) -> int:
    if not task["recovered"]:
        return 0
    named = {name: task[name] for name in ("run_id", "step_slug", "task_index")}
    (row,) = call(connection, "task_losses", **named)
    return int(row["task_losses"])


def share(connection: Connection, *tasks: Row) -> Any:
    columns = {
        "run_ids": [task["run_id"] for task in tasks],
        "step_slugs": [task["step_slug"] for task in tasks],
        "task_indexes": [task["task_index"] for task in tasks],
        "attempts": [task["attempt"] for task in tasks],
    }
    (row,) = call(connection, "share_tasks", **columns)
    return row["share_tasks"]


def regrant(connection: Connection, *, shared: bool) -> Row:
    """Have the worker of the flow's task die, and the task recovered by another one."""
    expire(connection, "f")
    (granted,) = claim(connection, "f")
    if shared:
        assert share(connection, granted) == 1
    return granted


def one_task(connection: Connection, max_attempts: int) -> None:
    define(connection, "f", {"a": []}, max_attempts=max_attempts)
    start(connection, "f")
    (granted,) = claim(connection, "f")
    assert granted["losses"] == 0


def test_fault_21_each_loss_counts_where_nobody_says_otherwise(connection: Connection) -> None:
    one_task(connection, 9)
    seen = [regrant(connection, shared=False) for _ in range(4)]
    assert [(one["losses"], one["tries"]) for one in seen] == [(1, 2), (2, 3), (3, 4), (4, 5)]


def test_fault_21_a_loss_in_company_is_forgiven_three_times(connection: Connection) -> None:
    one_task(connection, 9)
    seen = [regrant(connection, shared=True) for _ in range(6)]
    assert [one["losses"] for one in seen] == [1, 2, 3, 4, 5, 6]
    assert [one["tries"] for one in seen] == [2, 2, 2, 2, 3, 4], "the first one always counts"
    assert [one["attempt"] for one in seen] == [2, 3, 4, 5, 6, 7], "each grant has its own fence"


def test_fault_21_what_is_forgiven_is_on_record_and_does_not_use_attempts_up(
    connection: Connection,
) -> None:
    one_task(connection, 2)
    for _ in range(3):
        assert not regrant(connection, shared=True)["exhausted"]
    texts = value(
        connection,
        "select array_agg(error order by attempt) from pgflow.attempts where outcome = 'lost'",
    )
    assert [("does not count" in text) for text in texts] == [False, True, True]


def test_fault_21_a_grant_that_is_over_cannot_be_shared(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=2)
    start(connection, "f")
    (first,) = claim(connection, "f")
    regrant(connection, shared=False)
    assert share(connection, first) == 0
    assert regrant(connection, shared=False)["exhausted"], "the loss counted"


def test_fault_21_a_mark_is_for_one_grant_only(connection: Connection) -> None:
    one_task(connection, 9)
    assert regrant(connection, shared=True)["tries"] == 2
    assert regrant(connection, shared=False)["tries"] == 2
    assert regrant(connection, shared=False)["tries"] == 3


def test_a_released_task_keeps_its_losses(connection: Connection) -> None:
    one_task(connection, 9)
    granted = regrant(connection, shared=False)
    named = {
        "run_ids": [granted["run_id"]],
        "step_slugs": ["a"],
        "task_indexes": [0],
        "attempts": [granted["attempt"]],
    }
    call(connection, "release_tasks", **named)
    (again,) = claim(connection, "f")
    assert (again["losses"], again["recovered"]) == (1, True)


def test_items_of_a_lost_batch_have_its_losses(connection: Connection) -> None:
    step = {"step_type": "map", "batch_size": 3}
    call(connection, "create_flow", flow_slug="f")
    (_,) = call(connection, "define_flow", flow_slug="f", definition=_definition(step))
    start(connection, "f", [1, 2, 3])
    claim(connection, "f")
    expire(connection, "f")
    granted = claim(connection, "f", 10) + claim(connection, "f", 10)
    assert sorted((one["task_index"], one["losses"]) for one in granted) == [(0, 1), (1, 1), (2, 1)]


def _definition(step: dict[str, Any]) -> Any:
    from psycopg.types.json import Jsonb

    return Jsonb({"steps": [{"slug": "a", **step}]})
