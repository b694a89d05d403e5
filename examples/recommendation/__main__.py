"""Run the pattern: `python -m examples.recommendation [--out DIR] [--json]`."""

import argparse
import asyncio
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pgflow.embedded import resolve_dsn
from pgflow.errors import PgflowError, RunFailed
from pgflow.schema import install

NEEDED = ("matplotlib", "numpy", "pgvector", "sklearn")


def main() -> int:
    """Return 0 if every check holds, 1 if not, 2 if something is missing."""
    parser = argparse.ArgumentParser(prog="recommendation", description="Recommend ten tracks.")
    parser.add_argument(
        "--out", type=Path, default=Path("out/recommendation"), help="where files go"
    )
    parser.add_argument("--seed", type=int, default=7, help="other tracks and listeners")
    parser.add_argument("--json", action="store_true", help="print nothing but a JSON document")
    arguments = parser.parse_args()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        requirements = Path(__file__).with_name("requirements.txt")
        sys.stderr.write(f"Missing: {', '.join(missing)}. pip install -r {requirements}\n")
        return 2
    # Tasks are what runs in parallel here; threads of BLAS below them would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .scenario import run  # noqa: PLC0415 - imports what is looked for above

    try:
        dsn = resolve_dsn()
        install(dsn)
        facts = asyncio.run(run(dsn, arguments.out, seed=arguments.seed, live=not arguments.json))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the runs were cancelled\n")
        return 130
    except PgflowError as error:
        sys.stderr.write(f"{error}\n")
        return 1 if isinstance(error, RunFailed) else 2
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        show(facts)
    return 0 if all(facts["checks"].values()) else 1


def show(facts: dict[str, Any]) -> None:
    """Print the summary."""
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for position, each in enumerate(facts["top_10"], start=1):
        table.add_row(f"{position}. {each['title']}", f"{each['score']:.2f}  {each['genre']}")
    for group, each in facts["quality"].items():
        table.add_row(
            group,
            f"{each['hit_rate']:.0%} like one of their ten (most popular: {each['popularity_hit_rate']:.0%});"
            f" {each['precision']:.0%} of the tracks are liked ({each['popularity_precision']:.0%})",
        )
    table.add_row("recall", f"{facts['recall']:.1%} of the {facts['neighbours']} nearest")
    table.add_row("diversity", f"{facts['diversity']:.2f}, unmixed {facts['diversity_before']:.2f}")
    table.add_row("the failure", facts["lost_connection"])
    table.add_row("picture", facts["picture"])
    console.print()
    console.print(table)
    for claim, holds in facts["checks"].items():
        console.print("[green]✓[/]" if holds else "[red]✗[/]", claim)


if __name__ == "__main__":
    sys.exit(main())
