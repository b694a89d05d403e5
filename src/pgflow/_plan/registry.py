"""Handlers: the functions that plans may name, and what a model is told about them."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

from pgflow._codec.annotations import Parameter, output_of, parameter_of
from pgflow._codec.plain import NOWHERE
from pgflow._codec.port import Port
from pgflow._flow.limits import Limits
from pgflow._flow.options import STEP_CHECKS, option_problems, queue_problem
from pgflow._plan.model import plan_schema
from pgflow._plan.schemas import Schema, schema_of
from pgflow.errors import DefinitionError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FunctionT = TypeVar("FunctionT", bound="Callable[..., Any]")

PLAN_LIMITS: Final = Limits(
    max_steps=100,
    max_dependencies=100,
    max_definition_bytes=256 * 1024,
    max_tasks=10_000,
    max_attempts=20,
    max_timeout=3600,
    max_delay=3600,
    max_items=10_000,
)
"""What a plan may ask for unless other limits are given."""
PLAN_QUEUE: Final = "plans"


@dataclass(frozen=True)
class HandlerParameter:
    """One parameter of a registered handler."""

    name: str
    declared: Parameter
    is_required: bool
    port: Port
    """Decodes what it is bound to."""

    @cached_property
    def schema(self) -> Schema:
        """JSON Schema of what it takes."""
        return {} if self.port.is_plain else schema_of(self.port.adapter, "validation")


@dataclass(frozen=True)
class RegisteredHandler:
    """A function that plans may name, with what its annotations say."""

    name: str
    function: Callable[..., Any]
    description: str
    parameters: Mapping[str, HandlerParameter]
    output: Port
    options: Mapping[str, Any]
    """Defaults of the steps that name it."""

    @cached_property
    def output_schema(self) -> Schema:
        """JSON Schema of what it returns."""
        return {} if self.output.is_plain else schema_of(self.output.adapter, "serialization")

    def entry(self) -> dict[str, Any]:
        """Return its entry in the catalogue."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {
                "type": "object",
                "properties": {name: given.schema for name, given in self.parameters.items()},
                "required": [name for name, given in self.parameters.items() if given.is_required],
                "additionalProperties": False,
            },
            "output": self.output_schema,
        }


class Handlers:
    """Functions by the names under which plans use them; give it to `Plan.read` and to a Worker.

    >>> handlers = Handlers()
    >>> @handlers.register("monthly_sales", description="Sales of each month of a year.")
    ... async def monthly_sales(year: int) -> list[Sales]: ...
    >>> await Worker(db, handlers).run()
    """

    def __init__(self, *, queue: str = PLAN_QUEUE) -> None:
        """Take the queue on which the steps of plans wait.

        A worker serves all steps on its queues, so let each registry have a queue of its own, shared with no other flow.
        """
        if problem := queue_problem(queue):
            raise UsageError(f"queue {queue!r:.140} {problem}")
        self.queue = queue
        self._by_name: dict[str, RegisteredHandler] = {}

    def register(
        self,
        name: str | None = None,
        *,
        description: str | None = None,
        queue: str | None = None,
        max_attempts: int | None = None,
        timeout: int | None = None,
        base_delay: int | None = None,
        non_retryable: tuple[type[BaseException], ...] | None = None,
    ) -> Callable[[FunctionT], FunctionT]:
        """Register the decorated function, by its own name or another; it stays an ordinary function.

        The options are defaults of the steps that name it; `queue` is for workers of another kind ("gpu"). Raises
        UsageError for what no plan could call.
        """
        if name is not None and not isinstance(name, str):
            raise UsageError("register takes parentheses", hint="Write: @handlers.register()")
        options = {
            "queue": queue,
            "max_attempts": max_attempts,
            "timeout": timeout,
            "base_delay": base_delay,
            "non_retryable": non_retryable,
        }
        given = {key: value for key, value in options.items() if value is not None}
        namespace = dict(sys._getframe(1).f_locals)  # noqa: SLF001 - names of nested annotations

        def decorate(function: FunctionT) -> FunctionT:
            self._add(function, name, description, given, namespace)
            return function

        return decorate

    def catalogue(self) -> list[dict[str, Any]]:
        """Return name, description, parameters and output of each handler, the latter two as JSON Schema."""
        return [handler.entry() for handler in self]

    def plan_schema(self, *, limits: Limits = PLAN_LIMITS) -> dict[str, Any]:
        """Return the JSON Schema of a plan that names these handlers, for a model to answer by."""
        return plan_schema(sorted(self._by_name), limits)

    @property
    def queues(self) -> list[str]:
        """The queues on which steps of plans may wait."""
        own = [handler.options.get("queue", self.queue) for handler in self]
        return list(dict.fromkeys([self.queue, *own]))

    def get(self, name: str) -> RegisteredHandler | None:
        """Return a handler, if it is registered."""
        return self._by_name.get(name)

    def __getitem__(self, name: str) -> RegisteredHandler:
        try:
            return self._by_name[name]
        except KeyError:
            message = f"no handler '{name}' is registered{did_you_mean(name, self._by_name)}"
            raise UsageError(message) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[RegisteredHandler]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"<handlers {', '.join(self._by_name)}>"

    def _add(
        self,
        function: Callable[..., Any],
        name: str | None,
        description: str | None,
        options: dict[str, Any],
        namespace: dict[str, Any],
    ) -> None:
        if not callable(function):
            raise UsageError(f"a handler is a function, not {function!r:.140}")
        name = name or str(getattr(function, "__name__", ""))
        problems = option_problems(options, STEP_CHECKS)
        if not name.isidentifier():
            problems.append(f"{name!r} cannot be its name: give it one of letters, digits and _")
        if name in self._by_name:
            problems.append("this name is taken by another function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            problems.append("it is a generator; return a list instead of using yield")
        if problems:
            raise UsageError(f"handler '{name}': {'; '.join(problems)}")
        try:
            parameters, output = _ports(function, namespace)
        except DefinitionError as error:
            raise UsageError(f"handler '{name}': {'; '.join(error.problems)}") from error
        except NameError as error:
            raise UsageError(
                f"handler '{name}': its annotations name something that is unknown at run time ({error})",
                hint="Import it outside `if TYPE_CHECKING:`.",
            ) from error
        text = description or (inspect.getdoc(function) or "").partition("\n\n")[0]
        self._by_name[name] = RegisteredHandler(
            name, function, " ".join(text.split()), parameters, output, options
        )


def _ports(
    function: Callable[..., Any], namespace: dict[str, Any]
) -> tuple[dict[str, HandlerParameter], Port]:
    """Read a function's annotations, and try that each can pass through JSON."""
    routine: Any = function if inspect.isroutine(function) else type(function).__call__
    hints = get_type_hints(routine, localns=namespace, include_extras=True)
    parameters: dict[str, HandlerParameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            problem = f"its parameter '{parameter}' has no name that a plan could bind"
            raise DefinitionError([problem])
        name = parameter.name
        declared = parameter_of(name, hints.get(name, Any))
        port = Port(declared.annotation, NOWHERE, f"parameter '{name}'")
        is_required = parameter.default is parameter.empty
        parameters[name] = HandlerParameter(name, declared, is_required, port)
    output = Port(output_of(hints.get("return", Any)), NOWHERE, "its output")
    for port in (output, *(given.port for given in parameters.values())):
        if not port.is_plain:
            _ = port.adapter  # raises what is wrong with the annotation
    return parameters, output
