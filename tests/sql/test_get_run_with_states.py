"""pgflow.get_run_with_states: a run and its steps as one JSON value."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.support.sql import Connection, define, diamond, rows, start, value, work


def get(connection: Connection, run_id: uuid.UUID) -> Any:
    return value(connection, "select pgflow.get_run_with_states(run_id => %s)", run_id)


def columns(connection: Connection, table: str) -> set[str]:
    query = "select column_name from information_schema.columns where table_schema = 'pgflow' and table_name = %s"
    return {one["column_name"] for one in rows(connection, query, table)}


def test_has_exactly_run_and_steps(connection: Connection) -> None:
    diamond(connection)
    assert set(get(connection, start(connection, "diamond")["run_id"])) == {"run", "steps"}


def test_keys_are_column_names(connection: Connection) -> None:
    diamond(connection)
    answer = get(connection, start(connection, "diamond")["run_id"])
    contract = {"run_id", "flow_slug", "status", "input", "output", "remaining_steps", "started_at"}
    assert contract <= set(answer["run"]) <= columns(connection, "runs")
    contract = {
        "step_slug",
        "status",
        "remaining_tasks",
        "initial_tasks",
        "remaining_deps",
        "output",
        "skip_reason",
    }
    assert all(
        contract <= set(one) <= columns(connection, "step_states") for one in answer["steps"]
    )


def test_values_are_those_of_the_rows(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f", {"k": 1})["run_id"]
    work(connection, "f", {"a": [1, {"b": None}]})
    answer = get(connection, run_id)
    assert answer["run"] == json.loads(
        value(
            connection, "select to_jsonb(r)::text from pgflow.runs as r where run_id = %s", run_id
        )
    )
    assert answer["steps"][0]["output"] == [1, {"b": None}]


def test_lists_every_step_of_this_run_once(connection: Connection) -> None:
    diamond(connection)
    first, _ = start(connection, "diamond")["run_id"], start(connection, "diamond")
    steps = get(connection, first)["steps"]
    assert sorted(one["step_slug"] for one in steps) == ["left", "merge", "right", "root"]
    assert {one["run_id"] for one in steps} == {str(first)}


def test_an_unknown_run_gives_null(connection: Connection) -> None:
    assert get(connection, uuid.uuid4()) is None


def test_a_run_without_steps_has_an_empty_list(connection: Connection) -> None:
    define(connection, "f", {})
    assert get(connection, start(connection, "f")["run_id"])["steps"] == []


def test_its_search_path_is_pinned(connection: Connection) -> None:
    query = (
        "select proconfig from pg_proc where oid = 'pgflow.get_run_with_states(uuid)'::regprocedure"
    )
    assert value(connection, query) == ['search_path=""']
