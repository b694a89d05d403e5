"""Step: a handler with its place in a flow; still callable as the plain function it was."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from pgflow._flow.options import AtMost, FailurePolicy, Isolation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgflow._flow.wiring import MapOutput
    from pgflow.flow import Flow

OutT_co = TypeVar("OutT_co", covariant=True)
ItemT = TypeVar("ItemT")
Convention = Literal["positional", "mapping"]

_PLAIN = ("max_attempts", "base_delay", "timeout", "start_delay", "max_delay", "jitter", "queue")
RENAMED = {"if_": "required_input_pattern", "if_not": "forbidden_input_pattern"}
_MODES = ("when_unmet", "when_exhausted")


class Step(Generic[OutT_co]):
    """A node of a flow. Call it to call the handler itself, as a unit test does.

    >>> @campaign.step(depends_on=(fetch_subscribers,))
    ... def count(subscribers: list[Subscriber]) -> int:
    ...     return len(subscribers)
    >>> count([Subscriber("ada@example.org")])
    1
    """

    step_type: Literal["single", "map"] = "single"
    __name__: str
    __qualname__: str

    def __init__(
        self,
        flow: Flow[Any],
        slug: str,
        function: Callable[..., Any],
        *,
        dependencies: tuple[Step[Any] | str, ...] = (),
        options: Mapping[str, Any],
        over: bool = False,
        convention: Convention = "positional",
        namespace: Mapping[str, Any] | None = None,
    ) -> None:
        self.flow = flow
        self.slug = slug
        self.function = function
        self.dependencies = dependencies
        """As given: steps, or slugs (which may name steps that are defined later)."""
        self.options: dict[str, Any] = {
            name: value for name, value in options.items() if value is not None
        }
        """Only what the step itself was told."""
        self.convention: Convention = convention
        """`positional`: an argument per dependency; `mapping`: one dict with everything."""
        self.namespace = namespace
        """Local names that annotations of a nested handler may refer to."""
        self._over = over
        if callable(function):
            # Without the function's own attributes, which could be named like those of a step.
            functools.update_wrapper(self, function, updated=())

    if TYPE_CHECKING:

        def _argument(self) -> OutT_co: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.step_type} step {self.flow.slug}.{self.slug}>"

    def __reduce__(self) -> tuple[object, ...]:
        return (_step_of, (self.flow, self.slug))

    @property
    def dependency_slugs(self) -> tuple[str, ...]:
        """The slugs of the dependencies, in the order of the handler's parameters."""
        return tuple(dep if isinstance(dep, str) else dep.slug for dep in self.dependencies)

    @property
    def deps(self) -> tuple[Step[Any], ...]:
        """The steps it depends on, in the order of the handler's parameters."""
        return tuple(self.flow[slug] for slug in self.dependency_slugs)

    @property
    def over(self) -> Step[Any] | None:
        """The step whose array this map runs over; none for roots."""
        return self.deps[0] if self._over else None

    @property
    def handler_key(self) -> str:
        """What a worker says it can run: `flow.step(map:dependency)`."""
        deps = ",".join(sorted(self.dependency_slugs))
        return f"{self.flow.slug}.{self.slug}({self.step_type}:{deps})"

    @property
    def initial_tasks(self) -> int | None:
        """How many tasks a map without an array has; none elsewhere."""
        return None if self._over else self.options.get("initial_tasks")

    @property
    def batch_size(self) -> int | None:
        """How many items of a map share one task; none: one each."""
        return self.options.get("batch_size")

    @property
    def takes_element(self) -> bool:
        """Tell whether each task gets an element of an array, rather than what a single step gets."""
        return self.step_type == "map" and self.initial_tasks is None

    @property
    def failure_policy(self) -> FailurePolicy:
        """What a map does when an item fails for good."""
        return cast("FailurePolicy", self.options.get("failure_policy", "fail"))

    @property
    def isolation(self) -> Isolation | None:
        """Where the handler runs; none: in the event loop if it is async, else in a thread."""
        return cast("Isolation | None", self.options.get("isolation"))

    @property
    def memory_limit(self) -> int | None:
        """MiB that the process of an isolated handler may take; none: what the system has."""
        return self.options.get("memory_limit")

    @property
    def non_retryable(self) -> tuple[type[BaseException], ...]:
        """Exceptions after which no other attempt is made."""
        return cast("tuple[type[BaseException], ...]", self.options.get("non_retryable", ()))

    @property
    def queue(self) -> str | None:
        """The step's own queue; none: the flow's."""
        return self.options.get("queue")

    def option(self, name: str) -> Any:
        """Return an option as it holds for this step: its own, else the flow's."""
        own = self.options.get(name)
        return self.flow.options.get(name) if own is None else own

    def definition(self) -> dict[str, Any]:
        """Return the step as `pgflow.define_flow` takes it; what is absent is inherited."""
        entry: dict[str, Any] = {
            "slug": self.slug,
            "step_type": self.step_type,
            "depends_on": list(self.dependency_slugs),
        }
        entry |= {name: self.options[name] for name in _PLAIN + _MODES if name in self.options}
        entry |= {
            column: dict(self.options[name])
            for name, column in RENAMED.items()
            if name in self.options
        }
        if self.initial_tasks is not None:
            entry["initial_tasks"] = self.initial_tasks
        if self.batch_size is not None:
            entry["batch_size"] = self.batch_size
        match self.failure_policy:
            case AtMost(tasks=int(tasks)):
                entry["max_failed_tasks"] = tasks
            case AtMost(percent=percent):
                entry["max_failed_percent"] = percent
            case "continue":
                entry["max_failed_percent"] = 100
            case _:
                pass
        return entry


class MapStep(Step[list[ItemT]]):
    """A step with a task per item, whose output is the list of theirs, in the items' order."""

    step_type = "map"

    if TYPE_CHECKING:

        def _argument(self) -> MapOutput[ItemT]: ...


def _step_of(flow: Flow[Any], slug: str) -> Step[Any]:
    return flow[slug]
