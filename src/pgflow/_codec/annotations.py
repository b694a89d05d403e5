"""Reads a handler's annotations: what its arguments become, and what its output is."""

from __future__ import annotations

import functools
import inspect
from collections import abc
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pgflow.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from pgflow.flow import Step

StreamKind = Literal["sync", "async"]

_STREAMS: dict[object, StreamKind] = {
    abc.Iterator: "sync",
    abc.Iterable: "sync",
    abc.Generator: "sync",
    abc.AsyncIterator: "async",
    abc.AsyncIterable: "async",
    abc.AsyncGenerator: "async",
}
_AWAITED = (abc.Awaitable, abc.Coroutine)


class Parameter(NamedTuple):
    """One argument of a handler."""

    name: str
    annotation: Any
    """Any where there is none; a list where a stream is declared."""
    stream: StreamKind | None
    item: Any
    """What the items of a stream are annotated with."""


def read_annotations(step: Step[Any], count: int) -> tuple[list[Parameter], Any]:
    """Return the first `count` parameters of the handler, and the annotation of its output."""
    hints = _hints(step)
    names = _parameter_names(step.function, count)
    parameters = [parameter_of(name, hints.get(name, Any)) for name in names]
    return parameters, output_of(hints.get("return", Any))


def as_declared(stream: StreamKind | None, value: Any) -> Any:
    """Return a list as the stream that the handler declares, if it does."""
    if stream is None:
        return value
    return iter(value) if stream == "sync" else _walk(value)


async def _walk(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def parameter_of(name: str, annotation: Any) -> Parameter:
    """Tell what an argument of this annotation becomes."""
    origin = get_origin(annotation) or annotation
    # A dict is Iterable as well, but only the abstract types ask for a stream.
    stream = _STREAMS.get(origin) if isinstance(origin, type) else None
    if stream is None:
        return Parameter(name, annotation, None, Any)
    item = next(iter(get_args(annotation)), Any)
    return Parameter(name, GenericAlias(list, (item,)), stream, item)


def output_of(annotation: Any) -> Any:
    """Return what a handler of this return annotation gives in the end."""
    if get_origin(annotation) in _AWAITED:
        return get_args(annotation)[-1]
    return annotation


def _parameter_names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [""] * count
    names = [
        parameter.name
        for parameter in parameters
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
    return (names + [rest] * count)[:count]


def _hints(step: Step[Any]) -> Mapping[str, Any]:
    function: Any = step.function
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = type(function).__call__
    try:
        return get_type_hints(function, localns=_namespace(step), include_extras=True)
    except NameError as error:
        problem = (
            f"step '{step.slug}': its annotations name something that is unknown at run time"
            f" ({error}); import it outside `if TYPE_CHECKING:`"
        )
        raise DefinitionError([problem], flow=step.flow.slug) from error
    except TypeError:
        return {}


def _namespace(step: Step[Any]) -> dict[str, Any] | None:
    return dict(step.namespace) if step.namespace is not None else None
