"""pgflow.start_flow with an idempotency key: one run, however often it is started."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    define,
    messages,
    rows,
    start,
    work,
)


def test_the_same_key_returns_the_same_run(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    first = start(connection, "f", {"n": 1}, idempotency_key="k")
    second = start(connection, "f", {"n": 2}, idempotency_key="k")
    assert second == first
    assert len(messages(connection, "f")) == 1


def test_the_same_key_returns_a_finished_run_as_it_is(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f", idempotency_key="k")
    work(connection, "f", {"a": 1})
    again = start(connection, "f", idempotency_key="k")
    assert (again["status"], again["output"]) == ("completed", {"a": 1})


def test_the_key_is_stored(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert start(connection, "f", idempotency_key="k")["idempotency_key"] == "k"


def test_keys_are_per_flow(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    define(connection, "g", {"a": []})
    first = start(connection, "f", idempotency_key="k")
    assert start(connection, "g", idempotency_key="k")["run_id"] != first["run_id"]


def test_runs_without_a_key_are_all_different(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    started = {start(connection, "f", idempotency_key=None)["run_id"] for _ in range(3)}
    assert len(started) == 3


@pytest.mark.parametrize("key", ["", "  ", "\t\n"])
def test_a_blank_key_is_refused(connection: Connection, key: str) -> None:
    define(connection, "f", {"a": []})
    with pytest.raises(psycopg.Error), connection.transaction():
        start(connection, "f", idempotency_key=key)
    assert rows(connection, "select * from pgflow.runs") == []
