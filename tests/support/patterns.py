"""Runs a pattern of examples/ as its user would, and returns what it says of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_pattern(
    name: str, dsn: str, out: Path, *arguments: str, timeout: float = 110, code: int = 0
) -> dict[str, Any]:
    """Run `python -m examples.NAME --json --out DIRECTORY`; return the JSON document that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}", "--json", "--out", str(out), *arguments],
        cwd=ROOT,
        env={**os.environ, "PGFLOW_DSN": dsn},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr, done.stderr[-4000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document
