"""What a flow, a step and a map can be told, and the check of each single option."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast, overload

from pgflow.errors import UsageError, did_you_mean

SkipMode: TypeAlias = Literal["fail", "skip", "skip-cascade"]
Isolation: TypeAlias = Literal["thread", "process"]

MAX_SLUG_LENGTH: Final = 128
MAX_QUEUE_LENGTH: Final = 47
"""The longest queue name pgmq takes."""
MAX_INTEGER: Final = 2**31 - 1
MAX_BATCH_SIZE: Final = 10_000
"""The most items of a map that one task carries."""
MIN_MEMORY: Final = 64
"""MiB below which an interpreter with a handler's modules hardly starts."""
_MAX_PERCENT: Final = 100
_SLUG = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_RESERVED = "run"
_PATH = re.compile(r"(\*|[^.*\x00-\x1f\x7f-\x9f]+)(\.(\*|[^.*\x00-\x1f\x7f-\x9f]+)){0,31}")
_LONGEST_PATH = 500
_POLICIES = ("fail", "continue")


@dataclass(frozen=True, slots=True)
class AtMost:
    """A failure policy: the map goes on while no more items than this failed for good."""

    tasks: int | None = None
    percent: float | None = None


@overload
def at_most(tasks: int) -> AtMost: ...
@overload
def at_most(*, percent: float) -> AtMost: ...
def at_most(tasks: int | None = None, *, percent: float | None = None) -> AtMost:
    """Let a map complete although some items failed for good: a number, or a share of them.

    >>> @campaign.map(over=fetch_subscribers, failure_policy=at_most(percent=1))
    ... async def send_email(subscriber: Subscriber) -> Receipt: ...
    """
    if (tasks is None) == (percent is None):
        message = "at_most() takes a number of tasks, or percent=, and not both"
        raise UsageError(message)
    return AtMost(tasks, percent)


FailurePolicy: TypeAlias = Literal["fail", "continue"] | AtMost


class StepOptions(TypedDict, total=False):
    """Options of every step; what is absent comes from the flow."""

    name: str
    """Slug; else the function's name."""
    max_attempts: int
    """Tries in all; 0 and 1 both mean one."""
    base_delay: int
    """The n-th retry waits `base_delay * 2^n` seconds."""
    max_delay: int
    """Seconds that no retry delay exceeds."""
    jitter: float
    """Share of the delay, 0 to 1, that chance may add."""
    timeout: int
    """Seconds an attempt may take."""
    start_delay: int
    """Seconds between becoming ready and the first attempt."""
    queue: str
    """A queue of its own, for workers that are told to serve it; else the flow's."""
    if_: Mapping[str, Any]
    """Run only when the input (or the outputs of the dependencies) contains this pattern."""
    if_not: Mapping[str, Any]
    """Run only when it does not contain this pattern."""
    when_unmet: SkipMode
    """What an unmet condition does: `skip` the step (the default), `skip-cascade` all that depends on it too, `fail` the run."""
    when_exhausted: SkipMode
    """What happens when the attempts are used up: `fail` the run (the default), `skip`, `skip-cascade`."""
    isolation: Isolation | None
    """`process`: in a process that is killed at its timeout, and may crash; `thread`; else the event loop or a thread."""
    memory_limit: int
    """MiB of memory that the process of an isolated handler may take."""
    non_retryable: tuple[type[BaseException], ...]
    """Exceptions after which no other attempt is made."""


class FlowOptions(TypedDict, total=False):
    """Options of a flow: its steps' defaults."""

    max_attempts: int
    base_delay: int
    timeout: int
    max_delay: int
    jitter: float
    description: str | None
    redact: Sequence[str]
    """Paths of values that logs, errors, views and events do not show, such as `card.number`, `items.*.token`."""
    max_items: int | None
    """The most items that a map may have; a run in which a step returns more fails."""


def is_valid_slug(slug: object) -> bool:
    """Tell whether the database takes this as the name of a flow or a step."""
    return (
        isinstance(slug, str)
        and len(slug) <= MAX_SLUG_LENGTH
        and _SLUG.fullmatch(slug) is not None
        and slug != _RESERVED
    )


def slug_problem(slug: object, what: str) -> str | None:
    """Say what is wrong with a slug."""
    if is_valid_slug(slug):
        return None
    if slug == _RESERVED:
        return f"'{_RESERVED}' is a reserved word and cannot be {what}"
    if isinstance(slug, str) and len(slug) > MAX_SLUG_LENGTH:
        return (
            f"{what} has {len(slug)} characters ({slug[:20]}...), at most {MAX_SLUG_LENGTH} can be"
        )
    return f"{slug!r} cannot be {what}: use letters a-z, digits and _, and start with a letter or _"


