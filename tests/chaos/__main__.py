"""`python -m tests.chaos --seed 1 --seconds 60`: hurt everything, heal it, and check that nothing was lost.

The exit code is 0 when no invariant was violated, else 1.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from rich.console import Console

from tests.chaos import report
from tests.chaos.hunt import Quarry, hunt


def main() -> int:
    """Hunt as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same faults")
    parser.add_argument("--seconds", type=float, default=0, help="hunt at least so long")
    parser.add_argument("--kills", type=int, default=0, help="workers to kill at least")
    parser.add_argument("--crashes", type=int, default=0, help="times to crash PostgreSQL at least")
    parser.add_argument(
        "--doubts", type=int, default=0, help="commits whose reply is lost, at least"
    )
    parser.add_argument(
        "--pace", type=float, default=0.3, help="seconds between faults, on average"
    )
    parser.add_argument("--workers", type=int, default=5, help="worker processes")
    parser.add_argument("--write", type=Path, help="put the figures into this document")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what the clients meet is no news
    quarry = Quarry(options.seconds, options.kills, options.crashes, options.doubts)
    if quarry == Quarry():
        parser.error("say how long: --seconds, --kills, --crashes or --doubts")
    outcome = hunt(options.seed, quarry, pace=options.pace, workers=options.workers)
    report.show(outcome, Console())
    if options.json:
        options.json.write_text(report.as_json(outcome))
    if options.write:
        report.write(outcome, options.write)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
