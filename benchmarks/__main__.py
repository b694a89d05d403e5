"""`python -m benchmarks [--peers] [--quick] [--json] [--write] [--only NAME ...]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks import contest, suite
from benchmarks.page import OWN, PEERS, keep, kept, stamped, write
from benchmarks.tables import (
    diamond_table,
    fan_table,
    goal_table,
    limit_table,
    map_table,
    other_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contestant import Entry
    from benchmarks.goals import Figures
    from benchmarks.tables import Table

WIDTH = 140
"""Columns that the tables need."""


def main() -> None:
    """Measure, and show what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the engine.")
    parser.add_argument("--peers", action="store_true", help="compare with other engines instead")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="with --peers: only these")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write", action="store_true", help="keep the figures, write the page")
    options = parser.parse_args()
    if options.only and (not options.peers or options.write):
        parser.error("--only goes with --peers, and not with --write: the page has all engines")
    try:
        entries = contest.choose(options.only)
    except ValueError as error:
        parser.error(str(error))
    begin = time.monotonic()
    with Console(stderr=True).status("measuring") as status:

        def tell(text: str) -> None:
            status.update(f"measuring {text}")
            if not sys.stderr.isatty():
                print(f"{time.monotonic() - begin:6.0f} s  {text}", file=sys.stderr, flush=True)

        found = (
            _compare(options.quick, entries, tell)
            if options.peers
            else _measure(options.quick, tell)
        )
    figures = stamped(found, _command(), time.monotonic() - begin)
    name = PEERS if options.peers else OWN
    if options.write:
        keep(name, figures)
        write()
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        _show(name, figures)


def _measure(quick: bool, tell: Callable[[str], None]) -> Figures:
    plan = suite.QUICK if quick else suite.FULL
    return asyncio.run(suite.run_suite(plan, tell)).as_json()


def _compare(quick: bool, entries: list[Entry], tell: Callable[[str], None]) -> Figures:
    found = contest.Contest(contest.QUICK if quick else contest.FULL, entries, tell)
    found.run()
    return found.as_json()


def _show(name: str, figures: Figures) -> None:
    if name == PEERS:
        tables = [fan_table(figures), diamond_table(figures), goal_table(kept(OWN), figures)]
    else:
        tables = [limit_table(figures), map_table(figures), other_table(figures)]
        tables.append(goal_table(figures, kept(PEERS)))
    console = Console()
    for table in tables:
        Console(width=max(WIDTH, console.width)).print(_rich(table))
    print(f"{figures['seconds']:.0f} s")


def _rich(table: Table) -> RichTable:
    shown = RichTable(*table.head, title=table.title)
    for column, name in zip(shown.columns, table.head, strict=True):
        column.justify = "left" if name in table.texts else "right"
    for row in table.rows:
        shown.add_row(*(cell.replace("*", "") for cell in row))
    return shown


def _command() -> str:
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    # Other programs are kept off the processors meanwhile.
    return f"chrt -r 1 {command}" if _is_real_time() else command


def _is_real_time() -> bool:
    if not hasattr(os, "sched_getscheduler"):
        return False
    return os.sched_getscheduler(0) != os.SCHED_OTHER


if __name__ == "__main__":
    main()
