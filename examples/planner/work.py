"""The registered handlers: all that a plan can have done. Workers of plans know these functions, and no plan.

They read and write tables of a shop (`orders.py`) through the transaction of their task.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any
from uuid import UUID  # noqa: TC003 - handlers return some

import httpx
from psycopg.rows import dict_row
from pydantic import BaseModel

from pgflow import Client, Handlers, current_task

UNUSUAL = 3.5
"""From this score on a month is unusual: 0.67 times its distance from the median, in median distances."""

handlers = Handlers(queue="planner_work")


class MonthRevenue(BaseModel):
    """What a month brought."""

    month: str
    revenue: float
    orders: int


class UnusualMonth(BaseModel):
    """A month that stands out, and what a usual one brings."""

    month: str
    revenue: float
    usual: float
    score: float


class RegionRevenue(BaseModel):
    """What a region brought in a year."""

    region: str
    year: int
    revenue: float


class RegionChange(BaseModel):
    """How a region's revenue changed."""

    region: str
    before: float
    after: float
    percent: float


class Section(BaseModel):
    """A part of a report."""

    heading: str
    text: str


@dataclass
class Report:
    """Where a report is kept."""

    report_id: UUID
    sections: int


@dataclass
class FollowUp:
    """Further work that was started."""

    goal: str
    run_id: UUID


async def select(statement: bytes, *parameters: object) -> list[dict[str, Any]]:
    """Return rows as dicts, read in the task's transaction."""
    async with (
        current_task().transaction() as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return await (await cursor.execute(statement, parameters)).fetchall()


@handlers.register()
async def monthly_revenue(year: int) -> list[MonthRevenue]:
    """Revenue and number of orders of each month of a year."""
    rows = await select(
        b"""select to_char(placed_on, 'YYYY-MM') as month, sum(amount)::float as revenue, count(*) as orders
          from planner_example.orders where extract(year from placed_on) = %s group by 1 order by 1""",
        year,
    )
    return [MonthRevenue(**row) for row in rows]


@handlers.register()
def unusual_months(months: list[MonthRevenue]) -> list[UnusualMonth]:
    """Those of some months whose revenue stands out from the others."""
    usual = statistics.median(month.revenue for month in months)
    spread = statistics.median(abs(month.revenue - usual) for month in months) or 1.0
    scored = [(0.67 * (month.revenue - usual) / spread, month) for month in months]
    return [
        UnusualMonth(month=month.month, revenue=month.revenue, usual=usual, score=round(score, 2))
        for score, month in scored
        if abs(score) >= UNUSUAL
    ]


@handlers.register()
async def explain_month(month: UnusualMonth) -> Section:
    """Explain an unusual month by the products that made it so."""
    rows = await select(
        b"""with monthly as (
            select product, date_trunc('month', placed_on) as month, sum(amount)::float as revenue
            from planner_example.orders
            where extract(year from placed_on) = extract(year from to_date(%s, 'YYYY-MM')) group by 1, 2
          )
          select product, revenue - (
              select percentile_cont(0.5) within group (order by other.revenue) from monthly as other
              where other.product = monthly.product
            ) as surplus
          from monthly where month = to_date(%s, 'YYYY-MM')""",
        month.month,
        month.month,
    )
    product = max(rows, key=lambda row: abs(row["surplus"]))
    share = product["surplus"] / (month.revenue - month.usual)
    return Section(
        heading=f"{month.month}: {month.revenue:,.0f} instead of {month.usual:,.0f}",
        text=f"{product['product']} accounts for {share:.0%} of the difference ({product['surplus']:+,.0f}).",
    )


@handlers.register()
async def region_revenue(year: int) -> list[RegionRevenue]:
    """Revenue of each region in a year."""
    rows = await select(
        b"""select region, sum(amount)::float as revenue from planner_example.orders
          where extract(year from placed_on) = %s group by 1 order by 1""",
        year,
    )
    return [RegionRevenue(year=year, **row) for row in rows]


@handlers.register()
def compare_regions(before: list[RegionRevenue], after: list[RegionRevenue]) -> list[RegionChange]:
    """Compare the regions of one year with those of another."""
    then = {region.region: region.revenue for region in before}
    return [
        RegionChange(
            region=now.region,
            before=then[now.region],
            after=now.revenue,
            percent=round(100 * (now.revenue / then[now.region] - 1), 1),
        )
        for now in after
    ]


@handlers.register()
def describe_change(change: RegionChange) -> Section:
    """Describe how a region's revenue changed."""
    verb = "grew" if change.percent >= 0 else "fell"
    return Section(
        heading=f"{change.region} {verb} by {abs(change.percent)} %",
        text=f"From {change.before:,.0f} to {change.after:,.0f}.",
    )


@handlers.register()
async def products_of_month(month: str) -> list[Section]:
    """List the products of a month (YYYY-MM) by their revenue."""
    rows = await select(
        b"""select product, sum(amount)::float as revenue, count(*) as orders from planner_example.orders
          where date_trunc('month', placed_on) = to_date(%s, 'YYYY-MM') group by 1 order by 2 desc""",
        month,
    )
    return [
        Section(heading=row["product"], text=f"{row['revenue']:,.0f} in {row['orders']} orders.")
        for row in rows
    ]


@handlers.register()
async def write_report(title: str, sections: list[Section]) -> Report:
    """Write a report of some sections, and keep it."""
    task = current_task()
    text = "\n\n".join(f"## {section.heading}\n\n{section.text}" for section in sections)
    async with task.transaction() as connection:
        row = await (
            await connection.execute(
                b"insert into planner_example.reports (run_id, title, body) values (%s, %s, %s) returning report_id",
                (task.run_id, title, f"# {title}\n\n{text}\n"),
            )
        ).fetchone()
    assert row is not None
    return Report(row[0], len(sections))


@handlers.register(max_attempts=5, base_delay=0)
async def follow_up(months: list[UnusualMonth]) -> FollowUp:
    """Follow up on the most unusual of some months: have its products looked into.

    Starts the planning of a goal of its own, in the transaction that completes this task. The desk is told after that and
    before the commit; if it is busy all is undone, so however often this is tried the goal is planned once.
    """
    task = current_task()
    month = max(months, key=lambda month: abs(month.score)).month
    goal = f"List the products of month {month} and write a report."
    async with task.transaction() as connection:
        await connection.execute(
            b"insert into planner_example.follow_ups (run_id, goal) values (%s, %s)",
            (task.run_id, goal),
        )
        run = await Client(task.database).start(
            "planning", task.run_input | {"text": goal}, connection=connection
        )
        async with httpx.AsyncClient(timeout=10) as desk:
            news = {"id": task.idempotency_key, "goal": goal, "run": str(run.id)}
            (await desk.post(task.run_input["desk_url"], json=news)).raise_for_status()
    return FollowUp(goal, run.id)
