"""Maps with batch_size, end to end: the handler is written for one item, or for a list of them."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from pgflow import Flow, FlowBuilder, NonRetryable, RetryAfter, Worker, current_task
from pgflow.records import TaskStatus
from tests.support import worker_flows
from tests.support.features import output, perform, resume
from tests.support.runs import claim
from tests.support.worker_processes import eventually, start

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow.database import Database


def squares(**options: Any) -> Flow[list[int]]:
    """Return a flow of one root map in batches of 10, whose handler squares an item."""
    flow: Any = Flow[list[int]]("squares", base_delay=0)

    @flow.map(**({"batch_size": 10} | options))  # type: ignore[untyped-decorator]
    async def square(number: int) -> int:
        return number * number

    return cast("Flow[list[int]]", flow)


async def grants(db: Database, run_id: UUID, step: str) -> list[tuple[int, int | None, int]]:
    """Return index, items and attempts of each task of a step."""
    tasks = await db.tasks(run_id, step, limit=10_000)
    return [(task.task_index, task.items, task.attempts_count) for task in tasks]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25, 1003])
async def test_every_item_is_worked_on_whatever_their_number(db: Database, count: int) -> None:
    run = await perform(db, squares(), list(range(count)))
    assert output(run) == {"square": [number * number for number in range(count)]}
    assert await grants(db, run.run_id, "square") == [
        (first, min(10, count - first), 1) for first in range(0, count, 10)
    ]


async def test_sync_handlers_get_one_item_at_a_time_too(db: Database) -> None:
    flow = Flow[list[int]]("flow")

    @flow.map(batch_size=4)
    def twice(number: int) -> dict[str, int]:
        return {"index": current_task().index, "twice": 2 * number}

    run = await perform(db, flow, list(range(10)))
    assert output(run)["twice"] == [{"index": i, "twice": 2 * i} for i in range(10)]


async def test_a_handler_of_lists_gets_whole_batches(db: Database) -> None:
    flow = Flow[list[int]]("flow")
    seen: list[list[int]] = []

    @flow.map(batch_size=4)
    def twice(numbers: list[int]) -> list[int]:
        seen.append(numbers)
        return [2 * number for number in numbers]

    @flow.step(depends_on=(twice,))
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    run = await perform(db, flow, list(range(10)))
    assert sorted(seen) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert output(run) == {"total": 90}


async def test_a_handler_of_items_that_are_lists_gets_one_of_them(db: Database) -> None:
    flow = Flow[list[list[int]]]("flow")

    @flow.map(batch_size=3)
    async def reverse(numbers: list[int]) -> list[int]:
        return numbers[::-1]

    run = await perform(db, flow, [[1, 2], [3], [], [4, 5, 6]])
    assert output(run) == {"reverse": [[2, 1], [3], [], [6, 5, 4]]}


async def test_a_failed_list_handler_is_given_its_items_one_by_one(db: Database) -> None:
    flow = Flow[list[int]]("flow", base_delay=0, max_attempts=2)
    sizes: list[int] = []

    @flow.map(batch_size=4, failure_policy="continue")
    async def invert(numbers: list[int]) -> list[float]:
        sizes.append(len(numbers))
        return [1 / number for number in numbers]

    run = await perform(db, flow, [1, 2, 0, 4])
    assert output(run) == {"invert": [1.0, 0.5, None, 0.25]}
    assert sizes == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("wrong", [[1], [1, 2, 3], {"a": 1, "b": 2}])
async def test_a_list_handler_must_give_one_output_for_each_item(
    db: Database, wrong: object
) -> None:
    flow = Flow[list[int]]("flow", max_attempts=1)

    @flow.map(batch_size=2)
    async def broken(numbers: list[int]) -> list[int]:
        return wrong  # type: ignore[return-value]

    run = await perform(db, flow, [5, 6])
    assert run.status == "failed"
    assert "a batch of 2 needs a list of 2 outputs" in (run.error_message or "")


@pytest.mark.parametrize("is_async", [True, False])
async def test_failed_items_are_retried_one_by_one_and_the_others_are_kept(
    db: Database, *, is_async: bool
) -> None:
    flow = Flow[list[int]]("flow", base_delay=0, max_attempts=3)
    calls: list[tuple[int, int, str]] = []

    def work(number: int) -> int:
        task = current_task()
        calls.append((number, task.attempt, task.idempotency_key))
        if number in {3, 5} and task.attempt < 3:
            raise ValueError(f"no {number}")
        return number

    async def work_async(number: int) -> int:
        await asyncio.sleep(0)
        return work(number)

    flow.map(batch_size=8, name="work")(work_async if is_async else work)
    run = await perform(db, flow, list(range(8)))
    assert output(run) == {"work": list(range(8))}
    assert sorted(call[:2] for call in calls) == sorted(
        [(number, 1) for number in range(8)] + [(n, a) for n in (3, 5) for a in (2, 3)]
    )
    assert len({key for _, _, key in calls}) == 8, "the key of an item is the same in each attempt"
    attempts = await db.attempts(run.run_id, "work", 3)
    assert [(one.attempt, one.outcome) for one in attempts] == [
        (1, "failed"), (2, "failed"), (3, "completed"),
    ]  # fmt: skip
    assert attempts[0].error == "ValueError: no 3"
    assert "raise ValueError" in json.loads(attempts[0].details or b"{}")["traceback"]


async def test_each_item_fails_in_its_own_way(db: Database) -> None:
    flow = Flow[list[int]]("flow", base_delay=0, max_attempts=3)

    @flow.map(batch_size=5, failure_policy="continue", non_retryable=(KeyError,))
    async def pick(number: int) -> object:
        match number:
            case 0 if current_task().attempt == 1:
                raise RetryAfter(0.01)
            case 1:
                raise NonRetryable("never")
            case 2:
                raise KeyError("missing")
            case 3:
                return object()
            case _:
                return number

    run = await perform(db, flow, list(range(5)))
    assert output(run) == {"pick": [0, None, None, None, 4]}
    failed = {task.task_index: task for task in await db.failed_tasks(run.run_id)}
    assert {index: task.attempts_count for index, task in failed.items()} == {1: 1, 2: 1, 3: 3}
    assert failed[1].error_message == "NonRetryable: never"
    assert "object has no JSON form" in (failed[3].error_message or "")


async def test_an_item_that_does_not_fit_fails_alone_and_for_good(db: Database) -> None:
    run = await perform(db, squares(failure_policy="continue"), [1, "two", 3])
    assert output(run) == {"square": [1, None, 9]}
    (failed,) = await db.failed_tasks(run.run_id)
    assert (failed.task_index, failed.attempts_count) == (1, 1)
    assert "parameter 'number'" in (failed.error_message or "")


@pytest.mark.parametrize("odd_one", ["", "odd"], ids=["together", "one by one"])
async def test_values_pass_as_exactly_as_one_by_one(db: Database, odd_one: str) -> None:
    """An item that does not fit has the others decoded each for itself."""
    flow = Flow[list[Decimal]]("flow", base_delay=0, max_attempts=2)

    @flow.map(batch_size=4, failure_policy="continue")
    async def same(number: Decimal) -> Decimal:
        if current_task().attempt == 1 and number < 0:
            raise ValueError
        return number

    exact = ["1.10", "0.123456789012345678901234567890", "-12345678901234567890.5"]
    given = exact + [odd_one] * bool(odd_one)
    run = await perform(db, flow, given)
    assert output(run) == {"same": [*exact, None] if odd_one else exact}


# Timeouts, stops, leases


async def test_an_item_that_takes_too_long_costs_the_others_nothing(db: Database) -> None:
    flow = Flow[list[float]]("flow", base_delay=0, max_attempts=1)

    @flow.map(batch_size=5, timeout=1, failure_policy="continue")
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    began = time.monotonic()
    run = await perform(db, flow, [0.3, 0.4, 30, 0.5, 0.6])
    assert output(run) == {"nap": [0.3, 0.4, None, 0.5, 0.6]}, (
        "each item has a second, not all five"
    )
    assert time.monotonic() - began < 15
    (failed,) = await db.failed_tasks(run.run_id)
    assert failed.error_message == "TaskTimeout: no result within 1 s"


async def test_a_sync_item_that_takes_too_long_sends_the_rest_back(db: Database) -> None:
    flow = Flow[list[float]]("flow", base_delay=0, max_attempts=1)

    @flow.map(batch_size=4, timeout=1, failure_policy="continue")
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    run = await perform(db, flow, [0.0, 3.0, 0.1, 0.2])
    assert output(run) == {"nap": [0.0, None, 0.1, 0.2]}
    released = [one for one in await db.attempts(run.run_id) if one.outcome == "released"]
    assert sorted(one.task_index for one in released) == [2, 3]


async def test_a_stopping_worker_reports_what_it_has_done_of_a_batch(db: Database) -> None:
    flow = Flow[list[int]]("flow", base_delay=0, max_attempts=1)
    calls: list[int] = []

    @flow.map(batch_size=4)
    async def slow(number: int) -> int:
        calls.append(number)
        if number == 2 and len(calls) == 3:
            await asyncio.sleep(60)
        return number

    run_id = await start(db, flow, [0, 1, 2, 3])
    worker = Worker(db, flow, drain_timeout=0.05)
    working = asyncio.create_task(worker.run())
    await eventually(lambda: len(calls) == 3)
    worker.stop()
    await working
    assert (worker.statistics.completed, worker.statistics.released) == (2, 2)
    tasks = await db.tasks(run_id, "slow")
    assert [task.status for task in tasks] == [*["completed"] * 2, *["queued"] * 2]
    run = await resume(db, flow, run_id)
    assert output(run) == {"slow": [0, 1, 2, 3]}
    assert calls == [0, 1, 2, 2, 3]


async def test_a_batch_that_has_not_begun_goes_back_whole(db: Database) -> None:
    flow = squares()
    run_id = await start(db, flow, list(range(10)))
    (task,) = await claim(db, "squares")
    reports = await db.release_tasks([run_id], ["square"], [0], [task.attempt])
    assert [report.outcome for report in reports] == ["accepted"]
    assert await grants(db, run_id, "square") == [(0, 10, 1)]
    assert output(await resume(db, flow, run_id)) == {"square": [n * n for n in range(10)]}
    assert await grants(db, run_id, "square") == [(0, 10, 2)]


async def test_a_worker_that_lost_the_lease_stops_the_batch(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flow = Flow[list[int]]("flow", base_delay=0)
    calls: list[int] = []

    @flow.map(batch_size=3)
    async def slow(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(60)
        return number

    run_id = await start(db, flow, [0, 1, 2])
    worker = Worker(db, flow, lease=2)
    working = asyncio.create_task(worker.run())
    await eventually(lambda: calls)
    with caplog.at_level(logging.WARNING):
        await db.cancel_run(run_id)
        await eventually(lambda: not len(worker))
    worker.stop()
    await working
    assert calls == [0]


# What a handler may do


async def test_transactions_are_refused_where_items_share_a_task(db: Database) -> None:
    flow = Flow[list[int]]("flow", base_delay=0, max_attempts=2)

    @flow.map(batch_size=2)
    def write(number: int) -> int:
        with current_task().transaction():
            return number

    run = await perform(db, flow, [1, 2])
    assert run.status == "failed"
    assert "step write, whose items share tasks" in (run.error_message or "")
    assert {task.attempts_count for task in await db.tasks(run.run_id, "write")} == {2}


async def test_progress_of_an_item_is_a_part_of_the_batchs(db: Database) -> None:
    flow = Flow[list[int]]("flow")
    hold = asyncio.Event()

    @flow.map(batch_size=4)
    async def slow(number: int) -> int:
        if number == 2:
            current_task().progress(0.5, "half of the third")
            await hold.wait()
        return number

    run_id = await start(db, flow, [0, 1, 2, 3])
    worker = Worker(db, flow)
    working = asyncio.create_task(worker.run_until(run_id))

    async def reported() -> Any:
        (task,) = await db.tasks(run_id, "slow")
        return task.progress and json.loads(task.progress)

    while not (found := await reported()):
        await asyncio.wait({working}, timeout=0.05)
        assert not working.done()
    assert found == {"fraction": 0.625, "message": "half of the third"}
    hold.set()
    await working


async def test_log_records_name_the_item(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    flow = Flow[list[int]]("flow")

    @flow.map(batch_size=3)
    async def talk(number: int) -> int:
        current_task().logger.warning("item %d", number)
        return number

    with caplog.at_level(logging.WARNING, "pgflow.task"):
        await perform(db, flow, [10, 11, 12])
    assert [record.__dict__["task"] for record in caplog.records if "item" in record.message] == [
        0,
        1,
        2,
    ]


async def test_items_in_processes_of_their_own(db: Database) -> None:
    run = await perform(db, worker_flows.apart, [1, 2, 0, 4])
    assert output(run) == {"invert": [1.0, 0.5, None, 0.25]}
    run = await perform(db, worker_flows.apart_whole, [1, 2, 3])
    found = output(run)["pids"]
    assert len(set(map(tuple, found))) == 1, "one call for the batch"


async def test_an_item_that_kills_its_process_fails_alone(db: Database) -> None:
    run = await perform(db, worker_flows.apart_crashing, ["a", "kill", "b"])
    assert output(run) == {"leave": ["a", None, "b"]}
    (failed,) = await db.failed_tasks(run.run_id)
    assert "SIGKILL" in (failed.error_message or "")


# Old code and new, data and code


async def test_code_without_batch_size_handles_batches_of_the_runs_plan(db: Database) -> None:
    run_id = await start(db, squares(), list(range(25)))
    run = await resume(db, squares(batch_size=None), run_id)
    assert output(run) == {"square": [number * number for number in range(25)]}


async def test_code_with_batch_size_handles_single_items_of_the_runs_plan(db: Database) -> None:
    def flow(size: int | None) -> Flow[list[int]]:
        flow: Any = Flow[list[int]]("flow")

        @flow.map(batch_size=size)  # type: ignore[untyped-decorator]
        def twice(numbers: list[int]) -> list[int]:
            return [2 * number for number in numbers]

        return cast("Flow[list[int]]", flow)

    run_id = await start(db, flow(None), [1, 2, 3])
    run = await resume(db, flow(2), run_id)
    assert output(run) == {"twice": [2, 4, 6]}


async def test_flows_built_as_data_take_batches(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("built")
    await builder.add_step("built", "numbers")
    await builder.add_step("built", "label", ["numbers"], step_type="map", batch_size=3)
    run_id = await db.start_flow("built", "7")

    def numbers(count: int) -> list[int]:
        return list(range(count))

    def label(given: dict[str, Any]) -> str:
        return f"{given['index']}:{given['item']}"

    async with asyncio.timeout(30):
        await Worker(db, {"built": {"numbers": numbers, "label": label}}).run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    assert output(run) == {"label": [f"{n}:{n}" for n in range(7)]}
    assert [items for _, items, _ in await grants(db, run_id, "label")] == [3, 3, 1]


async def test_a_batched_map_over_a_batched_map_and_a_reader(db: Database) -> None:
    flow = Flow[int]("flow")

    @flow.step()
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @flow.map(over=numbers, batch_size=7)
    async def twice(number: int) -> int:
        return 2 * number

    @flow.map(over=twice, batch_size=5)
    def again(numbers: list[int]) -> list[int]:
        return [2 * number for number in numbers]

    @flow.step(depends_on=(numbers, again))
    async def check(numbers: list[int], quadrupled: list[int]) -> bool:
        return quadrupled == [4 * number for number in numbers]

    assert output(await perform(db, flow, 503)) == {"check": True}


async def test_a_retry_of_the_run_takes_up_failed_items_only(db: Database) -> None:
    calls: list[int] = []

    def flow(bad: set[int]) -> Flow[list[int]]:
        flow = Flow[list[int]]("flow", max_attempts=1)

        @flow.map(batch_size=4, failure_policy="continue")
        async def work(number: int) -> int:
            calls.append(number)
            if number in bad:
                raise ValueError
            return number

        return flow

    run = await perform(db, flow({1, 6}), list(range(10)))
    assert output(run)["work"] == [0, None, 2, 3, 4, 5, None, 7, 8, 9]
    calls.clear()
    await db.retry_run(run.run_id)
    run = await resume(db, flow(set()), run.run_id)
    assert output(run) == {"work": list(range(10))}
    assert sorted(calls) == [1, 6]


async def test_pages_and_tasks_show_items(db: Database) -> None:
    run = await perform(db, squares(), list(range(25)))
    page = await db.step_output(run.run_id, "square", 8, 4)
    assert [(one.task_index, one.output) for one in page] == [
        (9, b"81"), (10, b"100"), (11, b"121"), (12, b"144"),
    ]  # fmt: skip
    (first, *_) = await db.tasks(run.run_id, "square")
    assert (first.items, first.status) == (10, TaskStatus.COMPLETED)
    (step,) = await db.steps(run.run_id)
    assert (step.total_tasks, step.completed_tasks) == (25, 25)


async def test_an_output_that_the_server_refuses_fails_its_item_alone(db: Database) -> None:
    flow = Flow[list[int]]("flow", base_delay=0, max_attempts=2)

    @flow.map(batch_size=3, failure_policy="continue")
    async def odd(number: int) -> Any:
        return "a\0b" if number == 1 else number

    run = await perform(db, flow, [0, 1, 2])
    assert output(run) == {"odd": [0, None, 2]}


async def test_show_names_the_items_of_a_batch(db: Database, database_url: str) -> None:
    run = await perform(db, squares(), list(range(13)))
    command = [sys.executable, "-m", "pgflow", "show", str(run.run_id), "--step", "square"]
    process = await asyncio.create_subprocess_exec(
        *command, "--dsn", database_url, stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await process.communicate()
    rows = [line.split() for line in shown.decode().splitlines()]
    assert [row[0] for row in rows if "completed" in row and row[0][0].isdigit()] == [
        "0-9",
        "10-12",
    ]
