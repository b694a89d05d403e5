"""A step of a stored plan made callable: its handler's parameters come from where the plan says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pgflow._codec.annotations import as_declared
from pgflow._handler import Handler, is_coroutine_function, names_attribute
from pgflow._plan.model import ITEM, RUN, Source
from pgflow.codec import Where, describe_error, encode
from pgflow.errors import DecodingError, NonRetryable, PgflowError, UsageError
from pgflow.flow import Flow
from pgflow.handlers import current_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgflow._plan.registry import HandlerParameter, Handlers, RegisteredHandler

_ABSENT = object()


def bind(
    slug: str, definition: Mapping[str, Any], handlers: Handlers, redact: Sequence[str]
) -> dict[str, Handler]:
    """Return what performs each step of a stored plan, as far as its handlers are registered here.

    A step that does not fit its handler, which may have changed since, fails by itself. Raises PgflowError, KeyError,
    TypeError or ValueError for a definition that is no plan's.
    """
    reads_run_input: dict[str, bool] = {}
    entries: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []
    for step in definition["steps"]:
        registered = handlers.get(str(step["handler"]["name"])) if "handler" in step else None
        function: Callable[..., Any] = _elsewhere
        if registered is not None:
            function, reads_run_input[step["slug"]] = _performing(slug, step, registered)
        options = {"depends_on": step.get("depends_on", []), "step_type": step.get("step_type")}
        if registered is not None and "non_retryable" in registered.options:
            options["non_retryable"] = registered.options["non_retryable"]
        entries.append((step["slug"], function, options))
    flow = Flow.from_list(slug, entries, redact=redact).validate()
    found = {name: Handler(flow[name]) for name in reads_run_input}
    for name, reads in reads_run_input.items():
        found[name].reads_run_input = reads
    return found


def _performing(
    flow: str, step: Mapping[str, Any], handler: RegisteredHandler
) -> tuple[Callable[[Any], Any], bool]:
    """Return a step's function, and whether it reads the run's input."""
    try:
        bound = BoundStep(flow, step, handler)
    except (PgflowError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = getattr(error, "message", "") or describe_error(error)
        refusal = f"the plan does not fit handler '{handler.name}': {reason}; store the plan again"
        return _refusing(refusal), False
    return bound.function(), bound.reads_run_input


def _refusing(reason: str) -> Callable[[Any], Any]:
    async def refuse(_: Any) -> None:
        raise NonRetryable(reason)

    return refuse


def _elsewhere(_: Any) -> None:
    """Stand for the handler of a step that another worker serves."""


class BoundStep:
    """A registered handler with the bindings of one step."""

    def __init__(self, flow: str, step: Mapping[str, Any], handler: RegisteredHandler) -> None:
        self._where = Where(flow, step["slug"])
        self._handler = handler
        bindings: Mapping[str, Any] = step["handler"]
        self._params = {
            name: encode(value) for name, value in dict(bindings.get("params", {})).items()
        }
        self._inputs = {name: self._read(text) for name, text in bindings.get("inputs", {}).items()}
        self._is_map = step.get("step_type") == "map"
        self._is_root = not self._is_map and not step.get("depends_on")
        unknown = [
            name for name in (*self._params, *self._inputs) if name not in handler.parameters
        ]
        if unknown:
            raise UsageError(f"it has no parameter {', '.join(unknown)}")
        named = any(source.name == RUN for source in self._inputs.values())
        self.reads_run_input = (named and not self._is_root) or names_attribute(
            handler.function, "run_input"
        )

    def function(self) -> Callable[[Any], Any]:
        """Return a function of one mapping, as dynamic flows have them, asynchronous if the handler is."""
        user, arguments = self._handler.function, self._arguments

        async def call_async(values: Any) -> Any:
            return await user(**arguments(values))

        def call(values: Any) -> Any:
            return user(**arguments(values))

        function: Callable[[Any], Any] = call_async if is_coroutine_function(user) else call
        function.__name__ = self._handler.name
        function.__annotations__ = {"return": self._handler.output.annotation}
        return function

    def _read(self, text: object) -> Source:
        source = Source.of(text) if isinstance(text, str) else None
        if source is None:
            raise UsageError(f"{text!r:.140} is no source of an input")
        return source

    def _arguments(self, values: Any) -> dict[str, Any]:
        parameters = self._handler.parameters
        found: dict[str, Any] = {}
        for name, raw in self._params.items():
            found[name] = self._decoded(parameters[name], raw)
        for name, source in self._inputs.items():
            parameter = parameters[name]
            value = self._value(name, source, values)
            if value is _ABSENT:
                if not parameter.is_required:
                    continue  # its source was skipped: the default stands in
                value = None
            found[name] = self._decoded(parameter, encode(value, where=self._where))
        return found

    def _decoded(self, parameter: HandlerParameter, raw: str) -> Any:
        return as_declared(parameter.declared.stream, parameter.port.decode(raw, self._where))

    def _value(self, name: str, source: Source, values: Any) -> Any:
        if source.name == RUN:
            value = values if self._is_root else current_task().run_input
        elif self._is_map:
            value = values["item"] if source.name == ITEM else _ABSENT
        else:
            value = cast("Mapping[str, Any]", values).get(source.name, _ABSENT)
        for key in source.path if value is not _ABSENT else ():
            value = self._part(name, source, value, key)
        return value

    def _part(self, name: str, source: Source, value: Any, key: str) -> Any:
        if isinstance(value, dict) and key in value:
            return cast("dict[str, Any]", value)[key]
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            return value[int(key)]
        if value is None:
            return None  # of a step that was skipped, or an item that failed
        text = ".".join((source.name, *source.path))
        raise DecodingError(
            f"parameter '{name}': there is no '{key}' in {text}", **self._where._asdict()
        )
