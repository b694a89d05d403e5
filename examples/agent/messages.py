"""What the steps of the flow hand to each other, and how it reads as a conversation with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from pydantic import BaseModel, JsonValue

if TYPE_CHECKING:
    from openai.types.chat import (
        ChatCompletionAssistantMessageParam,
        ChatCompletionMessage,
        ChatCompletionMessageParam,
        ChatCompletionToolMessageParam,
    )

INSTRUCTIONS = """\
You answer questions about a coffee roastery. Use the tools; never guess a figure.
Each tool's output names its source. After every figure or quotation cite its source in brackets, like [call_2].
Write a conversion as `123.00 NOK [call_1] x 0.5 [call_4] = 61.50 EUR`. If a tool failed, say so."""


class Question(BaseModel):
    """The run's input."""

    text: str


class ToolCall(BaseModel):
    """A call that the model asks for."""

    source: str
    """How the answer cites it: call_1, call_2 … over both rounds."""
    id: str
    """The model's own name of it."""
    name: str
    arguments: str
    """JSON, as the model wrote it: it may be wrong."""


class ToolResult(BaseModel):
    """A call with what came of it."""

    call: ToolCall
    output: JsonValue = None
    error: str | None = None
    """What the model could do better, or that the tool gave no answer."""
    attempt: int = 1
    """Which attempt brought it."""


class Turn(BaseModel):
    """The model's reply: calls that it asks for, else its answer."""

    calls: list[ToolCall] = []
    answer: str | None = None

    @classmethod
    def read(cls, message: ChatCompletionMessage, *, calls_before: int) -> Turn:
        """Read a reply, naming its calls from where the last round's names ended."""
        asked = [call for call in message.tool_calls or [] if call.type == "function"]
        calls = [
            ToolCall(
                source=f"call_{number}",
                id=call.id,
                name=call.function.name,
                arguments=call.function.arguments,
            )
            for number, call in enumerate(asked, calls_before + 1)
        ]
        return cls(calls=calls, answer=None if calls else message.content or "")


class Conversation(BaseModel):
    """A question, and the calls that were made for it, round by round."""

    question: str
    rounds: list[list[ToolResult]] = []

    def after(self, calls: list[ToolCall], results: list[ToolResult | None]) -> Conversation:
        """Add a round; a call without a result is one that failed in every attempt."""
        if not calls:
            return self
        made = [
            result or ToolResult(call=call, error="the tool gave no answer")
            for call, result in zip(calls, results, strict=True)
        ]
        return Conversation(question=self.question, rounds=[*self.rounds, made])

    @property
    def results(self) -> list[ToolResult]:
        """Return all results in the order of their sources."""
        return [result for made in self.rounds for result in made]

    def messages(self) -> list[ChatCompletionMessageParam]:
        """Return it as the chat-completions protocol has it."""
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": self.question},
        ]
        for made in self.rounds:
            messages.append(_asked(made))
            messages.extend(_told(result) for result in made)
        return messages


def _asked(made: list[ToolResult]) -> ChatCompletionAssistantMessageParam:
    return {
        "role": "assistant",
        "tool_calls": [
            {
                "type": "function",
                "id": result.call.id,
                "function": {"name": result.call.name, "arguments": result.call.arguments},
            }
            for result in made
        ],
    }


def _told(result: ToolResult) -> ChatCompletionToolMessageParam:
    key, value = ("error", result.error) if result.error else ("output", result.output)
    content = orjson.dumps({"source": result.call.source, key: value}).decode()
    return {"role": "tool", "tool_call_id": result.call.id, "content": content}


class Answer(BaseModel):
    """The run's output."""

    text: str
    results: list[ToolResult]
    """What the answer cites."""
    doubts: list[str] = []
    """Figures of the text that do not stand where it says, or that it cites nothing; see `grounding.py`."""
