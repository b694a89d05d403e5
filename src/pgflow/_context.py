"""What a running handler may know and do: current_task(), its context, and its exactly-once transaction."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

import orjson

from pgflow._logs import task_label
from pgflow._vault import PLAIN, Vault
from pgflow.codec import Where, decode_json, sanitise_text
from pgflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from psycopg import Connection

    from pgflow._handler import Kind
    from pgflow._redaction import Redaction
    from pgflow._transactions import AsyncUnit, SyncUnit, TransactionBlock
    from pgflow.database import Database
    from pgflow.records import GrantedTask, RawJson

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of one task's progress; those between are dropped."""

_task_log = logging.getLogger("pgflow.task")
current: ContextVar[TaskContext] = ContextVar("pgflow_task")


@dataclass(slots=True)
class Services:
    """What handlers need from outside; a worker provides all of it, a simulation may provide none."""

    worker_id: UUID = field(default_factory=uuid4)
    database: Database | None = None
    read_run_input: Callable[[UUID], RawJson | None] | None = None
    """Blocks for one round trip at most once a run; called from any thread."""
    fetch_run_input: Callable[[UUID], Awaitable[RawJson | None]] | None = None
    """Does the same without blocking the loop."""
    readers: set[tuple[str, str]] = field(default_factory=set)
    """Steps, by (flow, step), whose async handlers have turned out to read the run's input."""
    progress: MutableMapping[tuple[UUID, str, int, int], str] = field(default_factory=dict)
    """Latest progress of a task, by (run, step, index, fence), until somebody reports it."""
    loop: asyncio.AbstractEventLoop | None = None
    deferred: Mapping[str, list[str | None]] | None = None
    """Outputs of deferred dependencies that were read beforehand, in a process without database."""
    vault: Vault = PLAIN
    """Opens the values that the database holds, and seals those that it gets."""
    process: int = field(default_factory=os.getpid)
    """Where all this is; a process that a handler forks has none of it."""
    connections: deque[Connection[Any]] = field(default_factory=deque)
    """Idle synchronous connections of sync handlers' transactions."""

    def need_database(self, what: str) -> Database:
        """Return the database or raise UsageError."""
        if self.database is None:
            raise UsageError(f"{what} needs a database, and this handler runs without one")
        return self.database

    def wait_for(self, call: Awaitable[Any]) -> Any:
        """Wait in a handler's thread for a call on the event loop."""
        if self.loop is None:
            raise UsageError("no event loop serves this handler")
        return asyncio.run_coroutine_threadsafe(_awaited(call), self.loop).result()

    def close(self) -> None:
        """Close idle connections."""
        while self.connections:
            self.connections.pop().close()


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call


def current_task() -> TaskContext:
    """Return the context of the task that the calling handler performs.

    >>> async def charge(order: Order) -> Receipt:
    ...     return await payments.charge(order, idempotency_key=current_task().idempotency_key)
    """
    context = current.get(None)
    if context is None:
        raise UsageError(
            "current_task() was called outside a handler",
            hint="Call it in a step's function, or in a thread that copied its contextvars.",
        )
    return context


