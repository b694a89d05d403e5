"""pgflow.define_flow: a changed shape is a new version, and runs are pinned to theirs."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.definitions import define_flow, step, stored_steps
from tests.support.sql import (
    Connection,
    add_step,
    begin,
    define,
    row,
    rows,
    run,
    start,
    statuses,
    value,
    work,
)

WRITTEN = ("flows", "steps", "deps", "flow_versions")


def test_the_first_version_is_1(connection: Connection) -> None:
    assert define_flow(connection, "f", step("a")) == 1


def test_the_same_definition_again_changes_nothing(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("b", "a"))
    # A row that is written anew has another place.
    before = [rows(connection, f"select ctid::text, * from pgflow.{name}") for name in WRITTEN]
    assert define_flow(connection, "f", step("a"), step("b", "a")) == 1
    after = [rows(connection, f"select ctid::text, * from pgflow.{name}") for name in WRITTEN]
    assert after == before
    assert value(connection, "select count(*) from pgflow.flow_versions") == 1


@pytest.mark.parametrize(
    "changed",
    [
        [step("a"), step("b", "a"), step("c")],
        [step("a")],
        [step("a"), step("b")],
        [step("a"), step("other", "a")],
        [step("a"), step("b", "a", step_type="map")],
        [step("a"), step("b", "a", required_input_pattern={"a": 1})],
        [step("a"), step("b", "a", forbidden_input_pattern={"a": 1})],
        [step("a"), step("b", "a", when_unmet="fail")],
        [step("a"), step("b", "a", when_exhausted="skip")],
    ],
)
def test_a_changed_shape_is_a_new_version(
    connection: Connection, changed: list[dict[str, Any]]
) -> None:
    define_flow(connection, "f", step("a"), step("b", "a"))
    assert define_flow(connection, "f", *changed) == 2
    assert list(stored_steps(connection, "f")) == [one["slug"] for one in changed]
    assert value(connection, "select version from pgflow.flows") == 2


def test_going_back_activates_the_old_version(connection: Connection) -> None:
    define_flow(connection, "f", step("a"))
    define_flow(connection, "f", step("b"))
    assert define_flow(connection, "f", step("a")) == 1
    assert list(stored_steps(connection, "f")) == ["a"]
    assert value(connection, "select version from pgflow.flows") == 1


def test_a_third_shape_after_going_back_gets_a_number_of_its_own(connection: Connection) -> None:
    for slug in ("a", "b", "a"):
        define_flow(connection, "f", step(slug))
    assert define_flow(connection, "f", step("c")) == 3


def test_options_alone_are_updated_in_place(connection: Connection) -> None:
    define_flow(connection, "f", step("a", timeout=5), max_attempts=1)
    assert define_flow(connection, "f", step("a", timeout=6, max_attempts=9), max_attempts=2) == 1
    stored = stored_steps(connection, "f")["a"]
    assert (stored["opt_timeout"], stored["opt_max_attempts"]) == (6, 9)
    assert value(connection, "select opt_max_attempts from pgflow.flows") == 2


def test_an_option_that_is_gone_is_inherited_again(connection: Connection) -> None:
    define_flow(connection, "f", step("a", timeout=5))
    define_flow(connection, "f", step("a"))
    assert stored_steps(connection, "f")["a"]["opt_timeout"] is None


def test_versions_are_counted_per_flow(connection: Connection) -> None:
    define_flow(connection, "f", step("a"))
    define_flow(connection, "f", step("b"))
    assert define_flow(connection, "g", step("a")) == 1


def test_a_flow_made_step_by_step_is_version_1(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    assert define_flow(connection, "f", step("a"), step("b", "a")) == 1


def test_a_flow_made_step_by_step_keeps_its_shape_as_version_1(connection: Connection) -> None:
    define(
        connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map", "when_unmet": "fail"}}
    )
    assert define_flow(connection, "f", step("x")) == 2
    assert statuses(connection, start(connection, "f", version=1)["run_id"]) == {
        "a": "started",
        "m": "created",
    }
    assert (
        define_flow(connection, "f", step("a"), step("m", "a", step_type="map", when_unmet="fail"))
        == 1
    )


def test_a_step_added_afterwards_is_a_change(connection: Connection) -> None:
    define_flow(connection, "f", step("a"))
    add_step(connection, "f", "b", ["a"])
    define_flow(connection, "f", step("a"))
    assert list(stored_steps(connection, "f")) == ["a"]


# Runs are pinned


def test_a_run_records_its_version(connection: Connection) -> None:
    define_flow(connection, "f", step("a"))
    define_flow(connection, "f", step("b"))
    assert start(connection, "f")["flow_version"] == 2


def test_a_run_goes_on_with_the_version_it_started_with(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("b", "a"), step("c", "b"))
    run_id = start(connection, "f")["run_id"]
    define_flow(connection, "f", step("a"), step("x", "a"))
    work(connection, "f")
    assert statuses(connection, run_id) == dict.fromkeys("abc", "completed")
    assert run(connection, run_id)["output"] == {"c": "c"}


def test_a_run_whose_steps_are_all_gone_still_completes(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("m", "a", step_type="map"))
    run_id = start(connection, "f")["run_id"]
    define_flow(connection, "f", step("x"))
    work(connection, "f", {"a": [1, 2]})
    assert run(connection, run_id)["output"] == {"m": ["m", "m"]}


def test_a_step_that_changed_its_type_runs_as_it_was(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("b", "a"))
    run_id = start(connection, "f")["run_id"]
    define_flow(connection, "f", step("a"), step("b", "a", step_type="map"))
    work(connection, "f", {"a": 5})
    assert run(connection, run_id)["output"] == {"b": "b"}


def test_runs_of_two_versions_finish_side_by_side(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("b", "a"))
    old = start(connection, "f")["run_id"]
    define_flow(connection, "f", step("b"), step("a", "b"))
    new = start(connection, "f")["run_id"]
    work(connection, "f")
    assert run(connection, old)["output"] == {"b": "b"}
    assert run(connection, new)["output"] == {"a": "a"}


def test_a_run_keeps_the_options_it_started_with(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    define_flow(connection, "f", step("a"), max_attempts=5)
    begin(connection, "f")
    row(connection, "select * from pgflow.fail_task(%s, 'a', 0, 'boom')", run_id)
    assert run(connection, run_id)["status"] == "failed"


def test_an_older_version_can_be_started_by_its_number(connection: Connection) -> None:
    define_flow(connection, "f", step("a"))
    define_flow(connection, "f", step("b"))
    started = start(connection, "f", version=1)
    assert started["flow_version"] == 1
    assert statuses(connection, started["run_id"]) == {"a": "started"}


def test_a_version_that_does_not_exist_cannot_be_started(connection: Connection) -> None:
    define_flow(connection, "f", step("a"))
    with pytest.raises(psycopg.Error), connection.transaction():
        start(connection, "f", version=7)
    assert rows(connection, "select * from pgflow.runs") == []


def test_keys_that_are_no_options_do_not_reach_a_run_of_an_old_version(
    connection: Connection,
) -> None:
    """A definition is a stranger's text: a key named like a column of step_states must not fill that column."""
    odd: dict[str, Any] = {
        "run_id": "no uuid", "status": 5, "created_at": "never", "remaining_tasks": "x", "children": 1, "redact": "x",
    }  # fmt: skip
    define_flow(connection, "f", step("a", **odd))
    define_flow(connection, "f", step("b"))
    run_id = start(connection, "f", version=1)["run_id"]
    assert statuses(connection, run_id) == {"a": "started"}


