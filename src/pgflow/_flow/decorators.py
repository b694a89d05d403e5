"""`@flow.step()` and `@flow.map()`: the overloads that type the edges, and what they record."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, Literal, Unpack, overload

from pgflow._flow.options import AtMost, StepOptions
from pgflow._flow.step import MapStep, Step
from pgflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import TypeVar

    from pgflow._flow.wiring import (
        BatchMapDecorator,
        LenientBatchMapDecorator,
        LenientMapDecorator,
        MapDecorator,
        Produces,
        StepDecorator,
    )

    InputT = TypeVar("InputT", default=Any)
    ItemT = TypeVar("ItemT")
    A = TypeVar("A")
    B = TypeVar("B")
    C = TypeVar("C")
    D = TypeVar("D")
    E = TypeVar("E")
else:
    # The default is for type checkers; importing typing_extensions for it would cost 10 ms.
    from typing import TypeVar

    InputT = TypeVar("InputT")

_Lenient = Literal["continue"] | AtMost


class Decorators(Generic[InputT]):
    """The half of Flow that its author types."""

    _misplaced: list[str]
    """Problems seen while the flow is written; told with all others."""

    def _add(
        self, kind: type[Step[Any]], function: Callable[..., Any], *, name: str, **rest: Any
    ) -> Step[Any]:
        raise NotImplementedError

    @overload
    def step(
        self, *, depends_on: tuple[()] = ..., **options: Unpack[StepOptions]
    ) -> StepDecorator[[InputT]]: ...
    @overload
    def step(
        self, *, depends_on: tuple[Produces[A]], **options: Unpack[StepOptions]
    ) -> StepDecorator[[A]]: ...
    @overload
    def step(
        self, *, depends_on: tuple[Produces[A], Produces[B]], **options: Unpack[StepOptions]
    ) -> StepDecorator[[A, B]]: ...
    @overload
    def step(
        self,
        *,
        depends_on: tuple[Produces[A], Produces[B], Produces[C]],
        **options: Unpack[StepOptions],
    ) -> StepDecorator[[A, B, C]]: ...
    @overload
    def step(
        self,
        *,
        depends_on: tuple[Produces[A], Produces[B], Produces[C], Produces[D]],
        **options: Unpack[StepOptions],
    ) -> StepDecorator[[A, B, C, D]]: ...
    @overload
    def step(
        self,
        *,
        depends_on: tuple[Produces[A], Produces[B], Produces[C], Produces[D], Produces[E]],
        **options: Unpack[StepOptions],
    ) -> StepDecorator[[A, B, C, D, E]]: ...
    @overload
    def step(
        self, *, depends_on: list[Any], **options: Unpack[StepOptions]
    ) -> StepDecorator[...]: ...
    def step(self, *bare: Any, depends_on: Any = (), name: Any = None, **options: Any) -> Any:
        """Add the decorated function as a step that runs once.

        A root step receives the run's input, any other the outputs of its dependencies, in order.
        A tuple of up to five steps is checked by the type checker; a list, of steps or slugs, is not.

        >>> @campaign.step(depends_on=(fetch_subscribers, send_email))
        ... def track(subscribers: list[Subscriber], receipts: list[Receipt]) -> Report: ...
        """
        _refuse_bare(bare, "step")
        return self._decorator(Step, depends_on, name=name, options=options)

    @overload
    def map(
        self,
        *,
        over: Produces[Sequence[ItemT]],
        failure_policy: Literal["fail"] = ...,
        **options: Unpack[StepOptions],
    ) -> MapDecorator[[ItemT]]: ...
    @overload
    def map(
        self,
        *,
        over: Produces[Sequence[ItemT]],
        failure_policy: _Lenient,
        **options: Unpack[StepOptions],
    ) -> LenientMapDecorator[[ItemT]]: ...
    @overload
    def map(
        self,
        *,
        over: Produces[Sequence[ItemT]],
        batch_size: int,
        failure_policy: Literal["fail"] = ...,
        **options: Unpack[StepOptions],
    ) -> BatchMapDecorator[ItemT]: ...
    @overload
    def map(
        self,
        *,
        over: Produces[Sequence[ItemT]],
        batch_size: int,
        failure_policy: _Lenient,
        **options: Unpack[StepOptions],
    ) -> LenientBatchMapDecorator[ItemT]: ...
    @overload
    def map(
        self: Decorators[list[ItemT]],
        *,
        batch_size: int,
        failure_policy: Literal["fail"] = ...,
        **options: Unpack[StepOptions],
    ) -> BatchMapDecorator[ItemT]: ...
    @overload
    def map(
        self: Decorators[list[ItemT]],
        *,
        batch_size: int,
        failure_policy: _Lenient,
        **options: Unpack[StepOptions],
    ) -> LenientBatchMapDecorator[ItemT]: ...
    @overload
    def map(
        self,
        *,
        initial_tasks: int,
        failure_policy: Literal["fail"] = ...,
        **options: Unpack[StepOptions],
    ) -> MapDecorator[[InputT]]: ...
    @overload
    def map(
        self,
        *,
        initial_tasks: int,
        failure_policy: _Lenient,
        **options: Unpack[StepOptions],
    ) -> LenientMapDecorator[[InputT]]: ...
    @overload
    def map(
        self: Decorators[list[ItemT]],
        *,
        failure_policy: Literal["fail"] = ...,
        **options: Unpack[StepOptions],
    ) -> MapDecorator[[ItemT]]: ...
    @overload
    def map(
        self: Decorators[list[ItemT]],
        *,
        failure_policy: _Lenient,
        **options: Unpack[StepOptions],
    ) -> LenientMapDecorator[[ItemT]]: ...
    def map(
        self, *bare: Any, over: Any = None, depends_on: Any = (), name: Any = None, **options: Any
    ) -> Any:
        """Add the decorated function as a step with a task per item, each retried on its own.

        `over` names the step whose list is mapped; without it the run's input is the list, or, with
        `initial_tasks=4`, the handler runs 4 times and receives the run's input.
        Under another `failure_policy` than `fail`, consumers see None where an item failed.
        `batch_size=100` puts up to 100 cheap items into one task; the handler still takes an item, or, if its
        parameter and its result are declared as lists, all of a batch. Failed items are retried one by one.

        >>> @campaign.map(over=fetch_subscribers, failure_policy=at_most(percent=1))
        ... async def send_email(subscriber: Subscriber) -> Receipt: ...
        """
        _refuse_bare(bare, "map")
        if over is None:
            return self._decorator(MapStep, depends_on, name=name, options=options)
        return self._decorator(MapStep, depends_on, name=name, options=options, over=over)

    def _decorator(
        self,
        kind: type[Step[Any]],
        depends_on: Any,
        *,
        name: str | None,
        options: Mapping[str, Any],
        over: Any = None,
    ) -> Callable[[Callable[..., Any]], Step[Any]]:
        def decorate(function: Callable[..., Any]) -> Step[Any]:
            if isinstance(function, Step):
                # One function may be a step of several flows.
                function = function.function
            slug = name if name is not None else getattr(function, "__name__", repr(function))
            dependencies = self._dependencies(slug, depends_on)
            if kind is MapStep and dependencies:
                self._misplaced.append(
                    f"step '{slug}': a map takes its one dependency as over=, not as depends_on="
                )
            if over is not None:
                dependencies = self._dependencies(slug, (over,))
            return self._add(
                kind,
                function,
                name=slug,
                dependencies=dependencies,
                options=options,
                over=over is not None,
                namespace=_local_names(function),
            )

        return decorate

    def _dependencies(self, slug: str, given: Any) -> tuple[Step[Any] | str, ...]:
        if isinstance(given, Step | str):
            hint = f"step '{slug}': depends_on takes a tuple or a list, as in (fetch_subscribers,)"
            self._misplaced.append(hint)
            return ()
        if not isinstance(given, tuple | list):
            self._misplaced.append(f"step '{slug}': depends_on takes steps, not {given!r}")
            return ()
        self._misplaced += [
            f"step '{slug}': depends on {dep!r}, which is no step"
            for dep in given
            if not isinstance(dep, Step | str)
        ]
        return tuple(dep for dep in given if isinstance(dep, Step | str))


def _refuse_bare(bare: tuple[Any, ...], decorator: str) -> None:
    if bare:
        message = f"@flow.{decorator} takes parentheses: write @flow.{decorator}()"
        raise UsageError(message)


def _local_names(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Keep what a nested handler's annotations may name; module-level handlers need none."""
    if "<locals>" not in getattr(function, "__qualname__", ""):
        return None
    return dict(sys._getframe(2).f_locals)  # noqa: SLF001 - the frame that decorates
