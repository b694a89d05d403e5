"""Definitions of flows for the reference model: what a step is, and how the options of its flow complete it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json = Any


class _SqlNull:
    """The absence of a value, which is not JSON's null."""

    def __repr__(self) -> str:
        return "SQL_NULL"


SQL_NULL: Final = _SqlNull()


@dataclass(frozen=True)
class Step:
    """A step as defined; None is the flow's option, or none at all."""

    slug: str
    step_type: str = "single"
    depends_on: tuple[str, ...] = ()
    initial_tasks: int | None = None
    batch_size: int | None = None
    max_attempts: int | None = None
    base_delay: int | None = None
    max_delay: int | None = None
    timeout: int | None = None
    start_delay: int | None = None
    max_failed_tasks: int | None = None
    required_input_pattern: Mapping[str, Json] | None = None
    forbidden_input_pattern: Mapping[str, Json] | None = None
    when_unmet: str = "skip"
    when_exhausted: str = "fail"
    queue: str | None = None

    @property
    def shape(self) -> tuple[object, ...]:
        """What makes another version of a flow when it changes."""
        patterns = (repr(self.required_input_pattern), repr(self.forbidden_input_pattern))
        modes = (self.when_unmet, self.when_exhausted, self.queue, self.initial_tasks)
        return (self.slug, self.step_type, self.depends_on, *patterns, *modes)

    @property
    def goes_over_array(self) -> bool:
        """Whether the items of an array are the tasks of this step."""
        return self.step_type == "map" and (self.initial_tasks is None or bool(self.depends_on))

    @property
    def has_condition(self) -> bool:
        return self.required_input_pattern is not None or self.forbidden_input_pattern is not None

    def as_json(self) -> dict[str, Json]:
        """Give the step as `define_flow` takes it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Options:
    """Options of a flow; seconds."""

    max_attempts: int = 2
    base_delay: int = 0
    timeout: int = 1000
    max_delay: int | None = None

    def resolve(self, step: Step) -> Step:
        """Give the step with every option that it inherits."""
        return replace(
            step,
            max_attempts=self.max_attempts if step.max_attempts is None else step.max_attempts,
            base_delay=self.base_delay if step.base_delay is None else step.base_delay,
            max_delay=self.max_delay if step.max_delay is None else step.max_delay,
            timeout=self.timeout if step.timeout is None else step.timeout,
        )


@dataclass(frozen=True)
class Definition:
    """A flow as a whole."""

    options: Options
    steps: tuple[Step, ...]

    @property
    def shape(self) -> tuple[object, ...]:
        return tuple(step.shape for step in self.steps)

    def as_json(self) -> dict[str, Json]:
        return {
            "options": {k: v for k, v in asdict(self.options).items() if v is not None},
            "steps": [step.as_json() for step in self.steps],
        }


@dataclass
class Flow:
    """A flow and every shape that it has had."""

    slug: str
    current: Definition
    version: int = 1
    versions: dict[int, tuple[Step, ...]] = field(default_factory=dict)

    def define(self, definition: Definition) -> int:
        """Take over a definition: a known shape gets its old number back, another one a new number."""
        self._number(self.current)
        self.version = self._number(definition)
        self.versions[self.version] = definition.steps
        self.current = definition
        return self.version

    def add_step(self, step: Step) -> None:
        """Add a step to what new runs start with; it becomes a version with the next definition."""
        self.current = replace(self.current, steps=(*self.current.steps, step))

    def plan(self, version: int | None) -> tuple[Step, ...]:
        """Give the steps that a new run gets; a step added since belongs to the current version."""
        number = self.version if version is None else version
        steps = self.current.steps if number == self.version else self.versions[number]
        return tuple(self.current.options.resolve(step) for step in steps)

    def _number(self, definition: Definition) -> int:
        for number, steps in self.versions.items():
            if tuple(step.shape for step in steps) == definition.shape:
                return number
        number = max(self.versions, default=0) + 1
        self.versions[number] = definition.steps
        return number


def new_flow(slug: str, definition: Definition) -> Flow:
    """Define a flow that did not exist."""
    return Flow(slug, definition, versions={1: definition.steps})


def contains(value: Json, pattern: Json) -> bool:
    """Say whether a value contains a pattern: objects by keys, arrays by elements, all else if equal."""
    match value, pattern:
        case dict(), dict():
            return all(key in value and contains(value[key], pattern[key]) for key in pattern)
        case list(), list():
            return all(any(contains(one, wanted) for one in value) for wanted in pattern)
        case (dict(), _) | (_, dict()) | (list(), _) | (_, list()):
            return False
    return type(value) is type(pattern) and value == pattern


def downstream(steps: Mapping[str, Step], slugs: set[str]) -> Iterator[str]:
    """Name the steps that depend on some others, directly or not, in the order of definition."""
    reached = set(slugs)
    for slug, step in steps.items():
        if reached & set(step.depends_on):
            reached.add(slug)
            yield slug
