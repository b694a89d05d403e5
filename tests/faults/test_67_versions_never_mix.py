"""Fault 67: runs of one flow that were started with different definitions never mix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sql import Connection, call, claim, jsonb, run, start, state, statuses, tasks
from tests.support.tasks import Steps, break_down, claim_one, steps_of, succeed, version

if TYPE_CHECKING:
    from uuid import UUID

OLD: Steps = [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}, {"slug": "c", "depends_on": ["b"]}]
NEW: Steps = [
    {"slug": "a"},
    {"slug": "b", "step_type": "map", "depends_on": ["a"]},
    {"slug": "d", "depends_on": ["b"]},
]
OLD_HANDLERS = ["f.a(single:)", "f.b(single:a)", "f.c(single:b)"]
NEW_HANDLERS = ["f.a(single:)", "f.b(map:a)", "f.d(single:b)"]


def both(connection: Connection) -> tuple[UUID, UUID]:
    """Start a run of the old definition, then one of the new."""
    version(connection, "f", OLD)
    old = start(connection, "f")["run_id"]
    version(connection, "f", NEW)
    return old, start(connection, "f")["run_id"]


def test_each_run_has_the_steps_it_was_started_with(connection: Connection) -> None:
    old, new = both(connection)
    assert (set(statuses(connection, old)), set(statuses(connection, new))) == (
        set("abc"),
        set("abd"),
    )
    assert (run(connection, old)["flow_version"], run(connection, new)["flow_version"]) == (1, 2)


def test_each_run_goes_on_as_it_began(connection: Connection) -> None:
    old, new = both(connection)
    succeed(connection, claim(connection, "f", 9), ["x", "y"])
    assert (len(tasks(connection, old, "b")), len(tasks(connection, new, "b"))) == (1, 2)
    granted = {
        (one["run_id"], one["task_index"]): one["input"] for one in claim(connection, "f", 9)
    }
    assert granted == {(old, 0): {"a": ["x", "y"]}, (new, 0): "x", (new, 1): "y"}


def test_a_worker_is_granted_only_tasks_of_its_own_definition(connection: Connection) -> None:
    old, new = both(connection)
    succeed(connection, claim(connection, "f", 9), ["x"])
    assert {one["run_id"] for one in claim(connection, "f", 9, handlers=OLD_HANDLERS)} == {old}
    connection.execute(
        "update pgmq.q_f set vt = clock_timestamp() where vt < clock_timestamp() + interval '10 seconds'"
    )
    assert {one["run_id"] for one in claim(connection, "f", 9, handlers=NEW_HANDLERS)} == {new}


def test_workers_of_both_definitions_bring_both_runs_to_their_end(connection: Connection) -> None:
    old, new = both(connection)
    for _ in range(12):
        for handlers in (OLD_HANDLERS, NEW_HANDLERS):
            succeed(connection, claim(connection, "f", 9, handlers=handlers), ["x"])
            connection.execute("update pgmq.q_f set vt = clock_timestamp()")
    assert run(connection, old)["output"] == {"c": ["x"]}
    assert run(connection, new)["output"] == {"d": ["x"]}


def test_a_run_can_be_started_on_an_older_version(connection: Connection) -> None:
    both(connection)
    (found,) = call(connection, "start_flow", flow_slug="f", input=jsonb({}), version=1)
    assert found["flow_version"] == 1
    assert set(statuses(connection, found["run_id"])) == set("abc")


def test_changed_options_do_not_reach_a_run_that_goes_on(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a", "max_attempts": 1}])
    old = start(connection, "f")["run_id"]
    assert version(connection, "f", [{"slug": "a", "max_attempts": 5}]) == 1
    granted = claim_one(connection, "f")
    assert granted["max_attempts"] == 1
    break_down(connection, [granted])
    assert run(connection, old)["status"] == "failed"


def test_a_retry_keeps_to_the_definition_of_the_run(connection: Connection) -> None:
    version(connection, "f", OLD, max_attempts=1)
    old = start(connection, "f")["run_id"]
    break_down(connection, claim(connection, "f"))
    version(connection, "f", NEW)
    call(connection, "retry_run", run_id=old)
    succeed(connection, claim(connection, "f"), "x")
    assert steps_of(claim(connection, "f", 9, handlers=OLD_HANDLERS)) == ["b"]
    assert state(connection, old, "b")["step_type"] == "single"
