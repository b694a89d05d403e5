"""The picture of `pgflow dev`: it fits the terminal, whatever runs."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from rich.console import Console

from pgflow.dev.board import Board, Ended
from pgflow.dev.terminal import Picture, Terminal
from pgflow.live.tree import Snapshot
from pgflow.records import RunStatus, RunSummary, StepStatus, StepSummary

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run(number: int, status: RunStatus = RunStatus.STARTED) -> RunSummary:
    return RunSummary(
        run_id=UUID(int=number << 96),
        flow_slug=f"flow_{number}",
        status=status,
        total_steps=3,
        done_steps=1,
        total_tasks=12,
        done_tasks=5,
        failed_tasks=0,
        progress=Decimal(40),
        started_at=BEGAN,
        finished_at=BEGAN if status.is_final else None,
        duration=timedelta(seconds=1.5),
    )


def snapshot(number: int, steps: int) -> Snapshot:
    return Snapshot(
        run(number),
        [
            StepSummary(
                run_id=UUID(int=number << 96),
                flow_slug=f"flow_{number}",
                step_slug=f"step_{index}",
                step_index=index,
                step_type="single",
                status=StepStatus.STARTED,
                deps=[],
                total_tasks=1,
                queued_tasks=0,
                started_tasks=1,
                completed_tasks=0,
                failed_tasks=0,
                retried_tasks=0,
            )
            for index in range(steps)
        ],
    )


def ended(number: int, status: RunStatus = RunStatus.COMPLETED, text: str = "{}") -> Ended:
    return Ended(run(number, status), text)


def draw(board: Board, width: int = 80, height: int = 24) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, highlight=False)
    console.print(Picture(board))
    return out.getvalue().splitlines()


def board(**changes: object) -> Board:
    values: dict[str, object] = {"targets": "app.py", "state": "ready", "workers": 1}
    return Board(**{**values, **changes})  # type: ignore[arg-type] # a test's shorthand


@pytest.mark.parametrize("height", [10, 24, 40])
@pytest.mark.parametrize("trees", [0, 1, 3, 20, 60])
@pytest.mark.parametrize("steps", [1, 3, 50])
@pytest.mark.parametrize("problem", [None, "\n".join(f"line {n}" for n in range(30))])
def test_it_fits_the_terminal(height: int, trees: int, steps: int, problem: str | None) -> None:
    shown = board(
        problem=problem,
        running=[snapshot(number, steps) for number in range(trees)],
        ended=[ended(number, text="x" * 500) for number in range(20)],
    )
    lines = draw(shown, height=height)
    assert len(lines) <= height - 1
    assert max(map(len, lines)) <= 80


def test_runs_without_room_for_a_tree_are_lines() -> None:
    lines = draw(board(running=[snapshot(number, 8) for number in range(4)]))
    assert sum("├" in line or "● step_" in line for line in lines) >= 8
    assert [line for line in lines if line.startswith("● flow_3 ")]


def test_what_is_over_has_a_line_each() -> None:
    ends = [
        ended(1, text='{"letter": "Hello"}'),
        ended(2, RunStatus.FAILED, "greet[0], attempt 3: ValueError: no"),
        ended(3, RunStatus.CANCELLED, ""),
    ]
    lines = draw(board(ended=ends))[2:]
    assert lines[0].startswith("✓ flow_1 ")
    assert lines[0].endswith('1.5 s  {"letter": "Hello"}')
    assert lines[1].startswith("✗ flow_2 ")
    assert lines[1].endswith("ValueError: no")
    assert lines[2].startswith("⊘ flow_3 ")
    assert lines[2].endswith("cancelled")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("starting", "starting"),
        ("ready", "2 workers ready"),
        ("broken", "the workers go on with what it was"),
        ("waiting", "no worker yet"),
        ("stopping", "stopping"),
        ("stopped", "stopped"),
    ],
)
def test_the_state_is_said(state: str, words: str) -> None:
    line = draw(board(state=state, workers=2, born=BEGAN, reloads=1, restarts=3), width=140)[1]
    assert words in line
    assert "1 reload " in line
    assert "3 restarts" in line
    assert ("Ctrl-C" in line) == (state != "stopped")


def test_without_runs_it_says_so() -> None:
    assert draw(board(serves=["hello", "other"]))[-1] == "No runs yet of hello, other."


def test_what_handlers_print_cannot_steer_the_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system="standard")
    with Terminal(console) as terminal:
        terminal.printed("\x1b[31mred\x1b[0m \x1b[2Jcleared \x1b]0;title\x07")
        terminal.tell("told \x1b[2J")
    shown = out.getvalue()
    assert "\x1b[31mred" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]0;" not in shown
