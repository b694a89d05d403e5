"""Run the pattern: `python -m examples.vision [--out DIR] [--json]`."""

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

NEEDED = ("numpy", "onnxruntime", "PIL", "skl2onnx", "sklearn")


def main() -> int:
    """Return 0 if every check holds, 1 if not, 2 if something is missing."""
    parser = argparse.ArgumentParser(prog="vision", description="Classify 100 images.")
    parser.add_argument("--out", type=Path, default=Path("out/vision"), help="where files go")
    parser.add_argument("--seed", type=int, default=7, help="other images, other training data")
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
    table.add_row("stored", f"{facts['stored']} of {facts['images']} images")
    for failure in facts["failed"]:
        table.add_row("failed", f"{failure['image']}: {failure['reason']}")
    table.add_row("accuracy", f"{facts['accuracy']:.1%} of {facts['stored']} unseen digits")
    table.add_row("for review", f"{facts['needs_review']} with low confidence")
    for worker in facts["workers"]:
        loads = f"{worker['images']} tasks of infer, model loaded {worker['model_loads']}x"
        table.add_row(f"worker {worker['pid']}", loads)
    table.add_row("picture", facts["picture"])
    console.print()
    console.print(table)
    for claim, holds in facts["checks"].items():
        console.print("[green]✓[/]" if holds else "[red]✗[/]", claim)


if __name__ == "__main__":
    sys.exit(main())
