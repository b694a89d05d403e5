"""Carries values between handlers and jsonb, guided by the handlers' annotations.

A bad value is an error that names flow, step, task and the path inside the value. What a task's
inputs and outputs mean is said by the step; when they move is up to others.
"""

from __future__ import annotations

from functools import cached_property
from types import GenericAlias
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pgflow._codec.annotations import Parameter, StreamKind, as_declared, read_annotations
from pgflow._codec.batching import Batching
from pgflow._codec.defects import MAX_DEPTH
from pgflow._codec.plain import (
    MAX_VALUE_BYTES,
    NOWHERE,
    Where,
    check_numbers,
    decode_json,
    encode,
    parse_json,
    split_array,
    split_object,
)
from pgflow._codec.port import Port
from pgflow._codec.text import describe_error, sanitise_text
from pgflow.errors import DecodingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pgflow.flow import Flow, Step

__all__ = [
    "MAX_DEPTH",
    "MAX_VALUE_BYTES",
    "NOWHERE",
    "StepCodec",
    "Where",
    "codec_of",
    "decode_json",
    "describe_error",
    "encode",
    "encode_input",
    "parse_json",
    "sanitise_text",
    "split_array",
    "split_object",
]

_ABSENT = object()


class StepCodec:
    """Decodes a step's arguments and encodes its output; made once a step by `codec_of`.

    >>> codec = codec_of(track_results)
    >>> codec.decode_arguments(b'{"fetch_subscribers": [], "send_email": []}', None)
    [[], []]
    """

    def __init__(self, step: Step[Any]) -> None:
        self.step = step
        self._where = Where(step.flow.slug, step.slug)
        self._slugs = () if step.takes_element else step.dependency_slugs
        parameters, output = read_annotations(step, len(self._slugs) or 1)
        self._parameters: list[Parameter] = parameters
        self._by_slug = dict(zip(self._slugs, parameters, strict=False))
        self.batching = Batching(step, parameters[0], output, where=self._where)
        self._output = Port(self.batching.item_output, self._where, "its output")
        self._items: dict[str, Port] = {}
        if not self._slugs:
            argument = parameters[0]
            self._argument = Port(argument.annotation, self._where, _parameter(argument.name))

    def decode_arguments(
        self,
        task_input: bytes | str,
        flow_input: bytes | str | None,
        *,
        task_index: int = 0,
        streams: Mapping[str, object] | None = None,
        items: int | None = None,
    ) -> list[Any]:
        """Return the handler's positional arguments.

        An input of `items` is a batch, whole. `streams` has ready values for dependencies that `task_input` leaves out because they are
        large. Raises DecodingError.
        """
        where = Where(self.step.flow.slug, self.step.slug, task_index)
        if self.step.convention == "mapping":
            return [self._mapping(task_input, flow_input, where, streams)]
        if self._slugs:
            return self._from_dependencies(task_input, where, streams or {})
        raw = task_input if self.step.takes_element else flow_input
        if self.batching.is_whole and items is None:
            raw = b"[" + _as_bytes(task_input) + b"]"
        return [
            as_declared(
                self._parameters[0].stream,
                self._argument.decode(b"null" if raw is None else raw, where),
            )
        ]

    def decode_batch(self, task_input: bytes | str, *, task_index: int = 0) -> Iterator[list[Any]]:
        """Return the arguments for each item of a batch. Raises DecodingError if any of them does not fit."""
        return self.batching.decode(task_input, self._where._replace(task=task_index))

    def wants_stream(self, dependency: str) -> StreamKind | None:
        """Tell whether the handler declares an iterator for a dependency, and of which kind."""
        parameter = self._by_slug.get(dependency)
        if parameter is None or self.step.convention == "mapping":
            return None
        return parameter.stream

    def decode_item(self, dependency: str, raw: bytes | str | None, index: int) -> Any:
        """Return one item of a dependency that is read in pages."""
        port = self._items.get(dependency)
        if port is None:
            parameter = self._by_slug.get(dependency)
            annotation = Any if parameter is None else parameter.item
            port = Port(annotation, self._where, f"an item of '{dependency}'")
            self._items[dependency] = port
        try:
            return port.decode(b"null" if raw is None else raw, self._where)
        except DecodingError as error:
            error.path = f"$[{index}]{error.path[1:]}"
            error.add_note(f"in item {index} of '{dependency}'")
            raise

    def decode_items(self, dependency: str, raws: Iterable[bytes | str | None]) -> Any:
        """Return a dependency that was read in pages, whole, as its parameter is annotated."""
        joined = b"[" + b",".join(_as_bytes(raw) for raw in raws) + b"]"
        parameter = self._by_slug.get(dependency)
        annotation = Any if parameter is None else parameter.annotation
        value = Port(annotation, self._where, f"'{dependency}'").decode(joined, self._where)
        return as_declared(self.wants_stream(dependency), value)

    def encode_output(self, value: object, task_index: int = 0, *, items: int | None = None) -> str:
        """Return a handler's output as JSON text; of `items`, if it takes batches. Raises EncodingError."""
        where = Where(self.step.flow.slug, self.step.slug, task_index)
        if self.batching.is_whole:
            return self.batching.encode(value, where, items=items)
        return self._output.encode(value, where)

    def decode_task_output(self, raw: bytes | str | None) -> Any:
        """Return the output of one task as the handler's return annotation says."""
        return self._output.decode(b"null" if raw is None else raw, self._where)

    def decode_output(self, raw: bytes | str | None) -> Any:
        """Return the output of the whole step: for a map, the list of its tasks' outputs."""
        port = self._whole_output if self.step.step_type == "map" else self._output
        return port.decode(b"null" if raw is None else raw, self._where)

    @cached_property
    def _whole_output(self) -> Port:
        item = self._output.annotation
        lenient = self.step.failure_policy != "fail" and item is not Any
        return Port(
            GenericAlias(list, (item | None if lenient else item,)), self._where, "its output"
        )

    def _mapping(
        self,
        task_input: bytes | str,
        flow_input: bytes | str | None,
        where: Where,
        streams: Mapping[str, object] | None,
    ) -> Any:
        from_run = not self._slugs and not self.step.takes_element
        raw = flow_input if from_run else task_input
        value = decode_json(b"null" if raw is None else raw, where=where)
        if self._slugs:
            value |= streams or {}
        if self.step.step_type == "map":
            return {"item": value, "index": where.task}
        return value

    def _from_dependencies(
        self, task_input: bytes | str, where: Where, streams: Mapping[str, object]
    ) -> list[Any]:
        if self._inputs is None:
            found = decode_json(task_input, where=where)
        else:
            try:
                found = self._inputs.validator.validate_json(task_input)
            except ValidationError as error:
                raise self._argument_error(error, task_input, where) from error
            check_numbers(task_input, found, where)
        return [self._argument_of(slug, found, where, streams) for slug in self._slugs]

    def _argument_of(
        self, slug: str, found: Mapping[str, Any], where: Where, streams: Mapping[str, object]
    ) -> Any:
        if slug in streams:
            return streams[slug]
        value = found.get(slug, _ABSENT)
        parameter = self._by_slug[slug]
        if value is not _ABSENT:
            return value if parameter.stream is None else as_declared(parameter.stream, value)
        if slug in self._admitting_none:
            return None
        message = (
            f"{_parameter(parameter.name)}: '{slug}' was skipped, so there is no output to pass"
        )
        hint = "Annotate the parameter with `| None`, or give the skipped step 'skip-cascade'."
        raise DecodingError(message, path=f"$.{slug}", hint=hint, **where._asdict())

    @cached_property
    def _inputs(self) -> TypeAdapter[Any] | None:
        """One adapter for all dependencies at once; none if no parameter is annotated."""
        annotations = {slug: parameter.annotation for slug, parameter in self._by_slug.items()}
        if all(annotation is Any for annotation in annotations.values()):
            return None
        for slug, parameter in self._by_slug.items():
            # Builds each alone first, so that an unusable annotation is told with its parameter.
            _ = Port(annotations[slug], self._where, _parameter(parameter.name)).adapter
        inputs_of = cast("Callable[..., Any]", TypedDict)
        return TypeAdapter(inputs_of("Inputs", annotations, total=False))

    @cached_property
    def _admitting_none(self) -> frozenset[str]:
        return frozenset(
            slug
            for slug, parameter in self._by_slug.items()
            if _admits_none(Port(parameter.annotation, self._where, parameter.name))
        )

    def _argument_error(
        self, error: ValidationError, raw: bytes | str, where: Where
    ) -> DecodingError:
        slug = str(next(iter(error.errors(include_url=False)[0]["loc"]), ""))
        parameter = self._by_slug.get(slug)
        name = f"{_parameter(parameter.name)} from '{slug}'" if parameter else "its input"
        return Port(Any, self._where, name).mismatch(error, raw, where)


