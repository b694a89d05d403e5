"""`python -m examples.etl`: load a file while a worker is killed, load it again, mend what was bad, and check it all."""

import argparse
import asyncio
import csv
import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from rich.console import Console
from rich.table import Table

from pgflow import Client, Database, Run, Supervisor, schema
from pgflow.embedded import resolve_dsn

from . import audit, chart, store
from .flow import Source, etl, load
from .generate import HEADER, Truth, generate
from .mend import Change, mend
from .sabotage import kill_in_the_middle_of_the_upsert

if TYPE_CHECKING:
    from uuid import UUID

FEWEST = 500
LEASE = 3
"""Seconds until the tasks of a dead worker are granted again; 30 unless told otherwise."""


class Example:
    """One time through: three runs of the flow, and what is true after each."""

    def __init__(self, dsn: str, out: Path, *, quiet: bool) -> None:
        self.dsn = dsn
        self.out = out
        self.quiet = quiet
        # Pipes get whole lines, however long.
        width = None if sys.stdout.isatty() else 160
        self.console = Console(highlight=False, quiet=quiet, width=width)
        self.checks: dict[str, bool] = {}
        self.runs: list[tuple[str, UUID, store.Load]] = []
        self.changes: list[Change] = []
        self.facts: dict[str, Any] = {}

    async def run(self, rows: int, seed: int) -> None:
        """Do all of it."""
        began = time.monotonic()
        file = self.out / "orders.csv"
        self.say(f"Writing {rows:,} rows to {file}, and starting two workers.")
        truth = generate(file, rows, seed=seed)
        store.create(self.dsn)
        async with (
            Database.connect(self.dsn) as database,
            Supervisor(
                f"{__package__}.flow:etl",
                processes=2,
                dsn=self.dsn,
                lease=LEASE,
                log_level="CRITICAL",
            ) as supervisor,
        ):
            await supervisor.ready()
            client = Client(database)
            await self.load_while_a_worker_dies(client, file, truth)
            await self.load_again(client, file)
            await self.load_what_was_mended(client, file, truth)
        with psycopg.connect(self.dsn) as connection:
            chart.draw(
                self.out / "picture.svg",
                [(name, done) for name, _, done in self.runs],
                audit.reasons(connection),
            )
        self.facts |= {
            "rows": rows,
            "bad_rows": len(truth.bad),
            "seconds": round(time.monotonic() - began, 1),
            "runs": [
                {"name": name, "run_id": str(i), **asdict(done)} for name, i, done in self.runs
            ],
            "mended_fields": len(self.changes),
        }

    async def load_while_a_worker_dies(self, client: Client, file: Path, truth: Truth) -> None:
        """Run the flow; kill the worker that loads when half of its rows are written."""
        self.say(
            "Loading orders.csv. The worker that loads will be killed in the middle of its upsert."
        )
        run = await client.start(etl, Source.of(file))
        middle = truth.order_ids[len(truth.order_ids) // 2]
        killed, _ = await asyncio.gather(
            kill_in_the_middle_of_the_upsert(self.dsn, run.id, middle), self.followed(run)
        )
        await self.note("the file", run)
        self.say(
            f"Worker {killed.pid} was killed (SIGKILL) with {killed.bytes_written:,} bytes of its upsert"
            f" written; {killed.rows_visible} rows were visible. Another worker loaded them when its lease of {LEASE} s had ended."
        )
        self.facts["killed"] = asdict(killed)
        with psycopg.connect(self.dsn) as connection:
            self.checks |= audit.first_run(connection, run.id, killed, truth)

    async def load_again(self, client: Client, file: Path) -> None:
        """Run the flow on the same file."""
        self.say("\nLoading the same file again.")
        before = self.state()
        run = await client.start(etl, Source.of(file))
        await self.followed(run)
        done = await self.note("the same file again", run)
        self.checks |= audit.second_run(before, self.state(), done.inserted, done.updated)

    async def load_what_was_mended(self, client: Client, file: Path, truth: Truth) -> None:
        """Mend the rows in quarantine and load them by one call."""
        source = Source.of(file)
        quarantine, mended = self.out / "quarantine.csv", self.out / "mended.csv"
        with psycopg.connect(self.dsn) as connection, quarantine.open("w", newline="") as target:
            columns = ("row", "reason", "detail", *HEADER)
            writer = csv.DictWriter(target, columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(store.unresolved(connection, source.name))
        self.changes, _ = mend(quarantine, mended)
        (self.out / "changes.txt").write_text("".join(f"{change}\n" for change in self.changes))
        self.say(
            f"\nMended {len(self.changes)} fields (all: {self.out / 'changes.txt'}), for example"
        )
        for change in {change.reason: change for change in reversed(self.changes)}.values():
            self.say(f"  {change}")
        run = await client.start(etl, Source.of(mended, mends=source))
        await self.followed(run)
        done = await self.note("the mended rows", run)
        self.checks |= audit.mended_run(self.state(), done.resolved, truth)

    async def followed(self, run: Run) -> None:
        """Wait for the end of a run, showing it live."""
        await (run.wait() if self.quiet else run.watch())

    async def note(self, name: str, run: Run) -> store.Load:
        """Keep what a run's load has done."""
        done = (await run.result())[load]
        self.runs.append((name, run.id, done))
        return done

    def state(self) -> audit.State:
        """Read the tables."""
        with psycopg.connect(self.dsn) as connection:
            return audit.state(connection)

    def say(self, text: str) -> None:
        """Print for people."""
        self.console.print(text, markup=False)

    def show_summary(self) -> None:
        """Print what was done and what was checked."""
        columns = ("extracted", "inserted", "updated", "unchanged", "quarantined", "resolved")
        table = Table("run", title=f"\n{self.facts['seconds']} s", title_justify="left")
        for column in columns:
            table.add_column(column, justify="right")
        for name, _, done in self.runs:
            table.add_row(name, *(f"{getattr(done, column):,}" for column in columns))
        self.console.print(table)
        for claim, holds in self.checks.items():
            self.console.print(f"[green]✓[/] {claim}" if holds else f"[red]✗ {claim}[/]")
        self.say(f"Files and picture: {self.out}")


def main() -> int:
    """Run the example; 0 if every check holds."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/etl"), help="where files are written")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else"
    )
    parser.add_argument(
        "--rows", type=int, default=10_000, help="rows of the file, 1 %% of them bad"
    )
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if options.rows < FEWEST:
        parser.error(f"fewer than {FEWEST} rows are loaded before anybody can kill a worker")
    # The killed worker is the example's intention, not a warning.
    logging.getLogger("pgflow").setLevel(logging.CRITICAL)
    options.out.mkdir(parents=True, exist_ok=True)
    dsn = resolve_dsn()
    schema.install(dsn)
    example = Example(dsn, options.out.resolve(), quiet=options.json)
    asyncio.run(example.run(options.rows, options.seed))
    if options.json:
        print(json.dumps({**example.facts, "checks": example.checks}, indent=2))
    else:
        example.show_summary()
    return 0 if all(example.checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
