"""`python -m examples.microservices`: two orders through seven services, one of which is killed on the way."""

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
from rich.table import Table

from pgflow import Result, execute_async
from pgflow.embedded import resolve_dsn
from pgflow.schema import install

from .account import Account, speeds
from .checks import check
from .flow import Cart, checkout, response
from .keeper import Keeper
from .picture import draw

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED, REFUNDED = Cart(user_id=1, sku="keyboard", pieces=2), Cart(user_id=2, sku="lamp", pieces=1)
DELAYS = {
    # Its first process stores the charge, and is killed before it would answer.
    "payment": (60.0, 0.05),
    "shipping": (1.2,),
    **dict.fromkeys(("mail", "sms", "webhook"), (0.5,)),
}
REMARKS = {
    ("payment_charge", 1): "killed: charged, no answer",
    ("payment_charge", 2): "same key: the charge that it had stored",
    ("sms_send", 1): "503: busy",
}
KEYS = "examples/microservices "
"""How the keys of the example's runs begin: by it they are told from a shop's own."""
LEFT_OVER = """
select pgflow.cancel_run(run_id, 'the example was interrupted')
from pgflow.runs
where flow_slug = 'checkout' and status = 'started' and starts_with(idempotency_key, %s)
"""


def main() -> int:
    """Run the pattern; return 0 if every check holds."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/microservices"), help="where to write"
    )
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
        print(json.dumps(facts, indent=2, default=str))
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
    """Send both orders through the flow; return what there is to know about them."""
    began = time.monotonic()
    dsn = resolve_dsn()
    install(dsn)

    async def execute(cart: Cart) -> Result:
        return await execute_async(checkout, cart, dsn=dsn, key=new_key(), live=live, timeout=90)

    with no_run_left(dsn), Keeper(out / "services", DELAYS) as keeper:
        os.environ.update(keeper.environment)  # where the handlers look
        pids = ", ".join(f"{name} {kept.pids[0]}" for name, kept in keeper.services.items())
        console.print(f"Seven services run: {pids}\n")
        console.print("[bold]Order 1[/]: the payment server is killed when it has charged\n")
        keeper.kill_after_the_first("payment", "charge")
        shipped = await execute(SHIPPED)
        console.print("\n[bold]Order 2[/]: out of stock\n")
        refunded = await execute(REFUNDED)
    accounts = (Account.read(dsn, shipped.run_id), Account.read(dsn, refunded.run_id))
    services = speeds(dsn)
    titles = (f"Order 1: {shipped[response].status}", f"Order 2: {refunded[response].status}")
    draw(out / "picture.svg", dict(zip(titles, accounts, strict=True)), REMARKS)
    return {
        "runs": [str(account.run_id) for account in accounts],
        "responses": [asdict(result[response]) for result in (shipped, refunded)],
        "payment_processes": keeper.services["payment"].pids,
        "services": [asdict(service) for service in services],
        "slowest": services[0].service,
        "checks": check(*accounts, services, keeper.services),
        "seconds": round(time.monotonic() - began, 1),
    }


def show(console: Console, facts: dict[str, Any], out: Path) -> None:
    """Print the summary."""
    table = Table("service", "calls", "median", "longest", box=None, title_justify="left")
    for service in facts["services"]:
        times = (f"{service[column]:.3f} s" for column in ("median", "longest"))
        table.add_row(service["service"], str(service["calls"]), *times)
    console.print("\n[bold]By pgflow's views (slowest.sql)[/]", table)
    console.print("\n[bold]Compared with the services' own databases[/]")
    for claim, holds in facts["checks"].items():
        console.print(f"  [green]✓[/] {claim}" if holds else f"  [red]✗ {claim}[/]")
    console.print(f"\n{facts['seconds']} s; {out / 'picture.svg'}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
