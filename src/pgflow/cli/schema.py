"""`pgflow init` and `pgflow sql`."""

import sys

from pgflow.cli.common import Dsn
from pgflow.cli.output import say


def init(dsn: Dsn = None) -> None:
    """Install the schema, or upgrade it; safe to repeat, and nothing changes if it fails."""
    from pgflow.embedded import resolve_dsn  # noqa: PLC0415 - see app.py
    from pgflow.schema import install  # noqa: PLC0415

    done = install(resolve_dsn(dsn))
    if not done.changed:
        say(f"Nothing to do: the schema has version {done.version} already.")
    elif done.previous is None:
        say(f"Installed the schema, version {done.version}.")
    elif done.previous == done.version:
        say(f"Renewed the schema's functions, version {done.version}.")
    else:
        say(f"Upgraded the schema from version {done.previous} to {done.version}.")


def sql() -> None:
    """Print the schema as plain SQL, for other migration tools."""
    from pgflow.schema import export_sql  # noqa: PLC0415 - see app.py

    sys.stdout.write(export_sql())
