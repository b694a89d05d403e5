"""Checks of tasks: what ran, what was granted, what was accepted, and in which order."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from tests.chaos.facts import TERMINAL, Violation, retried_between
from tests.chaos.flows import BY_SLUG
from tests.chaos.journal import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.facts import Journal, Key, Tables

WRITING: Final = frozenset({"book", "close_books"})
"""Steps whose handlers write a row in their transaction."""


def completed_tasks_have_effects(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """Every completed task has an effect in the journal, and its output is that very attempt's."""
    for (run, step, index), item in tables.by_status("completed"):
        ends = journal.ends.get((run, step, index, item.fence), [])
        # A worker that finds the lease of a task over which it still holds goes on with it under the new fence.
        holders = {line["pid"] for line in journal.grants.get((run, step, index, item.fence), [])}
        for fence in range(item.fence - 1, 0, -1) if not ends else ():
            earlier = journal.ends.get((run, step, index, fence), [])
            ends = [end for end in earlier if end["pid"] in holders] or ends
        if not ends:
            yield Violation(
                "effect",
                f"{run}/{step}/{index} completed under fence {item.fence}, which never ran",
            )
        elif fingerprint(item.output) not in {end["output"] for end in ends}:
            yield Violation(
                "output", f"{run}/{step}/{index} has not the output of attempt {item.fence}"
            )


def one_completion_is_accepted(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """At most one completion of a task is accepted, that of the fence it ended with; a retry of the run allows others."""
    accepted: dict[Key, set[int]] = defaultdict(set)
    for (run, step, index, fence), lines in journal.reports.items():
        fresh = [line["what"] for line in lines if line["outcome"] == "accepted"]
        if len(fresh) > 1:
            yield Violation(
                "acceptance", f"{run}/{step}/{index} fence {fence} was accepted as {fresh}"
            )
        good = {"accepted", "already_accepted"}
        if any(line["what"] == "completed" and line["outcome"] in good for line in lines):
            accepted[run, step, index].add(fence)
    for (run, step, index), recorded in tables.completions.items():
        accepted[run, step, index] |= set(recorded)
        for fence, times in Counter(recorded).items():
            if times > 1:
                yield Violation(
                    "acceptance", f"{run}/{step}/{index} fence {fence} is on record {times} times"
                )
    for (run, step, index), fences in accepted.items():
        if run in journal.retries:
            continue
        item = tables.items[run][step].get(index)
        if item is None or item.status != "completed" or fences != {item.fence}:
            yield Violation(
                "acceptance",
                f"{run}/{step}/{index}: accepted under {sorted(fences)}, but the task is {item}",
            )


def grants_are_fenced(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """A fence is granted once, to one worker, and begun once; a task's fence is never behind one that was granted."""
    for (run, step, index, fence), lines in journal.grants.items():
        if len(lines) > 1:
            yield Violation(
                "grant", f"{run}/{step}/{index} fence {fence} was granted {len(lines)} times"
            )
        item = tables.items[run][step].get(index)
        if item is not None and item.fence < fence and run not in journal.retries:
            yield Violation(
                "grant", f"{run}/{step}/{index} has fence {item.fence}, but {fence} was granted"
            )
    for (run, step, index, fence), lines in journal.begins.items():
        if len(lines) > 1:
            yield Violation(
                "grant", f"{run}/{step}/{index} fence {fence} was begun {len(lines)} times"
            )


def nothing_is_granted_after_the_end(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """No claim that was sent after a run was seen terminal brings a task of it, unless a retry came between."""
    for (run, step, index, fence), lines in journal.grants.items():
        for line in lines:
            over = [
                s for s in journal.seen[run] if s["status"] in TERMINAL and s["at"] < line["asked"]
            ]
            if over and not retried_between(journal, run, over[-1]["sent"], line["at"]):
                yield Violation(
                    "grant after the end",
                    f"{run}/{step}/{index} fence {fence}: the run was {over[-1]['status']}",
                )


def steps_follow_their_dependencies(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """The first attempt of a step begins after all attempts of its dependencies that were accepted have ended."""
    first: dict[tuple[str, str], float] = {}
    for (run, step, _, _), lines in journal.begins.items():
        first[run, step] = min(first.get((run, step), float("inf")), lines[0]["at"])
    for (run, step), at in first.items():
        if run in journal.retries or run not in tables.runs:
            continue
        for parent in BY_SLUG[tables.runs[run].flow][step].dependency_slugs:
            for index, item in tables.items[run][parent].items():
                ends = journal.ends.get((run, parent, index, item.fence), [])
                if item.status == "completed" and ends and min(end["at"] for end in ends) > at:
                    yield Violation(
                        "order", f"{run}/{step} began before {parent}/{index} had ended"
                    )
                if item.status in {"queued", "started"}:
                    yield Violation(
                        "order", f"{run}/{step} began, but {parent}/{index} is {item.status}"
                    )


def transactions_happen_once(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """What a handler writes in its task's transaction stands there once if the task completed, else not at all."""
    completed = {key: item for key, item in tables.by_status("completed") if key[1] in WRITING}
    for key, item in completed.items():
        if tables.ledger.get(key) != [(item.fence, item.output["n"])]:
            yield Violation(
                "transaction", f"{key} completed as {item}, and wrote {tables.ledger.get(key)}"
            )
    for key in tables.ledger.keys() - completed.keys():
        yield Violation("transaction", f"{key} did not complete, but wrote {tables.ledger[key]}")


def keys_are_stable(journal: Journal, tables: Tables) -> Iterator[Violation]:
    """The idempotency key that handlers get is the same in all attempts of a task, and no other task's."""
    keys: dict[Key, set[str]] = defaultdict(set)
    for (run, step, index, _), lines in journal.begins.items():
        keys[run, step, index].update(line["key"] for line in lines)
    owners = Counter(key for several in keys.values() for key in several)
    for task, several in keys.items():
        if len(several) > 1 or any(owners[key] > 1 for key in several):
            yield Violation("task key", f"{task} has the keys {sorted(several)}")
