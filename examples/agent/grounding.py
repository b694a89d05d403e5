"""Tells which figures of an answer do not stand in the output that the answer cites for them, and whether it cites any."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from .messages import Conversation

FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])")
CITATIONS = re.compile(r"((?:\s*\[call_\d+(?:, *call_\d+)*\])+)")
SOURCE = re.compile(r"call_\d+")
CONVERSION = re.compile(
    r"(?P<amount>\d[\d,.]*)[^\d\[\]=]*\[call_\d+\]\s*[x*\u00d7]\s*(?P<rate>\d[\d,.]*)[^\d\[\]=]*\[call_\d+\]"
    r"\s*=\s*(?P<result>\d[\d,]*(?:\.\d+)?)"
)
CENT = Decimal("0.01")


class UngroundedError(ValueError):
    """An answer is not what its sources say."""


def figures(text: str) -> list[Decimal]:
    """Return the numbers of a text, without separators of thousands."""
    return [Decimal(found.replace(",", "")) for found in FIGURE.findall(text)]


def doubts(answer: str, conversation: Conversation) -> list[str]:
    """Return what is wrong with an answer: nothing if it cites a source, and each figure stands in its own.

    Without an output there is nothing to cite.
    """
    outputs = {
        result.call.source: set(figures(orjson.dumps(result.output).decode()))
        for result in conversation.results
    }
    asked = set(figures(conversation.question))
    found = []
    for conversion in CONVERSION.finditer(answer):
        amount, rate, result = (figures(part)[0] for part in conversion.groups())
        if abs(amount * rate - result) > CENT:
            found.append(f"{amount} x {rate} is not {result}")
    computed = CONVERSION.sub(lambda match: match[0].rpartition("=")[0], answer)
    for statement, sources in _statements(computed):
        for figure in figures(statement):
            if not sources and figure not in asked:
                found.append(f"{figure} cites no source")
            elif figure not in asked.union(*(outputs.get(source, set()) for source in sources)):
                found.append(f"{figure} does not stand in {', '.join(sources)}")
        found.extend(f"there is no {source}" for source in sources if source not in outputs)
    told = any(result.error is None for result in conversation.results)
    if told and not CITATIONS.search(answer) and not found:
        found.append("it cites no source")
    return found


def _statements(answer: str) -> list[tuple[str, list[str]]]:
    """Cut an answer into statements, each with the sources that follow it."""
    parts = [*CITATIONS.split(answer), ""]
    return [
        (text, SOURCE.findall(cited)) for text, cited in zip(parts[::2], parts[1::2], strict=True)
    ]
