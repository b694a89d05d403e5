"""Verifies what was measured: a figure counts only if every output is right and nothing was lost or done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.stage import observing

if TYPE_CHECKING:
    from uuid import UUID


class WrongResult(Exception):  # noqa: N818 - the finding of a check
    """A run has ended with something else than its flow computes."""


def check_fan(output: Any, size: int) -> float:
    """Return the seconds from the parent's end to the first item, out of the run's output."""
    found = output["collect"]
    if found["items"] != size or found["in_order"] is not True:
        raise WrongResult(f"a map of {size} items gave {found}")
    return float(found["delay"]) / 1e9


def check_chain(output: Any, length: int) -> list[tuple[int, int]]:
    """Return begin and end of each link's handler in nanoseconds."""
    (links,) = output.values()
    times = [(begin, end) for begin, end in links]
    moments = [moment for link in times for moment in link]
    if len(times) != length or moments != sorted(moments):
        raise WrongResult(f"a chain of {length} links gave {times}")
    return times


def check_diamonds(dsn: str, runs: int) -> None:
    """Compare the output of the runs 0 … runs - 1 with what their diamonds compute."""
    with observing(dsn) as connection:
        found = connection.execute(
            """select (input #>> '{}')::int, status, output from pgflow.runs
               where flow_slug = 'bench_diamond' order by 1"""
        ).fetchall()
    expected = [(n, "completed", {"bottom": [n + 1, n * 2]}) for n in range(runs)]
    if found != expected:
        wrong = [pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]]
        raise WrongResult(f"{runs} diamonds gave {len(found)} runs; wrong: {wrong[:3]}")


def check_attempts(dsn: str, flow_slug: str, tasks: int, run_id: UUID | None = None) -> None:
    """Demand so many tasks of a run, or of all, each completed by its only grant, and no messages left."""
    with observing(dsn) as connection:
        counts = connection.execute(
            """select count(*), count(*) filter (where status = 'completed'), coalesce(sum(attempts_count), 0)
               from pgflow.step_tasks
               where flow_slug = %(flow)s and (run_id = %(run)s or %(run)s::uuid is null)""",
            {"flow": flow_slug, "run": run_id},
        ).fetchall()[0]
        left = connection.execute("select sum(total) from pgflow.queue_summary").fetchall()[0][0]
    if tuple(map(int, counts)) != (tasks, tasks, tasks):
        raise WrongResult(f"expected {tasks} tasks, completed, grants; found {counts}")
    if left:
        raise WrongResult(f"{left} messages are left in the queues")
