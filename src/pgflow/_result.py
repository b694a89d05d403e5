"""Result: the outputs of a run's leaf steps, decoded by the annotations of their handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pgflow.codec import codec_of, decode_json
from pgflow.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from pgflow.flow import Flow, Step
    from pgflow.records import RawJson, RunSummary

    Raw = RawJson | list[RawJson | None] | None

T = TypeVar("T")


class Result:
    """What a completed run gave: one output for each leaf step that was not skipped.

    >>> result = execute(campaign, Campaign(campaign_id=123))
    >>> report = result[track_results]      # typed by the step
    >>> result["track_results"], result.output
    """

    def __init__(
        self,
        run: RunSummary,
        outputs: Mapping[str, Raw],
        *,
        skipped: frozenset[str] = frozenset(),
        flow: Flow[Any] | None = None,
    ) -> None:
        self.run = run
        self._raw = outputs
        self._skipped = skipped
        self._flow = flow
        self._decoded: dict[str, Any] = {}

    @property
    def run_id(self) -> UUID:
        """The run's id."""
        return self.run.run_id

    @property
    def output(self) -> dict[str, Any]:
        """All outputs as plain JSON data, by the step's slug."""
        return {slug: _plain(raw) for slug, raw in self._raw.items()}

    @overload
    def __getitem__(self, step: Step[T]) -> T: ...
    @overload
    def __getitem__(self, step: str) -> Any: ...
    def __getitem__(self, step: Step[Any] | str) -> Any:
        """Return a leaf step's output; UsageError for a step that gave none."""
        slug = step if isinstance(step, str) else step.slug
        if slug not in self._raw:
            raise self._absent(slug)
        if slug not in self._decoded:
            self._decoded[slug] = self._decode(slug, step)
        return self._decoded[slug]

    def __contains__(self, step: Step[Any] | str) -> bool:
        """Tell whether a step is a leaf that gave an output."""
        return (step if isinstance(step, str) else step.slug) in self._raw

    def __iter__(self) -> Iterator[str]:
        """Iterate over the slugs of the steps that gave an output."""
        return iter(self._raw)

    def __len__(self) -> int:
        """Count the steps that gave an output."""
        return len(self._raw)

    def __repr__(self) -> str:
        return (
            f"<Result of {self.run.flow_slug} {self.run_id}: {', '.join(self._raw) or 'nothing'}>"
        )

    def _decode(self, slug: str, step: Step[Any] | str) -> Any:
        return decoded(self._raw[slug], step, self._flow)

    def _absent(self, slug: str) -> UsageError:
        if slug in self._skipped:
            return UsageError(f"step {slug} was skipped, so it gave no output")
        if self._flow is not None and slug in self._flow:
            return UsageError(
                f"step {slug} is not a leaf: other steps have used its output",
                hint="Read it with Run.output_of, or return what you need from a last step.",
            )
        known = [*self._raw, *self._skipped]
        return UsageError(f"the run has no leaf step '{slug}'{did_you_mean(slug, known)}")


def decoded(raw: Raw, step: Step[Any] | str, flow: Flow[Any] | None) -> Any:
    """Return an output as the step's handler is annotated, as plain JSON data if that is not known."""
    if isinstance(step, str):
        if flow is None or step not in flow:
            return _plain(raw)
        step = flow[step]
    codec = codec_of(step)
    if isinstance(raw, list):
        return [None if item is None else codec.decode_task_output(item) for item in raw]
    return codec.decode_output(raw)


def _plain(raw: Raw) -> Any:
    if isinstance(raw, list):
        return [None if item is None else decode_json(item) for item in raw]
    return None if raw is None else decode_json(raw)
