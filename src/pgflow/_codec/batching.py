"""Batching: how the items of a map pass to and from its handler when one task carries several of them."""

from __future__ import annotations

from functools import cached_property
from types import GenericAlias
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pgflow._codec.annotations import Parameter, as_declared, read_annotations
from pgflow._codec.port import Port
from pgflow.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow._codec.plain import Where
    from pgflow.flow import Step


class Batching:
    """Decodes and encodes the items of a batch, for a handler of one item or of all of them."""

    def __init__(self, step: Step[Any], parameter: Parameter, output: Any, *, where: Where) -> None:
        self._step = step
        self._parameter = parameter
        self._where = where
        self.is_whole = _is_whole(step, parameter.annotation, output)
        """Whether the handler takes all items of a batch as a list, and returns as many outputs."""
        self.item_output = get_args(output)[0] if self.is_whole else output
        """What the output of one item is annotated with."""
        self._outputs = Port(output, where, "its output")

    def decode(self, task_input: bytes | str, where: Where) -> Iterator[list[Any]]:
        """Return the arguments for each item. Raises DecodingError if any of them does not fit."""
        values = self._items.decode(task_input, where)
        if self._step.convention == "mapping":
            first = where.task or 0
            return ([{"item": value, "index": index}] for index, value in enumerate(values, first))
        return ([as_declared(self._parameter.stream, value)] for value in values)

    def encode(self, value: object, where: Where, *, items: int | None) -> str:
        """Return what a handler of whole batches gave as JSON text: of a single item, its output alone.

        Raises EncodingError, also if it is no list of one output for each item.
        """
        count = items or 1
        if not isinstance(value, list | tuple) or len(value) != count:
            given = str(len(value)) if isinstance(value, list | tuple) else type(value).__name__
            noun = "output" if count == 1 else "outputs"
            message = f"$: a batch of {count} needs a list of {count} {noun}, not {given}"
            raise EncodingError(message, **where._asdict())
        if items is None:
            return self._output.encode(value[0], where)
        return self._outputs.encode(list(value), where)

    @cached_property
    def _items(self) -> Port:
        if self._step.convention == "mapping":
            return Port(Any, self._where, "its items")
        item = self._parameter.annotation
        return Port(GenericAlias(list, (item,)), self._where, f"parameter '{self._parameter.name}'")

    @cached_property
    def _output(self) -> Port:
        return Port(self.item_output, self._where, "its output")


def _is_whole(step: Step[Any], parameter: Any, output: Any) -> bool:
    """Tell whether parameter and output are declared as lists, and the items are not known to be lists themselves."""
    if step.batch_size is None or step.convention != "positional" or not step.takes_element:
        return False
    if get_origin(parameter) is not list or get_origin(output) is not list:
        return False
    return get_origin(_item_of(step)) is not list


def _item_of(step: Step[Any]) -> Any:
    """Return what the items that a map goes over are annotated with; Any where nothing says it."""
    if not step.dependency_slugs:
        array = step.flow.input_type
    elif step.dependency_slugs[0] not in step.flow:
        return Any
    else:
        parent = step.flow[step.dependency_slugs[0]]
        parameters, array = read_annotations(parent, 1)
        if parent.step_type == "map" and not _is_whole(parent, parameters[0].annotation, array):
            return array
    return (*get_args(array), Any)[0]
