"""Worker: performs flows on a real database, from the claim to the report."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import (  # noqa: TC003 - annotations of handlers are read at run time
    AsyncIterator,
    Iterator,
)
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import psycopg
import pytest

from pgflow import Flow, RetryAfter, Worker, current_task
from pgflow.errors import FlowNotFound, RunNotFound, UsageError
from pgflow.handlers import State
from tests.support.worker_processes import begun, eventually, start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow.database import Database
    from pgflow.records import RunRecord


async def work(
    db: Database, flow: Flow[Any], run_input: object = None, **options: Any
) -> RunRecord:
    """Start a run, work until it has ended, return it."""
    run_id = await start(db, flow, run_input)
    async with asyncio.timeout(60):
        await Worker(db, flow, **options).run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    return run


def output(run: RunRecord) -> Any:
    assert run.status == "completed", run.error_message
    return run.output.parse() if run.output is not None else None


async def test_diamond_overlaps_its_branches_and_joins_them(db: Database) -> None:
    flow: Flow[Any] = Flow("diamond")
    met = asyncio.Barrier(2)

    @flow.step()
    async def root(value: int) -> int:
        return value + 1

    @flow.step(depends_on=(root,))
    async def left(value: int) -> int:
        await met.wait()
        return value * 2

    @flow.step(depends_on=(root,))
    async def right(value: int) -> int:
        await met.wait()
        return value * 3

    @flow.step(depends_on=(left, right))
    def join(left: int, right: int) -> list[int]:
        return [left, right]

    assert output(await work(db, flow, 1)) == {"join": [4, 6]}


async def test_map_of_sync_handlers_gives_ordered_results(db: Database) -> None:
    flow: Flow[Any] = Flow("squares")

    @flow.step()
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @flow.map(over=numbers)
    def square(number: int) -> int:
        assert current_task().index == number
        return number * number

    @flow.step(depends_on=(square,))
    async def total(squares: list[int]) -> list[int]:
        return squares

    run = await work(db, flow, 1_000)
    assert output(run) == {"total": [n * n for n in range(1_000)]}


async def test_blocking_sync_handlers_overlap_up_to_the_concurrency(db: Database) -> None:
    flow: Flow[Any] = Flow("overlap")
    barrier = threading.Barrier(20)

    @flow.map()
    def meet(_: int) -> int:
        return barrier.wait(timeout=20)

    run = await work(db, flow, list(range(20)), concurrency=20)
    assert sorted(output(run)["meet"]) == list(range(20))


async def test_concurrency_is_never_exceeded(db: Database) -> None:
    flow: Flow[Any] = Flow("bounded")
    running = 0
    most = 0

    @flow.map()
    async def task(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    await work(db, flow, list(range(60)), concurrency=7)
    assert most == 7


async def test_a_freed_slot_is_refilled_while_others_are_busy(db: Database) -> None:
    flow: Flow[Any] = Flow("refill")
    others_done = asyncio.Event()
    done = 0

    @flow.map()
    async def task(number: int) -> None:
        nonlocal done
        if number == 0:
            # Waits for all others, which need its neighbour's slot again and again.
            await others_done.wait()
            return
        done += 1
        if done == 9:
            others_done.set()

    run = await work(db, flow, list(range(10)), concurrency=2)
    assert run.status == "completed"


async def test_retries_are_recorded_and_count(db: Database) -> None:
    flow: Flow[Any] = Flow("flaky", base_delay=0)
    seen: list[tuple[int, str]] = []

    @flow.step(max_attempts=3)
    def flaky(_: Any) -> str:
        task = current_task()
        seen.append((task.attempt, task.idempotency_key))
        if task.attempt < 3:
            raise ValueError(f"try {task.attempt}")
        return "done"

    run = await work(db, flow)
    assert output(run) == {"flaky": "done"}
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1
    attempts = await db.attempts(run.run_id)
    assert [(a.attempt, a.outcome, a.error) for a in attempts] == [
        (1, "failed", "ValueError: try 1"),
        (2, "failed", "ValueError: try 2"),
        (3, "completed", None),
    ]
    details = attempts[0].details
    assert details is not None
    assert 'raise ValueError(f"try {task.attempt}")' in details.parse()["traceback"]
    assert attempts[0].worker_id is not None


async def test_retry_after_sets_the_delay(db: Database) -> None:
    flow: Flow[Any] = Flow("polite", base_delay=1000, jitter=0)
    times: list[float] = []

    @flow.step(max_attempts=2)
    def polite(_: Any) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise RetryAfter(1)

    run = await work(db, flow)
    assert run.status == "completed"
    assert 0.9 < times[1] - times[0] < 4


async def test_final_errors_are_not_retried_and_fail_the_run(db: Database) -> None:
    flow: Flow[Any] = Flow("final", base_delay=0)
    calls: list[int] = []

    @flow.step(max_attempts=5, non_retryable=(LookupError,))
    def final(_: Any) -> None:
        calls.append(1)
        raise KeyError("gone")

    run = await work(db, flow)
    assert run.status == "failed"
    assert "KeyError: 'gone'" in (run.error_message or "")
    assert calls == [1]


async def test_timeouts_are_recorded_as_such(db: Database) -> None:
    flow: Flow[Any] = Flow("slow", base_delay=0, timeout=60)

    @flow.step(timeout=1, max_attempts=2)
    async def slow(_: Any) -> None:
        await asyncio.Event().wait()

    run = await work(db, flow)
    assert run.status == "failed"
    details = [a.details.parse() for a in await db.attempts(run.run_id) if a.details]
    assert [d["kind"] for d in details] == ["timeout", "timeout"]


async def test_fault_42_one_bad_value_costs_its_batch_nothing(db: Database) -> None:
    flow: Flow[Any] = Flow("bad_values", base_delay=0, max_attempts=1)

    @flow.map(failure_policy="continue")
    def produce(number: int) -> Any:
        return {3: float("nan"), 5: "\x00", 7: object()}.get(number, number)

    run = await work(db, flow, list(range(10)))
    assert output(run)["produce"] == [0, 1, 2, None, 4, None, 6, None, 8, 9]
    failed = await db.failed_tasks(run.run_id)
    assert [task.task_index for task in failed] == [3, 5, 7]
    assert "nan is not a JSON number" in (failed[0].error_message or "")
    assert "task 3" in (failed[0].error_message or "")


async def test_value_that_only_the_server_refuses_fails_its_task_alone(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow: Flow[Any] = Flow("refused", base_delay=0, max_attempts=1)

    @flow.map(failure_policy="continue")
    def produce(number: int) -> int:
        return number

    worker = Worker(db, flow)
    for name in ("complete_tasks", "complete_and_claim"):
        real = getattr(db, name)

        async def corrupt(*columns: Any, real: Any = real, **options: Any) -> Any:
            texts = ["1e400000" if text == "4" else text for text in columns[4]]
            return await real(*columns[:4], texts, **options)

        monkeypatch.setattr(db, name, corrupt)
    run_id = await start(db, flow, list(range(10)))
    async with asyncio.timeout(30):
        await worker.run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    assert output(run)["produce"] == [0, 1, 2, 3, None, 5, 6, 7, 8, 9]
    (failed,) = await db.failed_tasks(run_id)
    assert "the database refused it" in (failed.error_message or "")


async def test_run_input_is_there_in_every_step_and_read_once(db: Database) -> None:
    flow: Flow[Any] = Flow("inputs")

    @flow.step()
    def root(settings: dict[str, int]) -> list[int]:
        assert current_task().run_input == settings
        return [1, 2, 3]

    @flow.map(over=root)
    async def item(number: int) -> int:
        return number + int(current_task().run_input["port"])

    run = await work(db, flow, {"port": 25})
    assert output(run) == {"item": [26, 27, 28]}


async def test_large_map_is_streamed_to_its_consumers(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []
    real = db.step_output

    async def counting(*arguments: Any) -> Any:
        page = await real(*arguments)
        pages.append(len(page))
        return page

    monkeypatch.setattr(db, "step_output", counting)
    flow: Flow[Any] = Flow("streams")
    big = "x" * 40_000

    @flow.map()
    def produce(number: int) -> dict[str, Any]:
        return {"number": number, "pad": big}

    @flow.step(depends_on=(produce,))
    async def stream(items: AsyncIterator[dict[str, Any]]) -> int:
        return sum([item["number"] async for item in items])

    @flow.step(depends_on=(produce,))
    def stream_sync(items: Iterator[dict[str, Any]]) -> int:
        return sum(item["number"] for item in items)

    @flow.step(depends_on=(produce,))
    def whole(items: list[dict[str, Any]]) -> int:
        return sum(item["number"] for item in items)

    count = 1_000
    expected = count * (count - 1) // 2
    run = await work(db, flow, list(range(count)))
    assert output(run) == {"stream": expected, "stream_sync": expected, "whole": expected}
    assert sum(pages) == 3 * count
    assert max(pages) * len(big) < 10_000_000


async def test_progress_is_stored(db: Database) -> None:
    flow: Flow[Any] = Flow("progressing")
    release = asyncio.Event()

    @flow.step()
    async def task(_: Any) -> None:
        current_task().progress(0.5, "half")
        await release.wait()

    run_id = await start(db, flow)

    async def stored() -> bool:
        (row,) = await db.tasks(run_id, "task")
        return row.progress is not None and row.progress.parse()["fraction"] == 0.5

    worker = asyncio.create_task(Worker(db, flow).run_until(run_id))
    await eventually(stored)
    release.set()
    await worker


async def test_works_without_notifications(db: Database) -> None:
    flow: Flow[Any] = Flow("deaf")

    @flow.step()
    def first(_: Any) -> int:
        return 1

    @flow.step(depends_on=(first,))
    def second(value: int) -> int:
        return value + 1

    assert output(await work(db, flow, listen=False)) == {"second": 2}


async def test_dsn_is_connected_by_the_worker(database_url: str, db: Database) -> None:
    flow: Flow[Any] = Flow("by_dsn")
    flow.step(name="only")(lambda _: 1)
    run_id = await start(db, flow)
    await Worker(database_url, [flow]).run_until(run_id)
    assert await db.run_status(run_id) == "completed"


async def test_unknown_run_is_an_error(db: Database) -> None:
    flow: Flow[Any] = Flow("nothing")
    flow.step(name="only")(lambda _: 1)
    with pytest.raises(RunNotFound):
        await Worker(db, flow).run_until(uuid4())


async def test_chain_is_handed_over_from_report_to_report(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow: Flow[Any] = Flow("relay")
    last = flow.step(name="s0")(lambda _: 0)
    for number in range(1, 8):
        last = flow.step(name=f"s{number}", depends_on=(last,))(lambda value: value + 1)
    granted = 0
    real = db.complete_and_claim

    async def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal granted
        reports, tasks = await real(*arguments, **options)
        granted += len(tasks)
        return reports, tasks

    monkeypatch.setattr(db, "complete_and_claim", counting)
    worker = Worker(db, flow)
    run_id = await start(db, flow)
    async with asyncio.timeout(30):
        await worker.run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    assert output(run) == {"s7": 7}
    assert granted == 7
    assert worker.statistics.claimed == worker.statistics.completed == 8


async def test_a_small_run_passes_a_flood_of_another_flow(db: Database) -> None:
    flood: Flow[Any] = Flow("flood")
    begun_before: list[int] = []
    done = 0

    @flood.map()
    async def drop(_: int) -> None:
        nonlocal done
        done += 1
        await asyncio.sleep(0)

    small: Flow[Any] = Flow("small")

    @small.step()
    async def first(_: Any) -> int:
        begun_before.append(done)
        return 1

    @small.step(depends_on=(first,))
    async def second(value: int) -> int:
        begun_before.append(done)
        return value

    count = 5_000
    await db.define_flow(small.slug, orjson.dumps(small.definition()).decode())
    flood_id = await start(db, flood, list(range(count)))
    worker = Worker(db, [flood, small], concurrency=50)
    work = await begun(worker)
    await eventually(lambda: done > 200)
    begin = done
    small_id = await db.start_flow(small.slug, "{}")

    async def is_over() -> bool:
        return await db.run_status(small_id) == "completed"

    await eventually(is_over)
    # In turns with the flood: what was under way ends, and a few batches pass for each step.
    assert begun_before[0] - begin < 1_500
    assert begun_before[1] - begin < 3_000
    worker.stop()
    async with asyncio.timeout(30):
        await work
    assert await db.run_status(flood_id) in {"started", "completed"}


async def test_what_slow_handlers_keep_waiting_goes_to_another_worker(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow: Flow[Any] = Flow("hoarded", max_attempts=1)
    release = asyncio.Event()

    @flow.map()
    async def task(number: int) -> int:
        if number == 0:
            await release.wait()
        return number

    run_id = await start(db, flow, list(range(6)))
    hoarder = Worker(db, flow, concurrency=1)
    monkeypatch.setattr("pgflow._slots.Slots.ahead", lambda _: 5)  # as if handlers had been quick
    work = await begun(hoarder)
    await eventually(lambda: hoarder.statistics.released == 5)
    monkeypatch.undo()
    assert hoarder.statistics.claimed >= 6
    helper = Worker(db, flow)
    helping = await begun(helper)
    await eventually(lambda: helper.statistics.completed == 5)
    release.set()

    async def is_over() -> bool:
        return await db.run_status(run_id) == "completed"

    await eventually(is_over)
    assert {a.outcome for a in await db.attempts(run_id)} <= {"completed", "released"}
    for worker in (hoarder, helper):
        worker.stop()
    await asyncio.gather(work, helping)


class TestDynamic:
    @pytest.fixture
    async def flow_slug(self, db: Database) -> str:
        await db.create_flow("dynamic")
        await db.add_step("dynamic", "fetch")
        await db.add_step("dynamic", "analyze", ["fetch"], step_type="map")
        await db.add_step("dynamic", "summarize", ["analyze"])
        return "dynamic"

    async def test_functions_take_one_mapping(self, db: Database, flow_slug: str) -> None:
        functions: Mapping[str, Any] = {
            "fetch": lambda run: list(range(run["count"])),
            "analyze": lambda task: [task["index"], task["item"]],
            "summarize": lambda deps: deps["analyze"],
        }
        run_id = await db.start_flow(flow_slug, '{"count": 3}')
        async with asyncio.timeout(30):
            await Worker(db, {flow_slug: functions}).run_until(run_id)
        run = await db.run(run_id)
        assert run is not None
        assert output(run) == {"summarize": [[0, 0], [1, 1], [2, 2]]}

    async def test_missing_function_is_named(self, db: Database, flow_slug: str) -> None:
        with pytest.raises(UsageError, match="no function for: analyze, summarize"):
            await Worker(db, {flow_slug: {"fetch": lambda _: 1}}).run()

    async def test_steps_that_are_added_later_are_picked_up(
        self, db: Database, flow_slug: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pgflow._background.LOOK_AT_DEFINITIONS", 0.1)
        functions: dict[str, Any] = {
            "fetch": lambda run: list(range(run["count"])),
            "analyze": lambda task: task["item"],
            "summarize": lambda deps: sum(deps["analyze"]),
        }
        worker = Worker(db, {flow_slug: functions})
        work = await begun(worker)
        functions["publish"] = lambda deps: f"sum: {deps['summarize']}"
        functions["unrelated"] = lambda _: None
        await db.add_step(flow_slug, "publish", ["summarize"])
        await db.add_step(flow_slug, "foreign", ["fetch"])  # some other worker's
        run_id = await db.start_flow(flow_slug, '{"count": 4}')

        async def is_published() -> bool:
            steps = {step.step_slug: step.status for step in await db.steps(run_id)}
            return steps["publish"] == "completed"

        await eventually(is_published)
        (task,) = await db.tasks(run_id, "publish")
        assert task.output is not None
        assert task.output.parse() == "sum: 6"
        (left,) = await db.tasks(run_id, "foreign")
        assert (left.status, left.attempts_count) == ("queued", 0)
        worker.stop()
        await work

    async def test_unknown_flow_is_named(self, db: Database, flow_slug: str) -> None:
        with pytest.raises(FlowNotFound, match="dynamic"):
            await Worker(db, {"dynamik": {}}).run()


class TestQueues:
    async def test_worker_of_another_queue_leaves_the_step_alone(self, db: Database) -> None:
        flow: Flow[Any] = Flow("routed")

        @flow.step()
        def cpu(_: Any) -> str:
            return "cpu"

        @flow.step(depends_on=(cpu,), queue="gpu")
        def gpu(_: str) -> str:
            return "gpu"

        run_id = await start(db, flow)
        ordinary = Worker(db, flow, queues=["routed"])
        task = await begun(ordinary)

        async def gpu_is_ready() -> bool:
            return [s.status for s in await db.steps(run_id)] == ["completed", "started"]

        await eventually(gpu_is_ready)
        special = Worker(db, flow, queues=["gpu"])
        async with asyncio.timeout(30):
            await special.run_until(run_id)
        assert (ordinary.statistics.completed, special.statistics.completed) == (1, 1)
        ordinary.stop()
        await task

    async def test_worker_serves_all_queues_of_its_flows(self, db: Database) -> None:
        flow: Flow[Any] = Flow("both")
        flow.step(name="here")(lambda _: 1)
        flow.step(name="there", queue="elsewhere")(lambda _: 2)
        assert output(await work(db, flow)) == {"here": 1, "there": 2}


class TestStopping:
    async def test_fault_34_drain_finishes_what_runs(self, db: Database) -> None:
        flow: Flow[Any] = Flow("drained")
        running, release = asyncio.Event(), asyncio.Event()

        @flow.step()
        async def task(_: Any) -> str:
            running.set()
            await release.wait()
            return "finished"

        run_id = await start(db, flow)
        worker = Worker(db, flow)
        work = await begun(worker)
        await running.wait()
        worker.stop()
        release.set()
        async with asyncio.timeout(10):
            await work
        assert await db.run_status(run_id) == "completed"

    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_fault_34_what_outlasts_the_drain_is_released_without_an_attempt(
        self, db: Database, kind: str
    ) -> None:
        flow: Flow[Any] = Flow("outlasting", max_attempts=1)
        started = threading.Event()
        release = threading.Event()

        async def wait_async(_: Any) -> None:
            started.set()
            await asyncio.Event().wait()

        def wait_sync(_: Any) -> None:
            started.set()
            release.wait(30)

        flow.step(name="task")(wait_async if kind == "async" else wait_sync)
        run_id = await start(db, flow)
        worker = Worker(db, flow, drain_timeout=0.3)
        work = await begun(worker)
        await eventually(started.is_set)
        worker.stop()
        async with asyncio.timeout(10):
            await work
        release.set()
        assert worker.statistics.released == 1
        (task,) = await db.tasks(run_id, "task")
        assert task.status == "queued"
        second: Flow[Any] = Flow("outlasting", max_attempts=1)
        seen: list[int] = []

        def finish(_: Any) -> None:
            seen.append(current_task().attempt)

        second.step(name="task")(finish)
        async with asyncio.timeout(20):
            await Worker(db, second).run_until(run_id)
        assert await db.run_status(run_id) == "completed"
        assert seen == [1]

    async def test_fault_34_second_stop_does_not_wait(self, db: Database) -> None:
        flow: Flow[Any] = Flow("hurried")
        running = asyncio.Event()

        @flow.step()
        async def task(_: Any) -> None:
            running.set()
            await asyncio.Event().wait()

        await start(db, flow)
        worker = Worker(db, flow, drain_timeout=600)
        work = await begun(worker)
        await running.wait()
        worker.stop()
        worker.stop(now=True)
        async with asyncio.timeout(10):
            await work
        assert worker.statistics.released == 1

    async def test_what_was_claimed_but_not_started_is_handed_back(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flow: Flow[Any] = Flow("claimed")
        flow.step(name="task")(lambda _: 1)
        run_id = await start(db, flow)
        worker = Worker(db, flow)
        real = db.claim_tasks

        async def claim_and_stop(*arguments: Any, **options: Any) -> Any:
            granted = await real(*arguments, **options)
            if granted:
                worker.stop()
                await asyncio.sleep(0.05)
            return granted

        monkeypatch.setattr(db, "claim_tasks", claim_and_stop)
        async with asyncio.timeout(10):
            await worker.run()
        assert worker.statistics.released == 1
        (task,) = await db.tasks(run_id, "task")
        assert (task.status, task.released_count) == ("queued", 1)

    async def test_what_waits_for_a_process_is_handed_back(self, db: Database) -> None:
        from tests.support.worker_flows import slow

        flow: Flow[Any] = Flow("waiting", max_attempts=1)
        flow.map(name="slow", isolation="process")(slow)
        count = 2 * max(2, os.cpu_count() or 2)
        run_id = await start(db, flow, [2] * count)
        worker = Worker(db, flow)
        work = await begun(worker)
        await eventually(
            lambda: any(held.state is State.RUNNING for held in worker._performer._open)
        )
        worker.stop()
        async with asyncio.timeout(30):
            await work
        tasks = await db.tasks(run_id, "slow")
        released = [task for task in tasks if task.released_count == 1]
        assert len(released) == worker.statistics.released >= count // 2
        assert {task.status for task in released} == {"queued"}
        assert len(released) + worker.statistics.completed == count

    async def test_cancelling_run_hands_back_what_runs(self, db: Database) -> None:
        flow: Flow[Any] = Flow("cancelled_worker")
        running = asyncio.Event()

        @flow.step()
        async def task(_: Any) -> None:
            running.set()
            await asyncio.Event().wait()

        await start(db, flow)
        worker = Worker(db, flow)
        work = await begun(worker)
        await running.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert worker.statistics.released == 1

    async def test_worker_is_registered_and_signs_off(self, db: Database) -> None:
        flow: Flow[Any] = Flow("registered")
        flow.step(name="task")(lambda _: 1)
        worker = Worker(db, flow, name="mine")
        work = await begun(worker)
        (record,) = await db.workers()
        assert (record.worker_id, record.function_name) == (worker.worker_id, "mine")
        assert record.status == "running"
        assert record.queue_names == ["registered"]
        worker.stop()
        await work
        (record,) = await db.workers()
        assert record.status == "stopped"


async def test_unknown_handler_releases_the_task(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("unknown")
    flow.step(name="task")(lambda _: 1)
    run_id = await start(db, flow)
    worker = Worker(db, flow)
    work = await begun(worker)
    worker._repertoire.handlers.clear()
    await eventually(lambda: worker.statistics.released or worker.statistics.completed)
    worker.stop()
    await work
    if worker.statistics.released:
        (task,) = await db.tasks(run_id, "task")
        assert task.status == "queued"


async def test_fault_30_blocking_the_loop_keeps_the_lease_and_is_reported(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("blocking", max_attempts=1)

    @flow.step()
    async def block(_: Any) -> bool:
        time.sleep(4)  # noqa: ASYNC251 - the fault
        with psycopg.connect(db.dsn) as connection:
            cursor = connection.execute("select vt > clock_timestamp() from pgmq.q_blocking")
            row = cursor.fetchone()
        return row is not None and row[0]

    caplog.set_level(logging.WARNING)
    run = await work(db, flow, lease=2)
    assert output(run) == {"block": True}, "the message is still invisible: the lease was renewed"
    assert "the event loop is blocked" in caplog.text
    assert "block (" in caplog.text
    assert [a.outcome for a in await db.attempts(run.run_id)] == ["completed"]


async def test_deprecated_worker_drains(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgflow._leases.IDLE_HEARTBEAT", 0.1)
    flow: Flow[Any] = Flow("deprecated")
    flow.step(name="task")(lambda _: 1)
    worker = Worker(db, flow)
    work = await begun(worker)
    async with db.connection() as connection:
        await connection.execute("update pgflow.workers set deprecated_at = now()")
    async with asyncio.timeout(20):
        await work
    (record,) = await db.workers()
    assert record.status == "stopped"


async def test_worker_runs_once(db: Database) -> None:
    flow: Flow[Any] = Flow("once")
    flow.step(name="task")(lambda _: 1)
    worker = Worker(db, flow)
    worker.stop()
    await worker.run()
    with pytest.raises(UsageError, match="runs once"):
        await worker.run()
