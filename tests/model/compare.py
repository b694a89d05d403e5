"""Compare what the database stores with what the model says, and with what must hold whatever has happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.model.definitions import SQL_NULL, Json

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.model.world import World

Picture = dict[str, Any]
TIMES = {"runs": 9, "messages": 4, "archive": 4}
"""Tables of a picture that tell a time, and its column."""

RUN_MOVES = {
    ("started", "completed"),
    ("started", "failed"),
    ("started", "cancelled"),
    ("failed", "started"),
    ("completed", "started"),
}
RETRIED = {"failed", "completed"}


def _shown(value: Json) -> Json:
    return "SQL null" if value is SQL_NULL else value


def expected(world: World) -> Picture:
    """Give the picture that the model expects."""
    runs, steps, tasks, attempts, messages, archive = [], [], [], [], [], []
    for run in world.runs.values():
        runs.append(
            [
                *(run.id, run.status, run.version, run.key, run.remaining, run.input),
                *(_shown(run.output), run.error, run.cancel_reason, run.ended_at),
                int(run.ended_at is not None),
            ]
        )
        attempts += [[run.id, *entry] for entry in run.attempts]
        for slug, step in run.steps.items():
            steps.append(
                [
                    *(run.id, slug, step.status, step.remaining_deps, step.initial, step.remaining),
                    *(step.failed, _shown(step.output), step.error, step.skip_reason),
                ]
            )
            tasks += [
                [
                    *(run.id, slug, task.index, task.status, task.attempts, task.released),
                    *(task.requeued, task.stalled, task.items, _shown(task.input)),
                    *(_shown(task.output), task.error, task.worker),
                ]
                for task in step.tasks.values()
            ]
    messages += [
        [*place.key, place.queue, place.task.due, True]
        for place in world.places()
        if place.task.due is not None
    ]
    messages += [[run, "nowhere", 0, queue, due, False] for queue, run, due in world.orphans]
    for run in world.runs.values():
        archive += [list(entry) for entry in run.archive]
    archive += [list(entry) for entry in world.forgotten]
    return {
        "runs": runs,
        "steps": steps,
        "tasks": tasks,
        "attempts": attempts,
        "messages": messages,
        "archive": archive,
        "quarantine": [[queue, run, due] for queue, run, due in world.quarantine],
        "workers": list(world.workers),
    }


def assert_equal(found: Picture, world: World) -> None:
    """Raise with the first difference between a picture of the database and the model."""
    wanted = expected(world)
    slack = found["elapsed"] + 1
    for table, rows in wanted.items():
        column = {**TIMES, "quarantine": 2}.get(table)
        ours = _in_order(rows, column)
        theirs = _in_order(found[table], column)
        if column is not None:
            _take_over_times(ours, theirs, column, world.now, slack)
        if ours != theirs:
            only_ours = [row for row in ours if row not in theirs]
            only_theirs = [row for row in theirs if row not in ours]
            raise AssertionError(
                f"{table} differ\n  model:    {only_ours}\n  database: {only_theirs}"
            )


def _in_order(rows: list[Any], column: int | None) -> list[Any]:
    if column is None:
        return sorted(rows, key=str)
    return sorted(rows, key=lambda row: (str(row[:column][:4]), row[column] or 0))


def _take_over_times(
    ours: list[list[Any]], theirs: list[list[Any]], column: int, now: int, slack: float
) -> None:
    """Let the database's times be ours where they differ by no more than the schedule has taken."""
    for row, other in zip(ours, theirs, strict=False):
        time = other[column]
        if row[column] is not None and time is not None:
            wanted = row[column] - now
            if wanted - 1 <= time <= wanted + slack:
                row[column] = time
            else:
                row[column] = wanted


def assert_invariants(found: Picture) -> None:
    """Raise unless counters are the truth, and unfinished tasks and live messages match one to one."""
    runs = {row[0]: row for row in found["runs"]}
    steps = {(row[0], row[1]): row for row in found["steps"]}
    live = Counter(tuple(row[:3]) for row in found["messages"] if row[1] != "nowhere")
    over: Counter[tuple[str, str]] = Counter()
    for task in found["tasks"]:
        key, size = tuple(task[:3]), task[8] or 1
        run, step = runs[task[0]], steps[task[0], task[1]]
        is_open = task[3] in {"queued", "started"} and not task[7]
        is_wanted = run[1] == "started" and step[2] == "started" and is_open
        assert live[key] <= is_wanted, f"{live[key]} messages of {key}, {task[3]} in {run[1]}"
        if not is_open:
            over[task[0], task[1]] += size
    assert set(live) <= {tuple(task[:3]) for task in found["tasks"]}, "a message without a task"
    for key, step in steps.items():
        if step[2] == "started" and runs[key[0]][1] == "started":
            assert step[5] == step[4] - over[key], f"{key} counts {step[5]} tasks, not {over[key]}"
    for run in runs.values():
        open_steps = [
            s for s in steps.values() if s[0] == run[0] and s[2] in {"created", "started"}
        ]
        if run[1] in {"started", "completed"}:
            assert run[4] == len(open_steps), f"{run[0]} counts {run[4]} steps"
        assert (run[1] == "completed") <= (not open_steps), f"{run[0]} completed too early"


def assert_legal(
    before: Picture | None, after: Picture, retried: Collection[str] = frozenset()
) -> None:
    """Raise if a run, step or task has made a move that no diagram in docs/architecture.md has.

    `retried` runs are those that were retried in between: one that fails again in the same call looks as if nothing was.
    """
    if before is None:
        return
    statuses = {row[0]: row[1] for row in after["runs"]}
    for row in before["runs"]:
        new = statuses.get(row[0], row[1])
        assert new == row[1] or (row[1], new) in RUN_MOVES, f"run {row[1]} -> {new}"
        is_gone = row[0] not in statuses
        assert not is_gone or row[1] != "started", "a live run was pruned"
    reopened = set(retried) | {
        row[0]
        for row in before["runs"]
        if row[1] in RETRIED and statuses.get(row[0]) not in {row[1], None}
    }
    ends = {(row[0], row[1]): row[2] for row in after["steps"]}
    for run, slug, status, *_ in before["steps"]:
        new = ends.get((run, slug), status)
        if run not in reopened and status in {"completed", "failed", "skipped"}:
            assert new == status, f"step {status} -> {new}"
    tasks = {tuple(row[:3]): row for row in after["tasks"]}
    for row in before["tasks"]:
        new = tasks.get(tuple(row[:3]))
        if new is None or row[0] in reopened:
            continue
        assert row[3] not in {"completed", "failed"} or new[3] == row[3], (
            f"task {row[3]} -> {new[3]}"
        )
        assert new[4] >= row[4], "a fence went back"
