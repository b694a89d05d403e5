"""`python -m examples.planner`: gives a model two goals, and runs the plans that it makes of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pgflow import Client, Database, Plan, Supervisor
from pgflow.embedded import resolve_dsn
from pgflow.errors import PgflowError
from pgflow.schema import install

from . import picture
from .checks import Job, check_plans, check_stand_in
from .flow import Goal, planning
from .orders import fill
from .services import serving
from .work import handlers

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow import Run

MONTHS = "Find the unusual months of 2025, explain each month, write a report, and follow up on the most unusual one."
REGIONS = "Compare the revenue of the regions in 2024 and 2025, describe every change, and write a report."
PATIENCE = 600
"""Seconds for one planning, or one plan; a model of yours may take its time."""


def main() -> int:
    """Run the example; return 0 if every check holds."""
    options = _options()
    logging.getLogger("pgflow").setLevel(logging.CRITICAL)  # the desk is busy by intention
    dsn = resolve_dsn()
    install(dsn)
    with psycopg.connect(dsn) as connection:
        count = fill(connection)
    with serving() as services:
        model_url = options.model_url or f"{services}/v1"
        told = Goal("", model_url, f"{services}/news", options.model)
        try:
            jobs = asyncio.run(_work(dsn, told, live=not options.json))
        except PgflowError as error:  # no sound plan, say, or a plan that has failed
            sys.stderr.write(f"{error}\n")
            return 1
        account = httpx.get(f"{services}/account").json() | {"desk_url": told.desk_url}
    with psycopg.connect(dsn) as connection:
        if options.model_url is None:
            claims = check_stand_in(connection, jobs, account)
        else:
            claims = check_plans(connection, jobs)
        reports = _reports(connection, jobs)
    options.out.mkdir(parents=True, exist_ok=True)
    picture.save(options.out / "picture.svg", jobs)
    for slug, body in reports.items():
        (options.out / f"{slug}.md").write_text(body)
    facts = {"orders": count, "jobs": [asdict(job) for job in jobs], "checks": claims}
    text = json.dumps(facts, indent=2, default=str)
    (options.out / "facts.json").write_text(text)
    if options.json:
        print(text)
    else:
        _summarize(jobs, claims, reports, options.out)
    return 0 if all(claims.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/planner"), help="where results go")
    parser.add_argument("--json", action="store_true", help="print one JSON document, nothing live")
    parser.add_argument(
        "--model-url",
        help="an OpenAI-compatible endpoint, as https://…/v1, instead of the stand-in; OPENAI_API_KEY is its key",
    )
    parser.add_argument("--model", default="stand-in", help="the model's name there")
    return parser.parse_args()


async def _work(dsn: str, told: Goal, *, live: bool) -> list[Job]:
    """Have both goals planned and their plans run, and what those start."""
    async with AsyncExitStack() as stack:
        # Two kinds of workers: those of the planning, and those that know nothing but the registered handlers.
        for target, processes in (("flow:planning", 1), ("work:handlers", 2)):
            supervisor = Supervisor(
                f"{__package__}.{target}", processes=processes, dsn=dsn, log_level="CRITICAL"
            )
            await stack.enter_async_context(supervisor)
            await supervisor.ready()
        client = Client(await stack.enter_async_context(Database.connect(dsn)))
        runs = [
            await client.start(planning, Goal(**asdict(told) | {"text": text}))
            for text in (MONTHS, REGIONS)
        ]
        jobs = [await _follow(client, run, live=live) for run in runs]
        started = [one for job in jobs for one in job.outputs_of("follow_up")]
        for follow_up in started:
            run = await client.get(follow_up["run_id"], flow=planning)
            jobs.append(await _follow(client, run, live=live))
        return jobs


async def _follow(client: Client, run: Run, *, live: bool) -> Job:
    """Watch a planning and the run of its plan."""
    await _end_of(run, live=live)
    steps = await _outputs(client, run)
    planned = await client.get(steps["begin"])
    await _end_of(planned, live=live)
    reviews = [steps["check"], *(steps["mend"] or {"reviews": []})["reviews"]]
    plan = Plan.read(steps["mend"]["answer"] if steps["mend"] else steps["ask"], handlers)
    goal = await client.database.run_input(run.id)
    assert goal is not None
    return Job(
        goal=goal.parse()["text"],
        planning_run=run.id,
        refusals=[one["problems"] for one in reviews if not one["sound"]],
        slug=plan.slug,
        version=steps["store"]["version"],
        shape={step.slug: step.dependencies for step in plan.steps},
        handlers={step.slug: step.handler for step in plan.steps},
        run=planned.id,
        output=await _outputs(client, planned),
    )


async def _outputs(client: Client, run: Run) -> dict[str, Any]:
    """Return what each step gave; None for one that was skipped."""
    async with client.database.connection() as connection:
        found = await connection.execute(
            "select step_slug, output from pgflow.step_states where run_id = %s", (run.id,)
        )
        return dict(await found.fetchall())


async def _end_of(run: Run, *, live: bool) -> None:
    await (run.watch(PATIENCE) if live else run.wait(PATIENCE))


def _reports(connection: psycopg.Connection[Any], jobs: list[Job]) -> dict[str, str]:
    rows = connection.execute(
        "select run_id, body from planner_example.reports where run_id = any(%s)",
        ([job.run for job in jobs],),
    ).fetchall()
    slugs: dict[UUID, str] = {job.run: job.slug for job in jobs}
    return {slugs[run_id]: body for run_id, body in rows}


def _summarize(
    jobs: list[Job], claims: dict[str, bool], reports: dict[str, str], out: Path
) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for job in jobs:
        table = Table(
            "place", "what was wrong", "mend", title=f"\n{job.goal}", title_justify="left"
        )
        for number, problems in enumerate(job.refusals, 1):
            for one in problems:
                row = (f"{number}: {one['pointer']}", one["reason"], one["mend"] or "")
                table.add_row(*map(escape, row))
        console.print(table)
        steps = (
            f"{slug} <- {', '.join(deps)}" if deps else slug for slug, deps in job.shape.items()
        )
        console.print(f"Stored as [bold]{job.slug}[/], version {job.version}: {'; '.join(steps)}")
    console.print()
    for claim, holds in claims.items():
        console.print(f"[green]✓[/] {claim}" if holds else f"[red]✗ {claim}[/]")
    console.print(f"\n{len(reports)} reports, the facts and the picture: {out}")


if __name__ == "__main__":
    sys.exit(main())
