"""Plans: stored by one process, performed by workers that know nothing but the registered handlers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Client, Flow, FlowBuilder, Limits, PlanInvalid, Supervisor, UsageError, Worker
from pgflow.crypto import AesGcmCodec
from pgflow.database import Database
from pgflow.errors import FlowNotFound, RunFailed
from pgflow.plan import Handlers, Plan
from tests.support.plan_handlers import handlers, plan_of
from tests.support.plan_work import PATIENCE, released, result_of, working

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

REPORT = [
    {"slug": "fetch", "handler": "sales", "params": {"year": 2025}},
    {"slug": "doubled", "handler": "double", "over": "fetch", "inputs": {"sale": "item"}},
    {"slug": "sums", "handler": "summarize", "inputs": {"rows": "doubled"}},
    {
        "slug": "text",
        "handler": "letter",
        "params": {"since": "2025-01-01"},
        "inputs": {"title": "run.title", "total": "sums.total"},
    },
]


async def test_a_worker_performs_a_plan_that_came_after_it(db: Database) -> None:
    async with working(db):
        version = await FlowBuilder(db).define_plan(plan_of("report", *REPORT), handlers)
        assert version == 1
        assert await result_of(db, "report", {"title": "Q1"}) == {
            "text": "Q1: 120 since 01.01.2025"
        }


@pytest.mark.slow
async def test_worker_processes_know_nothing_but_the_handlers(
    db: Database, database_url: str
) -> None:
    supervisor = Supervisor("tests.support.plan_handlers:handlers", processes=2, dsn=database_url)
    async with supervisor:
        await supervisor.ready()
        steps = [
            {"slug": "n", "handler": "numbers", "inputs": {"size": "run.size"}},
            {"slug": "s", "handler": "square", "over": "n", "inputs": {"number": "item"}},
            {"slug": "sum", "handler": "add_up", "inputs": {"numbers": "s"}},
            {
                "slug": "text",
                "handler": "letter",
                "params": {"title": "sum", "worker": True},
                "inputs": {"total": "sum"},
            },
        ]
        await FlowBuilder(db).define_plan(plan_of("squares", *steps), handlers)
        text = (await result_of(db, "squares", {"size": 100}))["text"]
        said, _, pid = text.partition(" by ")
        assert said == "sum: 328350"
        assert int(pid) in supervisor.pids.values()


@pytest.mark.parametrize("handler", ["follow_up", "follow_up_sync"])
async def test_a_retried_step_starts_its_follow_up_once(db: Database, handler: str) -> None:
    builder = FlowBuilder(db)
    squares = [{"slug": "n", "handler": "numbers", "inputs": {"size": "run.size"}}]
    await builder.define_plan(plan_of("more", *squares), handlers)
    step = {
        "slug": "go",
        "handler": handler,
        "params": {"flow": "more", "size": 3, "fail_first": 2},
    }
    await builder.define_plan(plan_of("first", step), handlers)
    async with working(db):
        run_id = (await result_of(db, "first"))["go"]
        run = await Client(db).get(run_id)
        assert (await run.result(timeout=PATIENCE))["n"] == [0, 1, 2]
    attempts = await db._fetch("select count(*) from pgflow.task_attempts where step_slug = 'go'")
    runs = await db._fetch("select count(*) from pgflow.runs where flow_slug = 'more'")
    assert (attempts[0][0], runs[0][0]) == (3, 1)


async def test_a_skipped_source_leaves_the_default(db: Database) -> None:
    given = {"sale": {"month": "x", "total": 1}}
    steps: list[dict[str, object]] = [
        {"slug": "no", "handler": "refuse", "params": {"value": 1}, "when_exhausted": "skip"},
        {"slug": "out", "handler": "whatever", "inputs": {"value": "no"}},
        {"slug": "part", "handler": "double", "params": given, "inputs": {"factor": "no"}},
    ]
    await FlowBuilder(db).define_plan(plan_of("p", *steps), handlers)
    async with working(db):
        found = await result_of(db, "p")
        assert found == {"out": None, "part": {"month": "x", "total": 2.0}}


async def test_failed_items_within_the_share_are_null(db: Database) -> None:
    bad: dict[str, object] = {"slug": "bad", "handler": "refuse", "max_failed_percent": 100}
    steps: list[dict[str, object]] = [
        {**bad, "over": "run", "inputs": {"value": "item"}},
        {"slug": "out", "handler": "whatever", "inputs": {"value": "bad"}},
    ]
    await FlowBuilder(db).define_plan(plan_of("p", *steps), handlers)
    async with working(db):
        assert await result_of(db, "p", [1, 2]) == {"out": [None, None]}


async def test_a_value_that_does_not_fit_names_the_parameter(db: Database) -> None:
    step = {"slug": "n", "handler": "numbers", "max_attempts": 1, "inputs": {"size": "run.size"}}
    await FlowBuilder(db).define_plan(plan_of("p", step), handlers)
    async with working(db):
        run = await Client(db).start("p", {"size": "many"})
        with pytest.raises(RunFailed, match=r"parameter 'size'.*valid integer"):
            await run.result(timeout=PATIENCE)
        run = await Client(db).start("p", {})
        with pytest.raises(RunFailed, match=r"parameter 'size': there is no 'size' in run\.size"):
            await run.result(timeout=PATIENCE)


async def test_a_worker_without_the_handler_hands_the_task_back(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Its attempt is not spent, and a worker that has the handler does it."""
    few = Handlers()
    few.register("square")(lambda number: number)
    step = {"slug": "n", "handler": "numbers", "params": {"size": 2}}
    await FlowBuilder(db).define_plan(plan_of("p", step), handlers)
    run = await Client(db).start("p")
    async with working(db, few) as worker:
        await released(worker)
    assert "p.n names no handler of this worker (square)" in caplog.text
    # Its message is delayed, which is not what this test is about.
    await db._fetch("select 1 from pgmq.q_plans, pgmq.set_vt('plans', msg_id, 0)")
    async with working(db):
        assert (await run.result(timeout=PATIENCE))["n"] == [0, 1]
    rows = await db._fetch("select outcome from pgflow.task_attempts")
    assert sorted(row[0] for row in rows) == ["completed", "released"]


