"""Reporter and Sender: two lanes, batches that adapt, repeats, hand-over, the one bad value of a batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from pgflow import _reports, _sending
from pgflow._reports import Reporter
from pgflow._sending import HandOver, Sender, Statistics
from pgflow.database import UPGRADE_REPEATS
from pgflow.errors import ConnectionFailed, SchemaMismatch
from pgflow.handlers import Completed, Execution, Failed, InDoubt, Released, Services, Settled
from pgflow.records import GrantedTask, Outcome, RawJson, TaskReport

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN = UUID(int=1)
WORKER = UUID(int=2)


def granted(index: int, step_type: str = "map") -> GrantedTask:
    return GrantedTask(
        "flow", RUN, "step", index, 1, RawJson(b"{}"), None, 1, "flow", step_type, 1, 3, 60,
        exhausted=False,
    )  # fmt: skip


def execution(index: int, step_type: str = "map") -> Execution:
    return Execution(granted(index, step_type), None, Services())


class Server:
    """Answers like the set functions; `faults` are raised first, one a call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.faults: list[Exception] = []
        self.verdict = Outcome.ACCEPTED
        self.refused: set[str] = set()
        self.errors: list[str] = []
        self.called = asyncio.Event()
        self.ready: list[GrantedTask] = []
        """What the next completions make ready."""
        self.rooms: list[int] = []
        self.gate: asyncio.Event | None = None
        """Keeps completions waiting until it is set."""

    def _answer(self, name: str, indexes: Sequence[int]) -> list[TaskReport]:
        self.calls.append((name, list(indexes)))
        self.called.set()
        if self.faults:
            raise self.faults.pop(0)
        return [TaskReport(RUN, "step", index, self.verdict) for index in indexes]

    async def complete_tasks(self, *columns: Any) -> list[TaskReport]:
        if self.refused & set(columns[4]):
            self.calls.append(("complete", list(columns[2])))
            raise psycopg.errors.NumericValueOutOfRange("too large")
        reports = self._answer("complete", columns[2])
        if self.gate is not None:
            await self.gate.wait()
        return reports

    async def complete_and_claim(
        self, *columns: Any, qty: int, **options: Any
    ) -> tuple[list[TaskReport], list[GrantedTask]]:
        assert options == {
            "worker_id": WORKER,
            "queue_names": ["flow"],
            "lease": 30,
            "handlers": ["flow.step"],
        }
        self.rooms.append(qty)
        reports = await self.complete_tasks(*columns)
        handed, self.ready = self.ready[:qty], self.ready[qty:]
        return [r for r in reports if r.outcome is not Outcome.ACCEPTED], handed

    async def fail_tasks(self, *columns: Any) -> list[TaskReport]:
        self.errors += columns[4]
        return self._answer("fail", columns[2])

    async def release_tasks(self, *columns: Any) -> list[TaskReport]:
        return self._answer(f"release {columns[4]}", columns[2])

    async def extend_leases(self, *columns: Any) -> list[TaskReport]:
        return self._answer("extend", columns[2])


class Pace:
    def __init__(self) -> None:
        self.tasks_a_second = 0.0

    def rate(self) -> float:
        return self.tasks_a_second


class FakeSlots:
    def __init__(self) -> None:
        self.running = 0
        self.pace = Pace()

    def __len__(self) -> int:
        return self.running

    def is_busy(self) -> bool:
        return self.running > 0 and self.pace.tasks_a_second > 0


class Bench:
    def __init__(self, batch_size: int = 100) -> None:
        self.server = Server()
        self.statistics = Statistics()
        self.reported: list[int] = []
        self.slots = FakeSlots()
        self.room = 0
        self.rooms: list[int] = []
        self.reserved = 0
        self.accepted: list[GrantedTask] = []
        self.delays = 0
        more = HandOver(
            *(WORKER, ["flow"], ["flow.step"], 30),
            reserve=self._reserve,
            release=self._release,
            accept=lambda granted, _: self.accepted.extend(granted),
        )
        self.reporter = Reporter(
            Sender(self.server, self.statistics, more, delayed=self._delayed),  # type: ignore[arg-type]
            self.slots,  # type: ignore[arg-type]
            batch_size=batch_size,
            reported=lambda done: self.reported.extend(e.task.task_index for e in done),
        )

    def _delayed(self) -> None:
        self.delays += 1

    def _reserve(self, executions: Sequence[Execution]) -> int:
        room = self.rooms.pop(0) if self.rooms else self.room
        self.reserved += room
        return room

    def _release(self, room: int) -> None:
        self.reserved -= room

    async def finish(self) -> None:
        self.reporter.close()
        async with asyncio.timeout(10):
            await self.reporter.run()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sending, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_sending, "LONGEST_PAUSE", 0.001)


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


@pytest.mark.parametrize("step_type", ["single", "map"])
async def test_report_goes_out_at_once_when_no_other_is_about_to_end(
    bench: Bench, step_type: str
) -> None:
    bench.slots.running = 50  # handlers that take their time
    task = asyncio.create_task(bench.reporter.run())
    bench.reporter.add(execution(0, step_type), Completed("1"))
    for _ in range(6):
        await asyncio.sleep(0)
    assert bench.server.calls == [("complete", [0])]
    await bench.finish()
    await task


