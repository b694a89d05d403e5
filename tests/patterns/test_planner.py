"""The planner: what a run of it does, looked at from outside; and its parts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from examples.planner import flow, model, picture, rules
from examples.planner.checks import SLIPS, Job
from examples.planner.flow import Goal, Stored, begin, planning
from examples.planner.orders import SURGES
from examples.planner.work import (
    MonthRevenue,
    RegionRevenue,
    compare_regions,
    handlers,
    unusual_months,
)
from pgflow import Database, Flow, FlowBuilder, Plan, execute_async
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = "Find the unusual months of 2025, explain each month, write a report, and follow up on the most unusual one."
REGIONS = "Compare the revenue of the regions in 2024 and 2025, describe every change, and write a report."
PRODUCTS = "List the products of month 2025-04 and write a report."


def catalogue() -> list[rules.Handler]:
    """Return what the stand-in is sent, as it arrives."""
    return [rules.Handler.of(entry) for entry in json.loads(json.dumps(handlers.catalogue()))]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_goals_become_two_plans_that_run(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("planner", database_url, tmp_path, timeout=220)
    assert facts["checks"]
    assert all(facts["checks"].values()), facts["checks"]
    months, regions, products = facts["jobs"]
    with psycopg.connect(database_url) as connection:
        look_into_the_database(connection, months, regions, products)
    look_at_the_products(tmp_path, facts["jobs"])


def look_into_the_database(connection: psycopg.Connection[Any], *jobs: dict[str, Any]) -> None:
    months, regions, products = jobs

    def rows(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return connection.execute(statement.encode(), parameters).fetchall()

    # Both shapes are in the database, differ, and ran to their ends.
    edges = [
        rows("select dep_slug, step_slug from pgflow.deps where flow_slug = %s order by 1, 2", slug)
        for slug in (months["slug"], regions["slug"], products["slug"])
    ]
    assert edges[0] == [
        ("explain_month", "write_report"),
        ("monthly_revenue", "unusual_months"),
        ("unusual_months", "explain_month"),
        ("unusual_months", "follow_up"),
    ]
    assert edges[1] == [
        ("compare_regions", "describe_change"),
        ("describe_change", "write_report"),
        ("region_revenue", "compare_regions"),
        ("region_revenue_2", "compare_regions"),
    ]
    assert edges[2] == [("products_of_month", "write_report")]
    runs = rows("select flow_slug, status, count(*) from pgflow.runs group by 1, 2 order by 1")
    assert runs == sorted(
        [(job["slug"], "completed", 1) for job in jobs] + [("planning", "completed", 3)]
    )
    # The first plan was refused, and the reasons stand in the database.
    refused = rows(
        "select output from pgflow.step_states where step_slug = 'check' and flow_slug = 'planning'"
    )
    assert all(not output["sound"] for (output,) in refused)
    assert all({one["code"] for one in output["problems"]} >= SLIPS for (output,) in refused)
    # The follow-up was started by the third attempt, and only by that.
    attempts = rows(
        "select outcome, error from pgflow.task_attempts where step_slug = 'follow_up' order by attempt"
    )
    assert [outcome for outcome, _ in attempts] == ["failed", "failed", "completed"]
    assert all("503" in error for _, error in attempts[:2])
    assert rows("select goal from planner_example.follow_ups") == [(PRODUCTS,)]
    assert products["goal"] == PRODUCTS
    # No step of a plan was done by a worker that knew a flow.
    workers = rows(
        """select distinct function_name, info -> 'handlers' from pgflow.workers
          join pgflow.task_attempts using (worker_id)
          where run_id = any(%s)""",
        [job["run"] for job in jobs],
    )
    assert workers == [("planner_work", None)]
    assert rows("select count(*) from pgflow.check_invariants()") == [(0,)]


def look_at_the_products(out: Path, jobs: list[dict[str, Any]]) -> None:
    months, regions, products = ((out / f"{job['slug']}.md").read_text() for job in jobs)
    headings = re.findall(r"^## (\d{4}-\d\d):.*\n\n(\w+) accounts", months, re.MULTILINE)
    assert headings == [(month, product) for month, (product, _) in sorted(SURGES.items())]
    assert (
        len(re.findall(r"^## (?:north|east|south|west) (?:grew|fell) by", regions, re.MULTILINE))
        == 4
    )
    assert re.findall(r"^## (\w+)$", products, re.MULTILINE)[0] == "helmet"
    picture = (out / "picture.svg").read_text()
    assert picture.lstrip().startswith("<?xml")
    assert len(picture) > 20_000


@pytest.mark.parametrize("goal", [MONTHS, REGIONS, PRODUCTS])
def test_the_stand_in_mends_from_the_reasons_alone(goal: str) -> None:
    sound = rules.compose(goal, catalogue())
    assert Plan.check(sound, handlers) == []
    plan = rules.slipped(sound)
    codes = {problem.code for problem in Plan.check(plan, handlers)}
    assert codes >= SLIPS
    for _ in range(3):
        problems = [problem.as_dict() for problem in Plan.check(plan, handlers)]
        plan = rules.mended(plan, problems)
    mended = Plan.read(plan, handlers)
    assert {step.slug: set(step.dependencies) for step in mended.steps} == {
        step.slug: set(step.dependencies) for step in Plan.read(sound, handlers).steps
    }
    # Without reasons nothing is mended.
    assert rules.mended(rules.slipped(sound), []) == rules.slipped(sound)


def test_the_stand_in_knows_only_the_catalogue_that_it_is_sent() -> None:
    smaller = [entry for entry in catalogue() if entry.name != "follow_up"]
    plan = rules.compose(MONTHS, smaller)
    assert "follow_up" not in {step["handler"] for step in plan["steps"]}


async def test_a_goal_runs_its_own_plan_whoever_has_taken_its_slug(database_url: str) -> None:
    """Two goals whose plans a model has given one name: the later one is the latest version."""
    plans = [
        Plan.read(
            {"slug": "work", "steps": [{"slug": "a", "handler": name, "params": params}]}, handlers
        )
        for name, params in (
            ("products_of_month", {"month": "2025-04"}),
            ("region_revenue", {"year": 2025}),
        )
    ]
    async with Database.connect(database_url) as database:
        builder = FlowBuilder(database)
        assert [await builder.define_plan(plan, handlers) for plan in plans] == [1, 2]

    beginning = Flow[Goal]("beginning")

    @beginning.step()
    def stored(goal: Goal) -> Stored:
        return Stored("work", 1)

    beginning.step(depends_on=(stored,))(begin.function)
    await execute_async(beginning, Goal("?", "", ""), dsn=database_url, timeout=60)
    with psycopg.connect(database_url) as connection:
        begun = connection.execute(
            "select flow_version, input ->> 'text' from pgflow.runs where flow_slug = 'work'"
        ).fetchall()
    assert begun == [(1, "?")]


def test_a_picture_shows_what_another_model_has_planned(tmp_path: Path) -> None:
    """Two plans, steps under names of its own, and no comparison of regions."""
    months = [{"month": "2025-01", "revenue": 1.0}, {"month": "2025-02", "revenue": 9.0}]
    jobs = [
        Job("?", uuid4(), [], "one", 1, {"a": [], "b": ["a"]},
            {"a": "monthly_revenue", "b": "unusual_months"}, uuid4(), {"a": months, "b": months[1:]}),
        Job("?", uuid4(), [], "two", 1, {"c": []}, {"c": "region_revenue"}, uuid4(), {"c": []}),
    ]  # fmt: skip
    assert jobs[0].outputs_of("unusual_months") == [months[1:]]
    assert jobs[1].outputs_of("follow_up") == []
    picture.save(tmp_path / "picture.svg", jobs)
    assert (tmp_path / "picture.svg").stat().st_size > 5_000


def test_mending_has_time_for_all_its_rounds() -> None:
    seconds = {step["slug"]: step.get("timeout") for step in planning.definition()["steps"]}
    assert seconds["ask"] is None  # the flow's own
    assert flow.AN_ANSWER > model.PATIENCE
    assert seconds["mend"] == flow.ROUNDS * flow.AN_ANSWER


def test_months_stand_out_by_the_median() -> None:
    revenues = [100.0, 110, 90, 105, 95, 300, 100, 20]
    months = [
        MonthRevenue(month=f"2025-{number:02}", revenue=revenue, orders=1)
        for number, revenue in enumerate(revenues, 1)
    ]
    assert [(one.month, one.score > 0) for one in unusual_months(months)] == [
        ("2025-06", True), ("2025-08", False),
    ]  # fmt: skip
    assert unusual_months(months[:5]) == []


def test_regions_are_compared_by_name() -> None:
    before = [
        RegionRevenue(region=name, year=2024, revenue=value)
        for name, value in (("a", 50), ("b", 80))
    ]
    after = [
        RegionRevenue(region=name, year=2025, revenue=value)
        for name, value in (("b", 60), ("a", 75))
    ]
    assert [(one.region, one.percent) for one in compare_regions(before, after)] == [
        ("b", -25.0),
        ("a", 50.0),
    ]


def test_the_page_draws_the_flow() -> None:
    page = (ROOT / "docs" / "patterns" / "planner.md").read_text()
    assert f"```mermaid\n{planning.mermaid().strip()}\n```" in page