def _integer(least: int, most: int = MAX_INTEGER) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        # True and False are ints to Python, and never what was meant.
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, not {value!r}"
        if not least <= value <= most:
            return f"must be from {least} to {most}, not {value}"
        return None

    return check


def _share(most: int) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, not {value!r}"
        return None if 0 <= value <= most else f"must be from 0 to {most}, not {value}"

    return check


def _word(*known: str) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if value in known:
            return None
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        words = ", ".join(repr(word) for word in known)
        return f"must be one of {words}, not {value!r}{hint}"

    return check


def queue_problem(value: object) -> str | None:
    """Say what is wrong with the name of a queue."""
    if isinstance(value, str) and len(value) > MAX_QUEUE_LENGTH:
        return f"has {len(value)} characters, a queue name at most {MAX_QUEUE_LENGTH}"
    return slug_problem(value, "a queue name")


def _pattern(value: object) -> str | None:
    from json import dumps  # noqa: PLC0415 - few steps have conditions

    if not isinstance(value, Mapping):
        return f"must be a JSON object such as {{'plan': 'pro'}}, not {value!r}"
    if not all(isinstance(key, str) for key in value):
        return f"must be a JSON object, whose keys are strings: {value!r}"
    try:
        text = dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"must be a JSON object: {error}"
    return "must not contain the character NUL" if r"\u0000" in text else None


def redact_problems(paths: object, most: int) -> list[str]:
    """Name what is wrong with the paths of values that are not to be shown."""
    if isinstance(paths, str) or not isinstance(paths, list | tuple):
        return [f"redact must be a list of paths such as ('card.number',), not {paths!r:.140}"]
    given = cast("Sequence[object]", paths)
    if len(given) > most:
        return [f"redact has {len(given)} paths, at most {most} are possible"]
    return [
        f"redact has {path!r:.140}, which is no path such as 'card.number' or 'items.*.token'"
        for path in given
        if not isinstance(path, str) or len(path) > _LONGEST_PATH or not _PATH.fullmatch(path)
    ]


def _exceptions(value: object) -> str | None:
    kinds: tuple[object, ...] = value if isinstance(value, tuple) else (None,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return None
    return f"must be a tuple of exception types, not {value!r}"


def _failure_policy(value: object) -> str | None:
    if isinstance(value, AtMost):
        if value.tasks is not None:
            problem = _integer(0)(value.tasks)
        else:
            problem = _share(_MAX_PERCENT)(value.percent)
        return f"at_most {problem}" if problem else None
    if value in _POLICIES:
        return None
    hint = did_you_mean(value, _POLICIES) if isinstance(value, str) else ""
    return f"must be 'fail', 'continue' or at_most(...), not {value!r}{hint}"


_COMMON: Final[dict[str, Callable[[object], str | None]]] = {
    "max_attempts": _integer(0),
    "base_delay": _integer(0),
    "timeout": _integer(1),
    "max_delay": _integer(0),
    "jitter": _share(1),
}
STEP_CHECKS: Final[dict[str, Callable[[object], str | None]]] = _COMMON | {
    "start_delay": _integer(0),
    "queue": queue_problem,
    "if_": _pattern,
    "if_not": _pattern,
    "when_unmet": _word("fail", "skip", "skip-cascade"),
    "when_exhausted": _word("fail", "skip", "skip-cascade"),
    "isolation": _word("thread", "process"),
    "memory_limit": _integer(MIN_MEMORY),
    "non_retryable": _exceptions,
}
MAP_CHECKS: Final[dict[str, Callable[[object], str | None]]] = STEP_CHECKS | {
    "initial_tasks": _integer(1),
    "failure_policy": _failure_policy,
    "batch_size": _integer(1, MAX_BATCH_SIZE),
}
FLOW_CHECKS: Final = _COMMON | {"max_items": _integer(1)}


def option_problems(
    options: Mapping[str, object], checks: Mapping[str, Callable[[object], str | None]]
) -> list[str]:
    """Name everything wrong with the given options; None stands for an absent one."""
    problems: list[str] = []
    for name, value in options.items():
        check = checks.get(name)
        if check is None:
            problems.append(f"has no option '{name}'{did_you_mean(name, checks)}")
        elif value is not None and (problem := check(value)):
            problems.append(f"{name} {problem}")
    return problems
