"""The client of the model: any endpoint that speaks OpenAI's chat completions with JSON Schemas for the answer.

OPENAI_BASE_URL and OPENAI_API_KEY are read by the `openai` package, PGFLOW_MODEL here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeVar

import orjson
from openai import AsyncOpenAI

from pgflow import current_task

from . import ledger
from .messages import Reply

if TYPE_CHECKING:
    from openai.types.shared_params import ResponseFormatJSONSchema
    from pydantic import BaseModel, JsonValue

    from pgflow import TaskContext

PATIENCE = 45.0
"""Seconds for one answer; below the steps' timeout, so that the reason is the model's."""

Role = Literal["researcher", "analyst", "validator", "chair"]
ReplyT = TypeVar("ReplyT", bound=Reply)

PROMPTS: dict[Role, str] = {
    "researcher": "You research suppliers. State only what the given facts say, with their figures.",
    "analyst": "You analyze suppliers. Compare each claim with its criterion, and recommend.",
    "validator": "You check claims of suppliers against what was measured. A claim holds if the measured"
    " value meets the criterion and is within 0.02 of the claim. Plan a check for each criterion.",
    "chair": "You decide from the dossier alone. If a verdict does not hold, its dissent outweighs findings"
    " and analysis: do not renew. Else go with the majority of findings and analysis.",
}


async def ask(role: Role, reply: type[ReplyT], *material: BaseModel, **values: JsonValue) -> ReplyT:
    """Ask the model in a role for a reply of a type; the cost is put down before the answer is read."""
    given = {type(part).__name__: part.model_dump(mode="json") for part in material} | values
    schema: ResponseFormatJSONSchema = {
        "type": "json_schema",
        "json_schema": {
            "name": reply.__name__,
            "schema": reply.model_json_schema(),
            "strict": True,
        },
    }
    task = current_task()
    key = await ledger.next_key(task)
    async with connected() as client:
        completion = await client.chat.completions.create(
            model=os.environ["PGFLOW_MODEL"],
            messages=[
                {"role": "system", "content": PROMPTS[role]},
                {"role": "user", "content": orjson.dumps(given).decode()},
            ],
            response_format=schema,
            extra_headers={"Idempotency-Key": key, "X-Client-Request-Id": request_id(task)},
        )
        await ledger.record(task, completion)
    return reply.model_validate_json(completion.choices[0].message.content or "")


def connected() -> AsyncOpenAI:
    """Return a client that asks once: a step that fails is tried again by pgflow, where each attempt counts."""
    return AsyncOpenAI(timeout=PATIENCE, max_retries=0)


def request_id(task: TaskContext) -> str:
    """Name an attempt in the provider's records."""
    return f"{task.run_id}/{task.step_slug}/{task.index}/{task.fence}"
