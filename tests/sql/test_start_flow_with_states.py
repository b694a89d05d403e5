"""pgflow.start_flow_with_states: a start that answers with the run and its steps."""

from __future__ import annotations

import uuid
from typing import Any

from psycopg.types.json import Jsonb

from tests.support.sql import Connection, define, diamond, refused, rows, value


def start_with_states(
    connection: Connection, flow: str, given: object, **named: uuid.UUID
) -> dict[str, Any]:
    query = "select pgflow.start_flow_with_states(flow_slug => %s, input => %s, run_id => %s)"
    return dict(value(connection, query, flow, Jsonb(given), named.get("run_id")))


def test_returns_what_get_run_with_states_returns(connection: Connection) -> None:
    diamond(connection)
    answer = start_with_states(connection, "diamond", {"k": 1})
    again = value(
        connection, "select pgflow.get_run_with_states(%s::uuid)", answer["run"]["run_id"]
    )
    assert answer["run"] == again["run"]
    assert sorted(answer["steps"], key=str) == sorted(again["steps"], key=str)


def test_starts_one_run(connection: Connection) -> None:
    diamond(connection)
    answer = start_with_states(connection, "diamond", {"k": 1})
    (stored,) = rows(connection, "select * from pgflow.runs")
    assert (str(stored["run_id"]), stored["input"]) == (answer["run"]["run_id"], {"k": 1})


def test_a_given_id_is_used(connection: Connection) -> None:
    diamond(connection)
    given = uuid.uuid4()
    assert start_with_states(connection, "diamond", {}, run_id=given)["run"]["run_id"] == str(given)


def test_the_id_may_be_left_out(connection: Connection) -> None:
    diamond(connection)
    answer = value(connection, "select pgflow.start_flow_with_states('diamond', '{}')")
    assert answer["run"]["status"] == "started"


def test_the_states_show_what_followed(connection: Connection) -> None:
    diamond(connection)
    answer = start_with_states(connection, "diamond", {})
    found = {one["step_slug"]: one["status"] for one in answer["steps"]}
    assert found == {"root": "started", "left": "created", "right": "created", "merge": "created"}


def test_refuses_as_start_flow_does(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    with refused(
        connection, "Flow f has root map steps but input is not an array (got object)", "P0001"
    ):
        start_with_states(connection, "f", {})


def test_its_search_path_is_pinned(connection: Connection) -> None:
    query = """select proconfig from pg_proc
      where oid = 'pgflow.start_flow_with_states(text, jsonb, uuid)'::regprocedure"""
    assert value(connection, query) == ['search_path=""']
