"""The commands, each as a process of its own: what they print and how they exit."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.command import Command, Here

if TYPE_CHECKING:
    from pathlib import Path

FLOWS = """
import asyncio
import os
from pathlib import Path
from pgflow import Flow, NonRetryable, at_most

squares = Flow[int]("squares", base_delay=0)

@squares.step()
def numbers(count: int) -> list[int]:
    print("printed by a handler")
    return list(range(count))

@squares.map(over=numbers)
async def square(number: int) -> int:
    return number * number

@squares.step(depends_on=(square,))
def total(values: list[int]) -> int:
    return sum(values)

failing = Flow[str]("failing", max_attempts=2, base_delay=0)

@failing.step()
def fetch(name: str) -> list[str]:
    return [name, "good"]

@failing.map(over=fetch)
def check(name: str) -> str:
    if name == "bad":
        raise ValueError(f"cannot check {name!r} \\x1b[31m")
    return name

mending = Flow[str]("mending", max_attempts=1)

@mending.step()
def first(path: str) -> str:
    return path

@mending.step(depends_on=(first,))
def second(path: str) -> str:
    return Path(path).read_text()

sleeping = Flow[int]("sleeping")

@sleeping.step()
async def sleep(seconds: int) -> None:
    await asyncio.sleep(seconds)

pids = Flow[int]("pids")

@pids.map(initial_tasks=20)
async def where(_: int) -> int:
    await asyncio.sleep(0.05)
    return os.getpid()
