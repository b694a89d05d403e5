"""Log lines of the processes that pgflow starts."""

from __future__ import annotations

import logging

from pgflow._logs import TaskFormatter

FIELDS = {"flow": "f", "step": "s", "task": 3, "attempt": 2, "run_id": "0f8fad5b"}
NAME = "f.s[3] (attempt 2, run 0f8fad5b)"


def line(message: str, **fields: object) -> str:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", **fields})
    return TaskFormatter("%(levelname)s %(message)s").format(record)


def test_a_record_of_a_task_names_it() -> None:
    assert line("hello", **FIELDS) == f"INFO hello - {NAME}"


def test_a_record_that_names_its_task_is_left_alone() -> None:
    assert line(f"{NAME} failed", **FIELDS) == f"INFO {NAME} failed"


def test_other_records_are_left_alone() -> None:
    assert line("hello") == "INFO hello"
    assert line("hello", run_id="somebody else's field") == "INFO hello"


def test_a_traceback_comes_after_the_name() -> None:
    error = ValueError("no")
    text = line("hello", exc_info=(ValueError, error, None), **FIELDS)
    assert text.splitlines()[0] == f"INFO hello - {NAME}"
    assert text.splitlines()[-1] == "ValueError: no"
