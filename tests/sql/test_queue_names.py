"""Queue names: the flow's slug where pgmq can take it, else a short name of its own (D4, fault 43)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    begin,
    call,
    claim,
    complete,
    define,
    fail,
    messages,
    row,
    rows,
    run,
    start,
    task,
    value,
    worker,
)

if TYPE_CHECKING:
    import uuid

LONG = "a_rather_long_flow_slug_that_goes_beyond_what_pgmq_takes"


def queue_of(connection: Connection, flow: str) -> str:
    query = "select coalesce(queue_name, flow_slug) from pgflow.flows where flow_slug = %s"
    return str(value(connection, query, flow))


def physical(connection: Connection, flow: str) -> str:
    return str(
        value(connection, "select pgmq.format_table_name(%s, 'q')", queue_of(connection, flow))
    )


def existing_queues(connection: Connection) -> set[str]:
    return {
        one["queue_name"] for one in rows(connection, "select queue_name from pgmq.list_queues()")
    }


@pytest.mark.parametrize("slug", ["f", "_", "CamelCase", "a" * 47])
def test_a_queue_has_its_flows_name(connection: Connection, slug: str) -> None:
    define(connection, slug, {"a": []})
    assert queue_of(connection, slug) == slug
    assert slug in existing_queues(connection)


@pytest.mark.parametrize("slug", ["a" * 48, LONG, "B" * 128])
def test_a_long_slug_gets_a_short_name(connection: Connection, slug: str) -> None:
    define(connection, slug, {"a": []})
    name = queue_of(connection, slug)
    assert len(name) <= 47
    assert name in existing_queues(connection)


def test_the_short_name_is_deterministic(connection: Connection) -> None:
    define(connection, LONG, {})
    first = queue_of(connection, LONG)
    row(connection, "select pgflow.delete_flow_and_data(%s)", LONG)
    define(connection, LONG, {})
    assert queue_of(connection, LONG) == first


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("foo", "Foo"),
        ("Foo", "foo"),
        ("FOO", "fOO"),
        ("a" * 127 + "b", "a" * 127 + "c"),
        ("a" * 128, "a" * 127 + "A"),
        ("a" * 47, "a" * 48),
        ("a" * 47, "A" * 47),
    ],
)
def test_no_two_flows_share_a_queue(connection: Connection, first: str, second: str) -> None:
    define(connection, first, {"a": []})
    define(connection, second, {"a": []})
    assert physical(connection, first) != physical(connection, second)


def test_a_slug_that_is_another_flows_short_name_gets_a_queue_of_its_own(
    connection: Connection,
) -> None:
    define(connection, LONG, {"a": []})
    taken = queue_of(connection, LONG)
    define(connection, taken, {"a": []})
    assert physical(connection, taken) != physical(connection, LONG)


def test_a_third_spelling_gets_a_queue_of_its_own(connection: Connection) -> None:
    spellings = ["foo", "Foo", "FOO", "fOo"]
    for slug in spellings:
        define(connection, slug, {"a": []})
    assert len({physical(connection, slug) for slug in spellings}) == len(spellings)


def test_a_spelling_stays_apart_after_the_first_was_deleted_and_made_again(
    connection: Connection,
) -> None:
    define(connection, "foo", {"a": []})
    define(connection, "Foo", {"a": []})
    row(connection, "select pgflow.delete_flow_and_data('foo')")
    assert queue_of(connection, "Foo") in existing_queues(connection)
    define(connection, "foo", {"a": []})
    assert physical(connection, "foo") != physical(connection, "Foo")


def test_deleting_one_spelling_keeps_the_others_messages(connection: Connection) -> None:
    define(connection, "foo", {"a": []})
    define(connection, "Foo", {"a": []})
    start(connection, "Foo")
    row(connection, "select pgflow.delete_flow_and_data('foo')")
    assert len(messages(connection, queue_of(connection, "Foo"))) == 1


@pytest.mark.parametrize("slug", [LONG, "x" * 128, "Linear"])
def test_such_a_flow_runs_by_the_contracts_functions(connection: Connection, slug: str) -> None:
    define(connection, "linear", {})
    define(connection, slug, {"a": [], "b": ["a"]}, base_delay=0)
    queue, run_id = queue_of(connection, slug), start(connection, slug)["run_id"]
    for step in "ab":
        ids = value(connection, "select array_agg(msg_id) from pgmq.read(%s, 30, 10)", queue)
        (granted,) = call(
            connection, "start_tasks", flow_slug=slug, msg_ids=ids, worker_id=worker(connection)
        )
        assert granted["step_slug"] == step
        complete(connection, run_id, step, step)
    assert run(connection, run_id)["output"] == {"b": "b"}


def test_such_a_flow_retries(connection: Connection) -> None:
    define(connection, LONG, {"a": []}, base_delay=0)
    run_id = start(connection, LONG)["run_id"]
    for _ in range(2):
        claim(connection, queue_of(connection, LONG))
        fail(connection, run_id, "a")
    assert task(connection, run_id, "a")["status"] == "queued"
    assert messages(connection, queue_of(connection, LONG))[0]["visible"] is True


def test_such_a_flow_empties_its_queue_when_it_fails(connection: Connection) -> None:
    define(connection, LONG, {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, LONG)["run_id"]
    claim(connection, queue_of(connection, LONG), 2)
    fail(connection, run_id, "a")
    assert messages(connection, queue_of(connection, LONG)) == []


def test_flows_that_differ_by_case_do_not_see_each_others_tasks(connection: Connection) -> None:
    define(connection, "foo", {"a": []})
    define(connection, "Foo", {"b": []})
    start(connection, "foo")
    start(connection, "Foo")
    assert [one["step_slug"] for one in begin(connection, "foo", 10)] == ["a"]
    assert [one["step_slug"] for one in claim(connection, queue_of(connection, "Foo"), 10)] == ["b"]


def test_flow_queue_names_tells_where_a_worker_listens(connection: Connection) -> None:
    define(connection, LONG, {"a": []})
    found = rows(connection, "select * from pgflow.flow_queue_names(flow_slug => %s) as name", LONG)
    assert [one["name"] for one in found] == [queue_of(connection, LONG)]


def test_flow_queue_names_includes_the_queues_of_steps(connection: Connection) -> None:
    call(connection, "create_flow", flow_slug="f")
    call(connection, "add_step", flow_slug="f", step_slug="a", queue="gpu")
    call(connection, "add_step", flow_slug="f", step_slug="b", queue="gpu")
    found = rows(connection, "select * from pgflow.flow_queue_names('f') as name")
    assert sorted(one["name"] for one in found) == ["f", "gpu"]


def test_ensure_queue_makes_a_queue_once(connection: Connection) -> None:
    for _ in range(2):
        row(connection, "select pgflow.ensure_queue(queue_name => 'extra')")
    row(connection, "select pgmq.send('extra', '{}')")
    row(connection, "select pgflow.ensure_queue('extra')")
    assert len(messages(connection, "extra")) == 1


@pytest.mark.parametrize(
    "slug", ["x'; drop table pgflow.runs; --", 'x"y', "x;y", "pgmq.q_x", "x\n", "ünï"]
)
def test_a_slug_never_reaches_ddl_unchecked(connection: Connection, slug: str) -> None:
    before = existing_queues(connection)
    with pytest.raises(Exception, match="slug_is_valid"), connection.transaction():
        define(connection, slug, {})
    assert existing_queues(connection) == before


def test_a_run_of_an_unknown_queue_name_is_no_grant(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    row(connection, "select pgflow.ensure_queue('other')")
    assert claim(connection, "other", 10) == []
    assert task(connection, run_id, "a")["status"] == "queued"
