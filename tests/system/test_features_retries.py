"""Features A7, A8, A12 and A14: what happens when handlers fail, hang or crash, and how a run goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow import Client, Flow, NonRetryable, RetryAfter, current_task
from tests.support import feature_flows
from tests.support.feature_flows import ill
from tests.support.features import delays, output, perform, resume, span
from tests.support.worker_flows import read_journal
from tests.support.worker_processes import WorkerProcess, finished, start

if TYPE_CHECKING:
    from pgflow.database import Database

SLACK = 3.0
"""Seconds that a loaded machine may take beyond a delay."""


def retried_steps() -> Flow[None]:
    """Return steps that fail and come back in every way there is."""
    flow = Flow[None]("retried", base_delay=1, max_attempts=3, jitter=0)

    def until(last: int, error: Exception) -> int:
        attempt = current_task().attempt
        if attempt < last:
            raise error
        return attempt

    @flow.step()
    def doubling(_: None) -> int:
        return until(3, ValueError("not yet"))

    @flow.step(base_delay=1000, max_delay=1)
    def capped(_: None) -> int:
        return until(3, ValueError("not yet"))

    @flow.step(base_delay=1000, max_delay=1, jitter=1.0)
    async def jittered(_: None) -> int:
        return until(3, ValueError("not yet"))

    @flow.step(base_delay=1000, max_attempts=2)
    def told(_: None) -> int:
        return until(2, RetryAfter(1, "come back later"))

    @flow.step(base_delay=0, max_attempts=5)
    def stubborn(_: None) -> int:
        return until(5, ValueError("not yet"))

    return flow


async def test_a7_delays_between_attempts_are_those_asked_for(
    db: Database,
) -> None:
    flow = retried_steps()
    run = await perform(db, flow)
    assert output(run) == {"doubling": 3, "capped": 3, "jittered": 3, "told": 2, "stubborn": 5}
    expected = {
        "doubling": [(2, 2), (4, 4)],
        "capped": [(1, 1), (1, 1)],
        "jittered": [(1, 2), (1, 2)],
        "told": [(1, 1)],
        "stubborn": [(0, 0)] * 4,
    }
    for step, limits in expected.items():
        measured = delays(await db.attempts(run.run_id, step))
        assert len(measured) == len(limits), step
        for seconds, (least, most) in zip(measured, limits, strict=True):
            assert least - 0.05 <= seconds <= most + SLACK, (step, measured)


async def test_a7_each_attempt_is_recorded_with_its_worker_times_error_and_traceback(
    db: Database,
) -> None:
    flow = Flow[None]("recorded", base_delay=0, max_attempts=3)

    @flow.step()
    def third_time(_: None) -> int:
        attempt = current_task().attempt
        if attempt < 3:
            raise ValueError(f"no luck in {attempt}")
        return attempt

    run = await perform(db, flow)
    assert output(run) == {"third_time": 3}
    (worker,) = await db.workers()
    attempts = await db.attempts(run.run_id)
    assert [(one.attempt, one.outcome, one.worker_id, one.error) for one in attempts] == [
        (1, "failed", worker.worker_id, "ValueError: no luck in 1"),
        (2, "failed", worker.worker_id, "ValueError: no luck in 2"),
        (3, "completed", worker.worker_id, None),
    ]
    moments = [moment for one in attempts for moment in span(one)]
    assert moments == sorted(moments)
    for one in attempts[:2]:
        assert one.details is not None
        trace = one.details.parse()["traceback"]
        assert "in third_time\n" in trace
        assert trace.splitlines()[-1] == one.error


async def test_a7_an_error_that_is_final_is_the_last(db: Database) -> None:
    flow = Flow[None]("final", base_delay=0, max_attempts=5)

    @flow.step()
    def final(_: None) -> None:
        raise NonRetryable("never")

    run = await perform(db, flow)
    assert run.status == "failed"
    assert [one.error for one in await db.attempts(run.run_id)] == ["NonRetryable: never"]


async def test_a8_what_hangs_is_ended_at_its_timeout_retried_and_fails_at_the_limit(
    db: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    flow = Flow[str]("hanging", base_delay=0, max_attempts=2, timeout=1)
    cancelled: list[int] = []

    @flow.step(when_exhausted="skip")
    async def hang_async(_: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(current_task().attempt)

    flow.step(name="hang_process", isolation="process", when_exhausted="skip", timeout=2)(
        feature_flows.hang_in_c
    )

    @flow.step(timeout=20)
    async def outlast(_: str) -> str:
        await asyncio.sleep(1.2)
        return "had the time"

    @flow.step()
    async def recover(_: str) -> int:
        if current_task().attempt == 1:
            await asyncio.Event().wait()
        return current_task().attempt

    run = await perform(db, flow, str(journal))
    assert output(run) == {"outlast": "had the time", "recover": 2}
    assert cancelled == [1, 2]
    for step, seconds in (("hang_async", 1), ("hang_process", 2)):
        attempts = await db.attempts(run.run_id, step)
        assert [attempt.error for attempt in attempts] == [
            f"TaskTimeout: no result within {seconds} s"
        ] * 2
        for attempt in attempts:
            begin, end = span(attempt)
            assert seconds - 0.1 <= (end - begin).total_seconds() <= seconds + SLACK + 3
        (task,) = await db.tasks(run.run_id, step)
        assert task.status == "failed"
    pids = [int(line[0]) for line in read_journal(journal)]
    assert len(set(pids)) == 2
    assert not any((Path("/proc") / str(pid)).exists() for pid in pids)


async def test_a8_a_task_that_always_hangs_fails_its_run(db: Database) -> None:
    flow = Flow[None]("stuck", base_delay=0, max_attempts=1, timeout=1)

    @flow.step()
    async def stuck(_: None) -> None:
        await asyncio.Event().wait()

    run = await perform(db, flow)
    assert run.status == "failed"
    assert "TaskTimeout: no result within 1 s" in (run.error_message or "")


async def test_a12_every_kind_of_failure_is_one_attempt_and_nobody_else_suffers(
    db: Database, database_url: str
) -> None:
    ways = ["fine", "raise", "bad return", "sys.exit", "fine", "segfault", "os._exit", "fine"]
    with WorkerProcess(
        database_url, "ill", module="tests.support.feature_flows", concurrency=4
    ) as process:
        run_id = await start(db, ill, ways)
        result = await finished(db, run_id)
        assert result == {"suffer": [way if way == "fine" else None for way in ways]}
        again = await start(db, ill, ["fine"])
        assert await finished(db, again) == {"suffer": ["fine"]}
        (worker,) = await db.workers()
        assert (worker.status, worker.pid) == ("running", process.pid)
    attempts = sorted(await db.attempts(run_id), key=lambda one: one.task_index)
    assert [(one.task_index, one.attempt, one.outcome) for one in attempts] == [
        (index, 1, "completed" if way == "fine" else "failed") for index, way in enumerate(ways)
    ]
    assert {one.worker_id for one in attempts} == {worker.worker_id}
    errors = {ways[one.task_index]: one.error or "" for one in attempts if one.error}
    for way, words in (
        ("raise", "ValueError: in another process"),
        ("bad return", "nan is not a JSON number"),
        ("sys.exit", "SystemExit: 3"),
        ("segfault", "SIGSEGV"),
        ("os._exit", "exit code 7"),
    ):
        assert words in errors[way]


def five_steps(effects: list[str], *, is_broken: bool) -> Flow[int]:
    flow = Flow[int]("resumed", base_delay=0, max_attempts=2)

    def effect(number: int) -> int:
        effects.append(current_task().step_slug)
        if is_broken and current_task().step_slug == "third":
            raise ValueError("to be fixed")
        return number + 1

    before: Any = flow.step(name="first")(effect)
    for name in ("second", "third", "fourth", "fifth"):
        before = flow.step(name=name, depends_on=(before,))(effect)
    return flow


async def test_a14_a_retry_after_the_fix_repeats_nothing_that_was_done(db: Database) -> None:
    effects: list[str] = []
    run = await perform(db, five_steps(effects, is_broken=True), 0)
    assert run.status == "failed"
    assert effects == ["first", "second", "third", "third"]
    effects.clear()
    await Client(db).retry(run.run_id)
    run = await resume(db, five_steps(effects, is_broken=False), run.run_id)
    assert output(run) == {"fifth": 5}
    assert effects == ["third", "fourth", "fifth"]
