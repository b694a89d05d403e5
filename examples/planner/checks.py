"""Compares what the plans did with facts from elsewhere: the tables, the attempts, the desk's account, other SQL."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from .orders import SURGES

if TYPE_CHECKING:
    from uuid import UUID

    from psycopg import Connection

SLIPS = {"unknown-handler", "unbound-parameter"}
"""What is wrong with each first plan of the stand-in, at least."""
MORE_SLIPS = SLIPS | {"unknown-step", "cycle"}


@dataclass(frozen=True)
class Job:
    """A goal, its planning, and the run of its plan."""

    goal: str
    planning_run: UUID
    refusals: list[list[dict[str, Any]]]
    """The problems of each plan that was refused."""
    slug: str
    version: int
    shape: dict[str, list[str]]
    """The steps of the plan, and what each waits for."""
    handlers: dict[str, str]
    """The handler that each step names."""
    run: UUID
    output: dict[str, Any]

    def outputs_of(self, handler: str) -> list[Any]:
        """Return what the steps of a handler gave, whatever the model has called them."""
        found = [self.output.get(slug) for slug, name in self.handlers.items() if name == handler]
        return [output for output in found if output is not None]


def check_stand_in(
    connection: Connection[Any], jobs: list[Job], account: dict[str, Any]
) -> dict[str, bool]:
    """Return what must be true of the stand-in's plans, and whether it is; another model may plan in another way."""
    months, regions, products = jobs
    claims = check_plans(connection, jobs) | _results(connection, months, regions, products)
    claims |= _follow_up(connection, months, products, account)
    shapes = {tuple(sorted((slug, *deps) for slug, deps in job.shape.items())) for job in jobs}
    degrees = {tuple(sorted(map(len, job.shape.values()))) for job in jobs}
    return claims | {
        "the goals gave plans of different shapes": len(shapes) == len(degrees) == len(jobs),
        "every first plan was refused, with all its slips at once": all(
            {one["code"] for one in job.refusals[0]} >= SLIPS for job in jobs if job.refusals
        )
        and all(job.refusals for job in jobs),
        "one of them had a cycle, and a step that is not there": {
            one["code"] for one in months.refusals[0]
        }
        == MORE_SLIPS,
        "each plan was made from the reasons, not from a second answer in store": len(
            account["plans"]
        )
        == sum(1 + len(job.refusals) for job in jobs),
    }


def check_plans(connection: Connection[Any], jobs: list[Job]) -> dict[str, bool]:
    """Return what must be true of any model's plans, and whether it is."""
    done = _rows(
        connection,
        b"""select run_id from pgflow.run_summary
          where run_id = any(%s) and status = 'completed' and done_steps = total_steps""",
        [job.run for job in jobs],
    )
    workers = _rows(
        connection,
        b"""select distinct worker.info -> 'flows' as flows, worker.info -> 'registered' as registered
          from pgflow.task_attempts as attempt join pgflow.workers as worker using (worker_id)
          where attempt.run_id = any(%s)""",
        [job.run for job in jobs],
    )
    return {
        "every plan ran to its end": len(done) == len(jobs),
        "the workers of the plans know handlers, and no flow": len(workers) == 1
        and workers[0]["flows"] == {}
        and all({*job.handlers.values()} <= {*workers[0]["registered"]} for job in jobs),
    }


def _results(
    connection: Connection[Any], months: Job, regions: Job, products: Job
) -> dict[str, bool]:
    found = _step_output(connection, months, "unusual_months")
    changes = _step_output(connection, regions, "compare_regions")
    reports = _rows(
        connection,
        b"select run_id, body from planner_example.reports where run_id = any(%s)",
        [months.run, regions.run, products.run],
    )
    body = {row["run_id"]: row["body"] for row in reports}
    surging = [product for product, _ in SURGES.values()]
    return {
        "the unusual months are those in which products surged": [one["month"] for one in found]
        == sorted(SURGES),
        "each was explained by its product": all(
            f"\n{product} accounts for" in body[months.run] for product in surging
        ),
        "the regions' changes are what SQL says": {one["region"]: one["percent"] for one in changes}
        == _changes(connection),
        "each run wrote one report": len(reports) == len(body) == 3,  # noqa: PLR2004 - the jobs
    }


def _changes(connection: Connection[Any]) -> dict[str, float]:
    rows = _rows(
        connection,
        b"""select region, round(100 * (
            sum(amount) filter (where placed_on >= '2025-01-01')
            / sum(amount) filter (where placed_on < '2025-01-01') - 1
          ), 1)::float as percent from planner_example.orders group by region""",
    )
    return {row["region"]: row["percent"] for row in rows}


def _follow_up(
    connection: Connection[Any], months: Job, products: Job, account: dict[str, Any]
) -> dict[str, bool]:
    attempts = _rows(
        connection,
        b"""select outcome from pgflow.task_attempts
          where run_id = %s and step_slug = 'follow_up' order by attempt""",
        months.run,
    )
    goals = _rows(
        connection, b"select goal from planner_example.follow_ups where run_id = %s", months.run
    )
    started = _rows(
        connection,
        b"select run_id from pgflow.runs where flow_slug = 'planning' and input ->> 'desk_url' = %s",
        account["desk_url"],
    )
    told = [news for pieces in account["news"].values() for news in pieces]
    month = max(
        _step_output(connection, months, "unusual_months"), key=lambda one: abs(one["score"])
    )["month"]
    usual = statistics.median(
        one["revenue"] for one in _step_output(connection, months, "monthly_revenue")
    )
    first, *others = [one["outcome"] for one in attempts]
    return {
        "the follow-up failed twice after its start, and was tried again": [first, *others]
        == ["failed", "failed", "completed"],
        "the desk heard of it at each try": len(told) == len(attempts)
        and len({news["run"] for news in told}) == len(attempts),
        "it was started once": len(goals) == 1
        and len(started) == 3  # noqa: PLR2004 - two goals of the user's, and this one
        and products.planning_run in {row["run_id"] for row in started},
        "it looked into the most unusual month": month in products.goal and usual > 0,
    }


def _step_output(connection: Connection[Any], job: Job, handler: str) -> list[dict[str, Any]]:
    rows = _rows(
        connection,
        b"select output from pgflow.step_states where run_id = %s and step_slug = %s",
        job.run,
        handler,
    )
    found: list[dict[str, Any]] = rows[0]["output"]
    return found


def _rows(
    connection: Connection[Any], statement: bytes, *parameters: object
) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, parameters).fetchall()