async def test_a_server_that_fails_between_claim_and_plan_costs_a_moment(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = {"slug": "n", "handler": "numbers", "params": {"size": 2}}
    await FlowBuilder(db).define_plan(plan_of("p", step), handlers)
    real, failures = db.plans_of_runs, [ConnectionError("gone"), ConnectionError("still gone")]

    async def failing(run_ids: Sequence[UUID]) -> Any:
        if failures:
            raise failures.pop(0)
        return await real(run_ids)

    monkeypatch.setattr(db, "plans_of_runs", failing)
    async with working(db) as worker:
        assert await result_of(db, "p") == {"n": [0, 1]}
    assert worker.statistics.released == 0
    assert "could not be read: still gone" in caplog.text


async def test_a_definition_that_is_no_plan_is_not_performed(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    definition = {"steps": [{"slug": "a", "queue": "plans", "handler": {"name": ["os.system"]}}]}
    await FlowBuilder(db).define_flow("p", definition)
    await Client(db).start("p")
    async with working(db) as worker:
        await released(worker)
    assert "names no handler of this worker" in caplog.text


async def test_what_is_wrong_is_refused_before_anything_is_stored(db: Database) -> None:
    plan = Plan.model_validate({"slug": "p", "steps": [{"slug": "a", "handler": "nope"}]})
    with pytest.raises(PlanInvalid) as caught:
        await FlowBuilder(db).define_plan(plan, handlers)
    assert [detail.pointer for detail in caught.value.details] == ["/steps/0/handler"]
    assert await db.flow_slugs() == []


async def test_a_plan_does_not_replace_a_flow_that_is_code(db: Database) -> None:
    flow: Flow[None] = Flow("orders")
    flow.step(name="charge")(lambda _: None)
    await db.define_flow("orders", json.dumps(flow.definition()))
    await FlowBuilder(db).create_flow("empty")
    for slug in ("orders", "empty"):
        plan = plan_of(slug, {"slug": "a", "handler": "whatever"})
        with pytest.raises(PlanInvalid) as caught:
            await FlowBuilder(db).define_plan(plan, handlers)
        assert caught.value.details[0].code == "slug-taken"
    assert [step.step_slug for step in await db.flow_steps("orders")] == ["charge"]


async def test_the_builders_limits_hold_for_plans(db: Database) -> None:
    plan = plan_of("p", *({"slug": f"s{n}", "handler": "whatever"} for n in range(3)))
    with pytest.raises(PlanInvalid, match="it has 3 steps, at most 2 are possible"):
        await FlowBuilder(db, limits=Limits(max_steps=2)).define_plan(plan, handlers)


async def test_fan_out_is_bounded(db: Database) -> None:
    steps = [
        {"slug": "n", "handler": "numbers", "inputs": {"size": "run"}},
        {"slug": "s", "handler": "square", "over": "n", "inputs": {"number": "item"}},
    ]
    await FlowBuilder(db).define_plan(plan_of("p", *steps), handlers)
    async with working(db):
        run = await Client(db).start("p", 10_001)
        with pytest.raises(RunFailed, match="Produced 10001 items"):
            await run.result(timeout=PATIENCE)


async def test_a_plan_can_be_read_back(db: Database) -> None:
    builder = FlowBuilder(db)
    plan = plan_of("report", *reversed(REPORT))
    await builder.define_plan(plan, handlers)
    again = await builder.get_plan("report")
    assert [step.slug for step in again.steps] == ["fetch", "doubled", "sums", "text"]
    assert Plan.check(again, handlers) == []
    assert await builder.define_plan(again, handlers) == 1
    with pytest.raises(FlowNotFound):
        await builder.get_plan("rapport")
    await builder.create_flow("other")
    await builder.add_step("other", "a")
    with pytest.raises(UsageError, match="was not defined by a plan"):
        await builder.get_plan("other")


async def test_a_worker_needs_handlers(db: Database) -> None:
    with pytest.raises(UsageError, match="at least one registered handler"):
        await Worker(db, Handlers()).run()


async def test_the_output_of_a_large_map_arrives_whole(db: Database) -> None:
    """It is too large to come with the task, and is read in pages."""
    async with db.connection() as connection:
        await connection.execute(
            """create or replace function pgflow._max_aggregate_bytes() returns bigint language sql immutable
              as 'select 10::bigint'"""
        )
    steps: list[dict[str, object]] = [
        {"slug": "n", "handler": "numbers", "params": {"size": 50}},
        {"slug": "s", "handler": "square", "over": "n", "inputs": {"number": "item"}},
        {"slug": "sum", "handler": "add_up", "inputs": {"numbers": "s"}},
        {"slug": "last", "handler": "whatever", "inputs": {"value": "s.49"}},
    ]
    await FlowBuilder(db).define_plan(plan_of("p", *steps), handlers)
    async with working(db):
        assert await result_of(db, "p") == {"sum": 40425, "last": 2401}


async def test_sealed_values_are_opened_for_the_handlers_of_plans(database_url: str) -> None:
    codec = AesGcmCodec({"k": os.urandom(32)})
    async with Database.connect(database_url, value_codec=codec) as sealing:
        await FlowBuilder(sealing).define_plan(plan_of("report", *REPORT), handlers)
        async with working(sealing):
            found = await result_of(sealing, "report", {"title": "Q1"})
            assert found == {"text": "Q1: 120 since 01.01.2025"}
        rows = await sealing._fetch("select input::text from pgflow.runs")
        assert "Q1" not in rows[0][0]
