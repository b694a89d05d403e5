"""Records the tokens of every attempt, in a transaction of its own: an attempt that fails later has cost them all the same.

The table agent_example.model_calls has a row for each answer of the model. It is in the worker's database; no
connection is held while the model thinks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

    from pgflow import TaskContext


async def next_key(task: TaskContext) -> str:
    """Return the idempotency key of the next request.

    It changes with each answer, not with each attempt. An attempt that was lost on the way to its answer is
    followed by one with the same key, and a provider that honours it answers again without a second bill. An
    attempt whose answer was no good is followed by a new question.
    """
    async with task.database.connection() as connection:
        cursor = await connection.execute(
            "select count(*) from agent_example.model_calls where run_id = %s and step_slug = %s and task_index = %s",
            (task.run_id, task.step_slug, task.index),
        )
        (answers,) = await cursor.fetchone() or (0,)
    return f"{task.idempotency_key}-{answers}"


async def record(task: TaskContext, completion: ChatCompletion, seconds: float) -> None:
    """Insert what an answer cost."""
    usage = completion.usage
    async with task.database.connection() as connection:
        await connection.execute(
            """
            insert into agent_example.model_calls
              (run_id, step_slug, task_index, attempt, model, answer_id, prompt_tokens, completion_tokens, seconds)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                *(task.run_id, task.step_slug, task.index, task.fence),
                *(completion.model, completion.id),
                usage.prompt_tokens if usage else None,
                usage.completion_tokens if usage else None,
                seconds,
            ),
        )
