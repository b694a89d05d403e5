"""How log records about a task name it, and how the processes that pgflow starts write them."""

from __future__ import annotations

import logging
from typing import Any

_FIELDS = ("flow", "step", "task", "attempt", "run_id")


def first_line(error: BaseException) -> str:
    """Return what an error says, without the server's context."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def task_label(flow: str, step: str, task: int, attempt: int, run_id: object) -> str:
    """Name a task and its attempt for people.

    >>> task_label("campaign", "send", 17, 2, "0f8fad5b-…")
    'campaign.send[17] (attempt 2, run 0f8fad5b-…)'
    """
    return f"{flow}.{step}[{task}] (attempt {attempt}, run {run_id})"


class TaskFormatter(logging.Formatter):
    """Names the task in records that carry its fields but do not name it themselves."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of the standard library
        """Return the line, without a traceback."""
        line = super().formatMessage(record)
        fields: list[Any] = [getattr(record, name, None) for name in _FIELDS]
        if None in fields or str(fields[-1]) in line:
            return line
        return f"{line} - {task_label(*fields)}"


def configure_logging(level: str) -> None:
    """Write log records to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(TaskFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
