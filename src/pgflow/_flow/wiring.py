"""How edges are typed: what a step produces is what the next handler must accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from pgflow._flow.step import MapStep, Step

P = ParamSpec("P")
R = TypeVar("R")
ItemT = TypeVar("ItemT")
ArgT_co = TypeVar("ArgT_co", covariant=True)


class Produces(Protocol[ArgT_co]):
    """A step seen from its consumers: what arrives as their argument."""

    def _argument(self) -> ArgT_co: ...


if TYPE_CHECKING:

    class MapOutput(list[ItemT], Iterator[ItemT], AsyncIterator[ItemT]):
        """Stands for a map's output in edges: a list, or a stream if the handler declares one.

        Being a subtype of all three, it is accepted by a handler that declares any of them.
        """


class StepDecorator(Protocol[P]):
    """Takes a handler, synchronous or not, whose parameters accept what the edges deliver."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[R]: ...


class MapDecorator(Protocol[P]):
    """As StepDecorator, for a map that fails with its first failed item."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> MapStep[R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> MapStep[R]: ...


class BatchMapDecorator(Protocol[ItemT]):
    """As MapDecorator, for a handler of one item, or of a list of them that returns a list as long."""

    @overload
    def __call__(self, function: Callable[[ItemT], Coroutine[Any, Any, R]], /) -> MapStep[R]: ...
    @overload
    def __call__(
        self, function: Callable[[list[ItemT]], Coroutine[Any, Any, list[R]]], /
    ) -> MapStep[R]: ...
    @overload
    def __call__(self, function: Callable[[ItemT], R], /) -> MapStep[R]: ...
    @overload
    def __call__(self, function: Callable[[list[ItemT]], list[R]], /) -> MapStep[R]: ...


class LenientBatchMapDecorator(Protocol[ItemT]):
    """As BatchMapDecorator, for a map that leaves None where an item failed."""

    @overload
    def __call__(
        self, function: Callable[[ItemT], Coroutine[Any, Any, R]], /
    ) -> MapStep[R | None]: ...
    @overload
    def __call__(
        self, function: Callable[[list[ItemT]], Coroutine[Any, Any, list[R]]], /
    ) -> MapStep[R | None]: ...
    @overload
    def __call__(self, function: Callable[[ItemT], R], /) -> MapStep[R | None]: ...
    @overload
    def __call__(self, function: Callable[[list[ItemT]], list[R]], /) -> MapStep[R | None]: ...


class LenientMapDecorator(Protocol[P]):
    """As MapDecorator, for a map that leaves None where an item failed."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> MapStep[R | None]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> MapStep[R | None]: ...
