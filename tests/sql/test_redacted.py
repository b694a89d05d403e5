"""_redacted: the SQL and the Python side hide the same, in events and views what the flow says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from pgflow._redaction import Redaction
from tests.support.sql import (
    Connection,
    claim,
    fail,
    payload,
    record_events,
    refused,
    rows,
    run,
    start,
    value,
    work,
)

KEYS = st.sampled_from(["a", "b", "card", "token", "a.b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab\u20ac", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "card", "token", "*"]), min_size=1, max_size=3).map(
        ".".join
    ),
    min_size=1,
    max_size=3,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given=VALUES, paths=PATHS)
def test_sql_and_python_hide_the_same(connection: Connection, given: Any, paths: list[str]) -> None:
    found = value(connection, "select pgflow._redacted(%s, %s::text[])", Jsonb(given), paths)
    assert found == Redaction(paths).value(given)


def test_without_paths_a_value_is_itself(connection: Connection) -> None:
    assert value(connection, "select pgflow._redacted(%s, null)", Jsonb({"a": 1})) == {"a": 1}
    assert value(connection, "select pgflow._redacted(null, '{a}')") is None


def define(connection: Connection, *steps: dict[str, Any], **options: Any) -> None:
    definition = Jsonb({"options": options, "steps": list(steps)})
    value(connection, "select pgflow.define_flow('f', %s)", definition)


SECRET = {"card": {"number": "4111"}, "id": 1}
SHOWN = {"card": {"number": "[redacted]"}, "id": 1}


def test_events_do_not_carry_it_and_the_tables_do(connection: Connection) -> None:
    record_events(connection)
    define(
        connection, {"slug": "a"}, {"slug": "b", "depends_on": ["a"]}, redact=["card.number", "b"]
    )
    run_id = start(connection, "f", SECRET)["run_id"]
    work(connection, "f", {"a": SECRET, "b": "4222"})
    assert payload(connection, run_id, "run:started")["input"] == SHOWN
    assert payload(connection, run_id, "step:a:completed")["output"] == SHOWN
    assert payload(connection, run_id, "step:b:completed")["output"] == "[redacted]"
    assert payload(connection, run_id, "run:completed")["output"] == {"b": "[redacted]"}
    assert run(connection, run_id)["output"] == {"b": "4222"}


def test_events_of_batches_do_not_carry_it(connection: Connection) -> None:
    record_events(connection)
    define(connection, {"slug": "m", "step_type": "map"}, redact=["*.number"])
    run_id = start(connection, "f", [{"number": 1}, {"number": 2}])["run_id"]
    work(connection, "f", {"m": {"number": "4111"}})
    assert payload(connection, run_id, "run:started")["input"] == [{"number": "[redacted]"}] * 2
    assert (
        payload(connection, run_id, "step:m:completed")["output"] == [{"number": "[redacted]"}] * 2
    )
    assert payload(connection, run_id, "run:completed")["output"] == {
        "m": [{"number": "[redacted]"}] * 2
    }


def test_failed_tasks_are_shown_without_it(connection: Connection) -> None:
    define(connection, {"slug": "a", "max_attempts": 1}, redact=["card.number"])
    run_id = start(connection, "f", SECRET)["run_id"]
    claim(connection, "f")
    fail(connection, run_id, "a", error="no")
    assert [row["input"] for row in rows(connection, "select input from pgflow.failed_tasks")] == [
        SHOWN
    ]
    # What a flow hides from now on is hidden in its old runs, too.
    define(connection, {"slug": "a", "max_attempts": 1}, redact=["id"])
    found = value(connection, "select input from pgflow.failed_tasks")
    assert found == {"card": {"number": "[redacted]"}, "id": "[redacted]"}


def test_an_old_redaction_holds_for_the_runs_that_started_under_it(connection: Connection) -> None:
    define(connection, {"slug": "a", "max_attempts": 1}, redact=["id"])
    run_id = start(connection, "f", SECRET)["run_id"]
    define(connection, {"slug": "a", "max_attempts": 1})
    assert value(connection, "select redact from pgflow.flows") is None
    claim(connection, "f")
    fail(connection, run_id, "a", error="no")
    found = value(connection, "select input from pgflow.failed_tasks")
    assert found == {"card": {"number": "4111"}, "id": "[redacted]"}


def test_create_flow_takes_paths(connection: Connection) -> None:
    value(connection, "select pgflow.create_flow('f', redact => '{card.number,items.*.token}')")
    assert value(connection, "select redact from pgflow.flows") == ["card.number", "items.*.token"]
    value(connection, "select pgflow.create_flow('g', redact => '{}')")
    assert value(connection, "select redact from pgflow.flows where flow_slug = 'g'") is None


@pytest.mark.parametrize("path", ["", ".", "a..b", "a*", "a\n", "x" * 501, ".".join("a" * 33)])
def test_a_bad_path_is_refused(connection: Connection, path: str) -> None:
    with pytest.raises(Exception, match="which is no path"), connection.transaction():
        define(connection, {"slug": "a"}, redact=[path])
    with pytest.raises(Exception, match="which is no path"), connection.transaction():
        value(connection, "select pgflow.create_flow('f', redact => %s)", [path])
    assert rows(connection, "select 1 from pgflow.flows") == []


def test_paths_that_are_no_list_are_refused(connection: Connection) -> None:
    message = 'The definition of flow "f" is not sound: The flow: redact must be a list of paths such as "card.number"'
    with refused(connection, message, "22023"):
        define(connection, {"slug": "a"}, redact="card")
