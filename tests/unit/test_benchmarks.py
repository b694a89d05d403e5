"""The benchmarks measure what they say, and no figure survives a wrong result. No timing is asserted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.batches import BatchFigures, measure_batches
from benchmarks.checks import (
    WrongResult,
    check_attempts,
    check_chain,
    check_diamonds,
    check_fan,
)
from benchmarks.flows import CHAIN_LENGTH, batched, collect, fan, item, produce
from benchmarks.limit import DESCRIPTIONS, PGMQ, SCHEMA, Variant, check_limit, measure_limit
from benchmarks.measures import Delays, measure_chain, measure_diamonds, measure_map
from benchmarks.sql_alone import measure_sql
from benchmarks.suite import BASE, IdleFigures, Results
from benchmarks.tables import limit_table, map_table, other_table
from benchmarks.yardstick import StartRatios

if TYPE_CHECKING:
    from benchmarks.goals import Figures


@pytest.fixture
def finished_map(database_url: str) -> str:
    measure_sql(database_url, 20, 1)
    return database_url


async def test_measures_on_workers_of_its_own(database_url: str) -> None:
    figures = await measure_map(database_url, 30, 1, 1)
    assert figures.items == 30
    assert figures.rate > 0
    assert 0 < figures.first_task < figures.usage.seconds
    assert figures.usage.transactions < 30
    assert figures.usage.wal_bytes > 0

    diamonds = await measure_diamonds(database_url, 5, 1, warm_up=3)
    assert diamonds.runs == 5

    transitions, starts = await measure_chain(database_url, 2, warm_up=0)
    assert transitions.count == 2 * (CHAIN_LENGTH - 1)
    assert starts.count == 2

    results = Results(
        maps=[figures],
        diamonds=diamonds,
        transitions=transitions,
        starts=starts,
        batches=BatchFigures(500, 100, 2, figures.usage),
        idle=IdleFigures(0.15, 0.07),
        start_ratios=StartRatios(2.5, 1.1),
        inserts={"1": 6_700.0},
    ).as_json()
    assert results["maps"][0]["tasks_per_second"] == figures.rate
    assert results["diamonds"]["runs_per_second"] == diamonds.rate
    assert map_table(results).rows[0][:3] == ("30", "1", f"{figures.rate:,.0f}")
    shown = {row[0]: row[1] for row in other_table(results).rows}
    assert (
        shown["5 runs of a diamond, started by one call, 1 workers"]
        == f"{diamonds.rate:,.0f} runs/s"
    )
    assert shown["idle worker"] == "0.15 statements/s, 0.07 % CPU"
    assert shown["`import pgflow` / a bare interpreter"] == "2.50"
    assert shown["pgbench, one-row inserts, 1 client(s)"] == "6,700 commits/s"


async def test_a_map_in_batches_has_one_task_for_a_hundred_items(database_url: str) -> None:
    found = await measure_batches(database_url, 250, 1, 1)
    assert (found.items, found.batch_size) == (250, 100)
    # The map of the warm-up has 250 items too: 3 batches and 2 single steps in both runs.
    check_attempts(database_url, batched.slug, 10)


async def test_diamonds_with_a_wrong_output_do_not_count(finished_map: str) -> None:
    await measure_diamonds(finished_map, 2, 1, warm_up=1)
    with psycopg.connect(finished_map, autocommit=True) as connection:
        connection.execute(
            "update pgflow.runs set output = '{}' where flow_slug = 'bench_diamond' and input = '1'"
        )
    with pytest.raises(WrongResult, match="wrong"):
        check_diamonds(finished_map, 3)
    with pytest.raises(WrongResult, match="4 diamonds gave 3 runs"):
        check_diamonds(finished_map, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("update pgflow.step_tasks set attempts_count = 2 where task_index = 3", "grants"),
        ("delete from pgflow.step_tasks where task_index = 3", "expected 124"),
        ("select pgmq.send('bench_fan', '{}')", "messages are left"),
    ],
)
def test_lost_and_doubled_tasks_are_noticed(finished_map: str, change: str, message: str) -> None:
    check_attempts(finished_map, fan.slug, 124)
    with psycopg.connect(finished_map, autocommit=True) as connection:
        connection.execute(change.encode())
    with pytest.raises(WrongResult, match=message):
        check_attempts(finished_map, fan.slug, 124)


def test_a_map_must_return_every_item_in_its_place() -> None:
    outputs = [item.function(number) for number in produce.function(5)]
    delay = check_fan({"collect": collect.function(outputs)}, 5)
    assert 0 < delay < 60
    for wrong in ([*outputs[:-1]], [*outputs, 4], [*outputs[:3], outputs[4], outputs[3]]):
        with pytest.raises(WrongResult):
            check_fan({"collect": collect.function(wrong)}, 5)


def test_a_chain_must_go_through_every_link_in_order() -> None:
    links = [[10, 11], [12, 14]]
    assert check_chain({"link_1": links}, 2) == [(10, 11), (12, 14)]
    with pytest.raises(WrongResult):
        check_chain({"link_1": links}, 3)
    with pytest.raises(WrongResult):
        check_chain({"link_1": links[::-1]}, 2)


@pytest.mark.parametrize("variant", DESCRIPTIONS)
def test_every_variant_of_the_limit_does_the_bookkeeping(
    database_url: str, variant: Variant
) -> None:
    assert measure_limit(database_url, variant, 250) > 0


@pytest.mark.parametrize(
    "change",
    [
        "update bare.tasks set attempts = 2 where task_index = 3",
        "update bare.tasks set status = 'started' where task_index = 3",
        "update bare.states set remaining = 1",
        "update bare.states set output = output - 0",
        "select pgmq.send('bare', '{}')",
        "delete from pgmq.a_bare where msg_id = 3",
    ],
)
def test_a_limit_that_did_less_does_not_count(database_url: str, change: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SCHEMA.format(**PGMQ).encode())
        connection.execute("select bare.start(1, 5)")
        connection.execute("call bare.work(1, 2)")
        check_limit(connection, run=1, size=5, before=0)
        connection.execute(change.encode())
        with pytest.raises(WrongResult):
            check_limit(connection, run=1, size=5, before=0)


def test_ratios_need_what_they_compare() -> None:
    assert Results().ratios() == {}
    assert Results(limits={"fused": [100.0]}).map_of(BASE, 2) is None
    assert Results(limits={"fused": [100.0]}, sql_alone=[50.0]).ratios() == {}
    assert Delays.of([0.001] * 5) == Delays(5, 0.001, 0.001)
    limits = {"fused": [90.0, 200.0, 100.0]}
    own: Figures = {"maps": [], "limits": limits, "sql_alone": []}
    assert [row[1:] for row in limit_table(own).rows] == [("100", "\N{EN DASH}")]
    own["maps"] = [{"items": BASE, "workers": 2, "tasks_per_second": 70.0}]
    assert [row[1:] for row in limit_table(own).rows] == [("70", "1.00"), ("100", "0.70")]
