"""Where a thread is that blocks others: the innermost line that is not of Python's or of pgflow's own, and the stack."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

FRAMES = 20
"""Frames shown, the innermost."""

_OURS = str(Path(__file__).parent)


def blocking_place(thread: int) -> tuple[str, str]:
    """Return the place where a thread is just now, and as text its stack, from what the event loop called."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - the only way to see another thread's stack
    stack = traceback.extract_stack(frame) if frame is not None else []
    loop = [place for place, entry in enumerate(stack) if "asyncio" in entry.filename]
    above = stack[loop[-1] + 1 :] if loop else stack
    shown = [entry for entry in above if not _is_machinery(entry.filename)] or stack
    text = "".join(traceback.format_list(shown[-FRAMES:])).rstrip()
    if not shown or _is_machinery(shown[-1].filename):
        return "something that cannot be seen from Python", text
    last = shown[-1]
    return f"{last.name} ({last.filename}:{last.lineno})", text


def _is_machinery(path: str) -> bool:
    return "asyncio" in path or path.startswith(_OURS)
