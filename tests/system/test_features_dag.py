"""Features A1, A3 to A6, A9 and A16: the order of steps, their maps and counters, and what comes out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import (  # noqa: TC003 - annotations of handlers are read at run time
    AsyncIterator,
    Iterator,
)
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Client, Flow, FlowBuilder, RunFailed, current_task, execute_dynamic
from pgflow.execute import execute_async
from tests.support.feature_flows import lattice
from tests.support.features import output, perform, span
from tests.support.runs import count_runs
from tests.support.worker_processes import ROOT, WorkerProcess, finished, import_path, start

if TYPE_CHECKING:
    from pgflow.database import Database


async def test_a1_branches_of_a_diamond_overlap_and_their_merge_starts_after_both(
    db: Database,
) -> None:
    flow = Flow[int]("diamond")
    both_run = asyncio.Barrier(2)

    @flow.step()
    def root(number: int) -> int:
        return number

    @flow.step(depends_on=(root,))
    async def left(number: int) -> int:
        await both_run.wait()
        return number + 1

    @flow.step(depends_on=(root,))
    async def right(number: int) -> int:
        await both_run.wait()
        return number + 2

    @flow.step(depends_on=(left, right))
    def merge(left: int, right: int) -> int:
        return left * right

    run = await perform(db, flow, 1)
    assert output(run) == {"merge": 6}
    spans = {one.step_slug: span(one) for one in await db.attempts(run.run_id)}
    assert spans["root"][1] <= min(spans["left"][0], spans["right"][0])
    assert max(spans["left"][0], spans["right"][0]) <= min(spans["left"][1], spans["right"][1])
    assert spans["merge"][0] >= max(spans["left"][1], spans["right"][1])
    (before, *branches, after) = await db.steps(run.run_id)
    assert after.started_at is not None
    for branch in branches:
        assert branch.started_at is not None
        assert branch.finished_at is not None
        assert before.finished_at is not None
        assert before.finished_at <= branch.started_at
        assert branch.finished_at <= after.started_at


RUNNER = """
import asyncio, json, sys
from pgflow import Client, Database, execute_dynamic

async def main():
    async with Database.connect(sys.argv[1]) as db:
        result = await execute_dynamic("assembled", {"n": 3}, {
            "fetch": lambda given: list(range(given["n"])),
            "square": lambda given: given["item"] ** 2,
            "total": lambda given: sum(given["square"]),
        }, db, timeout=30)
        print(json.dumps(result.output))

