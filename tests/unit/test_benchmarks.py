"""The benchmarks' harness: it measures what it says, and no figure survives a wrong result. No timing is asserted."""

import psycopg
import pytest

from benchmarks.checks import (
    WrongResult,
    check_attempts,
    check_chain,
    check_diamonds,
    check_fan,
)
from benchmarks.flows import CHAIN_LENGTH, collect, fan, item, produce
from benchmarks.limit import measure_limit
from benchmarks.measures import Delays, measure_chain, measure_diamonds, measure_map
from benchmarks.report import as_json, as_markdown
from benchmarks.suite import BASE, Results


@pytest.fixture
def finished_map(database_url: str) -> str:
    measure_limit(database_url, 20, 1)
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

    results = Results(maps=[figures], diamonds=diamonds, transitions=transitions, starts=starts)
    assert as_json(results)["maps"][0]["tasks_per_second"] == figures.rate
    assert "| 30 | 1 |" in as_markdown(results, "the command", 1.0)
    assert "the command" in as_markdown(results, "the command", 1.0)


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


def test_ratios_need_what_they_compare() -> None:
    assert Results().ratios() == {}
    assert Results(limit=100.0).map_of(BASE, 2) is None
    assert Delays.of([0.001] * 5) == Delays(5, 0.001, 0.001)
