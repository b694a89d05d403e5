"""`pgflow doctor`."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgflow.cli.common import AsJson, Dsn
from pgflow.cli.output import emit_json
from pgflow.live.text import count, printable, say

if TYPE_CHECKING:
    from pgflow._doctor import Examination, Finding

UNHEALTHY = 1

Fix = Annotated[
    bool,
    typer.Option(
        "--fix",
        help="Mend what needs no decision: lost, duplicate, finished and unknown messages.",
    ),
]


def doctor(*, fix: Fix = False, json: AsJson = False, dsn: Dsn = None) -> None:
    """Examine the server, the schema, workers and runs; the exit code is 1 if work is lost or stands still."""
    from pgflow._doctor import examine  # noqa: PLC0415 - see app.py
    from pgflow.embedded import resolve_dsn  # noqa: PLC0415

    found = examine(resolve_dsn(dsn), fix=fix)
    if json:
        emit_json(
            {
                "server_version": found.server_version,
                "healthy": found.is_healthy,
                "findings": [finding.as_dict() for finding in found.findings],
                "mended": [finding.as_dict() for finding in found.mended],
            }
        )
    else:
        _print(found, fix=fix)
    if not found.is_healthy:
        raise typer.Exit(UNHEALTHY)


def _print(found: "Examination", *, fix: bool) -> None:
    say(f"PostgreSQL {found.server_version}")
    if fix:
        say(f"Mended {count(len(found.mended), 'finding')}.")
        for finding in found.mended:
            say(f"  {finding.check}: {printable(finding.what)} ({printable(finding.where)})")
    for finding in found.findings:
        _print_finding(finding)
    errors = sum(finding.severity == "error" for finding in found.findings)
    if not found.findings:
        say("Healthy: nothing found.")
    elif not errors:
        say("Healthy: nothing is lost and nothing stands still.")
    else:
        say(f"{count(errors, 'error')}. What --fix can mend is marked with *.")


def _print_finding(finding: "Finding") -> None:
    mark = "*" if finding.safe else ""
    place = f" [{printable(finding.where)}]" if finding.where else ""
    say(f"{finding.severity}{mark} {finding.check}{place}: {printable(finding.what)}")
    if finding.mend:
        say(f"    {printable(finding.mend)}")
