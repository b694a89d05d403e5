"""Which figures of an answer do not stand in the output that it cites for them."""

from __future__ import annotations

from typing import Any

import pytest

from examples.agent.grounding import doubts
from examples.agent.messages import Conversation, ToolCall, ToolResult


def conversation(**outputs: Any) -> Conversation:
    made = [
        ToolResult(call=ToolCall(source=source, id=source, name="t", arguments="{}"), output=output)
        for source, output in outputs.items()
    ]
    return Conversation(question="What came in 2025?", rounds=[made])


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("In 2025 it was 1,200.50 NOK [call_1].", []),
        ("It was 1,200.51 NOK [call_1].", ["1200.51 does not stand in call_1"]),
        ("Yes.", ["it cites no source"]),
        ("", ["it cites no source"]),
        ("It was 7 [call_1].", ["7 does not stand in call_1"]),
        ("It was 1200.50.", ["1200.50 cites no source"]),
        ("It was 1200.50 [call_9].", ["1200.50 does not stand in call_9", "there is no call_9"]),
        ("1,200.50 NOK [call_1] x 0.5 [call_2] = 600.25 EUR.", []),
        ("1,200.50 NOK [call_1] x 0.5 [call_2] = 610.25 EUR.", ["1200.50 x 0.5 is not 610.25"]),
        ("1,200.50 NOK [call_1] x 0.6 [call_2] = 720.30 EUR.", ["0.6 does not stand in call_2"]),
        ("Both: 1,200.50 and 0.5 [call_1] [call_2]. No figure here.", []),
        ("Both: 1,200.50 and 0.5 [call_1, call_2].", []),
    ],
)
def test_doubts(answer: str, found: list[str]) -> None:
    assert doubts(answer, conversation(call_1=[{"sum": "1200.50"}], call_2={"rate": 0.5})) == found
