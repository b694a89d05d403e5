"""`pgflow init` and `pgflow sql`."""

import sys
from typing import Annotated

import typer

from pgflow.cli.common import Dsn
from pgflow.live.text import say

Roles = Annotated[
    bool,
    typer.Option("--roles", help="Also make the roles pgflow_owner, _worker, _client and _viewer."),
]

Tenants = Annotated[
    bool,
    typer.Option("--tenants", help="Also keep tenants apart by row-level security; needs roles."),
]


def init(*, roles: Roles = False, tenants: Tenants = False, dsn: Dsn = None) -> None:
    """Install the schema, or upgrade it; safe to repeat, and nothing changes if it fails."""
    from pgflow.embedded import resolve_dsn  # noqa: PLC0415 - see app.py
    from pgflow.schema import install  # noqa: PLC0415

    done = install(resolve_dsn(dsn), roles=roles, tenants=tenants)
    if not done.changed:
        say(f"Nothing to do: the schema has version {done.version} already.")
    elif done.previous is None:
        say(f"Installed the schema, version {done.version}.")
    elif done.previous == done.version:
        say(f"Renewed the schema's functions, version {done.version}.")
    else:
        say(f"Upgraded the schema from version {done.previous} to {done.version}.")

    if roles:
        say(
            "The roles pgflow_owner, pgflow_worker, pgflow_client and pgflow_viewer have their rights."
        )
    if tenants:
        say("Tenants are kept apart: bind roles with pgflow.bind_tenant.")


def sql(*, roles: Roles = False, tenants: Tenants = False) -> None:
    """Print the schema as plain SQL, for other migration tools."""
    from pgflow.schema import export_sql  # noqa: PLC0415 - see app.py

    sys.stdout.write(export_sql(roles=roles, tenants=tenants))