"""


@pytest.fixture
def pgflow(tmp_path: Path, database_url: str) -> Command:
    (tmp_path / "app.py").write_text(FLOWS)
    return Command(tmp_path, database_url)


@pytest.fixture
def here(
    pgflow: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    """Call the command for the same database, without a process."""
    monkeypatch.chdir(pgflow.directory)
    monkeypatch.setattr(sys, "path", [str(pgflow.directory), *sys.path])
    monkeypatch.delitem(sys.modules, "app", raising=False)
    return Here(str(pgflow.dsn), capsys)


def count_runs(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pgflow.runs").fetchone()
        assert row is not None
        return int(row[0])


def test_run_follows_the_run_to_its_output(pgflow: Command) -> None:
    done = pgflow("run", "app:squares", "--input", "10")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    plain = re.compile(r"\d+:\d\d  numbers completed in \S+ s, 1 of 1 task")
    assert any(plain.fullmatch(line) for line in lines)
    assert any("square completed" in line and "10 of 10 tasks" in line for line in lines)
    assert lines[-3:] == ["{", '  "total": 285', "}"]
    assert "\x1b" not in done.out


def test_run_as_json_is_one_document(here: Here) -> None:
    done = here("run", "app:squares", "--input", "3", "--json")
    assert (done.code, done.err) == (0, "printed by a handler\n")
    document = done.json
    assert document["status"] == "completed"
    assert document["flow"] == "squares"
    assert document["input"] == 3
    assert document["output"] == {"total": 5}
    assert [step["step_slug"] for step in document["steps"]] == ["numbers", "square", "total"]
    assert document["steps"][1]["completed_tasks"] == 3
    assert document["failed_tasks"] == []


def test_a_failed_run_exits_with_1_and_names_the_task(pgflow: Command, here: Here) -> None:
    done = pgflow("run", "app:failing", "--input", '"bad"')
    assert (done.code, done.err) == (1, "")
    assert "check[0] failed: ValueError: cannot check 'bad'" in done.out
    assert "\x1b" not in done.out
    run_id = re.search(r"See every attempt: pgflow show (\S+)", done.out)
    assert run_id is not None
    shown = here("show", run_id[1])
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert re.search(r"^check +0 +1 +failed ", shown.out, re.MULTILINE)
    assert re.search(r"^check +0 +2 +failed ", shown.out, re.MULTILINE)
    document = here("show", run_id[1], "--json").json
    assert [task["task_index"] for task in document["failed_tasks"]] == [0]
    assert [(each["attempt"], each["outcome"]) for each in document["attempts"]] == [
        (1, "failed"),
        (2, "failed"),
    ]


def test_a_cancelled_run_exits_with_3(pgflow: Command, here: Here) -> None:
    process = pgflow.start("run", "app:sleeping", "--input", "60")
    try:
        run_id = wait_for_run(here)
        cancelled = here("cancel", run_id, "--reason", "not needed")
        assert (cancelled.code, cancelled.err) == (0, "")
        assert "cancelled" in cancelled.out
        assert process.wait(20) == 3
    finally:
        process.kill()
        process.communicate()
    assert "Cancelled: not needed" in here("show", run_id).out


def wait_for_run(here: Here, status: str = "started") -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if runs := here("runs", "--status", status, "--json").json:
            return str(runs[0]["run_id"])
        time.sleep(0.05)
    raise AssertionError(f"no run {status}")


def test_run_without_a_worker_needs_one_elsewhere(pgflow: Command, here: Here) -> None:
    started = here("run", "app:squares", "--input", "4", "--no-worker", "--no-wait")
    assert started.code == 0
    run_id = started.out.strip()
    assert here("runs", "--json").json[0]["status"] == "started"
    worker = pgflow.start("worker", "app:squares", "--processes", "2", "--concurrency", "5")
    try:
        assert wait_for_run(here, "completed") == run_id
        done = here("run", "squares", "--input", "5", "--no-worker", "--json")
        assert (done.code, done.json["output"]) == (0, {"total": 30})
    finally:
        worker.send_signal(signal.SIGTERM)
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors


def test_the_same_key_is_the_same_run(here: Here) -> None:
    first, second = (
        here("run", "app:squares", "--input", "2", "--key", "k1", "--json").json for _ in range(2)
    )
    assert first["run_id"] == second["run_id"]
    assert count_runs(here.dsn) == 1


def test_retry_goes_on_where_a_run_failed(pgflow: Command, here: Here, tmp_path: Path) -> None:
    missing = tmp_path / "later.txt"
    failed = here("run", "app:mending", "--input", f'"{missing}"', "--json")
    assert failed.code == 1
    missing.write_text("mended")
    retried = here("retry", failed.json["run_id"])
    assert (retried.code, retried.err) == (0, "")
    assert "is started" in retried.out
    worker = pgflow.start("worker", "app:mending")
    try:
        assert wait_for_run(here, "completed") == failed.json["run_id"]
    finally:
        worker.terminate()
        worker.communicate(timeout=30)
    shown = here("show", failed.json["run_id"], "--json").json
    assert shown["output"] == {"second": "mended"}


def test_input_comes_from_a_file_or_from_standard_input(
    pgflow: Command, here: Here, tmp_path: Path
) -> None:
    (tmp_path / "input.json").write_text("3")
    from_file = here("run", "app:squares", "--input", "@input.json", "--json")
    from_pipe = pgflow("run", "app:squares", "--input", "-", "--json", given="3\n")
    assert from_file.json["output"] == from_pipe.json["output"] == {"total": 5}


def test_runs_lists_and_filters(here: Here) -> None:
    assert "No runs" in here("runs").out
    for name, value in (("squares", "1"), ("squares", "2"), ("failing", '"bad"')):
        here("run", f"app:{name}", "--input", value)
    lines = here("runs").out.splitlines()
    assert lines[0].split() == ["RUN", "FLOW", "STATUS", "PROGRESS", "FAILED", "STARTED", "TIME"]
    assert [line.split()[1] for line in lines[1:]] == ["failing", "squares", "squares"]
    assert len(here("runs", "--flow", "squares", "--json").json) == 2
    assert len(here("runs", "--status", "failed", "--json").json) == 1
    assert len(here("runs", "--limit", "1", "--json").json) == 1


def test_show_of_a_step_lists_its_tasks_and_attempts(here: Here) -> None:
    run_id = here("run", "app:squares", "--input", "3", "--json").json["run_id"]
    shown = here("show", run_id, "--step", "square")
    assert shown.code == 0
    assert [line.split()[:2] for line in shown.out.splitlines() if "completed" in line][1:] == [
        ["0", "completed"],
        ["1", "completed"],
        ["2", "completed"],
        *[["square", index] for index in "012"],
    ]
    document = here("show", run_id, "--step", "square", "--json").json
    assert [task["output"] for task in document["tasks"]] == [0, 1, 4]


def test_flows_lists_shows_and_draws(here: Here) -> None:
    drawn = here("flows", "app:squares")
    assert drawn.code == 0
    assert "square" in drawn.out
    assert here("flows", "app:squares", "--mermaid").out.startswith(("graph", "flowchart"))
    here("run", "app:squares", "--input", "1")
    assert [line.split()[0] for line in here("flows").out.splitlines()] == ["FLOW", "squares"]
    steps = here("flows", "squares").out
    assert re.search(r"^square +map +numbers ", steps, re.MULTILINE)
    assert [step["step_slug"] for step in here("flows", "squares", "--json").json["steps"]] == [
        "numbers",
        "square",
        "total",
    ]


def test_a_worker_command_spreads_tasks_over_its_processes(pgflow: Command, here: Here) -> None:
    worker = pgflow.start("worker", "app:pids", "-p", "2", "-c", "2")
    try:
        done = here("run", "app:pids", "--input", "0", "--no-worker", "--json")
    finally:
        worker.terminate()
        worker.communicate(timeout=30)
    assert len(set(done.json["output"]["where"])) == 2


def test_in_a_terminal_the_tree_is_redrawn_and_keeps_its_width(pgflow: Command) -> None:
    primary, secondary = pty.openpty()
    environment = {**pgflow.environment(), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        pgflow.line("run", "app:squares", "--input", "300"),
        cwd=pgflow.directory,
        env=environment,
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    text = b""
    try:
        while chunk := os.read(primary, 65536):
            text += chunk
    except OSError:  # Linux's end of a terminal
        pass
    os.close(primary)
    assert process.wait(30) == 0
    shown = text.decode()
    assert "✓ numbers" in shown
    assert "\x1b[?25l" in shown, "a live display hides the cursor"
    assert "\x1b[?25h" in shown, "and shows it again"
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"✓ square +━+ +300/300", line) for line in lines)


def test_an_interrupt_leaves_the_run_and_says_how_to_go_on(pgflow: Command, here: Here) -> None:
    process = pgflow.start("run", "app:sleeping", "--input", "60")
    try:
        run_id = wait_for_run(here)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"pgflow show {run_id}" in errors
    assert "Traceback" not in errors
    assert here("runs", "--json").json[0]["status"] == "started"
