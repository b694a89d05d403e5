"""execute.py: start, work and wait in one call, with a real worker."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import (
    Database,
    DefinitionError,
    EncodingError,
    Flow,
    FlowBuilder,
    FlowNotFound,
    NonRetryable,
    RunFailed,
    UsageError,
    WaitTimeout,
    execute,
    execute_dynamic,
    execute_dynamic_sync,
)
from pgflow.execute import execute_async
from tests.support.runs import count_runs

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Order:
    number: int


@dataclass
class Receipt:
    number: int
    total: float


def make_flow() -> Flow[Order]:
    flow = Flow[Order]("orders", base_delay=0)

    @flow.step()
    def lines(order: Order) -> list[int]:
        return list(range(order.number))

    @flow.map(over=lines)
    async def price(line: int) -> float:
        return line * 1.5

    @flow.step(depends_on=(lines, price))
    def receipt(lines: list[int], prices: list[float]) -> Receipt:
        return Receipt(len(lines), sum(prices))

    return flow


def test_a_plain_script_gets_the_output(database_url: str) -> None:
    flow = make_flow()
    result = execute(flow, Order(4), dsn=database_url)
    assert result["receipt"] == Receipt(4, 9.0)
    assert result[flow["receipt"]] == Receipt(4, 9.0)
    assert result.output == {"receipt": {"number": 4, "total": 9.0}}
    assert result.run.status == "completed"


async def test_in_an_event_loop_it_names_what_to_await(database_url: str) -> None:
    with pytest.raises(UsageError, match="an event loop is running") as caught:
        execute(make_flow(), Order(1), dsn=database_url)
    assert "await execute_async(" in str(caught.value)
    with pytest.raises(UsageError, match="an event loop is running") as caught:
        execute_dynamic_sync("f", {}, {}, dsn=database_url)
    assert "await execute_dynamic(" in str(caught.value)


async def test_a_database_given_stays_open(db: Database) -> None:
    results = [await execute_async(make_flow(), Order(n), dsn=db) for n in (0, 1)]
    assert [result["receipt"] for result in results] == [Receipt(0, 0), Receipt(1, 0)]
    assert await count_runs(db) == 2


async def test_several_at_once_share_the_work(db: Database) -> None:
    results = await asyncio.gather(
        *(execute_async(make_flow(), Order(n), dsn=db) for n in range(5))
    )
    assert [result["receipt"].number for result in results] == list(range(5))


async def test_a_failed_run_raises_with_the_place(db: Database) -> None:
    flow = Flow[int]("failing", base_delay=0, max_attempts=2)

    @flow.step()
    def explode(number: int) -> int:
        raise ValueError(f"no {number}")

    with pytest.raises(RunFailed, match="no 7") as caught:
        await execute_async(flow, 7, dsn=db)
    assert (caught.value.flow, caught.value.step, caught.value.task_index, caught.value.attempt) == (
        "failing", "explode", 0, 2,
    )  # fmt: skip


async def test_a_timeout_leaves_the_run_to_others(db: Database) -> None:
    flow = Flow[int]("slow")

    @flow.step()
    async def sleep(number: int) -> int:
        await asyncio.sleep(30)
        return number

    async with asyncio.timeout(10):
        with pytest.raises(WaitTimeout):
            await execute_async(flow, 1, dsn=db, timeout=0.5)
    (run,) = await db.runs()
    assert run.status == "started"
    (task,) = await db.tasks(run.run_id, "sleep")
    assert (task.status, task.attempts_count - task.released_count) == ("queued", 0), (
        "handed back at once"
    )


async def test_live_tells_on_standard_output_what_happens(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    result = await execute_async(make_flow(), Order(4), dsn=db, live=True)
    told = capsys.readouterr().out.splitlines()
    assert result["receipt"] == Receipt(4, 9.0)
    assert [line.split()[1] for line in told if " completed in " in line] == [
        "lines",
        "price",
        "receipt",
    ]
    assert any("4 of 4 tasks" in line for line in told)


async def test_live_raises_what_waiting_raises(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = Flow[Order]("nap")

    @flow.step()
    async def nap(order: Order) -> None:
        if order.number:
            raise NonRetryable("no nap")
        await asyncio.sleep(60)

    with pytest.raises(RunFailed, match="no nap"):
        await execute_async(flow, Order(1), dsn=db, live=True)
    assert "nap failed" in capsys.readouterr().out
    with pytest.raises(WaitTimeout, match=r"not ended within 0\.5 s"):
        await execute_async(flow, Order(0), dsn=db, live=True, timeout=0.5)


async def test_a_bad_input_starts_nothing(db: Database) -> None:
    flow: Flow[Any] = Flow("anything")

    @flow.step()
    def echo(given: Any) -> Any:
        return given

    with pytest.raises(EncodingError):
        await execute_async(flow, {"number": float("nan")}, dsn=db)
    assert await db.flow_slugs() == []


async def test_the_same_key_gives_the_first_result(db: Database) -> None:
    calls: list[int] = []
    flow = Flow[int]("once")

    @flow.step()
    def record(number: int) -> int:
        calls.append(number)
        return number

    results = [await execute_async(flow, number, dsn=db, key="k") for number in (1, 2)]
    assert [result[record] for result in results] == [1, 1]
    assert calls == [1]


async def test_the_seeds_tuple_list_runs(db: Database) -> None:
    flow = Flow.from_list(
        "email_campaign",
        [
            (
                "fetch",
                lambda given: [{"email": f"{n}@example.org"} for n in range(given["n"])],
                {"depends_on": []},
            ),
            (
                "send",
                lambda given: {"to": given["item"]["email"]},
                {"depends_on": ["fetch"], "initial_tasks": 3},
            ),
            ("track", lambda given: len(given["send"])),
        ],
    )
    result = await execute_async(flow, {"n": 3}, dsn=db)
    assert result["track"] == 3


# Dynamic


async def define(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("ai_analysis", base_delay=0)
    await builder.add_step("ai_analysis", "fetch_data")
    await builder.add_step("ai_analysis", "analyze", ["fetch_data"], step_type="map")
    await builder.add_step("ai_analysis", "summarize", ["analyze"])


FUNCTIONS = {
    "fetch_data": lambda given: [given["dataset"] + str(n) for n in range(3)],
    "analyze": lambda given: {"index": given["index"], "text": given["item"].upper()},
    "summarize": lambda given: [
        part["text"] for part in sorted(given["analyze"], key=lambda part: part["index"])
    ],
}


async def test_a_flow_built_as_data_runs_with_functions_of_one_mapping(db: Database) -> None:
    await define(db)
    result = await execute_dynamic("ai_analysis", {"dataset": "x"}, FUNCTIONS, db)
    assert result["summarize"] == ["X0", "X1", "X2"]
    assert result.output == {"summarize": ["X0", "X1", "X2"]}


def test_a_script_runs_what_another_process_has_built(database_url: str) -> None:
    build = """
