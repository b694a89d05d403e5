"""isolation="process": handlers that crash, hang or leave cost one attempt, and the worker lives."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pgflow import Flow
from pgflow._isolation import IsolatedProcesses, ProcessCrashed
from pgflow.handlers import Completed, Execution, Failed, Handler, Performer, Services, perform
from pgflow.records import GrantedTask, RawJson
from tests.support import fault_flows, worker_flows
from tests.support.worker_processes import eventually, is_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pgflow.handlers import Outcome

RUN_INPUT = '{"count": 10000000000000000000000}'


def task_of(
    step: str, task_input: str, timeout: int = 20, deferred: tuple[str, ...] = ()
) -> GrantedTask:
    raw = RawJson(task_input.encode())
    return GrantedTask(
        "isolated", uuid4(), step, 0, 4, RawJson(b"{}"), raw, 1, "isolated", "single", 1, 1,
        timeout, exhausted=False, deferred=deferred,
    )  # fmt: skip


def handler_of(function: Callable[..., Any], **options: Any) -> Handler:
    flow: Flow[Any] = Flow("isolated")
    return Handler(flow.step(name="step", isolation="process", **options)(function))


class Bench:
    """A performer whose processes are kept between tasks, as in a worker."""

    def __init__(self) -> None:
        self.services = Services(read_run_input=lambda _: RawJson(RUN_INPUT.encode()))
        self.outcomes: dict[Execution, asyncio.Future[Outcome]] = {}
        self.performer = Performer(
            self.services, concurrency=4, ended=lambda e, o: self.outcomes[e].set_result(o)
        )

    async def perform(self, task: GrantedTask, handler: Handler) -> Outcome:
        execution = Execution(task, handler, self.services)
        self.outcomes[execution] = asyncio.get_running_loop().create_future()
        self.performer.start([execution])
        return await self.outcomes[execution]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.performer.close()


async def test_handler_runs_elsewhere_and_knows_its_task(bench: Bench) -> None:
    task = task_of("whoami", '{"a": 1}')
    outcome = await bench.perform(task, Handler(worker_flows.whoami))
    assert isinstance(outcome, Completed)
    seen = RawJson(outcome.output.encode()).parse()
    assert seen["pid"] != os.getpid()
    assert seen["attempt"] == 1
    assert seen["input"] == {"a": 1}


async def test_process_is_kept_for_the_next_task(bench: Bench) -> None:
    handler = handler_of(worker_flows.async_pid)
    first = await bench.perform(task_of("step", "null"), handler)
    second = await bench.perform(task_of("step", "null"), handler)
    assert isinstance(first, Completed)
    assert first == second
    assert first.output != str(os.getpid())


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("segfault", "SIGSEGV"),
        ("os._exit", "exit code 7"),
        ("kill", "SIGKILL"),
    ],
)
async def test_fault_20_crash_is_one_failed_attempt(bench: Bench, how: str, text: str) -> None:
    handler = handler_of(worker_flows.crash)
    failed = await bench.perform(task_of("step", f'"{how}"'), handler)
    assert isinstance(failed, Failed)
    assert failed.details["kind"] == "crash"
    assert text in failed.error
    assert await bench.perform(task_of("step", '"fine"'), handler) == Completed('"fine"')


@pytest.mark.parametrize(("how", "kind"), [("sys.exit", "SystemExit"), ("raise", "ValueError")])
async def test_exceptions_cross_the_border_with_their_traceback(
    bench: Bench, how: str, kind: str
) -> None:
    failed = await bench.perform(task_of("step", f'"{how}"'), handler_of(worker_flows.crash))
    assert isinstance(failed, Failed)
    assert failed.details["type"] == kind
    assert "in crash" in failed.details["traceback"]
    assert "_isolated_child" not in failed.details["traceback"]


async def test_a_handler_that_holds_the_gil_is_killed_at_its_timeout(bench: Bench) -> None:
    begin = time.monotonic()
    failed = await bench.perform(task_of("step", "null", 1), handler_of(worker_flows.hang))
    assert isinstance(failed, Failed)
    assert failed.details["kind"] == "timeout"
    assert not bench.performer._processes._live
    assert time.monotonic() - begin < 10
    again = await bench.perform(task_of("step", '"fine"'), handler_of(worker_flows.crash))
    assert again == Completed('"fine"')
    assert bench.performer.abandoned == 0


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["timeout", "the worker is gone"])
async def test_a_program_that_a_handler_has_started_dies_with_it(
    bench: Bench, tmp_path: Path, ending: str
) -> None:
    pid_file = tmp_path / "pid"
    timeout = 10 if ending == "timeout" else 100
    task = task_of("step", json.dumps(str(pid_file)), timeout)
    performing = asyncio.create_task(bench.perform(task, handler_of(worker_flows.run_program)))
    await eventually(lambda: pid_file.exists() and pid_file.read_text() != "")
    pid = int(pid_file.read_text())
    assert is_alive(pid)
    if ending != "timeout":
        (process,) = bench.performer._processes._live
        process._writer.close()
    assert isinstance(await performing, Failed)
    await eventually(lambda: not is_alive(pid))


async def test_a_handler_beyond_its_memory_limit_fails_with_the_reason_and_the_next_one_runs(
    bench: Bench,
) -> None:
    handler = handler_of(fault_flows.devour.function, memory_limit=200)
    failed = await bench.perform(task_of("step", "400"), handler)
    assert isinstance(failed, Failed)
    assert failed.error == "MemoryError: the handler reached its memory_limit of 200 MiB"
    assert failed.details["type"] == "MemoryError"
    assert "in devour" in failed.details["traceback"]
    assert not bench.performer._processes._live, "what the handler left behind burdens nobody else"
    assert await bench.perform(task_of("step", "20"), handler) == Completed("20")
    unlimited = handler_of(fault_flows.devour.function)
    assert await bench.perform(task_of("step", "400"), unlimited) == Completed("400"), (
        "the limit is the step's, not the process's"
    )


async def test_a_crash_under_a_memory_limit_names_it(bench: Bench) -> None:
    handler = handler_of(worker_flows.crash, memory_limit=200)
    failed = await bench.perform(task_of("step", '"kill"'), handler)
    assert isinstance(failed, Failed)
    assert "killed by SIGKILL, under a memory_limit of 200 MiB" in failed.error


async def test_logs_progress_and_run_input_cross_the_border(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("isolated")
    first = flow.step(name="first")(lambda _: 1)
    step = flow.step(name="step", depends_on=[first], isolation="process")(worker_flows.talk)
    task = GrantedTask(
        "isolated", uuid4(), "step", 0, 1, RawJson(b'{"first": 1}'), None, 1, "isolated",
        "single", 1, 1, 20, exhausted=False,
    )  # fmt: skip
    outcome = await bench.perform(task, Handler(step))
    assert outcome == Completed('{"count":10000000000000000000000}')
    (record,) = [r for r in caplog.records if r.message == "from the other side"]
    assert record.levelno == logging.WARNING
    assert record.__dict__["run_id"] == str(task.run_id)
    (progress,) = bench.services.progress.values()
    assert RawJson(progress.encode()).parse() == {"fraction": 0.25, "message": "a quarter"}


async def test_transaction_is_refused_with_a_reason(bench: Bench) -> None:
    failed = await bench.perform(task_of("step", "null"), handler_of(worker_flows.transact))
    assert isinstance(failed, Failed)
    assert "isolation='process'" in failed.error


async def test_local_function_is_refused_with_a_reason() -> None:
    def local(_: Any) -> int:
        return 1

    flow: Flow[Any] = Flow("isolated")
    step = flow.step(name="step", isolation="process")(local)
    failed = await perform(task_of("step", "null"), step)
    assert isinstance(failed, Failed)
    assert "cannot be imported" in failed.error


async def test_deferred_outputs_are_passed_on() -> None:
    from pgflow.records import TaskOutput

    class Database:
        async def step_output(self, run: Any, step: str, after: int, rows: int) -> list[TaskOutput]:
            stop = min(1_000, after + 1 + rows)
            return [TaskOutput(i, RawJson(str(i).encode())) for i in range(after + 1, stop)]

    flow: Flow[Any] = Flow("isolated")
    first = flow.step(name="first")(lambda _: [1])
    items = flow.map(over=first, name="items")(lambda item: item)
    step = flow.step(name="step", depends_on=[items], isolation="process")(worker_flows.add_up)
    services = Services(database=Database())  # type: ignore[arg-type]
    outcome = await perform(task_of("step", "null", deferred=("items",)), step, services)
    assert outcome == Completed(str(sum(range(1_000))))


@pytest.fixture
def module_without_a_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "far_away.py").write_text("def answer(_):\n    return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "far_away"
    import sys

    sys.modules.pop("far_away", None)


async def test_child_has_the_import_path_of_its_parent(module_without_a_name: str) -> None:
    import importlib

    function = importlib.import_module(module_without_a_name).answer
    assert await perform(task_of("step", "null"), handler_of(function)) == Completed("42")


SCRIPT = """
import asyncio, sys
from pgflow import Flow
from pgflow.handlers import perform
from pgflow.records import GrantedTask, RawJson
from uuid import uuid4

