"""`python -m examples.report`: a quarterly report by SQL, as a PDF, mailed once although the sending fails."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from rich.console import Console

from pgflow import Result, execute_async
from pgflow.embedded import resolve_dsn
from pgflow.schema import install

from .checks import Product, check
from .company import found
from .flow import Request, mail, quarterly
from .mail_server import MailServer

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = Request(quarter="2026-Q3", recipient="ada@example.org")
KEYS = "examples/report "
"""How the keys of the example's runs begin: by it they are told from those of others."""
LEFT_OVER = """
select pgflow.cancel_run(run_id, 'the example was interrupted')
from pgflow.runs
where flow_slug = 'quarterly_report' and status = 'started' and starts_with(idempotency_key, %s)
"""


def main() -> int:
    """Run the pattern; return 0 if every check holds."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/report"), help="where to write")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(
        quiet=options.json, highlight=False, width=None if sys.stdout.isatty() else 140
    )
    try:
        facts = asyncio.run(run(options.out, console, live=not options.json))
    except KeyboardInterrupt:
        print("interrupted; the run was cancelled", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        show(console, facts, options.out)
    return 0 if all(facts["checks"].values()) else 1


def new_key() -> str:
    """Return a key for a run of the example."""
    return f"{KEYS}{uuid4()}"


@contextmanager
def no_run_left(dsn: str) -> Iterator[None]:
    """Cancel what an interruption leaves, of this process or of one that was killed: no worker shall go on with it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(LEFT_OVER, [KEYS])
        try:
            yield
        finally:
            connection.execute(LEFT_OVER, [KEYS])


async def run(out: Path, console: Console, *, live: bool) -> dict[str, Any]:
    """Have the report made and mailed, then ask for it again; return what there is to know."""
    began = time.monotonic()
    dsn = resolve_dsn()
    install(dsn)
    found(dsn)

    async def execute() -> Result:
        return await execute_async(
            quarterly, REQUEST, dsn=dsn, key=new_key(), live=live, timeout=90
        )

    with no_run_left(dsn), MailServer() as server:
        os.environ["SMTP_URL"] = server.url  # where the handler looks
        console.print("[bold]The report[/]: the mail server will cut the connection\n")
        first = await execute()
        console.print("\n[bold]The same report, asked for again[/]\n")
        second = await execute()
    product = Product.read(dsn, first.run_id)
    (out / "report.pdf").write_bytes(product.pdf)
    (out / "picture.png").write_bytes(product.preview)
    for message in server.inbox.kept.values():
        (out / "mail.eml").write_bytes(message.as_bytes())
    deliveries = [first[mail], second[mail]]
    return {
        "runs": [str(first.run_id), str(second.run_id)],
        "document": product.output,
        "deliveries": [asdict(delivery) for delivery in deliveries],
        "messages_received": len(server.inbox.deliveries),
        "messages_kept": len(server.inbox.kept),
        "checks": check(dsn, product, server.inbox, deliveries),
        "seconds": round(time.monotonic() - began, 1),
    }


def show(console: Console, facts: dict[str, Any], out: Path) -> None:
    """Print the summary."""
    document = facts["document"]
    console.print(
        f"\n[bold]A PDF of {document['pages']} pages[/], {document['size']:,} bytes; received"
        f" {facts['messages_received']} times by the mail server, kept {facts['messages_kept']} time"
    )
    for claim, holds in facts["checks"].items():
        console.print(f"  [green]✓[/] {claim}" if holds else f"  [red]✗ {claim}[/]")
    console.print(f"\n{facts['seconds']} s; {out / 'report.pdf'}, {out / 'picture.png'}")


if __name__ == "__main__":
    sys.exit(main())
