"""Every exception of pgflow: what went wrong, where, the likely cause and the next command.

PgflowError
├── DefinitionError        PGF101  a flow is wrong; lists all its problems
│   └── PlanInvalid        PGF102  a plan is wrong; each problem with its place, reason and mend
├── EncodingError          PGF111  a Python value cannot become JSON
├── DecodingError          PGF112  JSON does not fit the annotated type
├── SealError              PGF113  a sealed value cannot be opened here
├── ConnectionFailed       PGF201  the server does not answer
├── SchemaMismatch         PGF202  the schema is absent, older or newer than this code
├── PermissionDenied       PGF203  the role lacks rights
├── FlowNotFound           PGF301
├── RunNotFound            PGF302
├── RunFailed              PGF303
├── RunCancelled           PGF304
├── WaitTimeout            PGF305  also a TimeoutError
├── UsageError             PGF401  a call or a command that cannot work as written
├── WorkerSpent            PGF402  too many handlers of a worker hang; it has drained and ended
└── TaskSignal                     raised inside handlers, or at them
    ├── RetryAfter         PGF501  try again in so many seconds
    ├── NonRetryable       PGF502  never try again
    ├── TaskTimeout        PGF503  also a TimeoutError
    └── LeaseLost          PGF504  another worker holds the task now
"""

# An exception says what happened; the base class says that it is an error.
# ruff: noqa: N818

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self
    from uuid import UUID

    from pgflow._plan.problems import PlanProblem


class PgflowError(Exception):
    """Base of all errors; `except PgflowError` catches everything pgflow raises by itself."""

    default_code: ClassVar[str] = "PGF000"
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint if hint is not None else self.default_hint

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        return f"{text}\n  {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses take other arguments than (message); errors cross process borders whole.
        return (_restore, (type(self), self.args, self.__dict__))

    @classmethod
    def _blank(cls, args: tuple[object, ...]) -> Self:
        error = cls.__new__(cls, *args)
        error.args = args
        return error


def _restore(
    kind: type[PgflowError], args: tuple[object, ...], state: dict[str, object]
) -> PgflowError:
    error = kind._blank(args)  # noqa: SLF001 - same module, other half of __reduce__
    error.__dict__.update(state)
    return error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` - did you mean 'x'?` for the closest known word, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only errors pay for it

    matches = get_close_matches(word.lower(), [name.lower() for name in known], n=1)
    originals = {name.lower(): name for name in known} if matches else {}
    return f" - did you mean '{originals[matches[0]]}'?" if matches else ""


class DefinitionError(PgflowError):
    """A flow cannot be used as it is defined; `problems` names every reason at once.

    >>> Flow("orders").definition()
    Traceback (most recent call last):
    pgflow.errors.DefinitionError: PGF101: flow 'orders' has 1 problem:
      - it has no steps
    """

    default_code = "PGF101"

    def __init__(
        self, problems: Sequence[str], *, flow: str | None = None, hint: str | None = None
    ) -> None:
        self.problems = list(problems)
        self.flow = flow
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        head = f"flow '{flow}' has {count} {noun}:" if flow is not None else f"{count} {noun}:"
        super().__init__("\n  - ".join([head, *self.problems]), hint=hint)


class PlanInvalid(DefinitionError):
    """A plan cannot be stored as it is; `details` has every reason at once, and how to mend each.

    >>> try:
    ...     plan = Plan.read(answer, handlers)
    ... except PlanInvalid as error:
    ...     ask_again([detail.as_dict() for detail in error.details])
    """

    default_code = "PGF102"

    def __init__(
        self, details: Sequence[PlanProblem], *, flow: str | None = None, hint: str | None = None
    ) -> None:
        self.details = list(details)
        super().__init__([str(detail) for detail in details], flow=flow, hint=hint)


class _ValueError(PgflowError):
    """A value at the border between Python and JSON; `path` points into it, as `$.items[3].name`."""

    def __init__(
        self,
        message: str,
        *,
        path: str = "$",
        flow: str | None = None,
        step: str | None = None,
        task: int | None = None,
        hint: str | None = None,
    ) -> None:
        self.path = path
        self.flow = flow
        self.step = step
        self.task = task
        parts = (("flow", flow), ("step", step), ("task", task))
        place = ", ".join(f"{name} {value}" for name, value in parts if value is not None)
        at = f"{place}: {message}" if place else message
        super().__init__(at, hint=hint)


class EncodingError(_ValueError):
    """A handler's output, or a run's input, has a part that JSON in PostgreSQL cannot hold."""

    default_code = "PGF111"


class DecodingError(_ValueError):
    """A stored value does not fit what a handler's parameter is annotated with."""

    default_code = "PGF112"


