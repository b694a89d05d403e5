"""Reporter: batches, repeats what the server's faults interrupted, finds the one bad value of a batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from pgflow import _reports
from pgflow._reports import Reporter, Statistics
from pgflow.errors import ConnectionFailed
from pgflow.handlers import Completed, Execution, Failed, InDoubt, Released, Services, Settled
from pgflow.records import GrantedTask, Outcome, RawJson, TaskReport

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN = UUID(int=1)


def execution(index: int) -> Execution:
    task = GrantedTask(
        "flow", RUN, "step", index, 1, RawJson(b"{}"), None, 1, "flow", "map", 1, 3, 60,
        exhausted=False,
    )  # fmt: skip
    return Execution(task, None, Services())


class Server:
    """Answers like the set functions; `faults` are raised first, one a call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.faults: list[Exception] = []
        self.verdict = Outcome.ACCEPTED
        self.refused: set[str] = set()
        self.errors: list[str] = []
        self.called = asyncio.Event()

    def _answer(self, name: str, indexes: Sequence[int]) -> list[TaskReport]:
        self.calls.append((name, list(indexes)))
        self.called.set()
        if self.faults:
            raise self.faults.pop(0)
        return [TaskReport(RUN, "step", index, self.verdict) for index in indexes]

    async def complete_tasks(self, *columns: Any) -> list[TaskReport]:
        if self.refused & set(columns[-1]):
            self.calls.append(("complete", list(columns[2])))
            raise psycopg.errors.NumericValueOutOfRange("too large")
        return self._answer("complete", columns[2])

    async def fail_tasks(self, *columns: Any) -> list[TaskReport]:
        self.errors += columns[4]
        return self._answer("fail", columns[2])

    async def release_tasks(self, *columns: Any) -> list[TaskReport]:
        return self._answer(f"release {columns[4]}", columns[2])

    async def extend_leases(self, *columns: Any) -> list[TaskReport]:
        return self._answer("extend", columns[2])


class Bench:
    def __init__(self, batch_size: int = 100) -> None:
        self.server = Server()
        self.statistics = Statistics()
        self.reported: list[int] = []
        self.running = 0
        self.reporter = Reporter(
            self.server,  # type: ignore[arg-type]
            self.statistics,
            batch_size=batch_size,
            running=lambda: self.running,
            reported=lambda done: self.reported.extend(e.task.task_index for e in done),
        )

    async def finish(self) -> None:
        self.reporter.close()
        async with asyncio.timeout(10):
            await self.reporter.run()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reports, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_reports, "LONGEST_PAUSE", 0.001)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_outcomes_are_gathered_into_one_call_a_kind(bench: Bench) -> None:
    for index in range(6):
        outcome = Completed("1") if index % 2 else Failed("boom", {})
        bench.reporter.add(execution(index), outcome)
    await bench.finish()
    assert bench.server.calls == [("complete", [1, 3, 5]), ("fail", [0, 2, 4])]
    assert (bench.statistics.completed, bench.statistics.failed) == (3, 3)
    assert bench.reported == list(range(6))


async def test_batches_are_bounded() -> None:
    bench = Bench(batch_size=4)
    for index in range(10):
        bench.reporter.add(execution(index), Completed("1"))
    await bench.finish()
    assert [len(indexes) for _, indexes in bench.server.calls] == [4, 4, 2]


async def test_single_report_goes_out_at_once_when_nothing_else_runs(bench: Bench) -> None:
    task = asyncio.create_task(bench.reporter.run())
    bench.reporter.add(execution(0), Completed("1"))
    for _ in range(6):
        await asyncio.sleep(0)
    assert bench.server.calls == [("complete", [0])]
    await bench.finish()
    await task


async def test_report_waits_a_moment_for_others_that_are_running(bench: Bench) -> None:
    bench.running = 1
    task = asyncio.create_task(bench.reporter.run())
    bench.reporter.add(execution(0), Completed("1"))
    for _ in range(6):
        await asyncio.sleep(0)
    assert bench.server.calls == []
    bench.reporter.add(execution(1), Completed("1"))
    async with asyncio.timeout(5):
        await bench.server.called.wait()
    assert bench.server.calls == [("complete", [0, 1])]
    await bench.finish()
    await task


@pytest.mark.parametrize("fault", [ConnectionFailed("gone"), psycopg.OperationalError("gone")])
async def test_calls_that_the_server_failed_are_repeated_with_the_same_fence(
    bench: Bench, fault: Exception
) -> None:
    bench.server.faults = [fault] * 3
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert bench.server.calls == [("complete", [0])] * 4
    assert (bench.statistics.repeated, bench.statistics.completed) == (3, 1)


async def test_already_accepted_counts_as_completed(bench: Bench) -> None:
    bench.server.verdict = Outcome.ALREADY_ACCEPTED
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert (bench.statistics.completed, bench.statistics.stale) == (1, 0)


@pytest.mark.parametrize("verdict", [Outcome.STALE, Outcome.FINISHED])
async def test_fault_05_refused_reports_are_counted(bench: Bench, verdict: Outcome) -> None:
    bench.server.verdict = verdict
    bench.reporter.add(execution(0), Completed("1"))
    bench.reporter.add(execution(1), Failed("boom", {}))
    await bench.finish()
    assert (bench.statistics.stale, bench.statistics.completed, bench.statistics.failed) == (
        2,
        0,
        0,
    )


async def test_one_bad_value_is_found_by_halving_and_fails_alone(bench: Bench) -> None:
    bench.server.refused = {"1e999999"}
    for index in range(8):
        bench.reporter.add(execution(index), Completed("1e999999" if index == 5 else "1"))
    await bench.finish()
    assert bench.server.calls[-1] == ("fail", [5])
    assert "the database refused it" in bench.server.errors[0]
    assert (bench.statistics.completed, bench.statistics.failed) == (7, 1)


async def test_failure_that_cannot_be_recorded_is_given_up_alone(bench: Bench) -> None:
    bench.server.faults = [psycopg.DataError("no")] * 2
    bench.reporter.add(execution(0), Failed("boom", {}))
    bench.reporter.add(execution(1), Completed("1"))
    await bench.finish()
    assert bench.reported == [0, 1]


async def test_releases_keep_their_delays(bench: Bench) -> None:
    bench.reporter.add(execution(0), Released())
    bench.reporter.add(execution(1), Released(30))
    await bench.finish()
    assert sorted(bench.server.calls) == [("release 0", [0]), ("release 30", [1])]
    assert bench.statistics.released == 2


async def test_settled_outcomes_need_no_call(bench: Bench) -> None:
    bench.reporter.add(execution(0), Settled(Outcome.ACCEPTED))
    bench.reporter.add(execution(1), Settled(Outcome.STALE))
    await bench.finish()
    assert bench.server.calls == []
    assert (bench.statistics.completed, bench.statistics.stale) == (1, 1)


async def test_fault_04_doubt_is_resolved_by_asking_for_the_lease(bench: Bench) -> None:
    bench.reporter.add(execution(0), InDoubt("lost"))
    await bench.finish()
    assert bench.server.calls == [("extend", [0]), ("release 1", [0])]
    committed = Bench()
    committed.server.verdict = Outcome.FINISHED
    committed.reporter.add(execution(0), InDoubt("lost"))
    await committed.finish()
    assert committed.server.calls == [("extend", [0])]
    assert committed.statistics.completed == 1
