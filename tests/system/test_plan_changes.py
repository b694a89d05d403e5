"""Plans that change, and handlers that change under them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from pgflow import Client, FlowBuilder
from pgflow._repertoire import prepare
from pgflow.errors import RunFailed
from pgflow.plan import Handlers, Plan
from tests.support.plan_handlers import handlers, plan_of
from tests.support.plan_work import PATIENCE, result_of, working

if TYPE_CHECKING:
    from pgflow.database import Database


async def test_runs_keep_the_bindings_that_they_began_with(db: Database) -> None:
    """Version 2 has the same shape, but for what it binds; a run of version 1 that starts to work later keeps its own."""
    builder = FlowBuilder(db)

    def steps(size: int, handler: str) -> list[dict[str, object]]:
        return [
            {"slug": "n", "handler": "numbers", "params": {"size": size}},
            {"slug": "out", "handler": handler, "inputs": {"numbers": "n"}}
            if handler == "add_up"
            else {"slug": "out", "handler": handler, "inputs": {"value": "n"}},
        ]

    versions = []
    runs = []
    for size, handler in ((4, "add_up"), (5, "add_up"), (3, "whatever"), (4, "add_up")):
        versions.append(await builder.define_plan(plan_of("p", *steps(size, handler)), handlers))
        runs.append(await Client(db).start("p"))
    assert versions == [1, 2, 3, 1]
    rows = await db._fetch("select count(*) from pgflow.flow_versions")
    assert rows[0][0] == 3
    async with working(db):
        outputs = [(await run.result(timeout=PATIENCE))["out"] for run in runs]
    assert outputs == [6, 10, [0, 1, 2], 6]


async def test_a_step_may_change_from_async_to_sync_and_from_single_to_map(db: Database) -> None:
    builder, client = FlowBuilder(db), Client(db)
    first = {"slug": "a", "handler": "numbers", "params": {"size": 2}}
    await builder.define_plan(plan_of("p", first), handlers)
    runs = [await client.start("p", [3, 4])]
    second = {"slug": "a", "handler": "square", "over": "run", "inputs": {"number": "item"}}
    await builder.define_plan(plan_of("p", second), handlers)
    runs.append(await client.start("p", [3, 4]))
    async with working(db):
        assert [(await run.result(timeout=PATIENCE))["a"] for run in runs] == [[0, 1], [9, 16]]


async def test_a_slug_that_is_deleted_and_used_again_is_another_plan(db: Database) -> None:
    builder = FlowBuilder(db)
    async with working(db):
        for size, total in ((3, 3), (4, 6)):
            steps = [
                {"slug": "n", "handler": "numbers", "params": {"size": size}},
                {"slug": "out", "handler": "add_up", "inputs": {"numbers": "n"}},
            ]
            assert await builder.define_plan(plan_of("p", *steps), handlers) == 1
            assert await result_of(db, "p") == {"out": total}
            await builder.delete_flow("p")


async def test_a_step_that_its_handler_has_left_behind_fails_alone(db: Database) -> None:
    """A deployment has renamed an optional parameter; what the plan's other steps name is as it was."""
    older, newer = Handlers(), Handlers()
    for registry in (older, newer):
        registry.register("numbers")(lambda: [1, 2])
    older.register("report")(lambda rows, title="": f"{title}{rows}")
    newer.register("report")(lambda rows, heading="": f"{heading}{rows}")
    steps = [
        {"slug": "fetch", "handler": "numbers"},
        {
            "slug": "text",
            "handler": "report",
            "params": {"title": "x"},
            "inputs": {"rows": "fetch"},
        },
    ]
    plan = Plan.read({"slug": "p", "steps": steps}, older)
    await FlowBuilder(db).define_plan(plan, older)
    async with working(db, newer) as worker:
        run = await Client(db).start("p")
        reason = r"step text.*the plan does not fit handler 'report': it has no parameter title"
        with pytest.raises(RunFailed, match=reason):
            await run.result(timeout=PATIENCE)
    assert worker.statistics.released == 0
    summary = {step.step_slug: step.status for step in await db.steps(run.id)}
    assert summary == {"fetch": "completed", "text": "failed"}
    assert len(await db.attempts(run.id, "text")) == 1


async def test_a_worker_tells_of_plans_that_wait_where_its_handlers_were(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    before, after, others = Handlers(queue="old"), Handlers(queue="new"), Handlers(queue="others")
    for registry in (before, after, others):
        registry.register("numbers")(lambda: [1])
    others.register("letters")(lambda: ["a"])
    steps = [{"slug": "n", "handler": "numbers"}]
    plan = Plan.read({"slug": "p", "steps": steps}, before)
    await FlowBuilder(db).define_plan(plan, before)
    run = await Client(db).start("p")
    more = [*steps, {"slug": "l", "handler": "letters"}]
    await FlowBuilder(db).define_plan(Plan.read({"slug": "q", "steps": more}, others), others)
    repertoire = await prepare(db, after, None)
    assert repertoire.queues == ["new"]
    (warning,) = caplog.messages
    assert "plans wait for numbers on the queue old" in warning
    # Storing it again helps new runs; the one that lives keeps its queue.
    await FlowBuilder(db).define_plan(plan, after)
    await prepare(db, after, None)
    await run.cancel()
    await prepare(db, after, None)
    await prepare(db, after, ["new"])
    assert caplog.messages == [warning, warning]


async def test_plans_are_read_while_all_connections_of_the_pool_are_taken(db: Database) -> None:
    done = asyncio.Event()
    registry = Handlers()

    @registry.register()
    async def tell() -> None:
        done.set()

    plan = Plan.read({"slug": "p", "steps": [{"slug": "n", "handler": "tell"}]}, registry)
    await FlowBuilder(db).define_plan(plan, registry)
    async with working(db, registry), AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(db.connection())
        await Client(db).start("p")
        async with asyncio.timeout(10):
            await done.wait()
