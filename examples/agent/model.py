"""The client of the model: any endpoint that speaks OpenAI's chat completions, named by the environment.

OPENAI_BASE_URL and OPENAI_API_KEY are read by the `openai` package, PGFLOW_MODEL here.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from openai import AsyncOpenAI, omit

from pgflow import current_task

from . import ledger
from .messages import Conversation, Turn
from .tools import offer

if TYPE_CHECKING:
    from pgflow import TaskContext

PATIENCE = 45.0
"""Seconds for one answer; below the steps' timeout, so that the reason is the model's."""


async def ask(conversation: Conversation, *, may_call: bool = True) -> Turn:
    """Ask the model once, and put down what that cost before anything can fail.

    A model that may not call is offered no tools: not every endpoint heeds `tool_choice`. Calls that it asks for all
    the same are not read.
    """
    task = current_task()
    tools, key = await offer() if may_call else omit, await ledger.next_key(task)
    async with connected() as client:
        began = time.monotonic()
        completion = await client.chat.completions.create(
            model=os.environ["PGFLOW_MODEL"],
            messages=conversation.messages(),
            tools=tools,
            extra_headers={"Idempotency-Key": key, "X-Client-Request-Id": request_id(task)},
        )
        await ledger.record(task, completion, time.monotonic() - began)
    message = completion.choices[0].message
    if not may_call:
        return Turn(answer=message.content or "")
    return Turn.read(message, calls_before=len(conversation.results))


def connected() -> AsyncOpenAI:
    """Return a client that asks once: a step that fails is tried again by pgflow, where each attempt counts."""
    return AsyncOpenAI(timeout=PATIENCE, max_retries=0)


def request_id(task: TaskContext) -> str:
    """Name an attempt in the provider's records."""
    return f"{task.run_id}/{task.step_slug}/{task.index}/{task.fence}"
