"""The journal: what handlers, workers, clients and watchers saw, in files that no database can lose.

Every process appends whole lines to a file of its own by single writes, so a killed process leaves what it had written.
Times are `time.monotonic()`, which all processes of one machine share, in seconds.
"""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "PGFLOW_CHAOS_JOURNAL"
"""Environment variable with the journal's directory, for processes of handlers."""

Line = dict[str, Any]

_files: dict[tuple[int, str], int] = {}


def write(event: str, /, directory: str | Path | None = None, **fields: Any) -> None:
    """Append one event of this process."""
    where = str(directory or os.environ[VARIABLE])
    key = (os.getpid(), where)
    if key not in _files:
        path = Path(where, f"{os.getpid()}.jsonl")
        _files[key] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    line = {
        "event": event,
        "pid": os.getpid(),
        "at": time.monotonic(),
        "wall": time.time(),
        **fields,
    }
    os.write(_files[key], orjson.dumps(line, default=str) + b"\n")


def read(directory: Path) -> Iterator[Line]:
    """Yield the lines of all files, each file's in its order; a line that a kill cut short is left out."""
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


def fingerprint(value: object) -> str:
    """Return a short hash of a JSON value, the same for equal values."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=8).hexdigest()
