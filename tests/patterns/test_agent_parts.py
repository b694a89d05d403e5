"""The parts of the agent that need no database: the client of the model, what its answers must be, the tools over HTTP."""

from __future__ import annotations

from contextlib import contextmanager
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from openai import InternalServerError
from rich.console import Console

from examples.agent import __main__ as command
from examples.agent import flow, model, tools
from examples.agent.checks import Evidence, Exchange
from examples.agent.grounding import UngroundedError
from examples.agent.messages import Answer, Conversation, ToolCall, ToolResult, Turn
from examples.agent.services_server import Services
from examples.agent.summary import render
from tests.support.patterns import ROOT, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_real_model_must_be_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.delenv("PGFLOW_MODEL", raising=False)
    monkeypatch.setattr("sys.argv", ["agent"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "PGFLOW_MODEL must name the model" in capsys.readouterr().err


async def test_an_attempt_asks_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has no retries of its own: they would be on no account."""
    with endpoint(monkeypatch, 503) as asked:
        async with model.connected() as client:
            with pytest.raises(InternalServerError):
                await client.chat.completions.create(model="any", messages=[])
    assert len(asked) == 1


async def test_a_model_that_must_answer_is_offered_no_tools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not every endpoint heeds `tool_choice`; what asks for tools all the same has not answered."""
    call = {"id": "1", "type": "function", "function": {"name": "get_stock", "arguments": "{}"}}
    message = {"role": "assistant", "content": "So be it.", "tool_calls": [call]}
    completion = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "any",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
    }
    monkeypatch.setattr(model, "ledger", SimpleNamespace(next_key=a_key, record=a_key))
    monkeypatch.setattr(model, "current_task", lambda: a_task(attempt=1))
    with endpoint(monkeypatch, 200, completion) as asked:
        turn = await model.ask(Conversation(question="?"), may_call=False)
    assert (turn.calls, turn.answer) == ([], "So be it.")
    assert not {"tools", "tool_choice"} & asked[0].keys()


async def a_key(*_: object) -> str:
    return "a key"


def a_task(attempt: int) -> Any:
    return SimpleNamespace(
        run_id=uuid4(), step_slug="respond", index=0, fence=1, attempt=attempt, max_attempts=3
    )


@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("said", ["", " \n"])
async def test_an_empty_answer_is_refused_to_the_last(
    monkeypatch: pytest.MonkeyPatch, attempt: int, said: str
) -> None:
    async def ask(*_: object, **__: object) -> Turn:
        return Turn(answer=said)

    monkeypatch.setattr(flow, "ask", ask)
    monkeypatch.setattr(flow, "current_task", lambda: a_task(attempt))
    for answering in (
        flow.reflect(Conversation(question="?")),
        flow.respond(Conversation(question="?"), Turn(calls=[]), []),
    ):
        with pytest.raises(UngroundedError, match="is empty"):
            await answering


async def test_an_answer_without_a_source_is_asked_for_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask(*_: object, **__: object) -> Turn:
        return Turn(answer="Yes.")

    call = ToolCall(source="call_1", id="1", name="get_stock", arguments="{}")
    conversation = Conversation(question="?", rounds=[[ToolResult(call=call, output=1)]])
    monkeypatch.setattr(flow, "ask", ask)
    monkeypatch.setattr(flow, "current_task", lambda: a_task(1))
    with pytest.raises(UngroundedError, match="cites no source"):
        await flow.reflect(conversation)
    monkeypatch.setattr(flow, "current_task", lambda: a_task(3))
    answer = await flow.respond(conversation, Turn(), [])
    assert answer.doubts == ["it cites no source"]


def test_what_a_model_leaves_out_or_gets_wrong_is_shown_all_the_same() -> None:
    """Tokens that the endpoint does not tell, and arguments that are no object."""
    calls = [
        ToolCall(source=f"call_{at}", id="1", name="t", arguments=arguments)
        for at, arguments in enumerate(["{", "[1]", '{"a": "[/b]"}'])
    ]
    results = [ToolResult(call=call) for call in calls]
    exchange = Exchange("?", uuid4(), Answer(text="[/b]", results=results))
    tokens = dict.fromkeys(("prompt_tokens", "completion_tokens", "wasted_tokens"))
    account = [{"run_id": exchange.run_id, "step_slug": "analyze", "answers": 1, **tokens}]
    console = Console(width=118, file=StringIO())
    console.print(render([exchange], Evidence([], [], account, [], None), {}))
    assert isinstance(console.file, StringIO)
    drawn = console.file.getvalue()
    assert drawn.count("unknown") == 3
    assert "[1]" in drawn
    assert "[/b]" in drawn


@pytest.mark.parametrize("status", [408, 425, 429, 503])
async def test_a_service_that_has_no_time_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    busy = httpx.MockTransport(lambda _: httpx.Response(status))
    with services(monkeypatch, busy), pytest.raises(httpx.HTTPStatusError):
        await tools.GetStock(product="Sidamo").run()


@pytest.mark.parametrize("product", ["../requests", "..", ".", "a?b", "a/../../requests", "Ü"])
async def test_a_product_is_only_a_product(monkeypatch: pytest.MonkeyPatch, product: str) -> None:
    """Whatever the model calls it, no other page of the service is asked for."""
    server = Services(hang=0)
    with services(monkeypatch, httpx.ASGITransport(server.app)):
        answer = await tools.GetStock(product=product).run()
    assert isinstance(answer, dict)
    assert list(answer) == ["refused"]


@contextmanager
def services(
    monkeypatch: pytest.MonkeyPatch, transport: httpx.AsyncBaseTransport
) -> Iterator[None]:
    """Have the tools ask a service without a server."""
    original = httpx.AsyncClient
    monkeypatch.setenv("AGENT_SERVICES_URL", "http://services")
    monkeypatch.setattr(tools, "current_task", lambda: SimpleNamespace(idempotency_key="a key"))
    with monkeypatch.context() as patched:
        patched.setattr(
            httpx, "AsyncClient", lambda **given: original(transport=transport, **given)
        )
        yield


async def test_mistakes_of_the_model_are_told_to_it() -> None:
    unknown = ToolCall(source="call_1", id="1", name="fly", arguments="{}")
    malformed = ToolCall(source="call_2", id="2", name="get_stock", arguments='{"produc')

    assert "there is no tool fly, only run_sql" in str((await tools.make_call(unknown)).error)
    assert "Invalid JSON" in str((await tools.make_call(malformed)).error)


def test_the_page_has_the_flow() -> None:
    page = (ROOT / "docs" / "patterns" / "agent.md").read_text()
    assert f"```mermaid\n{flow.agent.mermaid().strip()}\n```" in page
