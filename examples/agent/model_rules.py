"""What the stand-in says: rules over the conversation and the tools that it was sent.

A sentence of the question goes to the tool whose description shares the most words with it; arguments are read out of
the sentence, the tool's description and earlier outputs; the answer is put together from the outputs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from .sql_rules import to_sql
from .words import CURRENCIES, overlap, stems

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that the stand-in asks for."""

    tool: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Evidence:
    """A call that was made, and what it gave."""

    wish: Wish
    source: str
    output: Any
    """None if the tool failed."""

    @property
    def rows(self) -> list[Json]:
        """Return the output's objects."""
        found = self.output if isinstance(self.output, list) else [self.output]
        return [row for row in found if isinstance(row, dict)]


def reply(messages: list[Json], tools: list[Json]) -> str | list[Wish]:
    """Ask for what is needed and was not asked for yet, else answer."""
    question = next(message["content"] for message in messages if message["role"] == "user")
    evidence = read_evidence(messages)
    asked = [found.wish for found in evidence]
    wishes = [wish for wish in wanted(question, tools, evidence) if wish not in asked]
    return wishes or answer(evidence)


def read_evidence(messages: list[Json]) -> list[Evidence]:
    """Bring the tools' messages together with the calls that they answer."""
    calls = {
        call["id"]: Wish(call["function"]["name"], json.loads(call["function"]["arguments"]))
        for message in messages
        for call in message.get("tool_calls") or []
    }
    told = [message for message in messages if message["role"] == "tool"]
    contents = [(message["tool_call_id"], json.loads(message["content"])) for message in told]
    return [
        Evidence(calls[call_id], content["source"], content.get("output"))
        for call_id, content in contents
    ]


def sentences(text: str) -> list[str]:
    """Cut a text at the ends of its sentences."""
    return re.split(r"(?<=[?.!])\s+", text.strip())


def wanted(question: str, tools: list[Json], evidence: list[Evidence]) -> list[Wish]:
    """Return the calls that the question needs, as far as their arguments are known."""
    wishes = []
    for sentence in sentences(question):
        for tool in fitting(sentence, tools):
            arguments = fill_in(tool, sentence, evidence)
            if arguments is not None:
                wishes.append(Wish(tool["function"]["name"], arguments))
    return wishes


def fitting(sentence: str, tools: list[Json]) -> list[Json]:
    """Return the tool that a sentence is for, else one that searches; and one that converts an amount."""
    abouts = [stems(tool["function"]["description"].split("\n")[0]) for tool in tools]
    known = Counter(word for about in abouts for word in about)
    scores = [sum(1 / known[word] for word in about & stems(sentence)) for about in abouts]
    best = max(scores, default=0)
    chosen = [tool for tool, score in zip(tools, scores, strict=True) if score == best > 0][:1]
    search = [tool for tool in tools if set(parameters(tool)) == {"query"}]
    convert = [tool for tool in tools if "quote" in parameters(tool) and tool not in chosen]
    return (chosen or search) + convert


def parameters(tool: Json) -> Json:
    """Return the schemas of a tool's parameters."""
    schemas: Json = tool["function"]["parameters"]["properties"]
    return schemas


def fill_in(tool: Json, sentence: str, evidence: list[Evidence]) -> Json | None:
    """Return the arguments for a tool, by the names of its parameters; None if they can't be known (yet)."""
    match set(parameters(tool)):
        case names if names == {"sql"}:
            statement = to_sql(sentence, tool["function"]["description"])
            return None if statement is None else {"sql": statement}
        case names if names == {"query"}:
            return {"query": sentence}
        case names if names == {"base", "quote"}:
            return currencies(sentence, evidence)
        case names if len(names) == 1:
            named = re.findall(r"(?<=\s)[A-Z]\w+", sentence)
            return {names.pop(): named[-1]} if named else None
        case _:
            return None


def currencies(sentence: str, evidence: list[Evidence]) -> Json | None:
    """Return what to convert from, which an earlier output tells, and into what."""
    quote = next((code for stem, code in CURRENCIES.items() if stem in stems(sentence)), None)
    bases = [row["currency"] for found in evidence for row in found.rows if "currency" in row]
    if quote is None or not bases or bases[0] == quote:
        return None
    return {"base": bases[0], "quote": quote}


def answer(evidence: list[Evidence]) -> str:
    """Tell what each output says, and cite it."""
    lines = [tell(found, evidence) for found in evidence]
    return "\n".join(lines) or "No tool fits this question."


def tell(found: Evidence, evidence: list[Evidence]) -> str:
    """Tell what one output says."""
    match found.rows:
        case []:
            what = "found nothing" if found.output == [] else "gave no answer"
            return f"{found.wish.tool} {what} [{found.source}]."
        case [{"refused": reason}]:
            return f"{found.wish.tool} refused: {reason} [{found.source}]."
        case [{"title": _, "body": _}, *_] as passages:
            return f"{quotation(found.wish.arguments['query'], passages)} [{found.source}]."
        case [{"base": _, "quote": _, "rate": rate} as row]:
            return conversion(row, Decimal(str(rate)), found.source, evidence)
        case rows:
            return f"{'; '.join(tell_row(row) for row in rows)} [{found.source}]."


def quotation(query: str, passages: list[Json]) -> str:
    """Quote the sentence that shares the most words with the query, and the one after it."""
    pairs = []
    for passage in passages:
        parts = sentences(passage["body"])
        pairs += [
            (part, " ".join(parts[at : at + 2]), passage["title"]) for at, part in enumerate(parts)
        ]
    _, quoted, title = max(pairs, key=lambda pair: overlap(query, f"{pair[2]} {pair[0]}"))
    return f"{title}: \u201c{quoted}\u201d"


def conversion(row: Json, rate: Decimal, source: str, evidence: list[Evidence]) -> str:
    """Convert the first amount in the rate's base."""
    for found in evidence:
        for amounts in found.rows:
            amount = next((value for value in map(number, amounts.values()) if value), None)
            if amounts.get("currency") == row["base"] and amount is not None:
                return (
                    f"{amount:,} {row['base']} [{found.source}] x {rate} [{source}]"
                    f" = {round(amount * rate, 2):,} {row['quote']}."
                )
    return f"1 {row['base']} is {rate} {row['quote']} [{source}]."


def tell_row(row: Json) -> str:
    """Tell an object: what it is about, then its figures."""
    unit = f" {row['currency']}" if "currency" in row else ""
    about, told = [], []
    for key, value in row.items():
        figure = number(value)
        if figure is not None:
            told.append(f"{key.replace('_', ' ')} {figure:,}")
        elif value is None:
            told.append(f"no {key.replace('_', ' ')}")
        elif key != "currency":
            about.append(str(value))
    return f"{', '.join(about) or 'All'}: {', '.join(told)}{unit}"


def number(value: Any) -> Decimal | None:
    """Return a value as a number, if it is one."""
    try:
        return None if isinstance(value, bool) or value is None else Decimal(str(value))
    except InvalidOperation:
        return None
