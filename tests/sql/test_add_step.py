"""pgflow.add_step: a step with its dependencies and options."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    add_step,
    call,
    define,
    refused,
    row,
    rows,
    run,
    start,
    value,
    work,
)


@pytest.fixture
def flow(connection: Connection) -> str:
    return define(connection, "f", {})


def dependencies(connection: Connection, step: str) -> list[str]:
    query = "select dep_slug from pgflow.deps where flow_slug = 'f' and step_slug = %s order by dep_slug"
    return [one["dep_slug"] for one in rows(connection, query, step)]


def test_returns_the_stored_row(connection: Connection, flow: str) -> None:
    returned = add_step(connection, flow, "a")
    assert returned == row(
        connection, "select * from pgflow.steps where flow_slug = 'f' and step_slug = 'a'"
    )


def test_defaults(connection: Connection, flow: str) -> None:
    stored = row(connection, "select * from pgflow.add_step(%s, 'a')", flow)
    expected = {
        "step_type": "single",
        "step_index": 0,
        "deps_count": 0,
        "opt_max_attempts": None,
        "opt_base_delay": None,
        "opt_timeout": None,
        "opt_start_delay": None,
        "required_input_pattern": None,
        "forbidden_input_pattern": None,
        "when_unmet": "skip",
        "when_exhausted": "fail",
    }
    assert {key: stored[key] for key in expected} == expected


def test_stores_every_option(connection: Connection, flow: str) -> None:
    options: dict[str, Any] = {
        "max_attempts": 4,
        "base_delay": 0,
        "timeout": 30,
        "start_delay": 0,
        "step_type": "map",
        "required_input_pattern": {"a": 1},
        "forbidden_input_pattern": {},
        "when_unmet": "skip-cascade",
        "when_exhausted": "skip",
    }
    stored = add_step(connection, flow, "a", **options)
    assert {key: stored.get(key, stored.get(f"opt_{key}")) for key in options} == options


def test_eight_parameters_are_taken_by_position(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    stored = row(
        connection, "select * from pgflow.add_step('f', 'b', array['a'], 4, 5, 6, 7, 'map')"
    )
    columns = (
        "opt_max_attempts",
        "opt_base_delay",
        "opt_timeout",
        "opt_start_delay",
        "step_type",
        "deps_count",
    )
    assert tuple(stored[column] for column in columns) == (4, 5, 6, 7, "map", 1)


def test_patterns_are_taken_as_untyped_literals(connection: Connection, flow: str) -> None:
    statement = """select required_input_pattern from pgflow.add_step(%s, 'a', required_input_pattern => '{"k": 1}')"""
    assert value(connection, statement, flow) == {"k": 1}


def test_step_index_counts_from_0(connection: Connection, flow: str) -> None:
    assert [add_step(connection, flow, step)["step_index"] for step in ("c", "a", "b")] == [0, 1, 2]


def test_step_index_is_per_flow(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    define(connection, "g", {})
    assert add_step(connection, "g", "a")["step_index"] == 0


def test_step_index_is_the_highest_plus_one(connection: Connection, flow: str) -> None:
    rows(
        connection,
        "insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'a', 7)",
    )
    assert add_step(connection, flow, "b")["step_index"] == 8


def test_dependencies_are_stored_and_counted(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    add_step(connection, flow, "b")
    assert add_step(connection, flow, "c", ["b", "a"])["deps_count"] == 2
    assert dependencies(connection, "c") == ["a", "b"]


def test_a_null_array_counts_0(connection: Connection, flow: str) -> None:
    assert value(connection, "select deps_count from pgflow.add_step(%s, 'a', null)", flow) == 0


def test_duplicate_dependencies_do_not_block_the_step(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    assert add_step(connection, flow, "b", ["a", "a"])["deps_count"] == 1
    started = start(connection, flow)
    work(connection, flow)
    assert run(connection, started["run_id"])["status"] == "completed"


def test_steps_of_different_flows_may_share_slugs(connection: Connection, flow: str) -> None:
    define(connection, "g", {"a": []})
    assert add_step(connection, flow, "a")["flow_slug"] == "f"


def test_an_existing_step_is_returned_unchanged(connection: Connection, flow: str) -> None:
    first = add_step(connection, flow, "a", max_attempts=4, required_input_pattern={"k": 1})
    again = add_step(
        connection,
        flow,
        "a",
        max_attempts=9,
        base_delay=9,
        timeout=9,
        start_delay=9,
        when_exhausted="skip",
    )
    assert again == first
    assert row(connection, "select * from pgflow.steps") == first


def test_null_options_of_an_existing_step_stay_null(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    again = add_step(connection, flow, "a", max_attempts=9, forbidden_input_pattern={"k": 1})
    assert again["opt_max_attempts"] is None
    assert again["forbidden_input_pattern"] is None


def test_adding_a_step_again_keeps_the_index_of_the_next(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    add_step(connection, flow, "a")
    assert add_step(connection, flow, "b")["step_index"] == 1


@pytest.mark.parametrize("deps", [["a", "b"], ["b"]])
def test_other_dependencies_for_an_existing_step_are_refused(
    connection: Connection, flow: str, deps: list[str]
) -> None:
    for step in ("a", "b"):
        add_step(connection, flow, step)
    add_step(connection, flow, "c", ["a"])
    with pytest.raises(psycopg.Error, match=r'"c".*"f".*: a'), connection.transaction():
        add_step(connection, flow, "c", deps)
    assert dependencies(connection, "c") == ["a"]


def test_the_same_dependencies_in_another_order_are_no_change(
    connection: Connection, flow: str
) -> None:
    for step in ("a", "b"):
        add_step(connection, flow, step)
    first = add_step(connection, flow, "c", ["a", "b"])
    assert add_step(connection, flow, "c", ["b", "a"]) == first


def test_returns_one_row_in_from(connection: Connection, flow: str) -> None:
    assert len(rows(connection, "select * from pgflow.add_step(%s, 'a')", flow)) == 1
    assert len(rows(connection, "select * from pgflow.add_step(%s, 'a')", flow)) == 1


@pytest.mark.parametrize("deps", [[], ["a"]])
def test_a_map_step_takes_at_most_one_dependency(
    connection: Connection, flow: str, deps: list[str]
) -> None:
    add_step(connection, flow, "a")
    assert add_step(connection, flow, "m", deps, step_type="map")["step_type"] == "map"


@pytest.mark.parametrize(
    ("deps", "text"),
    [
        (["a", "b"], 'Map step "m" can have at most one dependency, but 2 were provided: a, b'),
        (["b", "a"], 'Map step "m" can have at most one dependency, but 2 were provided: b, a'),
        (
            ["c", "a", "b"],
            'Map step "m" can have at most one dependency, but 3 were provided: c, a, b',
        ),
    ],
)
def test_a_map_step_with_more_is_refused(
    connection: Connection, flow: str, deps: list[str], text: str
) -> None:
    for step in ("a", "b", "c"):
        add_step(connection, flow, step)
    with refused(connection, text, "P0001"):
        add_step(connection, flow, "m", deps, step_type="map")


@pytest.mark.parametrize("slug", ["", "1a", "a-b", "run", "a" * 129, "a\n"])
def test_a_bad_slug_violates_its_check(connection: Connection, flow: str, slug: str) -> None:
    text = 'new row for relation "steps" violates check constraint "steps_step_slug_check"'
    with refused(connection, text, "23514"):
        add_step(connection, flow, slug)


def test_a_slug_of_128_characters_is_legal(connection: Connection, flow: str) -> None:
    assert add_step(connection, flow, "a" * 128)["step_slug"] == "a" * 128


def test_an_unknown_flow_violates_the_foreign_key(connection: Connection) -> None:
    text = (
        'insert or update on table "steps" violates foreign key constraint "steps_flow_slug_fkey"'
    )
    with refused(connection, text, "23503"):
        add_step(connection, "nowhere", "a")


def test_an_unknown_dependency_violates_the_foreign_key(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    text = 'insert or update on table "deps" violates foreign key constraint "deps_flow_slug_dep_slug_fkey"'
    with refused(connection, text, "23503"):
        add_step(connection, flow, "b", ["a", "missing"])


def test_a_dependency_in_another_flow_is_unknown(connection: Connection, flow: str) -> None:
    define(connection, "g", {"a": []})
    text = 'insert or update on table "deps" violates foreign key constraint "deps_flow_slug_dep_slug_fkey"'
    with refused(connection, text, "23503"):
        add_step(connection, flow, "b", ["a"])


@pytest.mark.parametrize("deps", [["b"], ["a", "b"]])
def test_a_step_may_not_depend_on_itself(
    connection: Connection, flow: str, deps: list[str]
) -> None:
    add_step(connection, flow, "a")
    with refused(
        connection, 'new row for relation "deps" violates check constraint "deps_check"', "23514"
    ):
        add_step(connection, flow, "b", deps)


@pytest.mark.parametrize(
    ("options", "constraint"),
    [
        ({"when_unmet": "ignore"}, "when_unmet_is_valid"),
        ({"when_exhausted": "retry"}, "when_exhausted_is_valid"),
        ({"required_input_pattern": [1]}, "required_input_pattern_is_object"),
        ({"required_input_pattern": "text"}, "required_input_pattern_is_object"),
        ({"forbidden_input_pattern": []}, "forbidden_input_pattern_is_object"),
        ({"forbidden_input_pattern": None}, "forbidden_input_pattern_is_object"),
        ({"start_delay": -1}, "opt_start_delay_is_nonnegative"),
        ({"max_attempts": -1}, "opt_max_attempts_is_nonnegative"),
        ({"base_delay": -1}, "opt_base_delay_is_nonnegative"),
        ({"timeout": 0}, "opt_timeout_is_positive"),
        ({"step_type": "loop"}, "steps_step_type_check"),
    ],
)
def test_a_bad_option_violates_its_check(
    connection: Connection, flow: str, options: dict[str, Any], constraint: str
) -> None:
    text = f'new row for relation "steps" violates check constraint "{constraint}"'
    with refused(connection, text, "23514"):
        add_step(connection, flow, "a", **options)


@pytest.mark.parametrize("mode", ["fail", "skip", "skip-cascade"])
def test_every_mode_is_accepted_for_both_causes(
    connection: Connection, flow: str, mode: str
) -> None:
    stored = add_step(connection, flow, "a", when_unmet=mode, when_exhausted=mode)
    assert (stored["when_unmet"], stored["when_exhausted"]) == (mode, mode)


def test_a_refused_step_leaves_nothing(connection: Connection, flow: str) -> None:
    with pytest.raises(Exception, match="deps_flow_slug_dep_slug_fkey"), connection.transaction():
        add_step(connection, flow, "b", ["missing"])
    assert rows(connection, "select * from pgflow.steps") == []
    assert rows(connection, "select * from pgflow.deps") == []


def test_a_step_may_be_added_while_runs_are_in_flight(connection: Connection, flow: str) -> None:
    add_step(connection, flow, "a")
    started = start(connection, flow)
    add_step(connection, flow, "b", ["a"])
    work(connection, flow)
    assert run(connection, started["run_id"])["output"] == {"a": "a"}
    assert call(connection, "start_flow", flow_slug=flow, input="{}")[0]["remaining_steps"] == 2
