"""The tools that the model may call. A tool is a pydantic model: its fields are the arguments, `run` does the work."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import httpx
from openai import pydantic_function_tool
from psycopg import DataError, NotSupportedError, ProgrammingError
from psycopg.errors import QueryCanceled, ReadOnlySqlTransaction
from pydantic import BaseModel, Field, JsonValue, ValidationError

from pgflow import current_task

from .embedding import embed
from .messages import ToolCall, ToolResult
from .reader import TooLongError, describe_orders, nearest_passages, select

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionFunctionToolParam

LONGEST = 60.0
"""Seconds that no answer over HTTP takes; each tool has less patience."""
MODELS_MISTAKES = (
    *(ProgrammingError, DataError, NotSupportedError, QueryCanceled, ReadOnlySqlTransaction),
    TooLongError,
)
"""What another attempt cannot mend, but the model can with another call."""
FOR_NOW = {408, 425, 429}
"""Refusals over HTTP that another attempt may get over: too slow, too early, too many."""


class Tool(BaseModel, ABC):
    """One call of a tool."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What the model reads of it."""
    patience: ClassVar[float] = 20.0
    """Seconds after which an attempt is given up and another made."""

    @abstractmethod
    async def run(self) -> JsonValue:
        """Return what the model asked for."""

    @classmethod
    async def describe(cls) -> str:
        """Return what the model reads of it now."""
        return cls.about


class RunSql(Tool):
    """SQL over a table, as a role that may only read."""

    name = "run_sql"
    about = "Run one SELECT over the orders: what was sold, how many bags, the revenue by product, country and year."
    sql: str = Field(description="A SELECT of PostgreSQL over agent_example.orders.")

    async def run(self) -> JsonValue:
        """Return the rows, not too many."""
        return await select(self.sql)

    @classmethod
    async def describe(cls) -> str:
        """Add the table's columns, with the values of those that name something."""
        return f"{cls.about}\n{await describe_orders()}"


class SearchHandbook(Tool):
    """Vector search in pgvector."""

    name = "search_handbook"
    about = "Find passages of the staff handbook: rules on returns, customers, parcels, roasting, samples, cleaning, staff."
    query: str = Field(description="What to look for, as a sentence.")

    async def run(self) -> JsonValue:
        """Return the passages nearest in meaning."""
        vectors = await asyncio.to_thread(embed, [self.query])
        return await nearest_passages(vectors[0])


class GetStock(Tool):
    """A service over HTTP."""

    name = "get_stock"
    about = "Ask the warehouse how many bags of a product are in stock now."
    patience = 5.0
    product: str = Field(description="The product's name.")

    async def run(self) -> JsonValue:
        """Ask the warehouse."""
        # Dots too: a client takes ".." for a step upwards.
        return await _get(f"/stock/{quote(self.product, safe='').replace('.', '%2E')}")


class GetExchangeRate(Tool):
    """Another service over HTTP."""

    name = "get_exchange_rate"
    about = "Get today's exchange rate, to convert an amount from one currency into another."
    patience = 5.0
    base: str = Field(description="Code of the amount's currency.", pattern="^[A-Z]{3}$")
    quote: str = Field(description="Code of the currency that is wanted.", pattern="^[A-Z]{3}$")

    async def run(self) -> JsonValue:
        """Ask the exchange."""
        return await _get(f"/rates/{self.base}/{self.quote}")


TOOLS: dict[str, type[Tool]] = {
    tool.name: tool for tool in (RunSql, SearchHandbook, GetStock, GetExchangeRate)
}


async def offer() -> list[ChatCompletionFunctionToolParam]:
    """Return the tools as the model reads them."""
    return [
        pydantic_function_tool(tool, name=tool.name, description=await tool.describe())
        for tool in TOOLS.values()
    ]


async def make_call(call: ToolCall) -> ToolResult:
    """Make a call that the model asked for.

    What the model did wrong is an output, which it reads and can mend. What went wrong on the way is
    raised, and the task is tried again.
    """
    tool = TOOLS.get(call.name)
    if tool is None:
        return ToolResult(call=call, error=f"there is no tool {call.name}, only {', '.join(TOOLS)}")
    try:
        async with asyncio.timeout(tool.patience):
            output = await tool.model_validate_json(call.arguments).run()
    except (ValidationError, *MODELS_MISTAKES) as mistake:
        return ToolResult(call=call, error=str(mistake))
    except TimeoutError as error:
        raise TimeoutError(f"{call.name} gave no answer in {tool.patience:g} s") from error
    return ToolResult(call=call, output=output, attempt=current_task().attempt)


async def _get(path: str) -> JsonValue:
    """Ask a service; every attempt of a task sends the same key."""
    headers = {"Idempotency-Key": current_task().idempotency_key}
    async with httpx.AsyncClient(
        base_url=os.environ["AGENT_SERVICES_URL"], timeout=LONGEST
    ) as http:
        response = await http.get(path, headers=headers)
    if response.is_client_error and response.status_code not in FOR_NOW:
        return {"refused": response.text}
    answer: JsonValue = response.raise_for_status().json()
    return answer
