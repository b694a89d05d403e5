"""How an attempt ended, as values; and how an exception of user code becomes one of them."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from pgflow.codec import sanitise_text
from pgflow.errors import (
    DecodingError,
    EncodingError,
    NonRetryable,
    RetryAfter,
    SealError,
    TaskTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow.records import GrantedTask
    from pgflow.records import Outcome as Verdict

FailureKind: TypeAlias = Literal["error", "timeout", "lost", "encoding", "crash"]

MAX_ERROR_TEXT = 8_000
MAX_TRACEBACK = 16_000
MAX_FRAMES = 30

_OURS = str(Path(__file__).parent)


@dataclass(slots=True)
class Completed:
    """The handler returned; `output` is JSON text."""

    output: str


@dataclass(slots=True)
class Failed:
    """The attempt failed; `details` go to fail_tasks as they are."""

    error: str
    details: dict[str, Any]


@dataclass(slots=True)
class Settled:
    """Nothing to report: the completion was committed with the handler's writes, or the task is no longer ours."""

    verdict: Verdict


@dataclass(slots=True)
class InDoubt:
    """The connection broke during the commit of the handler's writes and its completion."""

    error: str


@dataclass(slots=True)
class Released:
    """The attempt must not count: the worker stops, or the database is to blame."""

    delay: int = 0


ItemOutcome: TypeAlias = Completed | Failed | Released


@dataclass(slots=True)
class Split:
    """Not every item of a batch completed: how each of them ended, in order."""

    results: list[ItemOutcome]

    def encode(self) -> str:
        """Return the results as split_batches takes them, as JSON text."""
        return "[" + ",".join([_item_text(result) for result in self.results]) + "]"


Outcome: TypeAlias = Completed | Failed | Settled | InDoubt | Released | Split


def failure(
    error: BaseException,
    non_retryable: tuple[type[BaseException], ...] = (),
    kind: FailureKind = "error",
    *,
    scrub: Callable[[str], str] = str,
) -> Failed:
    """Describe an exception of user code; survives exceptions that cannot even be printed.

    `scrub` takes what must not be shown out of the error's text and traceback.
    """
    details: dict[str, Any] = {"kind": kind, "type": _name(error)}
    match error:
        case EncodingError() | SealError():
            details["kind"] = "encoding"
        case DecodingError():
            # The same input would not fit the same annotation at the next attempt either.
            details["kind"] = "encoding"
            details["final"] = True
        case RetryAfter():
            details["retry_after"] = max(0.0, float(error.seconds))
        case NonRetryable():
            details["final"] = True
        case _ if non_retryable and isinstance(error, non_retryable):
            details["final"] = True
        case _:
            pass
    trace = _traceback(error, scrub)
    if trace:
        details["traceback"] = trace
    return Failed(_text(error, scrub), details)


def timed_out(task: GrantedTask, note: str = "") -> Failed:
    """Describe an attempt that passed its step's timeout."""
    return Failed(
        f"TaskTimeout: no result within {task.timeout} s{note}",
        {"kind": "timeout", "type": TaskTimeout.__name__},
    )


def crashed(reason: str) -> Failed:
    """Describe an attempt whose process died."""
    return Failed(f"crashed: {reason}", {"kind": "crash", "type": "ProcessCrashed"})


def lost(task: GrantedTask) -> Failed:
    """Describe a task whose workers died too often."""
    return Failed(
        f"lost: granted {task.attempt} times, and no worker lived to report it",
        {"kind": "lost", "type": "LeaseLost"},
    )


def _item_text(result: ItemOutcome) -> str:
    match result:
        case Completed(output):
            return f'{{"output":{output}}}'
        case Failed(error, details):
            return orjson.dumps({"error": error, "details": details}).decode()
        case Released():
            return '{"released":true}'


def _name(error: BaseException) -> str:
    return sanitise_text(type(error).__name__)[:200]


def _text(error: BaseException, scrub: Callable[[str], str]) -> str:
    name = _name(error)
    try:
        message = str(error)
    except BaseException as second:  # noqa: BLE001 - a broken __str__ may raise anything
        message = f"<its __str__ raised {_name(second)}>"
    text = sanitise_text(f"{name}: {scrub(message)}" if message else name)
    return text if len(text) <= MAX_ERROR_TEXT else text[: MAX_ERROR_TEXT - 1] + "…"


def _traceback(error: BaseException, scrub: Callable[[str], str]) -> str:
    try:
        described = traceback.TracebackException.from_exception(
            error, limit=-MAX_FRAMES, max_group_width=5, max_group_depth=3
        )
        _drop_our_frames(described)
        text = sanitise_text(scrub("".join(described.format())))
    except BaseException as second:  # noqa: BLE001 - user code runs in here, too: __str__, __cause__, __notes__
        return f"<no traceback: formatting it raised {_name(second)}>"
    return text if len(text) <= MAX_TRACEBACK else "…" + text[1 - MAX_TRACEBACK :]


def _drop_our_frames(described: traceback.TracebackException) -> None:
    frames = [frame for frame in described.stack if not frame.filename.startswith(_OURS)]
    if frames:
        described.stack = traceback.StackSummary.from_list(frames)