class TaskContext:
    """One attempt of one task, as its handler sees it."""

    __slots__ = (
        *(
            "_log",
            "_progress_at",
            "batched",
            "fetched_input",
            "kind",
            "redaction",
            "services",
            "task",
        ),
        *("transacts", "unit", "witnessed"),
    )

    def __init__(
        self,
        task: GrantedTask,
        services: Services,
        kind: Kind,
        *,
        batched: bool = False,
        redaction: Redaction | None = None,
    ) -> None:
        self.task = task
        self.services = services
        self.kind: Kind = kind
        """Where the handler runs: async, thread or process."""
        self.batched = batched or task.items is not None
        """Whether the task completes together with other items of its map, or might."""
        self._log: logging.LoggerAdapter[logging.Logger] | None = None
        self._progress_at = -PROGRESS_INTERVAL
        self.unit: AsyncUnit | SyncUnit | None = None
        """The transaction that carries the completion, once the handler asked for it."""
        self.redaction = redaction
        """What messages about the attempt must not quote; none for most flows."""
        self.witnessed: list[RawJson] = []
        """What the handler was given, kept only where something must not be quoted."""
        self.transacts = False
        """Whether the handler has asked for it."""
        self.fetched_input: RawJson | None = None
        """The run's input, read before an async handler that asks for it."""

    def __repr__(self) -> str:
        return f"<task {self}>"

    def __str__(self) -> str:
        return task_label(self.flow_slug, self.step_slug, self.index, self.attempt, self.run_id)

    @property
    def run_id(self) -> UUID:
        """Return the run's id."""
        return self.task.run_id

    @property
    def flow_slug(self) -> str:
        """Return the flow's slug."""
        return self.task.flow_slug

    @property
    def step_slug(self) -> str:
        """Return the step's slug."""
        return self.task.step_slug

    @property
    def index(self) -> int:
        """Return the position in the map; 0 in a single step."""
        return self.task.task_index

    @property
    def attempt(self) -> int:
        """Return which try this is, from 1, counting those that count against `max_attempts`."""
        return self.task.tries

    @property
    def max_attempts(self) -> int:
        """Return how many tries the task has."""
        return self.task.max_attempts

    @property
    def timeout(self) -> int:
        """Return the seconds this attempt may take."""
        return self.task.timeout

    @property
    def fence(self) -> int:
        """Return the grant's number: it grows with every grant, so a store can refuse older writers."""
        return self.task.attempt

    @property
    def worker_id(self) -> UUID:
        """Return the id of the worker that performs the task."""
        return self.services.worker_id

    @property
    def key(self) -> tuple[UUID, str, int, int]:
        """Return (run, step, index, fence)."""
        task = self.task
        return (task.run_id, task.step_slug, task.task_index, task.attempt)

    @property
    def database(self) -> Database:
        """Return the worker's Database: `Client(current_task().database)` starts other runs. For async handlers."""
        return self.services.need_database("current_task().database")

    @property
    def idempotency_key(self) -> str:
        """Return a key that is the same in every attempt, and differs between any two tasks."""
        return str(uuid5(self.task.run_id, f"{self.task.step_slug}/{self.index}"))

    @property
    def run_input(self) -> Any:
        """Return the run's input as plain data; the first use in a run may cost one read.

        For async handlers that name `run_input`, or have used it before, it is read before they are called.
        """
        raw = self.task.flow_input or self.fetched_input
        if raw is None:
            if self.kind == "async":
                self.services.readers.add((self.flow_slug, self.step_slug))
            if self.services.read_run_input is None:
                self.services.need_database("run_input")
                return None
            raw = self.services.read_run_input(self.task.run_id)
        if raw is None:
            return None
        opened = self.services.vault.open(raw, Where(self.flow_slug))
        self.witness(opened)
        return decode_json(opened)

    def witness(self, raw: RawJson) -> None:
        """Keep in mind a value that the handler was given, if there is something that must not be quoted."""
        if self.redaction is not None:
            self.witnessed.append(raw)

    def scrub(self, text: str) -> str:
        """Return a text about this attempt without what must not be quoted."""
        if self.redaction is None:
            return text
        return self.redaction.secrets(self.witnessed).scrub(text)

    async def fetch_input(self) -> None:
        """Read the run's input, for `run_input` to have it, unless it came with the task."""
        fetch = self.services.fetch_run_input
        if fetch is not None and self.task.flow_input is None:
            self.fetched_input = await fetch(self.run_id)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Return a logger whose records carry run_id, flow, step, task and attempt."""
        if self._log is None:
            kind = logging.LoggerAdapter if self.redaction is None else _DiscreetLogger
            self._log = kind(_task_log, log_fields(self.task) | {"task": self.index})
            if isinstance(self._log, _DiscreetLogger):
                self._log.scrub = self.scrub
        return self._log

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the attempt is, 0 to 1; never blocks, never raises, drops calls that come too fast."""
        now = time.monotonic()
        if now - self._progress_at < PROGRESS_INTERVAL:
            return
        with suppress(Exception):
            text = sanitise_text(self.scrub(str(message)))[:500]
            share = min(1.0, max(0.0, float(fraction)))
            payload = {"fraction": share, "message": text}
            self.services.progress[self.key] = orjson.dumps(payload).decode()
            self._progress_at = now

    def transaction(self) -> TransactionBlock:
        """Lend a connection whose writes commit together with this task's completion, or not at all.

        `async with` in an async handler (AsyncConnection), `with` in a sync one (Connection). The commit comes
        after the handler returned; an error of the handler, a timeout or a lost lease undoes it all. A block
        that raises undoes its own writes, even if the handler catches the error.

        >>> with current_task().transaction() as connection:
        ...     connection.execute("insert into receipts (id) values (%s)", [receipt.id])
        """
        if self.kind == "process":
            raise UsageError(
                "transaction() does not exist in a handler with isolation='process'",
                hint="Return the data and write it in a following step, or use isolation='thread'.",
            )
        if self.batched:
            raise UsageError(
                f"transaction() does not exist in step {self.step_slug}, whose items share tasks:"
                " it would commit with the completion of all of them",
                hint="Take batch_size off the step.",
            )
        if self.services.process != os.getpid():
            raise UsageError(
                "transaction() was called in a process that a handler has forked",
                hint="Write in the handler itself, or open a connection in that process.",
            )
        self.transacts = True
        # The processes of isolated handlers start without the driver.
        from pgflow._transactions import TransactionBlock  # noqa: PLC0415

        return TransactionBlock(self, self.services.need_database("transaction()"))


class _DiscreetLogger(logging.LoggerAdapter[logging.Logger]):
    """Writes records whose text, traceback included, was scrubbed."""

    scrub: Callable[[str], str]

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log the finished text."""
        if not self.isEnabledFor(level):
            return
        text = str(msg)
        with suppress(
            Exception
        ):  # arguments that do not fit are the handler's mistake, not its failure
            text %= args if not (len(args) == 1 and isinstance(args[0], dict)) else args[0]
        trace = kwargs.pop("exc_info", None)
        if trace:
            error = trace if isinstance(trace, BaseException) else sys.exc_info()[1]
            if error is not None:
                text += "\n" + "".join(traceback.format_exception(error)).rstrip()
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, "%s", self.scrub(text), **kwargs)


def log_fields(task: GrantedTask) -> dict[str, Any]:
    """Return the structured fields of every log record about a task."""
    return {
        "run_id": str(task.run_id),
        "flow": task.flow_slug,
        "step": task.step_slug,
        "task": task.task_index,
        "attempt": task.tries,
    }
