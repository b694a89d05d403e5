"""perform(): how attempts end, whatever the handler does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import (  # noqa: TC003 - annotations of handlers are read at run time
    AsyncIterator,
    Iterator,
)
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pgflow import Flow, NonRetryable, RetryAfter, current_task
from pgflow.errors import UsageError
from pgflow.handlers import Completed, Execution, Failed, Handler, Performer, Services, perform
from pgflow.records import GrantedTask, RawJson
from tests.support.worker_processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow.handlers import Outcome

RUN = UUID("6f3b6f5e-5a5e-4a2e-9d1c-0d4b3a2f1e00")


def granted(
    task_input: str = "{}",
    *,
    flow_input: str | None = None,
    index: int = 0,
    timeout: int = 5,
    attempt: int = 1,
    tries: int = 1,
    step_type: str = "single",
    deferred: tuple[str, ...] = (),
) -> GrantedTask:
    return GrantedTask(
        "flow",
        RUN,
        "step",
        index,
        attempt,
        RawJson(task_input.encode()),
        None if flow_input is None else RawJson(flow_input.encode()),
        1,
        "flow",
        step_type,
        tries,
        3,
        timeout,
        exhausted=False,
        deferred=deferred,
    )


async def outcome_of(
    function: Callable[..., Any],
    flow_input: str = "null",
    *,
    timeout: int = 5,  # noqa: ASYNC109 - the step's option
    services: Services | None = None,
    **options: Any,
) -> Outcome:
    flow: Flow[Any] = Flow("flow")
    step = flow.step(name="step", **options)(function)
    return await perform(granted(flow_input=flow_input, timeout=timeout), step, services)


async def failure_of(function: Callable[..., Any], **options: Any) -> Failed:
    outcome = await outcome_of(function, **options)
    assert isinstance(outcome, Failed)
    return outcome


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Unhelpful:
    def __reduce__(self) -> str:
        raise RuntimeError("no pickle for you")

    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")


class TestOutcomes:
    async def test_async_handler_returns_its_output_as_json(self) -> None:
        async def handler(value: int) -> int:
            await asyncio.sleep(0)
            return value + 1

        assert await outcome_of(handler, "41") == Completed("42")

    async def test_sync_handler_runs_in_another_thread(self) -> None:
        def handler(_: Any) -> bool:
            return threading.get_ident() == main

        main = threading.get_ident()
        assert await outcome_of(handler) == Completed("false")

    @pytest.mark.parametrize("value", [0, "", False, None, [], {}])
    async def test_falsy_outputs_survive(self, value: Any) -> None:
        def handler(_: Any) -> Any:
            return value

        outcome = await outcome_of(handler)
        assert isinstance(outcome, Completed)
        assert RawJson(outcome.output.encode()).parse() == value

    async def test_async_handler_on_a_thread_keeps_off_the_loop(self) -> None:
        async def handler(_: Any) -> bool:
            await asyncio.sleep(0)
            return threading.get_ident() == main

        main = threading.get_ident()
        assert await outcome_of(handler, isolation="thread") == Completed("false")

    async def test_sync_function_that_returns_an_awaitable_is_awaited(self) -> None:
        async def later() -> str:
            return "done"

        assert await outcome_of(lambda _: later()) == Completed('"done"')

    async def test_sync_handler_sees_the_contextvars_of_the_worker(self) -> None:
        variable = contextvars.ContextVar("variable", default="unset")
        variable.set("set")

        def handler(_: Any) -> str:
            seen = variable.get()
            variable.set("changed by a handler")
            return seen

        assert await outcome_of(handler) == Completed('"set"')
        assert await outcome_of(handler) == Completed('"set"')


class TestFaults:
    @pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_fault_20_exits_raised_by_user_code_are_failures(
        self, raised: BaseException, kind: str
    ) -> None:
        async def async_handler(_: Any) -> None:
            raise raised

        def sync_handler(_: Any) -> None:
            raise raised

        failed = await failure_of(async_handler if kind == "async" else sync_handler)
        assert failed.details["type"] == type(raised).__name__
        assert failed.error.startswith(type(raised).__name__)

    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_error_carries_type_text_and_the_users_frames_only(self, kind: str) -> None:
        async def async_handler(_: Any) -> None:
            raise ValueError("boom")

        def sync_handler(_: Any) -> None:
            raise ValueError("boom")

        failed = await failure_of(async_handler if kind == "async" else sync_handler)
        assert failed.error == "ValueError: boom"
        assert failed.details["kind"] == "error"
        assert failed.details["type"] == "ValueError"
        trace = failed.details["traceback"]
        assert f"{kind}_handler" in trace
        assert 'raise ValueError("boom")' in trace
        assert "_handler.py" not in trace

    async def test_fault_42_broken_str_still_fails_with_a_text(self) -> None:
        def handler(_: Any) -> None:
            raise UnprintableError

        failed = await failure_of(handler)
        assert failed.error == "UnprintableError: <its __str__ raised RuntimeError>"

    async def test_fault_42_unserialisable_output_fails_the_task(self) -> None:
        failed = await failure_of(lambda _: Unhelpful())
        assert failed.details["kind"] == "encoding"
        assert "step" in failed.error

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ({"a": [1, float("nan")]}, "$.a[1]"),
            ({"a": float("inf")}, "$.a"),
            ({"text": "\x00"}, "$.text"),
            (["\ud800"], "$[0]"),
        ],
    )
    async def test_faults_38_39_bad_values_fail_with_their_path(
        self, value: Any, path: str
    ) -> None:
        failed = await failure_of(lambda _: value)
        assert failed.details["kind"] == "encoding"
        assert path in failed.error

    async def test_fault_40_deep_nesting_fails(self) -> None:
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        failed = await failure_of(lambda _: deep)
        assert failed.details["kind"] == "encoding"
        # Freeing a nest this deep recurses in C; take it apart here instead.
        while deep:
            deep = deep[0]

    async def test_fault_38_error_texts_are_sanitised_and_bounded(self) -> None:
        def handler(_: Any) -> None:
            raise ValueError("a\x00b\ud800c" + "x" * 100_000)

        failed = await failure_of(handler)
        for text in (failed.error, failed.details["traceback"]):
            assert "\x00" not in text
            assert len(text.encode()) < 70_000
        assert len(failed.error) <= 8_000

    async def test_fault_41_large_numbers_round_trip_or_fail(self) -> None:
        big = 10**30
        assert await outcome_of(lambda value: value, str(big)) == Completed(str(big))
        assert await outcome_of(lambda _: -0.0) == Completed("-0.0")

    async def test_endless_recursion_fails_the_task(self) -> None:
        def handler(value: Any) -> Any:
            return handler(value)

        failed = await failure_of(handler)
        assert failed.details["type"] == "RecursionError"
        assert len(failed.details["traceback"]) <= 16_000

    async def test_input_that_does_not_fit_is_final(self) -> None:
        def handler(count: int) -> int:
            return count

        failed = await failure_of(handler, flow_input='"many"')
        assert failed.details["kind"] == "encoding"
        assert failed.details["final"] is True

    async def test_cancelled_error_of_the_handlers_own_is_a_failure(self) -> None:
        async def handler(_: Any) -> None:
            raise asyncio.CancelledError

        failed = await failure_of(handler)
        assert failed.details == {"kind": "error", "type": "CancelledError"} | {
            "traceback": failed.details["traceback"]
        }


class TestSteering:
    async def test_retry_after_names_the_seconds(self) -> None:
        def handler(_: Any) -> None:
            raise RetryAfter(12.5, "rate limited")

        failed = await failure_of(handler)
        assert failed.details["retry_after"] == 12.5
        assert "final" not in failed.details

    async def test_non_retryable_is_final(self) -> None:
        async def handler(_: Any) -> None:
            raise NonRetryable("no such mailbox")

        assert (await failure_of(handler)).details["final"] is True

    async def test_listed_exceptions_and_their_children_are_final(self) -> None:
        def handler(_: Any) -> None:
            raise KeyError("gone")

        assert (await failure_of(handler, non_retryable=(LookupError,))).details["final"] is True
        assert "final" not in (await failure_of(handler, non_retryable=(OSError,))).details


class TestTimeouts:
    async def test_async_handler_is_cancelled_at_its_timeout(self) -> None:
        seen: list[str] = []

        async def handler(_: Any) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        begin = time.monotonic()
        failed = await failure_of(handler, timeout=1)
        assert failed.details["kind"] == "timeout"
        assert failed.error == "TaskTimeout: no result within 1 s"
        assert 0.95 < time.monotonic() - begin < 1.9
        assert seen == ["cancelled"]

    async def test_each_task_has_its_own_deadline(self) -> None:
        async def handler(_: Any) -> None:
            await asyncio.Event().wait()

        flow: Flow[Any] = Flow("flow")
        hung = Handler(flow.step(name="step")(handler))
        services = Services()
        begin = time.monotonic()
        ended: list[tuple[int, float]] = []
        performer = Performer(
            services,
            concurrency=3,
            ended=lambda e, _: ended.append((e.task.timeout, time.monotonic() - begin)),
        )
        performer.start([Execution(granted(timeout=seconds), hung, services) for seconds in (2, 1)])
        async with asyncio.timeout(10):
            await eventually(lambda: len(ended) == 2)
        await performer.close()
        assert [timeout for timeout, _ in ended] == [1, 2]
        assert all(timeout - 0.05 < after < timeout + 0.7 for timeout, after in ended)

    async def test_result_returned_after_the_timeout_does_not_count(self) -> None:
        async def handler(_: Any) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "too late"
            return "never"

        assert (await failure_of(handler, timeout=1)).details["kind"] == "timeout"

    async def test_fault_32_handler_that_swallows_its_cancellation_is_abandoned(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        release = asyncio.Event()

        async def handler(_: Any) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        try:
            failed = await failure_of(handler, timeout=1)
        finally:
            release.set()
        assert failed.details["kind"] == "timeout"
        (record,) = [r for r in caplog.records if "abandoned" in r.message]
        assert record.levelno == logging.ERROR
        assert record.__dict__["step"] == "step"

    async def test_hung_thread_is_abandoned_and_its_slot_is_replaced(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        release = threading.Event()
        failed = await failure_of(lambda _: release.wait(30), timeout=1)
        assert failed.details["kind"] == "timeout"
        assert "a thread cannot be stopped" in caplog.text
        assert await outcome_of(lambda _: "next") == Completed('"next"')
        release.set()


class TestContext:
    async def test_handler_knows_its_task(self) -> None:
        async def handler(_: Any) -> list[Any]:
            task = current_task()
            return [task.flow_slug, task.step_slug, task.index, task.attempt, task.fence]

        flow: Flow[Any] = Flow("flow")
        step = flow.step(name="step")(handler)
        task = granted(index=7, attempt=5, tries=2, flow_input="1")
        assert await perform(task, step) == Completed('["flow","step",7,2,5]')

    async def test_idempotency_key_is_stable_across_attempts_and_unique_per_task(self) -> None:
        keys = []

        def handler(_: Any) -> None:
            keys.append(current_task().idempotency_key)

        flow: Flow[Any] = Flow("flow")
        step = flow.step(name="step")(handler)
        for index, attempt in ((0, 1), (0, 2), (1, 1)):
            await perform(granted(index=index, attempt=attempt, flow_input="1"), step)
        assert keys[0] == keys[1] != keys[2]
        assert UUID(keys[0]).version == 5

    async def test_run_input_of_a_root_is_the_flow_input(self) -> None:
        assert await outcome_of(lambda _: current_task().run_input, '{"a": 1}') == Completed(
            '{"a":1}'
        )

    async def test_run_input_elsewhere_is_read_once_through_the_services(self) -> None:
        asked: list[UUID] = []

        def read(run_id: UUID) -> RawJson:
            asked.append(run_id)
            return RawJson(b'{"port": 25}')

        flow: Flow[Any] = Flow("flow")
        first = flow.step(name="first")(lambda _: [1])
        step = flow.map(over=first, name="step")(lambda _: current_task().run_input["port"])
        services = Services(worker_id=uuid4(), read_run_input=read)
        task = granted("1", step_type="map")
        assert await perform(task, step, services) == Completed("25")
        assert asked == [RUN]

    async def test_logger_carries_run_step_task_and_attempt(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        def handler(_: Any) -> None:
            current_task().logger.info("hello")

        await outcome_of(handler)
        (record,) = [r for r in caplog.records if r.message == "hello"]
        fields = {name: record.__dict__[name] for name in ("run_id", "step", "task", "attempt")}
        assert fields == {"run_id": str(RUN), "step": "step", "task": 0, "attempt": 1}

    async def test_progress_is_rate_limited_clamped_and_never_raises(self) -> None:
        services = Services()

        def handler(_: Any) -> None:
            task = current_task()
            task.progress(7, "far\x00")
            task.progress(0.1, "dropped")
            task.progress("no number")  # type: ignore[arg-type]

        await outcome_of(handler, services=services)
        (text,) = services.progress.values()
        assert RawJson(text.encode()).parse()["fraction"] == 1
        assert "dropped" not in text
        assert "\x00" not in text

    async def test_outside_a_handler_there_is_no_task(self) -> None:
        with pytest.raises(UsageError, match="outside a handler"):
            current_task()

    async def test_transaction_needs_a_database(self) -> None:
        def handler(_: Any) -> None:
            with current_task().transaction():
                pass

        assert "needs a database" in (await failure_of(handler)).error


class Pages:
    """Stands for Database.step_output, and remembers the largest page it gave."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.largest = 0

    async def step_output(self, run_id: UUID, step: str, after: int, rows: int) -> list[Any]:
        from pgflow.records import TaskOutput

        stop = min(self.count, after + 1 + rows)
        page = [TaskOutput(i, RawJson(str(i).encode())) for i in range(after + 1, stop)]
        self.largest = max(self.largest, len(page))
        return page


