"""A stand-in for a model: an HTTP server that speaks OpenAI's chat completions, so that the example runs anywhere.

What it says comes from rules over what it was sent (`model_rules.py`); no text is in store. It counts the tokens of what it
reads and writes, answers a key that it knows as before, and keeps an account of what it would bill.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .loopback import serve
from .model_rules import reply

if TYPE_CHECKING:
    from starlette.requests import Request


class StandIn:
    """The routes, with the replies by key and the account."""

    def __init__(self, think: float) -> None:
        self._think = think
        self._replies: dict[str, dict[str, Any]] = {}
        self._account: dict[str, dict[str, Any]] = {}
        self._busy: list[str] = []
        routes = [
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/account", self.account),
            Route("/busy", self.busy),
        ]
        self.app = Starlette(routes=routes)

    async def complete(self, request: Request) -> Response:
        """Answer in the form of the schema that came with the question."""
        key = request.headers.get("idempotency-key") or uuid4().hex
        body = await request.json()
        if key not in self._replies:
            completion = _completion(body)
            self._replies[key] = completion.model_dump(exclude_none=True)
            self._account[key] = {"key": key, "id": completion.id, "requests": 0}
            self._account[key] |= dict(completion.usage or {})
        self._account[key]["requests"] += 1
        request_id = request.headers.get("x-client-request-id", "")
        self._busy.append(request_id)
        await asyncio.sleep(self._think)
        self._busy.remove(request_id)
        return JSONResponse(self._replies[key])

    async def busy(self, _request: Request) -> Response:
        """List the requests that are being answered."""
        return JSONResponse(self._busy)

    async def account(self, _request: Request) -> Response:
        """List what was billed, and how often it was asked for."""
        return JSONResponse(list(self._account.values()))


def _completion(body: dict[str, Any]) -> ChatCompletion:
    kind = body["response_format"]["json_schema"]["name"]
    said = json.dumps(reply(kind, json.loads(body["messages"][-1]["content"])))
    read = [message["content"] for message in body["messages"]]
    prompt, completion = sum(map(count, [*read, json.dumps(body["response_format"])])), count(said)
    message = ChatCompletionMessage(role="assistant", content=said)
    return ChatCompletion(
        id=f"chatcmpl-{uuid4().hex}",
        object="chat.completion",
        created=int(time.time()),
        model=body["model"],
        choices=[Choice(index=0, message=message, finish_reason="stop")],
        usage=CompletionUsage(
            prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
        ),
    )


def count(text: str) -> int:
    """Count words and signs: about what the vocabularies of models make of a text."""
    return len(re.findall(r"\w+|[^\w\s]", text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--think", type=float, default=0, help="seconds for each answer")
    serve(StandIn(parser.parse_args().think).app)
