"""The client of the model: any endpoint that speaks OpenAI's chat completions, named by the environment.

OPENAI_BASE_URL and OPENAI_API_KEY are read by the `openai` package, PGFLOW_MODEL here.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from openai import AsyncOpenAI

from pgflow import current_task

from . import ledger
from .messages import Conversation, Turn
from .tools import offer

if TYPE_CHECKING:
    from pgflow import TaskContext

PATIENCE = 45.0
"""Seconds for one answer; below the steps' timeout, so that the reason is the model's."""


async def ask(conversation: Conversation, *, may_call: bool = True) -> Turn:
    """Ask the model once, and put down what that cost before anything can fail."""
    task = current_task()
    async with AsyncOpenAI(timeout=PATIENCE) as client, ledger.opened() as book:
        began = time.monotonic()
        completion = await client.chat.completions.create(
            model=os.environ["PGFLOW_MODEL"],
            messages=conversation.messages(),
            tools=await offer(),
            tool_choice="auto" if may_call else "none",
            extra_headers={
                "Idempotency-Key": await book.next_key(task),
                "X-Client-Request-Id": request_id(task),
            },
        )
        await book.record(task, completion, time.monotonic() - began)
    return Turn.read(completion.choices[0].message, calls_before=len(conversation.results))


def request_id(task: TaskContext) -> str:
    """Name an attempt in the provider's records."""
    return f"{task.run_id}/{task.step_slug}/{task.index}/{task.fence}"
