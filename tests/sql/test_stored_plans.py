"""Stored plans: whatever changes a definition, the very next start sees it, and no run mixes two plans."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    Row,
    add_step,
    call,
    change,
    claim,
    define,
    rows,
    statuses,
    value,
    work,
)
from tests.support.tasks import version


def start_one(connection: Connection, flow: str = "f", **more: Any) -> Row:
    """Start a run by start_many and return its row."""
    (started,) = call(connection, "start_many", flow_slug=flow, inputs=[Jsonb([1, 2])], **more)
    return started


def plan_of(connection: Connection, flow: str = "f") -> dict[str, Plan]:
    """Start a run and return what it knows of each step."""
    started = start_one(connection, flow)
    names = ("deps", "children", "max_attempts", "timeout", "queue_name", "step_type", "step_index")
    query = "select * from pgflow.step_states where run_id = %s order by step_index"
    found = rows(connection, query, started["run_id"])
    assert started["remaining_steps"] == len(found)
    return {one["step_slug"]: tuple(one[name] for name in names) for one in found}


Plan: TypeAlias = tuple[object, ...]
"""What a run knows of a step: parents, children, attempts, timeout, queue, type, index."""

A: Plan = ([], ["b"], 3, 60, "f", "single", 0)
B: Plan = (["a"], [], 3, 60, "f", "single", 1)
NEW_C = "insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'c', 2)"
NEW_DEP = "insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('f', 'a', 'c')"

CHANGES: dict[str, tuple[list[str], dict[str, Plan]]] = {
    "a flow's attempts": (
        ["update pgflow.flows set opt_max_attempts = 9"],
        {"a": ([], ["b"], 9, 60, "f", "single", 0), "b": (["a"], [], 9, 60, "f", "single", 1)},
    ),
    "a flow's timeout": (
        ["update pgflow.flows set opt_timeout = 7"],
        {"a": ([], ["b"], 3, 7, "f", "single", 0), "b": (["a"], [], 3, 7, "f", "single", 1)},
    ),
    "a step's attempts": (
        ["update pgflow.steps set opt_max_attempts = 8 where step_slug = 'b'"],
        {"a": A, "b": (["a"], [], 8, 60, "f", "single", 1)},
    ),
    "a step's type": (
        ["update pgflow.steps set step_type = 'map' where step_slug = 'b'"],
        {"a": A, "b": (["a"], [], 3, 60, "f", "map", 1)},
    ),
    "a step's queue": (
        [
            "select pgflow.ensure_queue('gpu')",
            "update pgflow.steps set opt_queue = 'gpu' where step_slug = 'a'",
        ],
        {"a": ([], ["b"], 3, 60, "gpu", "single", 0), "b": B},
    ),
    "a new step": ([NEW_C], {"a": A, "b": B, "c": ([], [], 3, 60, "f", "single", 2)}),
    "a new dependency": (
        [NEW_C, NEW_DEP],
        {
            "a": ([], ["b", "c"], 3, 60, "f", "single", 0),
            "b": B,
            "c": (["a"], [], 3, 60, "f", "single", 2),
        },
    ),
    "another dependency": (
        [NEW_C, "update pgflow.deps set dep_slug = 'c'"],
        {
            "a": ([], [], 3, 60, "f", "single", 0),
            "b": (["c"], [], 3, 60, "f", "single", 1),
            "c": ([], ["b"], 3, 60, "f", "single", 2),
        },
    ),
    "a deleted dependency": (
        ["delete from pgflow.deps"],
        {"a": ([], [], 3, 60, "f", "single", 0), "b": ([], [], 3, 60, "f", "single", 1)},
    ),
    "a deleted step": (
        ["delete from pgflow.deps", "delete from pgflow.steps where step_slug = 'b'"],
        {"a": ([], [], 3, 60, "f", "single", 0)},
    ),
    "truncated tables": (["truncate pgflow.deps, pgflow.steps"], {}),
}


@pytest.mark.parametrize("change_", CHANGES)
def test_the_next_start_sees_a_direct_change_of(connection: Connection, change_: str) -> None:
    statements, expected = CHANGES[change_]
    define(connection, "f", {"a": [], "b": ["a"]})
    for _ in range(2):
        assert plan_of(connection) == {"a": A, "b": B}
    for statement in statements:
        connection.execute(statement.encode())
    for _ in range(2):
        assert plan_of(connection) == expected


@pytest.mark.parametrize("change_", CHANGES)
def test_a_start_of_another_session_sees_it_as_soon_as_it_is_committed(
    committing: Connection, change_: str
) -> None:
    statements, expected = CHANGES[change_]
    define(committing, "f", {"a": [], "b": ["a"]})
    with psycopg.connect(committing.info.dsn, autocommit=True) as other:
        assert plan_of(other) == {"a": A, "b": B}
        with committing.transaction():
            for statement in statements:
                committing.execute(statement.encode())
            if not change_.startswith("truncated"):  # that one waits, as every TRUNCATE does
                assert plan_of(other) == {"a": A, "b": B}
            assert plan_of(committing) == expected
        assert plan_of(other) == expected


def test_a_change_that_is_rolled_back_leaves_the_plan(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    assert plan_of(connection) == {"a": A, "b": B}
    with connection.transaction(force_rollback=True):
        change(connection, "update pgflow.flows set opt_timeout = 7")
        assert plan_of(connection)["a"][3] == 7
    assert plan_of(connection) == {"a": A, "b": B}


def test_the_next_start_sees_an_added_step(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    plan_of(connection)
    add_step(connection, "f", "b", ["a"])
    assert plan_of(connection) == {"a": A, "b": B}


def test_the_next_start_sees_a_new_definition_with_the_same_shape(connection: Connection) -> None:
    steps: list[dict[str, object]] = [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}]
    version(connection, "f", steps)
    assert plan_of(connection) == {"a": A, "b": B}
    assert version(connection, "f", [steps[0], {**steps[1], "timeout": 5}], max_attempts=2) == 1
    assert plan_of(connection) == {
        "a": ([], ["b"], 2, 60, "f", "single", 0),
        "b": (["a"], [], 2, 5, "f", "single", 1),
    }


def test_the_next_start_sees_new_shapes_and_old_ones_again(connection: Connection) -> None:
    shapes: list[list[dict[str, object]]] = [
        [{"slug": "a"}],
        [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}],
    ]
    for number in (0, 1, 0, 1):
        assert version(connection, "f", shapes[number]) == number + 1
        started = start_one(connection)
        assert started["flow_version"] == number + 1
        assert len(statuses(connection, started["run_id"])) == number + 1


def test_a_flow_that_was_deleted_and_made_anew_has_its_new_plan(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    plan_of(connection)
    value(connection, "select pgflow.delete_flow_and_data('f')::text")
    define(connection, "f", {"a": []})
    assert plan_of(connection) == {"a": ([], [], 3, 60, "f", "single", 0)}


def test_live_runs_keep_the_plan_that_they_started_with(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    started = start_one(connection)
    change(connection, "delete from pgflow.deps")
    change(connection, "update pgflow.steps set opt_timeout = 1")
    (first,) = claim(connection, "f")
    assert first["timeout"] == 60
    work(connection, "f")
    assert set(statuses(connection, started["run_id"])) == {"a", "b"}


def test_only_the_plans_of_the_latest_revision_are_kept(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a"}])
    version(connection, "f", [{"slug": "a"}, {"slug": "b"}])
    for timeout in (5, 6, 7):
        change(connection, "update pgflow.steps set opt_timeout = %s", timeout)
        for number in (1, 2):
            start_one(connection, version=number)
    found = rows(
        connection,
        "select version, revision = (select revision from pgflow.flows) as now from pgflow.flow_plans order by 1",
    )
    assert found == [{"version": 1, "now": True}, {"version": 2, "now": True}]
