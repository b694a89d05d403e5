"""Plain output: aligned tables, JSON.

Without rich, so that commands that print a few lines start at once.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from pgflow.live.text import one_line, printable, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgflow.records import RawJson

GAP = "  "
MIN_LAST = 24
"""Characters of the last column, often an error, before other columns give way."""
MAX_CELL = 60
"""Characters of a table's cell on a terminal; pipes get all of it."""


def cell(value: object, limit: int = sys.maxsize) -> str:
    """Return what a table shows for a value, in so many characters at most."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    text = f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)
    return one_line(text, limit)


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, optional: Sequence[str] = ()
) -> None:
    """Print columns aligned by spaces.

    A narrow terminal does without the `optional` columns, the first of them first, and cuts the last.
    """
    limit = MAX_CELL if sys.stdout.isatty() else sys.maxsize
    lines = [list(headers)]
    lines += [[*(cell(value, limit) for value in row[:-1]), cell(row[-1])] for row in rows]
    if sys.stdout.isatty():
        _fit(lines, list(optional), shutil.get_terminal_size().columns)
    widths = _widths(lines)
    for line in lines:
        padded = [text.ljust(width) for text, width in zip(line, [*widths[:-1], 0], strict=True)]
        say(GAP.join(padded).rstrip())


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _fit(lines: list[list[str]], optional: list[str], columns: int) -> None:
    while True:
        *widths, last = _widths(lines)
        space = columns - sum(widths) - len(GAP) * len(widths)
        if space >= min(last, MIN_LAST) or not optional:
            break
        dropped = lines[0].index(optional.pop(0))
        for line in lines:
            del line[dropped]
    for line in lines:
        line[-1] = one_line(line[-1], max(space, 1))


def emit_json(value: Any) -> None:
    """Print one JSON document."""
    import json  # noqa: PLC0415 - only some commands print JSON

    json.dump(value, sys.stdout, indent=2, default=plain, ensure_ascii=False)
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """Return records, JSON columns, times and ids as what JSON has."""
    from dataclasses import fields, is_dataclass  # noqa: PLC0415 - as in emit_json
    from datetime import datetime, timedelta  # noqa: PLC0415

    from pgflow.records import RawJson  # noqa: PLC0415

    match value:
        case RawJson():
            return value.parse()
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _ if is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        case _:
            return str(value)


def excerpt(value: RawJson, lines: int = 20) -> str:
    """Return JSON for reading: indented, on a terminal cut to so many lines."""
    import json  # noqa: PLC0415 - as in emit_json

    text = json.dumps(value.parse(), indent=2, ensure_ascii=False).split("\n")
    if sys.stdout.isatty() and len(text) > lines:
        text[lines:] = [f"… {len(text) - lines:,} more lines: --json prints all"]
    return "\n".join(printable(line) for line in text)
