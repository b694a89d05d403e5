"""execute: start a run, work it off in this process, return its outputs.

Other workers of the same flow may share the work. Without an address it all happens on the embedded
server of the project, whose schema is installed by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pgflow._isolation import Border
from pgflow._repertoire import prepare
from pgflow._result import Result
from pgflow._vault import CODEC_TWICE
from pgflow.client import Client, encode_start
from pgflow.database import Database
from pgflow.embedded import resolve_dsn
from pgflow.errors import FlowNotFound, RunCancelled, RunFailed, UsageError, did_you_mean
from pgflow.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pgflow._repertoire import Flows
    from pgflow._vault import ValueCodec
    from pgflow.flow import Flow

__all__ = ["Result", "execute", "execute_async", "execute_dynamic", "execute_dynamic_sync"]

InputT = TypeVar("InputT")

CONCURRENCY = 100
DRAIN_TIMEOUT = 5.0
"""Seconds for tasks of other runs that this process performs, once its own run is over."""

INTERRUPTED = (
    "interrupted; the run %(run)s goes on when a worker serves its flow"
    " (look at it: pgflow show %(run)s; end it: pgflow cancel %(run)s)"
)

_log = logging.getLogger("pgflow.execute")


@overload
def execute(
    flow: Flow[InputT],
    input: InputT,
    *,
    dsn: str | None = None,
    timeout: float | None = None,
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result: ...
@overload
def execute(
    flow: Flow[None],
    *,
    dsn: str | None = None,
    timeout: float | None = None,
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result: ...
def execute(
    flow: Flow[Any],
    input: Any = None,  # noqa: A002 - the word for it everywhere
    *,
    dsn: str | None = None,
    timeout: float | None = None,
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result:
    """Run a flow in a plain script and return the outputs of its leaf steps.

    `dsn`, else PGFLOW_DSN, names the server. Raises RunFailed, RunCancelled, or WaitTimeout after
    `timeout` seconds, which leaves the run to other workers. `live` shows the run on standard output
    while it works. `value_codec` is as for Database.connect.

    >>> result = execute(campaign, Campaign(campaign_id=123))
    >>> result[track_results]
    """
    Border.refuse_inside("execute()")
    _refuse_in_event_loop("execute", "execute_async(flow, input)")
    options: dict[str, Any] = {
        "dsn": dsn,
        "timeout": timeout,
        "key": key,
        "concurrency": concurrency,
        "live": live,
        "value_codec": value_codec,
    }
    return asyncio.run(execute_async(flow, input, **options))


@overload
async def execute_async(
    flow: Flow[InputT],
    input: InputT,
    *,
    dsn: Database | str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - as below
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result: ...
@overload
async def execute_async(
    flow: Flow[None],
    *,
    dsn: Database | str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - as below
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result: ...
async def execute_async(
    flow: Flow[Any],
    input: Any = None,  # noqa: A002 - the word for it everywhere
    *,
    dsn: Database | str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - raises more than it would
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result:
    """Do as `execute` does, in a running event loop; a Database is used and stays open."""
    Border.refuse_inside("execute_async()")
    async with _database(dsn, value_codec) as database:
        return await _perform(
            database, flow, flow, input, key=key, limit=timeout, concurrency=concurrency, live=live
        )


async def execute_dynamic(
    slug: str,
    input: Any,  # noqa: A002 - the word for it everywhere
    handlers: Mapping[str, Callable[..., Any]],
    db: Database | str | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - raises more than it would
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result:
    """Run a flow that the database defines, with one function for each of its steps.

    A function takes one mapping: the run's input in a root step, `{dependency: output}` in others,
    `{"item": element, "index": number}` in a map. Raises UsageError for a missing function and
    FlowNotFound before anything starts, then what `execute` raises.

    >>> await execute_dynamic("ai_analysis", {"dataset_id": "xyz"}, {"fetch_data": fetch, …}, db)
    """
    Border.refuse_inside("execute_dynamic()")
    async with _database(db, value_codec) as database:
        await _require_functions(database, slug, handlers)
        return await _perform(
            database,
            slug,
            {slug: handlers},
            input,
            key=key,
            limit=timeout,
            concurrency=concurrency,
            live=live,
        )


def execute_dynamic_sync(
    slug: str,
    input: Any,  # noqa: A002 - the word for it everywhere
    handlers: Mapping[str, Callable[..., Any]],
    *,
    dsn: str | None = None,
    timeout: float | None = None,
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    live: bool = False,
    value_codec: ValueCodec | None = None,
) -> Result:
    """Do as `execute_dynamic` does, in a plain script."""
    Border.refuse_inside("execute_dynamic_sync()")
    _refuse_in_event_loop("execute_dynamic_sync", "execute_dynamic(slug, input, handlers, db)")
    options: dict[str, Any] = {
        "timeout": timeout,
        "key": key,
        "concurrency": concurrency,
        "live": live,
        "value_codec": value_codec,
    }
    return asyncio.run(execute_dynamic(slug, input, handlers, dsn, **options))


async def _perform(
    database: Database,
    flow: Flow[Any] | str,
    flows: Flows,
    value: Any,
    *,
    key: str | None,
    limit: float | None,
    concurrency: int,
    live: bool,
) -> Result:
    # What is wrong with the input or the handlers shows before anything is written or started.
    encode_start(flow, value)
    await prepare(database, flows, None)
    run = await Client(database).start(flow, value, key=key)
    worker = Worker(database, flows, concurrency=concurrency, drain_timeout=DRAIN_TIMEOUT)
    working = asyncio.create_task(worker.run_until(run.id))
    waiting = asyncio.create_task(run.watch(limit) if live else run.wait(limit))
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()  # a worker that could not work leaves nothing to wait for
        await waiting
    except (RunFailed, RunCancelled):
        raise
    except BaseException as error:
        worker.stop(now=True)
        if isinstance(error, asyncio.CancelledError):
            _log.warning(INTERRUPTED, {"run": run.id})
        raise
    finally:
        waiting.cancel()
        worker.stop()
        await asyncio.gather(working, waiting, return_exceptions=True)
    return await run.result()


async def _require_functions(
    database: Database, slug: str, handlers: Mapping[str, Callable[..., Any]]
) -> None:
    steps = [step.step_slug for step in await database.flow_steps(slug)]
    if not steps and await database.flow(slug) is None:
        raise FlowNotFound(slug, await database.flow_slugs())
    unknown = [name for name in handlers if name not in steps]
    problems = [
        f"step {step} has no function{did_you_mean(step, unknown)}"
        for step in steps
        if step not in handlers
    ]
    if not problems and unknown:
        problems = [f"there is no step {name}{did_you_mean(name, steps)}" for name in unknown]
    given: Mapping[str, object] = handlers
    problems += [
        f"the function of step {name} is a {type(function).__name__}, which can't be called"
        for name, function in given.items()
        if not callable(function)
    ]
    if problems:
        hint = (
            f"Pass one function for each step of the flow: {', '.join(steps) or '(it has none)'}."
        )
        raise UsageError(f"flow {slug}: {'; '.join(problems)}", hint=hint)


@asynccontextmanager
async def _database(
    given: Database | str | None, value_codec: ValueCodec | None
) -> AsyncIterator[Database]:
    if isinstance(given, Database):
        if value_codec is not None:
            raise UsageError(CODEC_TWICE)
        yield given
        return
    async with Database.connect(await _address(given), value_codec=value_codec) as database:
        yield database


async def _address(dsn: str | None) -> str:
    if dsn or os.environ.get("PGFLOW_DSN"):
        return resolve_dsn(dsn)
    from pgflow.schema import install  # noqa: PLC0415 - only the embedded server needs it

    address = await asyncio.to_thread(resolve_dsn)
    await asyncio.to_thread(install, address)
    return address


def _refuse_in_event_loop(name: str, awaitable: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        f"{name} blocks, and an event loop is running here", hint=f"Use: await {awaitable}"
    )