async def test_items_wait_a_moment_for_others_that_end_quickly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reports, "LINGER", 0.05)
    bench.slots.running = 50
    bench.slots.pace.tasks_a_second = 1_000
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


async def test_calls_about_steps_leave_room_between_them_under_load(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reports, "LONGEST_SPACE", 60)
    task = asyncio.create_task(bench.reporter.run())
    bench.reporter._steps.adapt(1, 60)  # as if the last call had taken a minute
    bench.slots.running = 1
    bench.slots.pace.tasks_a_second = 1_000
    bench.reporter.add(execution(0, "single"), Completed("1"))
    for _ in range(6):
        await asyncio.sleep(0)
    assert bench.server.calls == []
    task.cancel()


async def test_step_is_not_stuck_behind_the_items_of_a_map(bench: Bench) -> None:
    bench.server.gate = asyncio.Event()
    task = asyncio.create_task(bench.reporter.run())
    bench.reporter.add(execution(0), Completed("1"))
    await bench.server.called.wait()
    bench.reporter.add(execution(1), Completed("1"))
    bench.server.called.clear()
    bench.reporter.add(execution(2, "single"), Completed("1"))
    async with asyncio.timeout(5):
        await bench.server.called.wait()
    assert bench.server.calls == [("complete", [0]), ("complete", [2])]
    bench.server.gate.set()
    await bench.finish()
    await task
    assert sorted(bench.reported) == [0, 1, 2]


def test_batches_grow_while_calls_are_quick_and_shrink_when_one_is_slow() -> None:
    lane = _reports._Lane(300)
    sizes = [lane.limit]
    for seconds in (0.001, 0.001, 0.001, 0.5, 0.5, 0.5, 0.001):
        lane.adapt(lane.limit, seconds)
        sizes.append(lane.limit)
    assert sizes == [100, 150, 225, 300, 200, 133, 100, 150]
    lane.adapt(1, 0.001)
    assert lane.limit == 150, "a batch that was not full tells nothing"


async def test_completion_takes_over_what_it_makes_ready(bench: Bench) -> None:
    bench.room = 2
    bench.server.ready = [granted(7), granted(8), granted(9)]
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert [task.task_index for task in bench.accepted] == [7, 8]
    assert bench.server.rooms == [2]
    assert bench.statistics.completed == 1


async def test_worker_without_room_only_completes(bench: Bench) -> None:
    bench.server.ready = [granted(7)]
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert bench.server.rooms == []
    assert bench.accepted == []


async def test_fault_04_repeated_hand_over_asks_for_the_room_anew(bench: Bench) -> None:
    bench.server.faults = [ConnectionFailed("reply lost")]
    bench.rooms = [5, 3]
    bench.server.ready = [granted(7)]
    bench.server.verdict = Outcome.ALREADY_ACCEPTED
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert bench.server.rooms == [5, 3]
    assert [task.task_index for task in bench.accepted] == [7]
    assert (bench.statistics.repeated, bench.statistics.completed) == (1, 1)
    assert bench.reserved == 0


async def test_hand_over_finds_the_bad_value_by_halving_too(bench: Bench) -> None:
    bench.room = 10
    bench.server.refused = {"1e999999"}
    bench.server.ready = [granted(50), granted(51)]
    for index in range(4):
        bench.reporter.add(execution(index), Completed("1e999999" if index == 2 else "1"))
    await bench.finish()
    assert [task.task_index for task in bench.accepted] == [50, 51]
    assert (bench.statistics.completed, bench.statistics.failed) == (3, 1)


async def test_delays_are_told(bench: Bench) -> None:
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert bench.delays == 0
    again = Bench()
    again.reporter.add(execution(0), Failed("boom", {}))
    await again.finish()
    assert again.delays == 1


def translated(error: psycopg.Error) -> SchemaMismatch:
    mismatch = SchemaMismatch("the schema lacks what this version needs")
    mismatch.__cause__ = error
    return mismatch


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionFailed("gone"),
        psycopg.OperationalError("gone"),
        psycopg.errors.DatatypeMismatch("an upgrade has come between"),
        translated(psycopg.errors.UndefinedFunction("an upgrade has come between")),
    ],
)
async def test_calls_that_the_server_failed_are_repeated_with_the_same_fence(
    bench: Bench, fault: Exception
) -> None:
    bench.server.faults = [fault] * 3
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    assert bench.server.calls == [("complete", [0])] * 4
    assert (bench.statistics.repeated, bench.statistics.completed) == (3, 1)


async def test_a_broken_schema_is_no_upgrade_that_passes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sending, "FIRST_PAUSE", 0.001)
    fault = translated(psycopg.errors.UndefinedFunction("gone for ever"))
    bench.server.faults = [fault] * (UPGRADE_REPEATS + 1)
    bench.reporter.add(execution(0), Completed("1"))
    await bench.finish()
    calls = [name for name, _ in bench.server.calls]
    assert calls == ["complete"] * (UPGRADE_REPEATS + 1) + ["fail"]


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
