"""What the stand-in knows of English: stems, words that carry nothing, currencies by name."""

from __future__ import annotations

import re

SAME = {"sold": "sell", "brought": "bring", "bought": "buy", "kept": "keep"}
EMPTY = re.findall(
    r"\w+",
    """
    a an and are as at be by did do does for from had how i in into is it long many may much now of on one or our
    that the their them they this to was we were what which who with
    """,
)
CURRENCIES = {"euro": "EUR", "kroner": "NOK", "pound": "GBP", "yen": "JPY"}


def stems(text: str) -> set[str]:
    """Return the stems of the words that say something."""
    words: list[str] = re.findall(r"[a-zé]+", text.lower())
    return {stem(SAME.get(word, word)) for word in words if word not in EMPTY}


def stem(word: str) -> str:
    """Cut what English adds to a word."""
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004 - "red" and "ring" are words
            return word.removesuffix(ending)
    return word


def overlap(one: str, other: str) -> int:
    """Count the words that two texts share."""
    return len(stems(one) & stems(other))