import asyncio, sys
from pgflow import Database, FlowBuilder
async def main():
    async with Database.connect(sys.argv[1]) as db:
        builder = FlowBuilder(db)
        await builder.create_flow("built")
        await builder.add_step("built", "double")
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", build, database_url], check=True, timeout=30)
    result = execute_dynamic_sync(
        "built", {"n": 21}, {"double": lambda given: given["n"] * 2}, dsn=database_url
    )
    assert result["double"] == 42


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({}, ["step fetch_data has no function", "analyze", "summarize"]),
        ({**FUNCTIONS, "analyze": None}, ["analyze is a NoneType"]),
        (
            {"fetch_dta": FUNCTIONS["fetch_data"], "analyze": len, "summarize": len},
            ["step fetch_data has no function - did you mean 'fetch_dta'?"],
        ),
        ({**FUNCTIONS, "sumarize": len}, ["there is no step sumarize - did you mean 'summarize'?"]),
    ],
)
async def test_missing_functions_are_named_before_anything_starts(
    db: Database, functions: dict[str, Any], words: list[str]
) -> None:
    await define(db)
    with pytest.raises(UsageError) as caught:
        await execute_dynamic("ai_analysis", {}, functions, db)
    for word in words:
        assert word in str(caught.value)
    assert await count_runs(db) == 0


async def test_an_unknown_dynamic_flow_is_named(db: Database) -> None:
    await define(db)
    with pytest.raises(FlowNotFound, match="did you mean 'ai_analysis'"):
        await execute_dynamic("ai_analisys", {}, FUNCTIONS, db)


async def test_handlers_that_do_not_fit_are_refused_before_anything_starts(db: Database) -> None:
    await define(db)

    def nothing(_: object) -> None: ...

    with pytest.raises(DefinitionError, match="must return a list"):
        await execute_dynamic("ai_analysis", {}, {**FUNCTIONS, "fetch_data": nothing}, db)
    assert await count_runs(db) == 0


async def test_a_dynamic_failure_raises(db: Database) -> None:
    await define(db)

    def fail(_: object) -> list[str]:
        raise NonRetryable("nothing to fetch")

    with pytest.raises(RunFailed, match="nothing to fetch") as caught:
        await execute_dynamic("ai_analysis", {}, {**FUNCTIONS, "fetch_data": fail}, db)
    assert (caught.value.step, caught.value.attempt) == ("fetch_data", 1)


@pytest.fixture
def project() -> Iterator[Path]:
    """Give a project directory of its own; short, since a socket's path is limited."""
    directory = Path(tempfile.mkdtemp(prefix="pgf"))
    (directory / "pyproject.toml").touch()
    yield directory
    until = time.monotonic() + 20
    while list(directory.glob(".pgflow/**/postmaster.pid")) and time.monotonic() < until:
        time.sleep(0.05)
    shutil.rmtree(directory, ignore_errors=True)


def test_without_an_address_it_runs_on_the_embedded_server(project: Path) -> None:
    script = """
from pgflow import Flow, execute
flow = Flow[int]("doubled")
@flow.step()
def double(number: int) -> int:
    return number * 2
print(execute(flow, 21)[double])
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project,
        env={"PATH": "/usr/bin:/bin", "HOME": str(project)},
        check=False,
        capture_output=True,
        timeout=90,
    )
    assert ran.stdout.decode().strip() == "42", ran.stderr.decode()
    assert (project / ".pgflow" / "postgres").is_dir()
