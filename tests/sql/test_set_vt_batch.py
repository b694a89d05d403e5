"""pgflow.set_vt_batch: visibility of many messages at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import Connection, Row, messages, refused, row, rows, value

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture
def queue(connection: Connection) -> str:
    rows(connection, "select pgmq.create('q')")
    return "q"


def send(connection: Connection, count: int = 1, headers: str | None = None) -> list[int]:
    return [
        value(connection, "select pgmq.send('q', '{\"n\": 1}', %s::jsonb)", headers)
        for _ in range(count)
    ]


def set_vt(
    connection: Connection, ids: Sequence[int] | None, offsets: Sequence[int] | None
) -> list[Row]:
    query = "select * from pgflow.set_vt_batch('q', %s::bigint[], %s::int[])"
    return rows(connection, query, ids, offsets)


def test_sets_each_message_to_its_own_offset_from_the_wall_clock(
    connection: Connection, queue: str
) -> None:
    first, second, third = send(connection, 3)
    set_vt(connection, [third, first, second], [300, 100, 200])
    assert [round(one["delay"], -1) for one in messages(connection, queue)] == [100, 200, 300]


def test_counts_from_the_wall_clock_not_from_the_transaction(
    connection: Connection, queue: str
) -> None:
    ids = send(connection)
    rows(connection, "select pg_sleep(0.05)")
    (updated,) = set_vt(connection, ids, [0])
    assert updated["vt"] > value(connection, "select now() + interval '40 ms'")


def test_a_negative_offset_makes_a_message_visible(connection: Connection, queue: str) -> None:
    ids = send(connection)
    set_vt(connection, ids, [60])
    set_vt(connection, ids, [-5])
    assert messages(connection, queue)[0]["visible"]


def test_returns_the_updated_messages_whole(connection: Connection, queue: str) -> None:
    ids = send(connection, headers='{"h": true}')
    (updated,) = set_vt(connection, ids, [10])
    stored = row(
        connection, "select msg_id, read_ct, enqueued_at, vt, message, headers from pgmq.q_q"
    )
    assert updated == stored


def test_columns_come_in_the_contracts_order(connection: Connection, queue: str) -> None:
    (updated,) = set_vt(connection, send(connection), [10])
    assert list(updated) == ["msg_id", "read_ct", "enqueued_at", "vt", "message", "headers"]


def test_leaves_other_messages_alone(connection: Connection, queue: str) -> None:
    changed, other = send(connection, 2)
    returned = set_vt(connection, [changed], [60])
    assert [one["msg_id"] for one in returned] == [changed]
    assert [one["msg_id"] for one in messages(connection, queue) if one["visible"]] == [other]


def test_ignores_unknown_ids(connection: Connection, queue: str) -> None:
    (known,) = send(connection)
    assert [one["msg_id"] for one in set_vt(connection, [known, 999], [5, 5])] == [known]


@pytest.mark.parametrize(("ids", "offsets"), [([], []), (None, None), (None, [1]), ([1], None)])
def test_empty_or_null_arrays_give_no_rows(
    connection: Connection, queue: str, ids: list[int] | None, offsets: list[int] | None
) -> None:
    send(connection)
    assert set_vt(connection, ids, offsets) == []


def test_refuses_arrays_of_different_lengths(connection: Connection, queue: str) -> None:
    with refused(connection, "msg_ids length (2) must equal vt_offsets length (1)"):
        set_vt(connection, [1, 2], [1])


def test_refuses_an_unknown_queue(connection: Connection) -> None:
    with refused(connection, 'relation "pgmq.q_nonexistent_queue" does not exist', "42P01"):
        rows(
            connection,
            "select * from pgflow.set_vt_batch('nonexistent_queue', array[1::bigint], array[1])",
        )


def test_headers_are_null_when_a_message_has_none(connection: Connection, queue: str) -> None:
    (updated,) = set_vt(connection, send(connection), [10])
    assert updated["headers"] is None


def test_keeps_the_read_count(connection: Connection, queue: str) -> None:
    ids = send(connection)
    rows(connection, "select * from pgmq.read('q', 0, 1)")
    (updated,) = set_vt(connection, ids, [10])
    assert updated["read_ct"] == 1


def test_takes_its_parameters_by_name(connection: Connection, queue: str) -> None:
    (known,) = send(connection)
    query = "select msg_id from pgflow.set_vt_batch(vt_offsets => array[1], msg_ids => array[%s::bigint], queue_name => 'q')"
    assert value(connection, query, known) == known
