"""Talks to the model: any endpoint that speaks OpenAI's chat completions, by OpenAI's own client."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai.types.chat import ChatCompletionMessageParam

    from pgflow import Handlers

PATIENCE = 45.0
"""Seconds for one answer; below what a step has for it, so that the reason is the model's."""
RULES = """You plan work. Answer with one JSON object, a plan by the given schema, and nothing else.
A step names a handler. Each required parameter gets a constant in params, or a source in inputs: the slug of a step for
its output, "run" for the run's input, "item" for the element in a step with `over`, and ".field" for a part of it.
The handlers, as JSON:
"""
MEND = "This plan is refused. Mend it and answer with the whole plan. The problems, as JSON:\n"


async def draft(url: str, name: str, goal: str, handlers: Handlers) -> str:
    """Ask for a plan."""
    return await _complete(url, name, _conversation(goal, handlers), handlers)


async def revise(  # noqa: PLR0917 - what the conversation consists of
    url: str,
    name: str,
    goal: str,
    handlers: Handlers,
    plan: str,
    problems: list[dict[str, Any]],
) -> str:
    """Ask for the same plan without its problems."""
    answer: list[ChatCompletionMessageParam] = [
        {"role": "assistant", "content": plan},
        {"role": "user", "content": MEND + json.dumps(problems)},
    ]
    return await _complete(url, name, [*_conversation(goal, handlers), *answer], handlers)


def _conversation(goal: str, handlers: Handlers) -> list[ChatCompletionMessageParam]:
    return [
        {"role": "system", "content": RULES + json.dumps(handlers.catalogue())},
        {"role": "user", "content": goal},
    ]


async def _complete(
    url: str, name: str, messages: Iterable[ChatCompletionMessageParam], handlers: Handlers
) -> str:
    key = os.environ.get("OPENAI_API_KEY", "none")  # a local model asks for none
    # A step that fails is tried again by pgflow, with its own delays.
    async with AsyncOpenAI(base_url=url, api_key=key, timeout=PATIENCE, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model=name,
            messages=messages,
            temperature=0,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "plan", "schema": handlers.plan_schema()},
            },
        )
    return answer.choices[0].message.content or ""