def consumer(function: Callable[..., Any]) -> Handler:
    flow: Flow[Any] = Flow("flow")
    first = flow.step(name="first")(lambda _: [1])
    items = flow.map(over=first, name="items")(lambda item: item)
    return Handler(flow.step(depends_on=[items], name="step")(function))


async def consume_async(items: AsyncIterator[int]) -> int:
    return sum([item async for item in items])


def consume_sync(items: Iterator[int]) -> int:
    return sum(items)


def consume_list(items: list[int]) -> int:
    return sum(items)


async def consume_list_async(items: list[int]) -> int:
    return sum(items)


class TestStreams:
    @pytest.mark.parametrize(
        "function", [consume_async, consume_sync, consume_list, consume_list_async]
    )
    async def test_deferred_outputs_are_read_in_pages(self, function: Callable[..., Any]) -> None:
        pages = Pages(5_000)
        services = Services(database=pages)  # type: ignore[arg-type]
        outcome = await perform(granted(deferred=("items",)), consumer(function), services)
        assert outcome == Completed(str(sum(range(5_000))))
        assert 0 < pages.largest <= 2_000

    @pytest.mark.parametrize("function", [consume_async, consume_sync, consume_list])
    async def test_inline_outputs_arrive_in_the_same_form(
        self, function: Callable[..., Any]
    ) -> None:
        outcome = await perform(granted('{"items": [1, 2, 3]}'), consumer(function))
        assert outcome == Completed("6")

    async def test_stream_is_read_only_as_far_as_it_is_used(self) -> None:
        def first_of(items: Iterator[int]) -> int:
            return next(items)

        pages = Pages(1_000_000)
        services = Services(database=pages)  # type: ignore[arg-type]
        outcome = await perform(granted(deferred=("items",)), consumer(first_of), services)
        assert outcome == Completed("0")
        assert pages.largest <= 200
