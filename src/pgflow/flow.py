"""Flow and Step: what runs after what, as a pure value that needs no database.

Edges are typed: a step's output arrives as an argument of the handlers that depend on it, in the
order of `depends_on`, and a wrong edge is an error in mypy and pyright.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any, Unpack, get_args

from pgflow._flow.checks import check_flow
from pgflow._flow.decorators import Decorators, InputT
from pgflow._flow.drawing import mermaid, tree
from pgflow._flow.entries import read_entries
from pgflow._flow.limits import Limits
from pgflow._flow.options import (
    AtMost,
    FailurePolicy,
    FlowOptions,
    Isolation,
    SkipMode,
    at_most,
    is_valid_slug,
)
from pgflow._flow.step import MapStep, Step
from pgflow.errors import DefinitionError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "AtMost",
    "FailurePolicy",
    "Flow",
    "Isolation",
    "Limits",
    "MapStep",
    "SkipMode",
    "Step",
    "at_most",
    "is_valid_slug",
]

_SHAPE = (
    "slug",
    "step_type",
    "queue",
    "initial_tasks",
    "required_input_pattern",
    "forbidden_input_pattern",
    "when_unmet",
    "when_exhausted",
)


class Flow(Decorators[InputT]):
    """A DAG of steps. Durations are seconds; the options are the defaults of its steps.

    Nothing is checked before the flow is used, so that all problems can be told at once.

    >>> campaign = Flow[Campaign]("email_campaign", max_attempts=3, timeout=60)
    >>> @campaign.step()
    ... async def fetch_subscribers(campaign: Campaign) -> list[Subscriber]: ...
    >>> @campaign.map(over=fetch_subscribers, max_attempts=5)
    ... async def send_email(subscriber: Subscriber) -> Receipt: ...
    """

    def __init__(
        self,
        slug: str,
        *,
        max_attempts: int = 3,
        base_delay: int = 1,
        timeout: int = 60,
        max_delay: int | None = 3600,
        jitter: float = 0.1,
        description: str | None = None,
        redact: Sequence[str] = (),
        max_items: int | None = None,
    ) -> None:
        self.slug = slug
        self.description = description
        self.options: dict[str, Any] = {
            "max_attempts": max_attempts,
            "base_delay": base_delay,
            "timeout": timeout,
            "max_delay": max_delay,
            "jitter": jitter,
        }
        if max_items is not None:
            self.options["max_items"] = max_items
        self.redact: Sequence[str] = tuple(redact) if isinstance(redact, list) else redact
        """Paths of values that logs, errors, views and events do not show, such as `items.*.token`."""
        self._module = _calling_module()
        self._declared: list[Step[Any]] = []
        self._by_slug: dict[str, Step[Any]] = {}
        self._misplaced: list[str] = []
        self._ordered: tuple[Step[Any], ...] | None = None

    @classmethod
    def from_list(
        cls, slug: str, steps: Iterable[Any], **options: Unpack[FlowOptions]
    ) -> Flow[Any]:
        """Build a flow from tuples `(name, function)` or `(name, function, options)`.

        A bare pair depends on the entry before it. Each handler takes one mapping: the run's input
        in a root, `{dependency: output}` in other steps, `{"item": ..., "index": ...}` in a map.

        >>> Flow.from_list("email_campaign", [
        ...     ("fetch_subscribers", fetch, {"depends_on": []}),
        ...     ("send_emails", send, {"depends_on": ["fetch_subscribers"], "initial_tasks": 1000}),
        ...     ("track_results", track),
        ... ])
        """
        flow: Flow[Any] = cls(slug, **options)
        for entry in read_entries(steps, flow._misplaced):
            flow._add(
                MapStep if entry.is_map else Step,
                entry.function,
                name=entry.name,
                dependencies=entry.depends_on,
                options=entry.options,
                over=entry.over,
                convention="mapping",
            )
        return flow

    @property
    def steps(self) -> tuple[Step[Any], ...]:
        """The steps in topological order, which is the order of definition where both agree.

        Raises DefinitionError if the flow is not valid.
        """
        self.validate()
        return self._ordered or ()

    @property
    def input_type(self) -> Any:
        """What the run's input is annotated with: `Flow[Campaign]` says Campaign; else Any."""
        alias = getattr(self, "__orig_class__", None)
        return get_args(alias)[0] if alias is not None else Any

    @property
    def reference(self) -> str | None:
        """`module:name` by which another process can import the flow; none if it has no such name."""
        module = sys.modules.get(self._module)
        names = (name for name, value in vars(module).items() if value is self) if module else ()
        name = next(iter(names), None)
        return None if name is None else f"{self._module}:{name}"

    def validate(self) -> Flow[InputT]:
        """Raise DefinitionError with every problem of the flow, or return the flow."""
        if self._ordered is None:
            problems, ordered = check_flow(self, self._declared)
            if problems := self._misplaced + problems:
                raise DefinitionError(problems, flow=str(self.slug))
            self._ordered = tuple(ordered)
        return self

    def definition(self) -> dict[str, Any]:
        """Return the flow as `pgflow.define_flow` takes it."""
        redact = {"redact": list(self.redact)} if self.redact else {}
        return {
            "options": self.options | redact,
            "steps": [step.definition() for step in self.steps],
        }

    def shape_hash(self) -> str:
        """Return a digest of the structure alone: the same in every process and for any options."""
        shape = [
            {key: entry[key] for key in _SHAPE if key in entry}
            | {"depends_on": sorted(entry["depends_on"])}
            for entry in self.definition()["steps"]
        ]
        shape.sort(key=lambda entry: str(entry["slug"]))
        text = json.dumps([self.slug, shape], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def mermaid(self) -> str:
        """Draw the flow as Mermaid text."""
        return mermaid(self.steps)

    def tree(self) -> str:
        """Draw the flow for a terminal."""
        return tree(self.slug, self.steps)

    def __getitem__(self, slug: str) -> Step[Any]:
        try:
            return self._by_slug[slug]
        except KeyError:
            message = f"flow {self.slug} has no step '{slug}'{did_you_mean(slug, self._by_slug)}"
            raise UsageError(message) from None

    def __contains__(self, slug: object) -> bool:
        return slug in self._by_slug

    def __iter__(self) -> Iterator[Step[Any]]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self._declared)

    def __repr__(self) -> str:
        return f"<flow {self.slug}: {len(self)} steps>"

    def __reduce__(self) -> tuple[object, ...]:
        reference = self.reference
        if reference is None:
            message = f"flow {self.slug} is not a name at the top level of module {self._module}"
            raise UsageError(message, hint="Another process imports a flow; it is never copied.")
        return (_import_flow, (reference,))

    def _add(
        self, kind: type[Step[Any]], function: Callable[..., Any], *, name: str, **rest: Any
    ) -> Step[Any]:
        step = kind(self, name, function, **rest)
        self._declared.append(step)
        self._by_slug.setdefault(name, step)
        self._ordered = None
        return step


def _calling_module() -> str:
    frame = sys._getframe(1)  # noqa: SLF001 - the way collections.namedtuple finds its module
    while frame.f_back is not None and frame.f_globals.get("__name__") in {__name__, "typing"}:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "__main__"))


def _import_flow(reference: str) -> Flow[Any]:
    from importlib import import_module  # noqa: PLC0415 - another process only

    module, _, name = reference.partition(":")
    flow: Flow[Any] = getattr(import_module(module), name)
    return flow
