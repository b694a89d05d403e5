"""The stream pattern: totals are exact to the event, whoever dies."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET

import psycopg
import pytest

from examples.stream import store
from examples.stream.bridge import hand_over
from examples.stream.flow import Batch, Group, Sale, aggregate, stream_metrics, transform
from pgflow import Client, Database
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

STREAM = "SALES 2026-01-01"


def query(dsn: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text.encode()).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_doubled(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("stream", database_url, tmp_path, timeout=200)
    assert facts["checks"]
    assert all(facts["checks"].values()), facts
    assert set(facts["outages"]) == {"bridge", "broker", "workers"}
    assert facts["short_runs"] >= 1
    # The first bridge died with a whole batch unacknowledged.
    assert facts["redelivered"] >= 100

    # Count and sum of each shop, by the ledger and by the tables.
    sales, cents = Counter[str](), Counter[str]()
    with (tmp_path / "ledger.csv").open(newline="") as ledger:
        for _, shop, amount, *_ in csv.reader(ledger):
            sales[shop] += 1
            cents[shop] += int(amount)
    assert sales.total() == facts["events"] == 5_050
    totals = query(database_url, "select shop, sales, cents from stream_example.totals")
    assert {shop: (sales[shop], cents[shop]) for shop in sales} == {
        shop: (count, amount) for shop, count, amount in totals
    }

    # Each event in one run, each run completed, each batch written once.
    seqs = query(
        database_url,
        "select (sale ->> 'seq')::int from pgflow.runs, jsonb_array_elements(input -> 'sales') as sale",
    )
    assert sorted(seq for (seq,) in seqs) == [*range(1, 5_051)]
    statuses = query(database_url, "select distinct status::text from pgflow.runs")
    assert statuses == [("completed",)]
    doubled = query(
        database_url,
        "select run_id, shop from stream_example.metrics group by 1, 2 having count(*) > 1",
    )
    assert doubled == []
    lost = query(database_url, "select count(*) from pgflow.attempts where outcome = 'lost'")
    assert lost == [(facts["lost_attempts"],)] != [(0,)]

    picture = ET.parse(tmp_path / "picture.svg").getroot()
    assert picture.tag.endswith("svg")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}path"))) > 20


def test_without_a_server_it_says_how_to_get_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.stream", "--nats-server", "/nowhere/nats-server"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "apt-get install nats-server" in done.stderr
    assert "brew install nats-server" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def message(seq: int) -> Msg:
    """Make what the bridge reads of a message."""
    made = SimpleNamespace(
        metadata=SimpleNamespace(sequence=SimpleNamespace(stream=seq)),
        data=json.dumps({"shop": "Oslo", "cents": seq}).encode(),
    )
    return cast("Msg", made)


class Bridge:
    """Hands messages over, as the bridge's loop does."""

    def __init__(self, database: Database, connection: psycopg.AsyncConnection[Any]) -> None:
        self.client = Client(database)
        self.connection = connection

    async def take(self, *seqs: int) -> int:
        return await hand_over(self.client, self.connection, STREAM, [message(seq) for seq in seqs])

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


def test_the_page_shows_the_flow() -> None:
    page = (ROOT / "docs" / "patterns" / "stream.md").read_text()
    assert f"```mermaid\n{stream_metrics.mermaid()}```" in page