asyncio.run(main())
"""


async def test_a3_a_flow_is_assembled_as_data_and_run_by_another_process(
    db: Database, database_url: str
) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("assembled")
    await builder.add_step("assembled", "fetch")
    await builder.add_step("assembled", "square", ["fetch"], step_type="map")
    await builder.add_step("assembled", "total", ["square"])
    assert [flow.flow_slug for flow in await builder.list_flows()] == ["assembled"]
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", RUNNER, database_url],
        check=True,
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    assert json.loads(ran.stdout) == {"total": 5}
    stored = await builder.get_flow("assembled")
    assert [(step.step_slug, step.step_type) for step in stored.steps] == [
        ("fetch", "single"),
        ("square", "map"),
        ("total", "single"),
    ]
    await builder.delete_flow("assembled")
    assert await builder.list_flows() == []
    assert await count_runs(db) == 0


async def test_a3_a_single_step_with_nothing_set_runs_one_task(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("plain")
    await builder.add_step("plain", "only")
    calls: list[Any] = []
    result = await execute_dynamic("plain", {"a": 1}, {"only": calls.append}, db)
    assert calls == [{"a": 1}]
    assert len(await db.tasks(result.run_id, "only")) == 1


async def test_a4_a_map_over_a_map_over_the_input_gives_each_task_its_element(
    db: Database,
) -> None:
    flow = Flow[list[str]]("words")

    @flow.map()
    def upper(word: str) -> tuple[int, str]:
        return current_task().index, word.upper()

    @flow.map(over=upper)
    async def spell(entry: tuple[int, str]) -> str:
        assert entry[0] == current_task().index
        return "-".join(entry[1])

    for words in (["ab", "cd", "ef"], ["x"], []):
        run = await perform(db, flow, words)
        assert output(run) == {"spell": ["-".join(word.upper()) for word in words]}
        for step in ("upper", "spell"):
            assert len(await db.tasks(run.run_id, step)) == len(words)


async def test_a4_a_fixed_number_of_tasks_needs_no_array(db: Database) -> None:
    flow = Flow[dict[str, int]]("fixed")

    @flow.map(initial_tasks=4)
    def shard(given: dict[str, int]) -> int:
        return given["base"] + current_task().index

    @flow.step(depends_on=(shard,))
    def gather(shards: list[int]) -> list[int]:
        return shards

    run = await perform(db, flow, {"base": 10})
    assert output(run) == {"gather": [10, 11, 12, 13]}


async def test_a5_counters_reach_zero_under_four_processes_over_and_over(
    db: Database, database_url: str
) -> None:
    count, runs = 20, 10
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(
                WorkerProcess(
                    database_url,
                    "lattice",
                    module="tests.support.feature_flows",
                    concurrency=2,
                    batch_size=2,
                )
            )
        run_ids = [await start(db, lattice, {"count": count}) for _ in range(runs)]
        for run_id in run_ids:
            assert await finished(db, run_id) == {"balance": 2 * sum(range(count))}
    async with db.connection() as connection:
        for counters in (
            "select count(*) from pgflow.runs where status = 'completed' and remaining_steps = 0",
            """select count(*) / 5 from pgflow.step_states
               where status = 'completed' and remaining_deps = 0 and remaining_tasks = 0""",
            f"""select count(*) / {2 + 3 * count} from pgflow.step_tasks
                where status = 'completed' and attempts_count = 1""",
        ):
            cursor = await connection.execute(counters.encode())
            assert await cursor.fetchone() == (runs,), counters
        cursor = await connection.execute("select count(*) from pgmq.q_lattice")
        assert await cursor.fetchone() == (0,)


async def test_a6_a_list_and_streams_of_a_maps_results_come_in_order(db: Database) -> None:
    flow = Flow[list[int]]("aggregated")
    late_first = asyncio.Event()

    @flow.map()
    async def square(number: int) -> int:
        # The last item ends first: the order is that of the items, not of their ends.
        if number == 9:
            late_first.set()
        await late_first.wait()
        return number * number

    @flow.step(depends_on=(square,))
    def as_list(squares: list[int]) -> list[int]:
        return squares

    @flow.step(depends_on=(square,))
    def as_stream(squares: Iterator[int]) -> list[int]:
        assert not isinstance(squares, list)
        return list(squares)

    @flow.step(depends_on=(square,))
    async def as_async_stream(squares: AsyncIterator[int]) -> list[int]:
        return [number async for number in squares]

    expected = [number * number for number in range(10)]
    assert output(await perform(db, flow, list(range(10)))) == {
        "as_list": expected,
        "as_stream": expected,
        "as_async_stream": expected,
    }


async def test_a9_a_map_over_no_array_fails_the_run_and_names_both_steps(db: Database) -> None:
    flow: Flow[Any] = Flow("mistyped")

    @flow.step()
    def fetch(_: Any) -> Any:
        return {"not": "a list"}

    @flow.map(over=fetch)
    def send(item: Any) -> Any:
        return item

    run = await perform(db, flow)
    assert run.status == "failed"
    message = run.error_message or ""
    assert "fetch" in message
    assert "send" in message
    with pytest.raises(RunFailed, match="fetch"):
        await (await Client(db).get(run.run_id)).result(5)


async def test_a16_outputs_of_leaves_come_back_and_a_failed_run_raises_its_place(
    db: Database,
) -> None:
    flow = Flow[list[int]]("leaves", base_delay=0, max_attempts=2)

    @flow.map()
    def invert(number: int) -> float:
        return 1 / number

    @flow.step(depends_on=(invert,))
    def total(inverses: list[float]) -> float:
        return sum(inverses)

    @flow.step(depends_on=(invert,))
    def most(inverses: list[float]) -> float:
        return max(inverses)

    result = await execute_async(flow, [1, 2, 4], dsn=db)
    assert (result[total], result[most]) == (1.75, 1.0)
    assert set(result) == {"total", "most"}
    with pytest.raises(RunFailed) as caught:
        await execute_async(flow, [1, 0], dsn=db)
    failed = caught.value
    assert (failed.step, failed.task_index, failed.attempt) == ("invert", 1, 2)
    assert failed.error == "ZeroDivisionError: division by zero"
    for words in ("leaves", "invert", "ZeroDivisionError"):
        assert words in str(failed)
