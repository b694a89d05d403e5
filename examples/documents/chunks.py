"""Cuts pages into pieces of some sentences: what is embedded, and what a search returns."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .embeddings import count_tokens
from .reading import PageText

MOST_TOKENS = 48
"""A few sentences: in longer pieces one thought is drowned by the others, and beyond 256 tokens the model is blind."""
SHORT = 0.6
"""A line shorter than this share of the longest ends a unit: it is a heading, an address, the last line of a paragraph."""
SENTENCE = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\b\d\.)\s+(?=[A-Z\d])")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a page."""

    page: int
    position: int
    """Within its page, from 0."""
    text: str


def cut(page: PageText) -> list[Chunk]:
    """Cut a page into pieces that hold whole sentences, unless a sentence alone is too long."""
    pieces: list[str] = []
    for unit in _units(page.text):
        joined = f"{pieces[-1]} {unit}" if pieces else unit
        if pieces and count_tokens(joined) <= MOST_TOKENS:
            pieces[-1] = joined
        else:
            pieces.append(unit)
    return [Chunk(page.number, position, text) for position, text in enumerate(pieces)]


def _units(text: str) -> Iterator[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    longest = max(map(len, lines), default=0)
    paragraph: list[str] = []
    for line in lines:
        paragraph.append(line)
        if len(line) < SHORT * longest:
            yield from _sentences(" ".join(paragraph))
            paragraph = []
    yield from _sentences(" ".join(paragraph))


def _sentences(paragraph: str) -> Iterator[str]:
    for sentence in SENTENCE.split(paragraph):
        words = sentence.split()
        while words and count_tokens(" ".join(words)) > MOST_TOKENS:
            yield " ".join(words[: MOST_TOKENS // 3])
            words = words[MOST_TOKENS // 3 :]
        if words:
            yield " ".join(words)
