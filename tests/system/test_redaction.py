"""Redaction: what a flow hides is found in no log, no error, no view and no output of a command."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Literal

import psycopg
import pytest

from pgflow import (
    Client,
    Database,
    EncodingError,
    Flow,
    FlowBuilder,
    NonRetryable,
    Worker,
    current_task,
)
from pgflow.errors import RunFailed
from tests.support.command import Here
from tests.support.features import PATIENCE
from tests.support.secret_flows import (
    PATHS,
    SECRET,
    Order,
    StrictOrder,
    chain,
    log,
    quote,
    validate,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def fail_run(db: Database, flow: Flow[Any], given: object) -> RunFailed:
    """Run a flow that must fail; return the error that a client gets."""
    run = await Client(db).start(flow, given)
    async with asyncio.timeout(PATIENCE):
        await Worker(db, flow).run_until(run.id)
        with pytest.raises(RunFailed) as caught:
            await run.wait()
    return caught.value


def everything_written(database_url: str) -> str:
    """Return errors, attempts, progress and the views that show payloads."""
    queries = (
        "select to_jsonb(a) from pgflow.attempts as a",
        "select to_jsonb(t) from pgflow.failed_tasks as t",
        "select to_jsonb(t) - array['input', 'output'] from pgflow.step_tasks as t",
        "select to_jsonb(s) - array['output'] from pgflow.step_states as s",
        "select to_jsonb(r) - array['input', 'output'] from pgflow.runs as r",
    )
    with psycopg.connect(database_url) as connection:
        found = [row for query in queries for row in connection.execute(query.encode()).fetchall()]
    return json.dumps(found)


def raising(handler: Callable[[Order], Any], **options: Any) -> Flow[Any]:
    flow: Flow[Any] = Flow("payments", redact=PATHS, max_attempts=1)
    flow.step(name="charge", **options)(handler)
    return flow


@pytest.mark.parametrize("isolation", [None, "process"])
@pytest.mark.parametrize("handler", [quote, chain, validate, log])
async def test_nothing_that_is_written_quotes_it(
    db: Database,
    database_url: str,
    handler: Callable[[Order], Any],
    isolation: Literal["process"] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    flow = raising(handler, isolation=isolation)
    failed = await fail_run(db, flow, {"card": {"number": SECRET}})
    assert SECRET not in f"{failed} {failed.error} {failed!r}"
    written = everything_written(database_url)
    assert SECRET not in written
    assert "[redacted]" in written
    assert SECRET not in caplog.text
    if handler is log:
        assert "charging [redacted]" in caplog.text


async def test_an_async_handler_and_a_value_of_the_run(
    db: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("payments", redact=PATHS, max_attempts=1)

    @flow.step()
    async def prepare(order: Order) -> int:
        return order.card.year

    @flow.step(depends_on=(prepare,))
    async def charge(year: int) -> None:
        number = current_task().run_input["card"]["number"]
        raise NonRetryable(f"declined: {number}")

    failed = await fail_run(db, flow, {"card": {"number": SECRET}})
    assert failed.error == "NonRetryable: declined: [redacted]"
    assert SECRET not in everything_written(database_url) + caplog.text


@pytest.mark.parametrize("batch_size", [None, 3])
async def test_items_of_a_map(
    db: Database, database_url: str, batch_size: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("payments", redact=PATHS, max_attempts=1)

    batches: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}

    def charge(item: dict[str, str]) -> None:
        raise NonRetryable(f"declined: {item['token']}")

    flow.map(name="charge", **batches)(charge)

    given = [{"token": f"{SECRET}-{number}"} for number in range(3)]
    failed = await fail_run(db, flow, given)
    assert failed.error == "NonRetryable: declined: [redacted]"
    assert SECRET not in everything_written(database_url) + caplog.text


async def test_an_output_that_cannot_be_stored(db: Database, database_url: str) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError(SECRET)

        __repr__ = __str__

    flow: Flow[Any] = Flow("payments", redact=PATHS, max_attempts=1)

    @flow.step()
    def charge(order: Order) -> Any:
        return {"card": {"number": SECRET, "odd": Odd()}}

    await fail_run(db, flow, {"card": {"number": "5"}})
    assert SECRET not in everything_written(database_url)


async def test_an_input_that_does_not_fit(db: Database, database_url: str) -> None:
    flow: Flow[Any] = Flow("payments", redact=PATHS, max_attempts=1)

    @flow.step()
    def charge(order: StrictOrder) -> None: ...

    failed = await fail_run(db, flow, {"card": {"number": SECRET}})
    assert failed.error is not None
    assert failed.error.startswith("DecodingError: PGF112: flow payments, step charge, task 0")
    assert "no such card: [redacted]" in failed.error
    assert SECRET not in everything_written(database_url)


async def test_a_start_that_is_refused(db: Database) -> None:
    flow: Flow[Any] = Flow[StrictOrder]("payments", redact=PATHS)
    flow.step(name="charge")(lambda _: None)
    with pytest.raises(EncodingError, match=r"no such card: \[redacted\]") as caught:
        await Client(db).start(flow, {"card": {"number": SECRET}})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_handlers_and_results_get_the_value(db: Database) -> None:
    flow: Flow[Any] = Flow("payments", redact=PATHS)

    @flow.step()
    def charge(order: Order) -> dict[str, str]:
        return {"token": order.card.number}

    run = await Client(db).start(flow, {"card": {"number": SECRET}})
    async with asyncio.timeout(PATIENCE):
        await Worker(db, flow).run_until(run.id)
        result = await run.result()
    assert result[charge] == {"token": SECRET}
    assert await run.output() == {"charge": {"token": SECRET}}


async def test_dynamic_flows_redact_too(db: Database, database_url: str) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("payments", redact=PATHS, max_attempts=1)
    await builder.add_step("payments", "charge")

    def charge(order: dict[str, Any]) -> None:
        raise NonRetryable(f"declined: {order['card']['number']}")

    run = await Client(db).start("payments", {"card": {"number": SECRET}})
    async with asyncio.timeout(PATIENCE):
        await Worker(db, {"payments": {"charge": charge}}).run_until(run.id)
    assert SECRET not in everything_written(database_url)


FLOWS = """
from pgflow import Flow, NonRetryable
pay = Flow("payments", redact=["card.number", "*.token"], max_attempts=1)

@pay.step()
def prepare(order):
    return [{"token": order["card"]["number"]}, {"token": "x"}]

@pay.map(over=prepare)
def charge(item):
    if item["token"] != "x":
        raise NonRetryable("declined " + item["token"])
"""


def test_commands_do_not_show_it(
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Here(database_url, capsys)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pay.py").write_text(FLOWS)
    given = json.dumps({"card": {"number": SECRET}})
    done = here("run", "pay.py:pay", "--input", given)
    assert done.code == 1, done
    run_id = done.out.split("Run ")[1].split()[0]
    outputs = [
        done,
        here("run", "pay.py:pay", "--input", given, "--json"),
        here("show", run_id),
        here("show", run_id, "--json"),
        here("show", run_id, "--step", "prepare"),
        here("show", run_id, "--step", "charge", "--json"),
        here("runs"),
        here("runs", "--json"),
        here("flows", "payments"),
    ]
    assert [one for one in outputs if SECRET in one.out + one.err] == []
    assert all("[redacted]" in one.out for one in outputs[:6])
