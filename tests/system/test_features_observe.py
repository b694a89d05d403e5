"""Features A15 and A20: what plain SQL, logs and a LISTEN client tell."""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from pgflow import Flow, NonRetryable, Supervisor, Worker, current_task
from tests.support.feature_flows import grumpy
from tests.support.features import perform
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    import pytest

    from pgflow.database import Database


def rows(dsn: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(dsn) as connection:
        return connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()


async def test_a15_progress_slowest_step_failures_lag_and_workers_are_visible_by_sql(
    db: Database, database_url: str
) -> None:
    flow = Flow[list[int]]("visible", base_delay=0, max_attempts=1)
    release = asyncio.Event()

    @flow.map(failure_policy="continue")
    async def slow(number: int) -> int:
        if number == 2:
            raise NonRetryable("two is bad")
        if number == 3:
            await release.wait()
        return number

    @flow.step(depends_on=(slow,))
    def total(numbers: list[int | None]) -> int:
        return sum(filter(None, numbers))

    run_id = await start(db, flow, [0, 1, 2, 3])
    (waiting,) = rows(database_url, "select * from pgflow.queue_summary")
    assert (waiting["queue_name"], waiting["visible"], waiting["total"]) == ("visible", 4, 4)
    assert waiting["oldest_age_seconds"] > 0
    worker = Worker(db, flow)
    work = await begun(worker)

    async def three_are_done() -> bool:
        return (await db.steps(run_id))[0].completed_tasks == 2 and len(
            await db.failed_tasks(run_id)
        ) == 1

    await eventually(three_are_done)
    (run,) = rows(database_url, "select * from pgflow.run_summary where status = 'started'")
    assert (run["run_id"], run["progress"], run["done_tasks"], run["failed_tasks"]) == (
        run_id, 37.5, 3, 1,
    )  # fmt: skip
    (failure,) = rows(database_url, "select * from pgflow.failed_tasks")
    assert (failure["step_slug"], failure["task_index"], failure["input"]) == ("slow", 2, 2)
    assert failure["error_message"] == "NonRetryable: two is bad"
    (busy,) = rows(database_url, "select * from pgflow.queue_summary")
    assert (busy["visible"], busy["in_flight_or_delayed"]) == (0, 1)
    (alive,) = rows(database_url, "select * from pgflow.worker_summary")
    assert (alive["worker_id"], alive["status"]) == (worker.worker_id, "running")
    assert (alive["tasks_started"], alive["tasks_completed"]) == (1, 2)
    release.set()
    assert await finished(db, run_id) == {"total": 4}
    worker.stop()
    await work
    slowest = rows(database_url, "select * from pgflow.step_summary order by duration desc")
    assert [step["step_slug"] for step in slowest] == ["slow", "total"]
    assert [one["status"] for one in rows(database_url, "select * from pgflow.worker_summary")] == [
        "stopped"
    ]


async def test_a20_log_records_carry_run_step_task_and_attempt(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flow = Flow[list[int]]("logged", base_delay=0, max_attempts=2)

    @flow.map(failure_policy="continue")
    def item(number: int) -> int:
        current_task().logger.info("looking at %d", number)
        if number == 1:
            raise ValueError("one is wrong")
        return number

    caplog.set_level(logging.INFO, logger="pgflow")
    run = await perform(db, flow, [0, 1])
    fields = ("run_id", "flow", "step", "task", "attempt")
    told = [
        (record.name, *(getattr(record, name) for name in fields))
        for record in caplog.records
        if hasattr(record, "run_id")
    ]
    place = (str(run.run_id), "logged", "item")
    assert sorted(told) == [
        ("pgflow.task", *place, 0, 1),
        ("pgflow.task", *place, 1, 1),
        ("pgflow.task", *place, 1, 2),
        ("pgflow.worker", *place, 1, 1),
        ("pgflow.worker", *place, 1, 2),
    ]
    failures = [record.message for record in caplog.records if record.name == "pgflow.worker"]
    assert (
        f"logged.item[1] (attempt 2, run {run.run_id}) failed: ValueError: one is wrong" in failures
    )


async def test_a20_each_line_of_a_worker_process_names_its_task(
    db: Database, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run_id = await start(db, grumpy, [7])
    async with Supervisor(
        "tests.support.feature_flows:grumpy", processes=1, dsn=database_url
    ) as supervisor:
        await supervisor.ready()
        assert await finished(db, run_id) == {"complain": [None]}
    lines = capfd.readouterr().err.splitlines()
    for attempt in (1, 2):
        name = f"grumpy.complain[0] (attempt {attempt}, run {run_id})"
        said = [line.split(" ", 2)[2] for line in lines if name in line]
        assert said == [
            f"INFO pgflow.task: looking at 7 - {name}",
            f"WARNING pgflow.worker: {name} failed: ValueError: 7 is wrong",
        ]


def told(event: dict[str, Any]) -> str:
    """Say in one word or two what an event tells."""
    kind, status = event["event_type"].split(":")
    return f"{event['step_slug']} {status}" if kind == "step" else f"run {status}"


async def listened(db: Database, dsn: str, flow: Flow[Any], run_input: object) -> list[str]:
    """Perform a run; return what a plain LISTEN client has heard of it, in its order."""
    with psycopg.connect(dsn, autocommit=True) as client:
        client.execute("listen pgflow_events")
        run = await perform(db, flow, run_input)
        heard: list[str] = []
        while not heard or not heard[-1].startswith("run ") or heard[-1] == "run started":
            for notification in client.notifies(timeout=30, stop_after=1):
                event = json.loads(notification.payload)
                assert event["run_id"] == str(run.run_id)
                heard.append(told(event))
        assert list(client.notifies(timeout=0.1)) == []
        return heard


async def test_a20_every_transition_reaches_a_listen_client_in_order(
    db: Database, database_url: str
) -> None:
    flow = Flow[int]("heard", base_delay=0, max_attempts=2)

    @flow.step()
    def first(number: int) -> list[int]:
        return list(range(number))

    @flow.map(over=first)
    def middle(number: int) -> int:
        if current_task().attempt == 1:
            raise ValueError("not yet")
        return number

    @flow.step(depends_on=(middle,), if_={"middle": [99]})
    def never(_: list[int]) -> None: ...

    @flow.step(depends_on=(middle,))
    def last(numbers: list[int]) -> int:
        return sum(numbers)

    heard = await listened(db, database_url, flow, 3)
    assert sorted(heard) == sorted(
        ["run started", "run completed", "never skipped"]
        + [f"{step} {what}" for step in ("first", "middle", "last") for what in ("started", "completed")]
    )  # fmt: skip
    order = ["run started", "first started", "first completed", "middle started"]
    order += ["middle completed", "last started", "last completed", "run completed"]
    for earlier, later in pairwise(order):
        assert heard.index(earlier) < heard.index(later)
    assert heard.index("middle completed") < heard.index("never skipped")


async def test_a20_the_transitions_of_a_failure_arrive_in_order(
    db: Database, database_url: str
) -> None:
    flow = Flow[None]("unlucky", base_delay=0, max_attempts=2)

    @flow.step()
    def first(_: None) -> None:
        raise ValueError("no")

    @flow.step(depends_on=(first,))
    def second(_: None) -> None: ...

    assert await listened(db, database_url, flow, None) == [
        "run started",
        "first started",
        "first failed",
        "run failed",
    ]