def answer(_):
    return 42

async def main():
    step = Flow("isolated").step(name="step", isolation="process")(answer)
    task = GrantedTask("isolated", uuid4(), "step", 0, 1, RawJson(b"{}"), RawJson(b"1"), 1,
                       "isolated", "single", 1, 1, 20, False)
    print(await perform(task, step))

GUARD
    asyncio.run(main())
"""


@pytest.mark.parametrize("form", ["guarded", "unguarded worker"])
async def test_handlers_of_a_script_are_found_and_its_main_part_stays_quiet(
    tmp_path: Any, form: str
) -> None:
    script = tmp_path / "script.py"
    guard = "if __name__ == '__main__':"
    if form == "unguarded worker":
        # In the child this runs again; a Worker must refuse, or it would spawn children of its own.
        guard = (
            "from pgflow import Worker\n"
            "if __name__ != '__main__':\n"
            "    asyncio.run(Worker('host=/nowhere', []).run())\n"
            "else:"
        )
    script.write_text(SCRIPT.replace("GUARD", guard))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    if form == "guarded":
        assert output == "Completed(output='42')\n"
    else:
        assert "under `if __name__ == '__main__':`" in output


async def test_processes_are_bounded_and_work_side_by_side(bench: Bench) -> None:
    handler = handler_of(worker_flows.slow)
    outcomes = await asyncio.gather(
        *(bench.perform(task_of("step", "0.5"), handler) for _ in range(4))
    )
    pids = {outcome.output for outcome in outcomes if isinstance(outcome, Completed)}
    assert 2 <= len(pids) <= max(2, os.cpu_count() or 2)


async def test_process_that_dies_between_tasks_is_replaced() -> None:
    processes = IsolatedProcesses(1)
    handler = handler_of(worker_flows.crash)
    from pgflow._context import TaskContext
    from pgflow._isolated import perform_isolated

    async def run() -> Outcome:
        context = TaskContext(task_of("step", '"fine"'), Services(), "process")
        return await perform_isolated(processes, handler, context, lambda: None)

    try:
        assert await run() == Completed('"fine"')
        (process,) = processes._live
        process._process.kill()
        await process._process.wait()
        try:
            outcome = await run()
        except ProcessCrashed:
            pytest.fail("a process that was dead before the task began cost an attempt")
        assert outcome == Completed('"fine"')
    finally:
        await processes.close()