def bound(slug: str, *depends_on: str, **params: object) -> dict[str, Any]:
    """Describe a step of a plan."""
    return step(slug, *depends_on, handler={"name": "search", "params": params})


def test_what_a_plan_binds_is_part_of_the_shape(connection: Connection) -> None:
    """A worker learns it from the version that a run is pinned to, so it must not change in place."""
    assert define_flow(connection, "f", bound("a", size=1)) == 1
    assert define_flow(connection, "f", bound("a", size=2)) == 2
    assert define_flow(connection, "f", step("a")) == 3
    assert define_flow(connection, "f", bound("a", size=1)) == 1
    assert define_flow(connection, "f", bound("a", size=1), max_attempts=9) == 1
    assert value(connection, "select count(*) from pgflow.flow_versions") == 3


def test_a_step_added_to_a_plan_leaves_the_others_their_handlers(connection: Connection) -> None:
    define_flow(connection, "f", bound("a", size=1), bound("b", "a"))
    add_step(connection, "f", "c", ["b"])
    assert define_flow(connection, "f", step("z")) == 3
    handlers = value(
        connection,
        """select jsonb_path_query_array(definition, '$.steps[*].handler.name') from pgflow.flow_versions
          where version = 2""",
    )
    steps = value(
        connection,
        "select jsonb_array_length(definition -> 'steps') from pgflow.flow_versions where version = 2",
    )
    assert (handlers, steps) == (["search", "search"], 3)


@pytest.mark.parametrize("handler", ["search", 7, None, ["search"]])
def test_a_handler_that_is_no_object_means_nothing(connection: Connection, handler: object) -> None:
    define_flow(connection, "f", step("a"))
    assert define_flow(connection, "f", step("a", handler=handler)) == 1
