"""Parts of the stream pattern: what the bridge hands over, and what the flow makes of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest

from examples.stream import audit, store
from examples.stream.bridge import hand_over, parse
from examples.stream.flow import Batch, Group, Sale, aggregate, transform
from pgflow import Client, Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

STREAM = "SALES 2026-01-01"


def query(dsn: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text.encode()).fetchall()


def message(seq: int, data: bytes | None = None) -> Msg:
    """Make what the bridge reads of a message."""
    made = SimpleNamespace(
        metadata=SimpleNamespace(sequence=SimpleNamespace(stream=seq)),
        data=data or json.dumps({"shop": "Oslo", "cents": seq}).encode(),
    )
    return cast("Msg", made)


class Bridge:
    """Hands messages over, as the bridge's loop does."""

    def __init__(self, database: Database, connection: psycopg.AsyncConnection[Any]) -> None:
        self.client = Client(database)
        self.connection = connection

    async def take(self, *seqs: int) -> int:
        return await self.take_messages(*map(message, seqs))

    async def take_messages(self, *messages: Msg) -> int:
        return await hand_over(self.client, self.connection, STREAM, [*messages])

    async def runs(self) -> list[list[int]]:
        found = await self.connection.execute(
            "select input from stream_example.batches join pgflow.runs using (run_id) order by taken_at"
        )
        return [[sale["seq"] for sale in input["sales"]] for (input,) in await found.fetchall()]  # noqa: A001 - the column's name

    async def offsets(self) -> tuple[str, int]:
        found = await self.connection.execute(
            "select taken::text, redelivered from stream_example.offsets"
        )
        (row,) = await found.fetchall()
        return cast("tuple[str, int]", row)


@pytest.fixture
async def bridge(database_url: str) -> AsyncIterator[Bridge]:
    store.create(database_url)
    async with (
        Database.connect(database_url) as database,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        await store.open_stream(connection, STREAM)
        yield Bridge(database, connection)


async def test_what_is_delivered_again_starts_nothing(bridge: Bridge) -> None:
    assert await bridge.take(1, 2, 3) == 1
    assert await bridge.take(1, 2, 3) == 0
    assert await bridge.runs() == [[1, 2, 3]]
    assert await bridge.offsets() == ("{[1,4)}", 3)


async def test_new_events_among_old_ones_start_a_run_of_their_own(bridge: Bridge) -> None:
    await bridge.take(1, 2, 3)
    assert await bridge.take(2, 3, 4, 5) == 1
    assert await bridge.runs() == [[1, 2, 3], [4, 5]]


async def test_events_that_were_overtaken_are_not_lost(bridge: Bridge) -> None:
    """After a crash the broker delivers new events before those that it delivers again."""
    await bridge.take(1, 2)
    await bridge.take(5, 6)
    assert await bridge.offsets() == ("{[1,3),[5,7)}", 0)
    assert await bridge.take(3, 4, 5) == 1
    assert await bridge.runs() == [[1, 2], [5, 6], [3, 4]]
    assert await bridge.offsets() == ("{[1,7)}", 1)


async def test_an_event_that_comes_twice_in_one_batch_is_taken_once(bridge: Bridge) -> None:
    assert await bridge.take(1, 1, 2) == 1
    assert await bridge.runs() == [[1, 2]]


async def test_the_run_and_the_offsets_exist_together_or_not_at_all(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_off(*_: object) -> None:
        raise ConnectionError("in between")

    with monkeypatch.context() as patch:
        patch.setattr(store, "take", break_off)
        with pytest.raises(ConnectionError):
            await bridge.take(1, 2)
    assert await bridge.runs() == []
    started = await bridge.connection.execute("select from pgflow.runs")
    assert started.rowcount == 0
    assert await bridge.take(1, 2) == 1
    assert await bridge.offsets() == ("{[1,3)}", 0)


async def test_an_event_that_cannot_be_read_stops_neither_the_stream_nor_its_batch(
    bridge: Bridge,
) -> None:
    assert await bridge.take_messages(message(1), message(2, b"{"), message(3)) == 1
    assert await bridge.take_messages(message(4, b"[]")) == 0
    assert await bridge.take_messages(message(2, b"{"), message(5)) == 1
    assert await bridge.runs() == [[1, 3], [5]]
    assert await bridge.offsets() == ("{[1,6)}", 1)
    found = await bridge.connection.execute(
        "select seq, data, reason from stream_example.quarantine order by seq"
    )
    (first, second) = await found.fetchall()
    assert first[:2] == (2, b"{")
    assert first[2].startswith("JSONDecodeError")
    assert second == (4, b"[]", "ValueError: no shop (text) and cents (a whole number up to 10^12)")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff", b"", b"7", b"[" * 100_000, b'{"shop": "Oslo"}', b'{"shop": 7, "cents": 7}',
        b'{"shop": "", "cents": 7}', b'{"shop": "a\\u0000", "cents": 7}',
        b'{"shop": "\\ud800", "cents": 7}', b'{"shop": "Oslo", "cents": 7.5}',
        b'{"shop": "Oslo", "cents": true}', b'{"shop": "Oslo", "cents": 1000000000001}',
    ],
    ids=str,
)  # fmt: skip
def test_whatever_is_no_sale_is_known_as_such(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse(1, data)


def test_a_sale_may_have_more_than_is_asked_for() -> None:
    data = b'{"shop": "S\xc3\xa3o Paulo", "cents": -7, "till": 3}'
    assert parse(1, data) == Sale(1, "São Paulo", -7)


async def test_a_batch_that_was_written_twice_is_noticed(bridge: Bridge, database_url: str) -> None:
    await bridge.take(1, 2)
    metric = store.Metric("Oslo", 2, 3, 1.0, 2.0)
    ((run_id,),) = query(database_url, "select run_id from stream_example.batches")
    with psycopg.connect(database_url) as connection:
        store.add(connection, run_id, [metric])
        assert audit.count(connection, audit.DOUBLED) == 0
        store.add(connection, run_id, [metric])
        assert audit.count(connection, audit.DOUBLED) == 1


async def test_an_interrupted_example_does_not_write_to_the_next_one(
    bridge: Bridge, database_url: str
) -> None:
    await bridge.take(1, 2)
    store.create(database_url)
    statuses = query(database_url, "select status::text from pgflow.runs")
    assert statuses == [("cancelled",)]


def test_sales_are_grouped_by_shop() -> None:
    sales = [Sale(1, "Oslo", 5), Sale(2, "Berlin", 7), Sale(3, "Oslo", 6)]
    assert aggregate(Batch(sales)) == [Group("Berlin", [7]), Group("Oslo", [5, 6])]


def test_another_attempt_finds_the_same_metric() -> None:
    group = Group("Oslo", [*range(100, 200)])
    metric = transform(group)
    assert metric == transform(group)
    assert (metric.sales, metric.cents) == (100, sum(range(100, 200)))
    assert metric.mean_low < 149.5 < metric.mean_high
