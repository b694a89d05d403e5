"""pgflow.claim_tasks with handlers: a worker is granted only what it can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import Connection, claim, define, messages, rows, start, task, tasks
from tests.support.tasks import claim_one, one_step, started_map, steps_of, succeed, version

if TYPE_CHECKING:
    import uuid


def two_steps(connection: Connection) -> uuid.UUID:
    define(connection, "f", {"a": [], "b": []})
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    return run_id


def test_without_handlers_everything_is_granted(connection: Connection) -> None:
    two_steps(connection)
    assert steps_of(claim(connection, "f", 9)) == ["a", "b"]


def test_a_plain_name_grants_the_step(connection: Connection) -> None:
    two_steps(connection)
    assert steps_of(claim(connection, "f", 9, handlers=["f.b"])) == ["b"]


def test_several_handlers_grant_several_steps(connection: Connection) -> None:
    two_steps(connection)
    assert steps_of(claim(connection, "f", 9, handlers=["f.a", "f.b", "g.c"])) == ["a", "b"]


def test_a_handler_of_another_flow_grants_nothing(connection: Connection) -> None:
    two_steps(connection)
    assert claim(connection, "f", 9, handlers=["g.a", "g.b"]) == []


def test_no_handlers_at_all_grant_nothing(connection: Connection) -> None:
    two_steps(connection)
    assert claim(connection, "f", 9, handlers=[]) == []


@pytest.mark.parametrize("handlers", [[], ["f.c"], ["g.a"]])
def test_what_is_not_granted_waits_for_another_worker(
    connection: Connection, handlers: list[str]
) -> None:
    run_id = two_steps(connection)
    claim(connection, "f", 9, handlers=handlers)
    assert {(one["status"], one["attempts_count"]) for one in tasks(connection, run_id)} == {
        ("queued", 0)
    }
    assert steps_of(claim(connection, "f", 9)) == ["a", "b"]


def test_tasks_for_others_do_not_hide_ones_own(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    for _ in range(5):
        start(connection, "f")
    assert steps_of(claim(connection, "f", 2, handlers=["f.b"])) == ["b", "b"]


# Handlers with type and dependencies


@pytest.mark.parametrize(
    ("handler", "granted"),
    [
        ("f.join(single:a,b)", True),
        ("f.join(single:b,a)", False),
        ("f.join(single:a)", False),
        ("f.join(single:)", False),
        ("f.join(map:a,b)", False),
        ("f.join", True),
    ],
)
def test_type_and_sorted_dependencies_must_be_equal(
    connection: Connection, handler: str, granted: bool
) -> None:
    define(connection, "f", {"b": [], "a": [], "join": ["b", "a"]})
    start(connection, "f")
    succeed(connection, claim(connection, "f", 2))
    assert len(claim(connection, "f", 2, handlers=[handler])) == int(granted)


@pytest.mark.parametrize(
    ("handler", "granted"), [("f.a(single:)", True), ("f.a(map:)", False), ("f.a(single:x)", False)]
)
def test_a_root_step_has_empty_dependencies(
    connection: Connection, handler: str, granted: bool
) -> None:
    one_step(connection)
    assert len(claim(connection, "f", 2, handlers=[handler])) == int(granted)


def test_a_map_is_named_by_its_type_and_parent(connection: Connection) -> None:
    started_map(connection, 2)
    assert claim(connection, "mapped", 9, handlers=["mapped.items(single:source)"]) == []
    rows(connection, "update pgmq.q_mapped set vt = clock_timestamp()")
    assert len(claim(connection, "mapped", 9, handlers=["mapped.items(map:source)"])) == 2


def test_a_task_of_another_shape_keeps_its_attempts_and_is_soon_due(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f", 9, handlers=["f.a(map:)"])
    assert (
        task(connection, run_id, "a")["status"],
        task(connection, run_id, "a")["attempts_count"],
    ) == ("queued", 0)
    assert messages(connection, "f")[0]["delay"] <= 5


def test_tasks_of_another_shape_do_not_hide_ones_own_for_long(connection: Connection) -> None:
    version(connection, "f", [{"slug": "a"}])
    for _ in range(4):
        start(connection, "f")
    version(connection, "f", [{"slug": "z"}, {"slug": "a", "depends_on": ["z"]}])
    new = start(connection, "f")["run_id"]
    succeed(connection, claim(connection, "f", 1, handlers=["f.z(single:)"]))
    granted = [
        one for _ in range(5) for one in claim(connection, "f", 1, handlers=["f.a(single:z)"])
    ]
    assert [one["run_id"] for one in granted] == [new]


def test_an_expired_lease_of_another_shape_is_not_taken_over(connection: Connection) -> None:
    run_id = one_step(connection)
    claim_one(connection, "f")
    rows(connection, "update pgmq.q_f set vt = clock_timestamp()")
    assert claim(connection, "f", 9, handlers=["f.a(map:)"]) == []
    assert task(connection, run_id, "a")["attempts_count"] == 1
