"""Run the pattern: `python -m examples.ensemble [--out DIR] [--json]`."""

import argparse
import json
import logging
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

NEEDED = ("matplotlib", "numpy", "onnxruntime", "skl2onnx", "sklearn")


def main() -> int:
    """Return 0 if every check holds, 1 if not, 2 if something is missing."""
    parser = argparse.ArgumentParser(prog="ensemble", description="Have three models vote.")
    parser.add_argument("--out", type=Path, default=Path("out/ensemble"), help="where files go")
    parser.add_argument("--seed", type=int, default=7, help="another split of the data")
    parser.add_argument("--json", action="store_true", help="print nothing but a JSON document")
    arguments = parser.parse_args()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        requirements = Path(__file__).with_name("requirements.txt")
        sys.stderr.write(f"Missing: {', '.join(missing)}. pip install -r {requirements}\n")
        return 2
    # Tasks are what runs in parallel here; threads of BLAS below them would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The failures are intended, and told by the summary.
    logging.getLogger("pgflow").setLevel(logging.CRITICAL)
    from .scenario import run  # noqa: PLC0415 - imports what is looked for above

    try:
        dsn = resolve_dsn()
        install(dsn)
        facts = run(dsn, arguments.out, seed=arguments.seed, live=not arguments.json)
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
    for name, accuracy in facts["accuracy"].items():
        table.add_row(name, f"{accuracy:.1%} of {facts['held_out']} held-out images")
    table.add_row("mean of the three", f"{facts['mean_accuracy']:.1%}")
    table.add_row("vote of three", f"[bold]{facts['ensemble']:.1%}[/]")
    table.add_row("vote without one", f"{facts['ensemble_without_one']:.1%}  ({facts['notes'][1]})")
    table.add_row("with two failed", facts["refusal"])
    table.add_row("the crash", facts["crash"])
    table.add_row("picture", facts["picture"])
    console.print()
    console.print(table)
    for claim, holds in facts["checks"].items():
        console.print("[green]✓[/]" if holds else "[red]✗[/]", claim)


if __name__ == "__main__":
    sys.exit(main())
