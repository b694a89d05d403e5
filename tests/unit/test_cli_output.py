"""Tables and numbers as commands print them."""

from __future__ import annotations

import os
import sys

import pytest

from pgflow.cli.output import table
from pgflow.live.text import clock, count, one_line, printable, seconds

ROWS = [
    ("0190a3c4", "failed", 3, "ValueError: a long story about what went wrong, and where"),
    ("0190a3c5", "completed", None, None),
]
HEADERS = ("RUN", "STATUS", "TASKS", "ERROR")


def test_a_pipe_gets_all_of_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    table(HEADERS, ROWS, optional=("TASKS",))
    assert capsys.readouterr().out.splitlines() == [
        "RUN       STATUS     TASKS  ERROR",
        "0190a3c4  failed     3      ValueError: a long story about what went wrong, and where",
        "0190a3c5  completed  -      -",
    ]


@pytest.mark.parametrize(
    ("columns", "has_tasks"), [(80, True), (52, True), (48, False), (30, False)]
)
def test_a_narrow_terminal_drops_a_column_and_cuts_the_last(
    columns: int,
    has_tasks: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(
        "shutil.get_terminal_size", lambda *_, **__: os.terminal_size((columns, 24))
    )
    table(HEADERS, ROWS, optional=("TASKS",))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert ("TASKS" in lines[0]) is has_tasks
    assert "0190a3c4  failed" in lines[1]


def test_an_empty_table_is_its_headers(capsys: pytest.CaptureFixture[str]) -> None:
    table(HEADERS, [])
    assert capsys.readouterr().out == "RUN  STATUS  TASKS  ERROR\n"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[31mb\x07\x9bc\nd é") == "a\\x1b[31mb\\x07\\x9bc\nd é"
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("duration", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")]
)
def test_clock(duration: float, shown: str) -> None:
    assert clock(duration) == shown


def test_numbers_for_people() -> None:
    assert [seconds(value) for value in (0.123, 4.25, 61)] == ["0.12 s", "4.2 s", "1:01"]
    assert [count(number, "task") for number in (0, 1, 1000)] == [
        "0 tasks",
        "1 task",
        "1,000 tasks",
    ]