class SealError(_ValueError):
    """A sealed value cannot be opened: no codec, not its key, or not its place. Names the key's id.

    Retried like any failure: another worker may have the key.
    """

    default_code = "PGF113"
    default_hint = "Give Database.connect (PGFLOW_VALUE_CODEC on the command line) a value_codec that has the key."


class ConnectionFailed(PgflowError):
    """PostgreSQL does not answer at the given address."""

    default_code = "PGF201"
    default_hint = "Check the address (--dsn or PGFLOW_DSN) and that the server is running."


class SchemaMismatch(PgflowError):
    """The database's pgflow schema is not the one this version of the code works with."""

    default_code = "PGF202"
    default_hint = "Run: pgflow init --dsn <address>"


class PermissionDenied(PgflowError):
    """The database role may not do what was asked."""

    default_code = "PGF203"
    default_hint = "Connect as a role that owns the schema, or ask its owner for the grants."


class FlowNotFound(PgflowError):
    """No flow of this slug is known to the database."""

    default_code = "PGF301"
    default_hint = "See what there is: pgflow flows"

    def __init__(self, flow: str, known: Iterable[str] = (), *, hint: str | None = None) -> None:
        self.flow = flow
        super().__init__(f"no flow '{flow}'{did_you_mean(flow, list(known))}", hint=hint)


class RunNotFound(PgflowError):
    """No run has this id."""

    default_code = "PGF302"
    default_hint = "See what there is: pgflow runs"

    def __init__(self, run_id: UUID | str, *, hint: str | None = None) -> None:
        self.run_id = run_id
        super().__init__(f"no run {run_id}", hint=hint)


class RunFailed(PgflowError):
    """A run ended as failed; names the task that decided it.

    >>> try:
    ...     execute(campaign, Campaign(campaign_id=123))
    ... except RunFailed as failure:
    ...     print(failure.step, failure.task_index, failure.error)
    """

    default_code = "PGF303"

    def __init__(  # noqa: PLR0917 - in the order in which the sentence names them
        self,
        run_id: UUID | str,
        flow: str,
        step: str | None = None,
        task_index: int | None = None,
        attempt: int | None = None,
        error: str | None = None,
    ) -> None:
        self.run_id = run_id
        self.flow = flow
        self.step = step
        self.task_index = task_index
        self.attempt = attempt
        self.error = error
        parts = (("step", step), ("task", task_index), ("attempt", attempt))
        place = ", ".join(f"{name} {value}" for name, value in parts if value is not None)
        where = f" at {place}" if place else ""
        super().__init__(
            f"run {run_id} of flow {flow} failed{where}: {error or 'no error text recorded'}",
            hint=f"See every attempt: pgflow show {run_id}",
        )


class RunCancelled(PgflowError):
    """A run was cancelled while somebody waited for it."""

    default_code = "PGF304"

    def __init__(self, run_id: UUID | str, flow: str, reason: str | None = None) -> None:
        self.run_id = run_id
        self.flow = flow
        self.reason = reason
        because = f": {reason}" if reason else ""
        super().__init__(f"run {run_id} of flow {flow} was cancelled{because}")


class WaitTimeout(PgflowError, TimeoutError):
    """A run did not end within the time the caller waited; the run itself goes on."""

    default_code = "PGF305"


class UsageError(PgflowError):
    """A call or a command that cannot work as written."""

    default_code = "PGF401"


class WorkerSpent(PgflowError):
    """So many handlers of a worker hang that it has drained and ended: only the end of its process stops them."""

    default_code = "PGF402"

    def __init__(self, hanging: int) -> None:
        self.hanging = hanging
        super().__init__(
            f"{hanging} handlers hang that cannot be stopped, so the worker has ended",
            hint="A supervisor replaces it by itself (pgflow worker). isolation='process' makes handlers stoppable.",
        )


class TaskSignal(PgflowError):
    """Base of what steers a single attempt; its text is recorded as the user wrote it."""

    def __str__(self) -> str:
        return self.message


class RetryAfter(TaskSignal):
    """Raise in a handler: fail this attempt and try again in `seconds`, whatever the backoff says.

    >>> if response.status_code == 429:
    ...     raise RetryAfter(float(response.headers["Retry-After"]), "rate limited")
    """

    default_code = "PGF501"

    def __init__(self, seconds: float, message: str = "") -> None:
        self.seconds = seconds
        super().__init__(message or f"retry after {seconds:g} s")


class NonRetryable(TaskSignal):
    """Raise in a handler: this attempt failed and no other could succeed.

    >>> if not address.is_valid:
    ...     raise NonRetryable(f"no such mailbox: {address}")
    """

    default_code = "PGF502"


class TaskTimeout(TaskSignal, TimeoutError):
    """An attempt ran longer than its step's timeout."""

    default_code = "PGF503"


class LeaseLost(TaskSignal):
    """The task was granted again, ended or cancelled meanwhile: nothing this attempt does counts."""

    default_code = "PGF504"