_codecs: WeakKeyDictionary[Step[Any], StepCodec] = WeakKeyDictionary()
_inputs: WeakKeyDictionary[Flow[Any], Port] = WeakKeyDictionary()


def codec_of(step: Step[Any]) -> StepCodec:
    """Return the step's codec, made at the first call.

    Raises DefinitionError if an annotation cannot be resolved or cannot pass through JSON.
    """
    codec = _codecs.get(step)
    if codec is None:
        codec = _codecs[step] = StepCodec(step)
    return codec


def encode_input(flow: Flow[Any], value: object) -> str:
    """Return a run's input as JSON text; plain data may stand for the flow's input type.

    >>> encode_input(campaign, {"campaign_id": 123})
    '{"campaign_id":123}'
    """
    where = Where(flow.slug)
    port = _inputs.get(flow)
    if port is None:
        port = _inputs[flow] = Port(flow.input_type, where, "the run's input")
    return port.encode(port.coerce(value, where), where)


def _parameter(name: str) -> str:
    return f"parameter '{name}'"


def _admits_none(port: Port) -> bool:
    if port.is_plain:
        return True
    try:
        port.adapter.validator.validate_python(None)
    except ValidationError:
        return False
    return True


def _as_bytes(raw: bytes | str | None) -> bytes:
    if raw is None:
        return b"null"
    return raw.encode() if isinstance(raw, str) else raw
