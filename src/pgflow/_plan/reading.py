"""A plan as it came, read as far as it can be: what is malformed is left out here, and reported elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pgflow._plan.model import ITEM, RUN, Source
from pgflow._plan.problems import pointer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pgflow._plan.registry import Handlers, RegisteredHandler
    from pgflow._plan.schemas import Schema


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a plan that names a step, `run` or `item`."""

    step: GivenStep
    pointer: str
    text: str
    name: str
    path: tuple[str, ...] = ()
    parameter: str | None = None
    """The parameter that it is bound to, in `inputs`."""

    def renamed(self, name: str) -> str:
        """Return the text with another name and the same path."""
        return ".".join((name, *self.path))


@dataclass(slots=True, eq=False)
class GivenStep:
    """One step as it came."""

    index: int
    raw: Mapping[str, Any]
    slug: str | None = None
    handler: RegisteredHandler | None = None
    params: dict[str, Any] = field(default_factory=dict)
    inputs: list[Reference] = field(default_factory=list)
    depends_on: list[Reference] = field(default_factory=list)
    over: Reference | None = None
    parents: list[str] = field(default_factory=list)
    """The slugs that it waits for, right or wrong."""

    def at(self, *keys: object) -> str:
        """Return the pointer to a part of the step."""
        return pointer("steps", self.index, *keys)

    @property
    def label(self) -> str:
        """How sentences call it."""
        return f"step '{self.slug:.140}'" if self.slug is not None else f"step {self.index}"

    @property
    def is_map(self) -> bool:
        """Whether it has a task for each element."""
        return self.raw.get("over") is not None

    @property
    def references(self) -> list[Reference]:
        """All that it names."""
        return [*([self.over] if self.over else []), *self.inputs, *self.depends_on]

    @property
    def output_schema(self) -> Schema:
        """What the whole step gives; {} where that cannot be told."""
        if self.handler is None:
            return {}
        schema = self.handler.output_schema
        return {"type": "array", "items": schema} if self.is_map else schema


class StepsBySlug(dict[str, GivenStep]):
    """The steps of a plan by slug, the first where one is taken twice; remembers who waits for whom."""

    def __init__(self, steps: Iterable[GivenStep]) -> None:
        super().__init__()
        self._awaited: dict[str, set[str]] = {}
        for step in steps:
            if step.slug is not None:
                self.setdefault(step.slug, step)

    def leads_to(self, start: str, goal: str | None) -> bool:
        """Tell whether `start` waits for `goal`, directly or not, or is the same."""
        if start not in self._awaited:
            self._awaited[start] = self._walk(start)
        return goal in self._awaited[start]

    def _walk(self, start: str) -> set[str]:
        waiting, seen = [start], {start}
        while waiting:
            step = self.get(waiting.pop())
            new = [] if step is None else [name for name in step.parents if name not in seen]
            seen.update(new)
            waiting += new
        return seen


def read_steps(raw: object, handlers: Handlers) -> list[GivenStep]:
    """Return the steps of what should be a plan."""
    found = cast("dict[str, object]", raw).get("steps") if isinstance(raw, dict) else None
    entries = cast("list[object]", found) if isinstance(found, list) else []
    return [
        _read_step(index, cast("dict[str, Any]", entry), handlers)
        for index, entry in enumerate(entries)
        if isinstance(entry, dict)
    ]


def _read_step(index: int, raw: dict[str, Any], handlers: Handlers) -> GivenStep:
    step = GivenStep(index, raw)
    slug, handler, over = raw.get("slug"), raw.get("handler"), raw.get("over")
    step.slug = slug if isinstance(slug, str) else None
    step.handler = handlers.get(handler) if isinstance(handler, str) else None
    params, inputs, depends_on = raw.get("params"), raw.get("inputs"), raw.get("depends_on")
    if isinstance(params, dict):
        step.params = dict(cast("dict[str, Any]", params))
    if isinstance(inputs, dict):
        step.inputs = list(_inputs(step, cast("dict[str, object]", inputs)))
    if isinstance(depends_on, list):
        names = enumerate(cast("list[object]", depends_on))
        step.depends_on = [
            Reference(step, step.at("depends_on", place), name, name)
            for place, name in names
            if isinstance(name, str)
        ]
    if isinstance(over, str):
        step.over = Reference(step, step.at("over"), over, over)
    named = dict.fromkeys(reference.name for reference in step.references)
    step.parents = [name for name in named if name not in {RUN, ITEM}]
    return step


def _inputs(step: GivenStep, inputs: dict[str, object]) -> Iterator[Reference]:
    for parameter, text in inputs.items():
        if not isinstance(text, str):
            continue
        source = Source.of(text) or Source(text)
        where = step.at("inputs", parameter)
        yield Reference(step, where, text, source.name, source.path, parameter)
