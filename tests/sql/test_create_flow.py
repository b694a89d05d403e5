"""pgflow.create_flow: a flow with its options and its queue."""

from __future__ import annotations

import pytest

from tests.support.sql import Connection, call, define, messages, refused, row, rows, start, value

OPTIONS = ("opt_max_attempts", "opt_base_delay", "opt_timeout")


def stored_options(connection: Connection, flow: str) -> tuple[int, ...]:
    found = row(connection, "select * from pgflow.flows where flow_slug = %s", flow)
    return tuple(found[option] for option in OPTIONS)


def queue_names(connection: Connection) -> list[str]:
    return [
        one["queue_name"] for one in rows(connection, "select queue_name from pgmq.list_queues()")
    ]


def test_returns_the_stored_row(connection: Connection) -> None:
    returned = row(connection, "select * from pgflow.create_flow('f', 7, 8, 9)")
    assert returned == row(connection, "select * from pgflow.flows where flow_slug = 'f'")


def test_options_default_to_3_5_60(connection: Connection) -> None:
    row(connection, "select pgflow.create_flow('f')")
    assert stored_options(connection, "f") == (3, 5, 60)


def test_null_options_become_the_defaults(connection: Connection) -> None:
    call(connection, "create_flow", flow_slug="f", max_attempts=None, base_delay=None, timeout=None)
    assert stored_options(connection, "f") == (3, 5, 60)


def test_stores_given_options(connection: Connection) -> None:
    call(connection, "create_flow", flow_slug="f", max_attempts=10, base_delay=2, timeout=120)
    assert stored_options(connection, "f") == (10, 2, 120)


def test_options_are_taken_by_position(connection: Connection) -> None:
    row(connection, "select pgflow.create_flow('f', 4, 0, 1)")
    assert stored_options(connection, "f") == (4, 0, 1)


@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout"])
def test_one_option_leaves_the_others_at_their_defaults(
    connection: Connection, option: str
) -> None:
    call(connection, "create_flow", flow_slug="f", **{option: 11})
    expected = {"max_attempts": 3, "base_delay": 5, "timeout": 60} | {option: 11}
    assert stored_options(connection, "f") == tuple(expected.values())


def test_an_existing_flow_is_returned_unchanged(connection: Connection) -> None:
    first = row(connection, "select * from pgflow.create_flow('f', 7, 8, 9)")
    second = row(connection, "select * from pgflow.create_flow('f', 1, 2, 3)")
    assert second == first
    assert stored_options(connection, "f") == (7, 8, 9)


def test_an_existing_flow_keeps_its_steps_and_messages(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f")
    row(connection, "select pgflow.create_flow('f')")
    assert len(messages(connection, "f")) == 1
    assert value(connection, "select count(*) from pgflow.steps where flow_slug = 'f'") == 1


def test_creates_the_queue_of_the_flow(connection: Connection) -> None:
    row(connection, "select pgflow.create_flow('f')")
    assert queue_names(connection).count("f") == 1


def test_creating_again_restores_a_dropped_queue(connection: Connection) -> None:
    row(connection, "select pgflow.create_flow('f')")
    row(connection, "select pgmq.drop_queue('f')")
    row(connection, "select pgflow.create_flow('f')")
    assert "f" in queue_names(connection)


def test_a_queue_that_exists_already_keeps_its_messages(connection: Connection) -> None:
    row(connection, "select pgmq.create('f')")
    row(connection, "select pgmq.send('f', '{}')")
    row(connection, "select pgflow.create_flow('f')")
    assert len(messages(connection, "f")) == 1


def test_flows_are_independent(connection: Connection) -> None:
    row(connection, "select pgflow.create_flow('f', 1)")
    row(connection, "select pgflow.create_flow('g', 2)")
    assert stored_options(connection, "f")[0] == 1
    assert stored_options(connection, "g")[0] == 2


def test_returns_one_row_in_from(connection: Connection) -> None:
    assert len(rows(connection, "select * from pgflow.create_flow('f')")) == 1
    assert len(rows(connection, "select * from pgflow.create_flow('f')")) == 1


@pytest.mark.parametrize("slug", ["", "1f", "a-b", "a b", "run", "a" * 129, "a\n"])
def test_a_bad_slug_violates_slug_is_valid(connection: Connection, slug: str) -> None:
    text = 'new row for relation "flows" violates check constraint "slug_is_valid"'
    with refused(connection, text, "23514"):
        row(connection, "select pgflow.create_flow(%s)", slug)


def test_a_null_slug_is_refused(connection: Connection) -> None:
    with pytest.raises(Exception, match='"flow_slug"'), connection.transaction():
        row(connection, "select pgflow.create_flow(null)")
    assert value(connection, "select count(*) from pgflow.flows") == 0


def test_a_refused_flow_leaves_no_queue(connection: Connection) -> None:
    before = queue_names(connection)
    with pytest.raises(Exception, match="slug_is_valid"), connection.transaction():
        row(connection, "select pgflow.create_flow('not-a-slug')")
    assert queue_names(connection) == before


@pytest.mark.parametrize(
    ("option", "bad", "constraint"),
    [
        ("max_attempts", -1, "opt_max_attempts_is_nonnegative"),
        ("base_delay", -1, "opt_base_delay_is_nonnegative"),
        ("timeout", 0, "opt_timeout_is_positive"),
        ("timeout", -1, "opt_timeout_is_positive"),
    ],
)
def test_a_bad_option_violates_its_check(
    connection: Connection, option: str, bad: int, constraint: str
) -> None:
    text = f'new row for relation "flows" violates check constraint "{constraint}"'
    with refused(connection, text, "23514"):
        call(connection, "create_flow", flow_slug="f", **{option: bad})


def test_zero_attempts_and_zero_delay_are_legal(connection: Connection) -> None:
    row(connection, "select pgflow.create_flow('f', 0, 0)")
    assert stored_options(connection, "f") == (0, 0, 60)
