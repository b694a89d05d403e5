"""The harnesses of `make bench-million` and `make bench-scaling`: what they compute from what they see. No timing is asserted."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import psycopg
import pytest

from benchmarks import scaling_report
from benchmarks.checks import WrongResult
from benchmarks.curve import Curve, Goal, Span, as_svg
from benchmarks.large_flows import each, source, tally
from benchmarks.measures import Delays
from benchmarks.memory import Memory, MemoryWatch, sizes
from benchmarks.million import MillionFigures, Sizes, check_tally, measure_million
from benchmarks.million_report import as_markdown, goals
from benchmarks.scaling import Commits, ScalingFigures
from benchmarks.scaling_report import (
    BEGIN,
    END,
    Cost,
    LargeServer,
    as_lines,
    commit_lines,
    projection,
    write_page,
)
from benchmarks.stage import Usage
from benchmarks.waits import Wait, WaitSampler, called, measure_commits, shares

if TYPE_CHECKING:
    from pathlib import Path

EVEN = Curve(100.0, tuple((100.0 + second, 50) for second in range(1, 21)))
"""A batch of 50 tasks each second for 20 seconds."""


def usage(seconds: float = 2.0, scale: float = 1.0) -> Usage:
    return Usage(
        seconds=seconds,
        worker_cpu=scale,
        server_cpu=2 * scale,
        wal_bytes=int(2000 * scale),
        transactions=int(20 * scale),
        database_bytes=0,
        peak_rss=50_000_000,
    )


# The curve


def test_an_even_curve_is_flat() -> None:
    assert (EVEN.tasks, EVEN.seconds) == (1000, 20)
    assert EVEN.buckets(5) == [pytest.approx(37.5), 50, 50, 50, pytest.approx(62.5)]
    assert EVEN.spans() == (Span(100, 102, 100), Span(118, 120, 100))
    assert EVEN.flatness() == 1


def test_every_task_is_in_one_bucket() -> None:
    curve = Curve(0.0, ((0.0, 1), (0.1, 7), (2.5, 11), (9.999, 3), (10.0, 5)))
    for number in (1, 3, 24, 1000):
        width = curve.seconds / number
        assert sum(rate * width for rate in curve.buckets(number)) == pytest.approx(27)


def test_a_curve_that_slows_down_is_not_flat() -> None:
    slow = [(100.0 + 10 + 2 * n, 50) for n in range(1, 11)]
    curve = Curve(100.0, (*EVEN.batches[:10], *slow))
    assert curve.flatness() == pytest.approx(0.5)


def test_a_tenth_ends_with_the_batch_that_fills_it() -> None:
    curve = Curve(0.0, ((1.0, 5), (2.0, 25), (3.0, 60), (4.0, 5), (5.0, 5)))
    first, last = curve.spans()
    assert first == Span(0, 2, 30)
    assert last == Span(3, 5, 10)


@pytest.mark.parametrize("batches", [(), ((2.0, 1), (1.0, 1)), ((-1.0, 1),)])
def test_a_curve_needs_batches_in_order(batches: tuple[tuple[float, int], ...]) -> None:
    with pytest.raises(ValueError, match="in the order of their times"):
        Curve(0.0, batches)


def test_a_curve_of_one_batch_has_no_tenths() -> None:
    with pytest.raises(ValueError, match="so few batches"):
        Curve(0.0, ((1.0, 100),)).spans()


def test_the_drawing_is_one_line_within_its_frame() -> None:
    drawing = ET.fromstring(as_svg(EVEN, 24, "a title"))
    (line,) = drawing.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == 24
    assert all(0 <= x <= 720 and 0 <= y <= 260 for x, y in points)
    # The lowest rate is drawn lowest.
    rates = EVEN.buckets(24)
    assert max(points, key=lambda point: point[1])[0] == points[rates.index(min(rates))][0]


# Goals


@pytest.mark.parametrize(
    ("figure", "limit", "at_least", "met"),
    [
        (0.85, 0.85, True, True),
        (0.84, 0.85, True, False),
        (1.0, 1.0, False, True),
        (1.1, 1.0, False, False),
    ],
)
def test_the_verdict_of_a_goal(figure: float, limit: float, at_least: bool, met: bool) -> None:
    goal = Goal("rate", figure, limit, "s", at_least=at_least)
    assert goal.is_met is met
    sign = "≥" if at_least else "≤"
    assert goal.row() == (
        "rate",
        f"{figure:.3g} s",
        f"{sign} {limit:.3g} s",
        "met" if met else "missed",
    )


def test_a_missed_goal_is_said_so_on_the_page() -> None:
    memories = [Memory(1, "worker"), Memory(2, "client backend", resident=1, own=600_000_000)]
    page = as_markdown(figures_of(EVEN, memories), {"fsync": "on"}, "the command", (1.0, 2.0))
    assert "| largest backend's own memory | 600 MB | ≤ 500 MB | missed |" in page
    assert "| rate of the last tenth / of the first | 1 times | ≥ 0.85 times | met |" in page
    assert "`the command`" in page
    assert "`fsync=on`" in page


def figures_of(curve: Curve, memories: list[Memory]) -> MillionFigures:
    return MillionFigures(
        items=curve.tasks,
        workers=2,
        curve=curve,
        first_task=0.5,
        reading=1.0,
        usage=usage(),
        idle=Delays(3, 0.01, 0.02),
        beside=Delays(3, 0.05, 0.06),
        memories=memories,
        tenth_costs=(1e-4, 1e-4),
        costs=[1e-4],
        sizes=Sizes(10, 30, 20, 0.1),
        updates=100,
        hot_updates=90,
    )


# The flow, and a small one for real


def test_the_tally_tells_a_right_stream_from_wrong_ones() -> None:
    outputs = [each.function(number) for number in source.function(6)]
    check_tally(tally.function(iter(outputs)), 6)
    for wrong in (outputs[:-1], [*outputs, 5], [*outputs[:3], outputs[4], outputs[3], outputs[5]]):
        with pytest.raises(WrongResult):
            check_tally(tally.function(iter(wrong)), 6)


async def test_measures_a_map_beside_small_runs(database_url: str) -> None:
    found = await measure_million(database_url, 8_000, 1, idle_runs=3, every=0.01)
    assert found.curve.tasks == 8_000
    assert found.usage.seconds > found.curve.seconds > 0
    assert 0 < found.first_task < found.usage.seconds
    assert found.idle.count == 3
    assert len(found.costs) > 1
    assert min(found.costs) >= 0
    assert found.updates >= found.hot_updates > 8_000
    assert found.sizes.before < found.sizes.after
    called_by_workers = {call for memory in found.memories for call in memory.calls}
    assert called_by_workers & {"claim_tasks", "complete_tasks", "complete_and_claim"}
    assert found.largest("worker").resident > found.largest("worker").own > 1_000_000
    assert {goal.name for goal in goals(found)} >= {"WAL a task", "commits a task"}


# Memory


def test_the_sizes_in_a_file_of_proc() -> None:
    text = "Name:\tpostgres\nVmHWM:\t  1024 kB\nRssAnon:\t 12 kB\nThreads:\t1\n"
    assert sizes(text) == {"VmHWM": 1024 * 1024, "RssAnon": 12 * 1024}


def test_a_process_that_is_gone_keeps_its_peaks() -> None:
    memory = Memory(os.getpid(), "worker")
    memory.look(shares=True)
    assert memory.resident >= memory.own > 0
    assert memory.proportional > 0
    assert memory.cpu > 0
    gone = Memory(2**22 + 1, "worker", resident=7, cpu=3.0)
    gone.look(shares=True)
    assert (gone.resident, gone.cpu) == (7, 3.0)


def test_cpu_time_between_two_moments() -> None:
    watch = MemoryWatch("unused", [])
    watch._clock = [(10.0, 1.0), (20.0, 3.0), (30.0, 3.5)]
    assert watch.cpu(15, 25) == pytest.approx(1.25)
    assert watch.cpu(0, 100) == pytest.approx(2.5)


# Waits and commits


@pytest.mark.parametrize(
    ("query", "function"),
    [
        ("select * from pgflow.claim_tasks($1, $2)", "claim_tasks"),
        ("select run_id from pgflow.start_flow(%s)", "start_flow"),
        ("commit", "other"),
        (None, "other"),
    ],
)
def test_what_a_statement_is_called_for(query: str | None, function: str) -> None:
    assert called(query) == function


def test_shares_add_up_to_one() -> None:
    cpu, lock, rare = Wait("CPU", "", "a"), Wait("Lock", "object", "a"), Wait("IO", "x", "b")
    found = shares(Counter({cpu: 900, lock: 95, rare: 5}))
    assert found[:2] == [(cpu, 0.9), (lock, 0.095)]
    assert sum(share for _, share in found) == pytest.approx(1)
    assert shares(Counter()) == []


def test_a_session_that_waits_for_a_lock_is_sampled(database_url: str) -> None:
    with psycopg.connect(database_url) as holder:
        holder.execute("select pg_advisory_lock(42)")

        def wait() -> None:
            with psycopg.connect(database_url) as waiter:
                waiter.execute("select pg_advisory_lock(42)")

        thread = threading.Thread(target=wait)
        with WaitSampler(database_url) as sampler:
            thread.start()
            while not sampler.counts[Wait("Lock", "advisory", "other")]:
                time.sleep(0.01)
            holder.execute("select pg_advisory_unlock(42)")
            thread.join()
    assert sampler.counts[Wait("Lock", "advisory", "other")] > 0


@pytest.mark.parametrize("notify", [False, True])
def test_commits_are_counted(database_url: str, notify: bool) -> None:
    rate = measure_commits(database_url, 2, 0.2, 0.0, notify=notify)
    with psycopg.connect(database_url) as connection:
        (count,) = connection.execute("select count(*) from public.bench_commits").fetchall()[0]
    assert 0 < rate <= count / 0.2


# Scaling


def test_what_a_large_server_carries() -> None:
    server = LargeServer(cores=10, share=0.5, wal_rate=1000.0, commit_seconds=0.009)
    cost = Cost(server_cpu=0.01, worker_cpu=0.02, wal_bytes=10, commits=0.02)
    assert server.units(cost) == {"CPU of the server": 500, "WAL of the disk": 100}
    assert server.batches(100, 0.001) == pytest.approx(10_000)
    assert server.worker_machines(cost, 800) == pytest.approx(1)
    lines = projection(cost, cost, server)
    assert "| WAL of the disk | 100 | 100 |" in lines
    assert any("makes 2 commits a second" in line for line in lines)


def test_costs_are_medians_a_unit() -> None:
    cost = Cost.of([usage(scale=1), usage(scale=2), usage(scale=9)], 10)
    assert cost == Cost(server_cpu=0.4, worker_cpu=0.2, wal_bytes=400, commits=4)


def test_the_tables_compare_with_the_first_number_of_workers() -> None:
    cpu, lock = Wait("CPU", "", "claim_tasks"), Wait("Lock", "object", "start_flow")
    one = ScalingFigures(1, [usage(4.0)], [usage(2.0)], Counter({cpu: 10}), Counter({cpu: 1}))
    two = ScalingFigures(
        2, [usage(2.0)], [usage(1.0)], Counter({cpu: 6, lock: 4}), Counter({cpu: 1})
    )
    lines = as_lines([one, two], 1000, 100)
    rows = [line.split(" | ") for line in lines if line.startswith(("| 1 |", "| 2 |"))]
    assert [(row[1], row[2], row[7]) for row in rows] == [
        ("250", "1.00", "50"),
        ("500", "2.00", "100"),
    ]
    assert "| Lock object | `start_flow` |  | 40.0 |" in lines
    assert "| 1 ms slower | 5,000 | 900 |" in commit_lines({0.001: Commits(5000, 900)}, 16)


def test_only_the_figures_of_the_page_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "scaling.md"
    monkeypatch.setattr(scaling_report, "PAGE", page)
    page.write_text(f"before\n{BEGIN}\nold \\1\n{END}\nafter\n")
    write_page([r"new \1"])
    write_page([r"newer \1"])
    assert page.read_text() == f"before\n{BEGIN}\n\nnewer \\1\n\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="marks"):
        write_page([])
