"""Words for a terminal: numbers for people, and text that cannot steer it. Without rich, so that it loads at once."""

from __future__ import annotations

import sys

MAX_LINE = 60
"""Characters of a text that is shown on one line, unless told otherwise."""


def say(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def clock(duration: float) -> str:
    """Return `0:05` or `1:02:03`."""
    minutes, second = divmod(round(duration), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def seconds(duration: float) -> str:
    """Return `0.12 s`, `4.2 s` or, from a minute on, a clock."""
    if duration >= 60:  # noqa: PLR2004 - a minute
        return clock(duration)
    return f"{duration:.2f} s" if duration < 1 else f"{duration:.1f} s"


def count(number: int, noun: str) -> str:
    """Return `1 task`, `1,000 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """Show control characters as escapes: stored text must not steer the reader's terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Return the text on one line, cut to the limit."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
