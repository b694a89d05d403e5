"""Checks of runs: their outputs, their ends, how they came there, and what clients were told of them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.facts import TERMINAL, Violation, retried_between
from tests.chaos.flows import BY_SLUG, MAY_FAIL, MAY_LACK, MAY_SKIP
from tests.chaos.handlers import PURE, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.facts import Journal, Run, Tables

STEP_ORDER: Final = {"created": 0, "started": 1, "completed": 2, "failed": 2, "skipped": 2}


def outputs_are_right(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """Outputs are complete, in order, and what the pure functions make of the run's input."""
    for run in tables.runs.values():
        for slug, state in tables.steps[run.run_id].items():
            if state.status == "completed":
                yield from _wrong_outputs(tables, run, slug)
            elif run.status == "completed" and not (state.status == "skipped" and slug in MAY_SKIP):
                yield Violation("end", f"{run.run_id} is completed, but {slug} is {state.status}")
        if run.status == "completed":
            yield from _wrong_run_output(tables, run)


def _wrong_run_output(tables: Tables, run: Run) -> Iterator[Violation]:
    parents = {slug for step in BY_SLUG[run.flow] for slug in step.dependency_slugs}
    steps = tables.steps[run.run_id]
    leaves = {
        slug: state.output
        for slug, state in steps.items()
        if slug not in parents and state.status == "completed"
    }
    if run.output != leaves:
        yield Violation(
            "output", f"{run.run_id} has the output {run.output}, its last steps {leaves}"
        )


def _wrong_outputs(tables: Tables, run: Run, slug: str) -> Iterator[Violation]:
    step = BY_SLUG[run.flow][slug]
    outputs = {name: state.output for name, state in tables.steps[run.run_id].items()}
    given = [values(outputs[name]) for name in step.dependency_slugs] or [run.input]
    items = tables.items[run.run_id][slug]
    where = f"{run.run_id}/{slug}"
    arguments = [[value] for value in given[0]] if step.step_type == "map" else [given]
    if sorted(items) != list(range(len(arguments))):
        yield Violation("output", f"{where} has the tasks {sorted(items)}, not {len(arguments)}")
        return
    for index, argument in enumerate(arguments):
        item = items[index]
        if item.status == "failed" and slug in MAY_LACK:
            continue
        if item.status != "completed":
            yield Violation("end", f"{where} is completed, but its task {index} is {item.status}")
        elif values(item.output) != _computed(slug, argument):
            yield Violation(
                "output", f"{where}/{index}: {item.output} is not what {argument} makes"
            )
    found = [
        items[index].output if items[index].status == "completed" else None
        for index in sorted(items)
    ]
    if outputs[slug] != (found if step.step_type == "map" else found[0]):
        yield Violation("output", f"{where} is not put together from its tasks in their order")


def _computed(slug: str, arguments: list[Any]) -> Any:
    try:
        return PURE[slug](*arguments)
    except Exception as error:  # noqa: BLE001 - arguments that no attempt can have had
        return error


def starts_are_kept(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """Every acknowledged start is a run; the same idempotency key is the same run."""
    by_key: dict[tuple[str, str], list[str]] = defaultdict(list)
    for run in tables.runs.values():
        if run.key is not None:
            by_key[run.flow, run.key].append(run.run_id)
    for (flow, key), runs in by_key.items():
        if len(runs) > 1:
            yield Violation("key", f"{key} of {flow} has the runs {runs}")
    for key, lines in journal.starts.items():
        told = {line["run"] for line in lines}
        kept = by_key.get((lines[0]["flow"], key), [])
        if told != set(kept):
            yield Violation(
                "key", f"{key} was acknowledged as {sorted(told)}, and stands there as {kept}"
            )
        elif tables.runs[kept[0]].input != lines[0]["input"]:
            yield Violation("key", f"{key} has another input than it was started with")


def runs_end_as_they_may(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """Every run is terminal; one fails only if it is doomed, and is cancelled exactly if somebody was told so."""
    for run in tables.runs.values():
        if run.status not in TERMINAL:
            yield Violation("stuck", f"{run.run_id} of {run.flow} is {run.status}")
        if run.status == "failed" and run.flow not in MAY_FAIL:
            failed = [
                state.step
                for state in tables.steps[run.run_id].values()
                if state.status == "failed"
            ]
            yield Violation("lost", f"{run.run_id} of {run.flow} has failed in {failed}")
        told = {line["answer"] for line in journal.cancels.get(run.run_id, [])}
        if run.status == "cancelled" and not told:
            yield Violation("end", f"{run.run_id} is cancelled, and nobody asked for it")
        if "cancelled" in told and run.status != "cancelled":
            yield Violation("end", f"{run.run_id} was cancelled, and is {run.status}")


def transitions_are_legal(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """Nothing that is over goes on, and no step goes back, but by a retry; a cancelled run never does."""
    for run, lines in journal.seen.items():
        last: dict[str, Any] = lines[-1]
        if run in tables.runs:
            last = {"status": tables.runs[run].status, "at": float("inf")}
        for before, after in zip(lines, [*lines[1:], last], strict=True):
            if before["status"] in TERMINAL and before["status"] != after["status"]:
                retried = retried_between(journal, run, before["sent"], after["at"])
                if before["status"] == "cancelled" or not retried:
                    yield Violation("transition", f"{run}: {before['status']} → {after['status']}")
    for (run, step), lines in journal.steps_seen.items():
        for before, after in itertools.pairwise(lines):
            old, new = before["status"], after["status"]
            goes_back = STEP_ORDER[new] < STEP_ORDER[old] or (STEP_ORDER[old] == 2 and new != old)
            if goes_back and not retried_between(journal, run, before["sent"], after["at"]):
                yield Violation("transition", f"{run}/{step}: {old} → {new}")
