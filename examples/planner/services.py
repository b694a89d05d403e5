"""Two services in one process: a stand-in for a model, and a desk that is told news and is busy at first.

The stand-in speaks OpenAI's chat completions. It plans by rules (`rules.py`) over the goal and the handlers that
it is sent, slips as models do, and mends what it is told is wrong. Nothing that it says is in store.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import uvicorn
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .rules import Handler, compose, mended, slipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

BUSY = 2
"""So many times the desk refuses each piece of news."""


class Services:
    """The routes, with what was asked and told."""

    def __init__(self) -> None:
        self._plans: list[dict[str, Any]] = []
        self._news: dict[str, list[dict[str, Any]]] = {}
        routes = [
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/news", self.take_news, methods=["POST"]),
            Route("/account", self.account),
        ]
        self.app = Starlette(routes=routes)

    async def complete(self, request: Request) -> Response:
        """Answer with a plan."""
        body = await request.json()
        said = json.dumps(answer([message["content"] for message in body["messages"]]))
        self._plans.append({"turns": len(body["messages"]), "plan": said})
        message = ChatCompletionMessage(role="assistant", content=said)
        completion = ChatCompletion(
            id=f"chatcmpl-{uuid4().hex}",
            object="chat.completion",
            created=int(time.time()),
            model=body["model"],
            choices=[Choice(index=0, message=message, finish_reason="stop")],
        )
        return JSONResponse(completion.model_dump(exclude_none=True))

    async def take_news(self, request: Request) -> Response:
        """Take a piece of news at the third time, and answer that it is busy before."""
        news = await request.json()
        told = self._news.setdefault(news["id"], [])
        told.append(news)
        return JSONResponse({}, 503 if len(told) <= BUSY else 200)

    async def account(self, _request: Request) -> Response:
        """Tell what was asked and told."""
        return JSONResponse({"plans": self._plans, "news": self._news})


def answer(turns: list[str]) -> dict[str, Any]:
    """Return a plan for a conversation: the first draft has slips, later ones follow the reasons."""
    rules, goal, *later = turns
    if later:
        plan, reasons = later[-2:]
        return mended(json.loads(plan), json.loads(reasons.partition("\n")[2]))
    catalogue = [Handler.of(entry) for entry in json.loads(rules.rpartition("\n")[2])]
    return slipped(compose(goal, catalogue))


def main() -> None:
    """Serve on a free port, which is printed, until whoever started this ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.Server(uvicorn.Config(Services().app, log_level="warning")).run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


@contextmanager
def serving() -> Iterator[str]:
    """Run both services as a process, and yield their address."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and this module
        [sys.executable, "-m", f"{__package__}.services"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise RuntimeError("the services did not start")
            yield url
        finally:
            process.kill()


if __name__ == "__main__":
    main()
