"""Flows that other processes import: for isolated handlers, supervised workers and killed ones.

Handlers write to a journal, a file that the run's input names, so that tests see what was really called.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pgflow import Flow, current_task

isolated = Flow[Any]("isolated", base_delay=0, max_attempts=1)


@isolated.step(isolation="process")
def whoami(_: Any) -> dict[str, Any]:
    task = current_task()
    return {
        "pid": os.getpid(),
        "attempt": task.attempt,
        "key": task.idempotency_key,
        "input": task.run_input,
    }


def crash(how: str) -> str:
    """Leave the process in one of several ways."""
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "os._exit":
            os._exit(7)
        case "sys.exit":
            sys.exit(3)
        case "kill":
            os.kill(os.getpid(), 9)
        case "raise":
            raise ValueError("in another process")
        case _:
            return how
    return "survived"


def hang(_: Any) -> None:
    """Hold the GIL for ever: only SIGKILL helps."""
    ctypes.PyDLL(None).sleep(600)


def run_program(pid_file: str) -> int:
    """Wait for a program that takes long, and write down its process."""
    with subprocess.Popen(["sleep", "600"]) as program:
        Path(pid_file).write_text(str(program.pid))
        return program.wait()


async def async_pid(_: Any) -> int:
    """Tell the process of an async handler."""
    await asyncio.sleep(0)
    return os.getpid()


def talk(_: Any) -> Any:
    """Use what a context offers across the border."""
    task = current_task()
    task.logger.warning("from the other side")
    task.progress(0.25, "a quarter")
    return task.run_input


def log_badly(_: Any) -> str:
    """Log what cannot be formatted, or cannot be sent."""
    task = current_task()
    task.logger.warning("%d", "no number")
    task.logger.warning("half a character: \ud800")
    task.logger.warning("large", extra={"n": 2**70})
    task.logger.warning("after all")
    return "done"


def leave_program(pid_file: str) -> None:
    """Start a program that takes long, and crash beside it."""
    program = subprocess.Popen(["sleep", "600"])
    Path(pid_file).write_text(str(program.pid))
    os._exit(3)


def hang_beside_program(pid_file: str) -> None:
    """Start a program, then hold the GIL for as long as it takes."""
    program = subprocess.Popen(["sleep", "600"])
    Path(pid_file).write_text(f"{os.getpid()} {program.pid}")
    hang(None)


def transact(_: Any) -> None:
    """Ask for what an isolated handler cannot have."""
    with current_task().transaction():
        pass


def add_up(items: list[int]) -> int:
    """Consume a dependency."""
    return sum(items)


def slow(seconds: float) -> int:
    """Sleep, and tell the process."""
    time.sleep(seconds)
    return os.getpid()


def journal(path: str, *words: object) -> None:
    """Append a line; atomic, since it is short and opened for appending."""
    with Path(path).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def read_journal(path: Path) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


crashing = Flow[Any]("crashing", base_delay=0, max_attempts=3, timeout=60)


@crashing.step()
def effect(setting: dict[str, str]) -> int:
    task = current_task()
    journal(setting["journal"], "effect", task.fence, os.getpid())
    while Path(setting["journal"] + ".hold").exists():
        time.sleep(0.01)
    return task.fence


mapped = Flow[Any]("mapped", base_delay=0, timeout=60)


@mapped.step()
def numbers(setting: dict[str, Any]) -> list[int]:
    return list(range(setting["count"]))


@mapped.map(over=numbers)
def item(number: int) -> int:
    task = current_task()
    journal(task.run_input["journal"], "item", number, task.fence, os.getpid(), task.worker_id)
    time.sleep(task.run_input.get("sleep", 0))
    return number


@mapped.step(depends_on=(item,))
def collected(items: list[int]) -> int:
    return sum(items)


poison = Flow[Any]("poison", base_delay=0, max_attempts=2, timeout=60)


@poison.map(failure_policy="continue")
def swallow(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), 9)
    return number


ledger = Flow[Any]("ledger", base_delay=0, max_attempts=5, timeout=60)


@ledger.map()
def book(number: int) -> int:
    with current_task().transaction() as connection:
        connection.execute("insert into public.ledger (number) values (%s)", [number])
    return number


apart = Flow[list[int]]("apart", base_delay=0, max_attempts=1)


@apart.map(batch_size=4, isolation="process", failure_policy="continue")
def invert(number: int) -> float:
    return 1 / number


apart_whole = Flow[list[int]]("apart_whole", base_delay=0, max_attempts=1)


@apart_whole.map(batch_size=4, isolation="process")
def pids(numbers: list[int]) -> list[list[int]]:
    return [[os.getpid(), len(numbers)] for _ in numbers]


apart_crashing = Flow[list[str]]("apart_crashing", base_delay=0, max_attempts=1)


@apart_crashing.map(batch_size=4, isolation="process", failure_policy="continue")
def leave(how: str) -> str:
    return crash(how) and how


venom = Flow[list[int]]("venom", base_delay=0, max_attempts=3, timeout=60)


@venom.map(batch_size=6, failure_policy="continue")
def sip(number: int) -> int:
    task = current_task()
    journal(os.environ["PGFLOW_TEST_JOURNAL"], "sip", task.index, task.fence, os.getpid())
    if number == 3:
        time.sleep(0.5)  # what ended before is reported meanwhile
        os.kill(os.getpid(), 9)
    return number


printing = Flow[int]("printing", base_delay=0)


@printing.map(initial_tasks=30)
def print_line(_: int) -> None:
    """Print from a thread, beside others."""
    print(f"line of {current_task().index}")  # noqa: T201 - what is tested
