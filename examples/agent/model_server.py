"""A stand-in for a model: an HTTP server that speaks OpenAI's chat completions, so that the example runs anywhere.

What it says comes from rules over what it was sent (`model_rules.py`); no text is in store. It counts the tokens of what
it reads and writes, repeats its answer to a key that it has seen, and keeps an account of what it would bill.
With --slip N it gets a digit wrong in its first N answers, as models do.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessage,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageToolCallUnion,
)
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_message_function_tool_call import Function
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .loopback import serve
from .model_rules import Wish, reply
from .wordpieces import load_tokenizer

if TYPE_CHECKING:
    from starlette.requests import Request

PIECES = load_tokenizer()


class StandIn:
    """The routes, with the replies by key and the account."""

    def __init__(self, slips: int) -> None:
        self._slips = slips
        self._replies: dict[str, dict[str, Any]] = {}
        self._account: list[dict[str, Any]] = []
        routes = [
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/account", self.account),
        ]
        self.app = Starlette(routes=routes)

    async def complete(self, request: Request) -> Response:
        """Answer a conversation, or ask for tools."""
        key = request.headers.get("idempotency-key") or uuid4().hex
        body = await request.json()
        if key not in self._replies:
            completion = self._completion(body)
            self._account.append({"key": key, "id": completion.id, **dict(completion.usage or {})})
            self._replies[key] = completion.model_dump(exclude_none=True)
        return JSONResponse(self._replies[key])

    async def account(self, _request: Request) -> Response:
        """List what was billed."""
        return JSONResponse(self._account)

    def _completion(self, body: dict[str, Any]) -> ChatCompletion:
        tools = body.get("tools", []) if body.get("tool_choice") != "none" else []
        said = reply(body["messages"], tools)
        message = _message(self._slipped(said) if isinstance(said, str) else said)
        finish: Literal["stop", "tool_calls"] = "tool_calls" if message.tool_calls else "stop"
        return ChatCompletion(
            id=f"chatcmpl-{uuid4().hex}",
            object="chat.completion",
            created=int(time.time()),
            model=body["model"],
            choices=[Choice(index=0, message=message, finish_reason=finish)],
            usage=_usage(body, message),
        )

    def _slipped(self, text: str) -> str:
        """Get the first digit wrong, a limited number of times."""
        place = next((at for at, letter in enumerate(text) if letter.isdigit()), None)
        if place is None or self._slips <= 0:
            return text
        self._slips -= 1
        return f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"


def _message(said: str | list[Wish]) -> ChatCompletionMessage:
    if isinstance(said, str):
        return ChatCompletionMessage(role="assistant", content=said)
    calls: list[ChatCompletionMessageToolCallUnion] = [
        ChatCompletionMessageFunctionToolCall(
            id=f"call_{uuid4().hex[:24]}",
            type="function",
            function=Function(name=wish.tool, arguments=json.dumps(wish.arguments)),
        )
        for wish in said
    ]
    return ChatCompletionMessage(role="assistant", tool_calls=calls)


def _usage(body: dict[str, Any], message: ChatCompletionMessage) -> CompletionUsage:
    """Count the word pieces of what was read and of what is written."""
    read = [json.dumps(part) for part in (*body["messages"], *body.get("tools", []))]
    calls = [call.model_dump_json() for call in message.tool_calls or []]
    prompt, completion = count(read), count([message.content or "", *calls])
    return CompletionUsage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )


def count(texts: list[str]) -> int:
    """Count word pieces, without those that only frame a text."""
    return sum(len(PIECES.encode(text, add_special_tokens=False).ids) for text in texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--slip", type=int, default=0)
    serve(StandIn(parser.parse_args().slip).app)
