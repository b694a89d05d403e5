"""Records the tokens of every attempt, in a transaction of its own: an attempt that fails later has cost them all the same."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from pgflow.embedded import resolve_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai.types.chat import ChatCompletion

    from pgflow import TaskContext


class Ledger:
    """The table agent.model_calls, a row for each answer of the model."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def next_key(self, task: TaskContext) -> str:
        """Return the idempotency key of the next request.

        It changes with each answer, not with each attempt. An attempt that was lost on the way to its answer is
        followed by one with the same key, and a provider that honours it answers again without a second bill. An
        attempt whose answer was no good is followed by a new question.
        """
        cursor = await self._connection.execute(
            "select count(*) from agent.model_calls where run_id = %s and step_slug = %s and task_index = %s",
            (task.run_id, task.step_slug, task.index),
        )
        (answers,) = await cursor.fetchone() or (0,)
        return f"{task.idempotency_key}-{answers}"

    async def record(self, task: TaskContext, completion: ChatCompletion, seconds: float) -> None:
        """Insert what an answer cost."""
        usage = completion.usage
        await self._connection.execute(
            """
            insert into agent.model_calls
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


@asynccontextmanager
async def opened() -> AsyncIterator[Ledger]:
    """Open the ledger; each of its inserts commits at once."""
    async with await AsyncConnection.connect(resolve_dsn(), autocommit=True) as connection:
        yield Ledger(connection)
