"""`python -m examples.stream`: events through broker, bridge and workers, each of which is killed once, and every total checked."""

import argparse
import asyncio
import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psycopg
from rich.table import Table

from pgflow import schema
from pgflow.embedded import resolve_dsn

from . import audit, chart, store
from .broker import MISSING, find_server
from .live import Live
from .plant import FEWEST, Plant
from .publisher import read_ledger


def main() -> int:
    """Run the example; 0 if every check holds."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/stream"), help="where files are written"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else"
    )
    parser.add_argument("--events", type=int, default=5_050)
    parser.add_argument("--rate", type=float, default=700, help="events a second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--nats-server", help="the program, if it is not on the PATH")
    options = parser.parse_args()
    if options.events < FEWEST:
        parser.error(f"--events: {FEWEST:,} at least, or nothing is left to be killed")
    if options.rate <= 0:
        parser.error("--rate: more than none")
    program = find_server(options.nats_server)
    if program is None:
        sys.stderr.write(f"{MISSING}\n")
        return 2
    # The killed workers are the example's intention, not a warning.
    logging.getLogger("pgflow").setLevel(logging.CRITICAL)
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    dsn = resolve_dsn()
    schema.install(dsn)
    store.create(dsn)
    began = time.monotonic()
    live = Live(options.events, quiet=options.json)
    plant = Plant(program, dsn, out, live)
    try:
        asyncio.run(plant.run(options.events, options.rate, options.seed))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("interrupted\n")
        return 130
    with psycopg.connect(dsn) as connection:
        figures, checks = audit.audit(
            connection, plant.ledger, options.events, plant.unacknowledged
        )
        chart.draw(out / "picture.svg", connection, read_ledger(plant.ledger), plant.outages)
    facts = {
        "events": options.events,
        "seconds": round(time.monotonic() - began, 1),
        "outages": {who: round(end - start, 1) for who, (start, end) in plant.outages.items()},
        **asdict(figures),
    }
    if options.json:
        print(json.dumps({**facts, "checks": checks}, indent=2))
    else:
        show_summary(live, figures, checks, facts["seconds"])
        live.console.print(f"Ledger, logs and picture: {out}", soft_wrap=True)
    return 0 if all(checks.values()) else 1


def show_summary(
    live: Live, figures: audit.Figures, checks: dict[str, bool], seconds: object
) -> None:
    """Print what was done and what was checked."""
    live.console.print(
        f"\n{seconds} s, {figures.runs} runs, {figures.short_runs} of them started by the interval"
    )
    table = Table("shop")
    table.add_column("sales", justify="right")
    table.add_column("amount", justify="right")
    for shop, (sales, cents) in sorted(figures.totals.items()):
        table.add_row(shop, f"{sales:,}", f"{cents / 100:,.2f}")
    live.console.print(table)
    live.console.print(
        f"{figures.published_again} events published again, {figures.redelivered} delivered again,"
        f" {figures.lost_attempts} tasks done again",
        soft_wrap=True,
    )
    for claim, holds in checks.items():
        live.console.print(
            f"[green]✓[/] {claim}" if holds else f"[red]✗ {claim}[/]", soft_wrap=True
        )


if __name__ == "__main__":
    sys.exit(main())
