"""`python -m benchmarks [--quick] [--json] [--write]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

from rich.console import Console

from benchmarks.report import as_json, as_markdown, show
from benchmarks.suite import FULL, QUICK, run_suite

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
WIDTH = 120
"""Columns that the tables need."""


def main() -> None:
    """Measure, and show what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the engine.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller, under 30 s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    console = Console(stderr=True)
    begin = time.monotonic()
    with console.status("measuring") as status:
        plan = QUICK if options.quick else FULL
        results = asyncio.run(run_suite(plan, lambda text: status.update(f"measuring {text}")))
    seconds = time.monotonic() - begin
    if options.json:
        print(json.dumps(as_json(results), indent=2))
    else:
        console = Console()
        show(results, Console(width=max(WIDTH, console.width)))
        print(f"{seconds:.0f} s")
    if options.write:
        command = "python -m benchmarks --write" + (" --quick" if options.quick else "")
        if _is_real_time():
            command = f"chrt -r 1 {command}"
        PAGE.write_text(as_markdown(results, command, seconds), encoding="utf-8")


def _is_real_time() -> bool:
    """Tell whether other programs are kept off the processors meanwhile, as `chrt -r 1` does."""
    if not hasattr(os, "sched_getscheduler"):
        return False
    return os.sched_getscheduler(0) != os.SCHED_OTHER


if __name__ == "__main__":
    main()
