"""Conditions: when a step with patterns runs (contract, section 15)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.conditions import NEVER, forbidden, required
from tests.support.sql import (
    Connection,
    define,
    finish,
    start,
    statuses,
    work,
)


@pytest.mark.parametrize(
    ("given", "pattern", "met"),
    [
        ({"role": "admin"}, {"role": "admin"}, True),
        ({"role": "user"}, {"role": "admin"}, False),
        ({}, {"role": "admin"}, False),
        ({"role": "admin", "more": 1}, {"role": "admin"}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ({"tags": ["x", "y"]}, {"tags": ["y"]}, True),
        ({"tags": ["x"]}, {"tags": ["y"]}, False),
        ({"k": None}, {"k": None}, True),
        ({}, {"k": None}, False),
        ({"n": 1.0}, {"n": 1}, True),
        ({"n": "1"}, {"n": 1}, False),
        ({}, {}, True),
        ("text", {}, False),
        (None, {"k": 1}, False),
        ([{"k": 1}], {"k": 1}, False),
    ],
)
def test_conditions_of_a_root_look_at_the_input(
    connection: Connection, given: object, pattern: dict[str, Any], met: bool
) -> None:
    define(connection, "f", {"yes": required(pattern), "no": forbidden(pattern)})
    run_id = start(connection, "f", given)["run_id"]
    expected = {"yes": "started", "no": "skipped"} if met else {"yes": "skipped", "no": "started"}
    assert statuses(connection, run_id) == expected


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"a": 1}, "started"),
        ({"a": 1, "b": 1}, "skipped"),
        ({"b": 1}, "skipped"),
        ({}, "skipped"),
    ],
)
def test_both_patterns_must_hold(connection: Connection, given: object, status: str) -> None:
    both = {"required_input_pattern": {"a": 1}, "forbidden_input_pattern": {"b": 1}}
    define(connection, "f", {"x": both})
    assert statuses(connection, start(connection, "f", given)["run_id"]) == {"x": status}


@pytest.mark.parametrize(
    ("output", "status"), [({"ok": True}, "started"), ({"ok": False}, "skipped"), (5, "skipped")]
)
def test_conditions_of_a_dependent_look_at_its_parents_outputs(
    connection: Connection, output: object, status: str
) -> None:
    define(connection, "f", {"a": [], "b": required({"a": {"ok": True}}, "a"), "end": ["b"]})
    run_id = start(connection, "f", {"a": {"ok": True}})["run_id"]
    finish(connection, "f", "a", output)
    assert statuses(connection, run_id)["b"] == status


def test_a_dependent_does_not_see_the_runs_input(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": required({"k": 1}, "a")})
    run_id = start(connection, "f", {"k": 1})["run_id"]
    finish(connection, "f", "a", {"k": 1})
    assert statuses(connection, run_id)["b"] == "skipped"


def test_a_dependent_sees_all_its_parents(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": required({"a": 1, "b": 2}, "a", "b")})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": 1, "b": 2})
    assert statuses(connection, run_id)["c"] == "completed"


def test_a_condition_is_not_evaluated_before_the_last_parent(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": required(NEVER, "a", "b")})
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id)["c"] == "created"
    finish(connection, "f", "a")
    assert statuses(connection, run_id)["c"] == "created"


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ({}, "skipped"),
        ({"k": 1}, "skipped"),
        ([], "started"),
        ("text", "started"),
        (None, "started"),
    ],
)
def test_forbidding_any_object_means_only_without_one(
    connection: Connection, output: object, status: str
) -> None:
    define(connection, "f", {"a": [], "b": forbidden({"a": {}}, "a"), "end": ["b"]})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", output)
    assert statuses(connection, run_id)["b"] == status


def test_a_fallback_runs_when_its_parent_was_skipped(connection: Connection) -> None:
    define(connection, "f", {"a": required(NEVER), "fallback": forbidden({"a": {}}, "a")})
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {"a": "skipped", "fallback": "started"}


def test_requiring_a_skipped_parent_is_unmet(connection: Connection) -> None:
    define(connection, "f", {"a": required(NEVER), "b": required({"a": {}}, "a")})
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {"a": "skipped", "b": "skipped"}


@pytest.mark.parametrize("mode", ["fail", "skip", "skip-cascade"])
def test_a_mode_without_a_pattern_does_nothing(connection: Connection, mode: str) -> None:
    define(connection, "f", {"a": {"when_unmet": mode}, "b": {"deps": ["a"], "when_unmet": mode}})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f")
    assert statuses(connection, run_id) == {"a": "completed", "b": "completed"}
