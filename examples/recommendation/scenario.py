"""The whole scenario: set up, one sign-up that is watched, sixty more, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors

from pgflow import Client, Database, Run
from pgflow.errors import UsageError
from pgflow.supervisor import Supervisor

from . import data
from .audit import audit
from .chart import draw
from .flow import SignUp, recommendation
from .store import connect

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = 2


def require_pgvector(dsn: str) -> None:
    """Have the server know vectors, or say how it will."""
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("create extension if not exists vector")
    except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
        hint = "Install it (apt-get install postgresql-18-pgvector), or leave PGFLOW_DSN unset: the embedded server has it."
        raise UsageError("the PostgreSQL server has no pgvector", hint=hint) from error
    except errors.InsufficientPrivilege as error:
        hint = "Have a superuser run `create extension vector` in this database."
        raise UsageError("this role may not create the extension vector", hint=hint) from error


async def recommend(client: Client, world: data.World, *, live: bool) -> list[Run]:
    """Have all newcomers be shown their ten, the first one watched; if interrupted, cancel their runs."""
    runs = [await client.start(recommendation, SignUp(data.MAIN, lose_connection=True))]
    try:
        await (runs[0].watch() if live else runs[0].wait())
        newcomers = [user for user in (*world.warm, *world.cold) if user != data.MAIN]
        if live:
            print(f"{len(newcomers)} more newcomers, half of them without history.", flush=True)
        runs += await client.start_many(recommendation, [SignUp(user) for user in newcomers])
        for each in runs:
            await each.wait()
    except BaseException:
        for each in runs:
            await each.cancel("the example was interrupted")
        raise
    return runs


async def run(dsn: str, out: Path, *, seed: int, live: bool) -> dict[str, Any]:
    """Do all of it; return the facts, `checks` among them."""
    require_pgvector(dsn)
    if live:
        print(
            f"Making {data.TRACKS:,} tracks, {data.LISTENERS:,} listeners, and their vectors.",
            flush=True,
        )
    with connect(dsn) as connection:
        world = data.build(connection, seed)
    async with Database.connect(dsn) as database:
        client = Client(database)
        async with Supervisor(
            f"{__package__}.flow:recommendation",
            processes=PROCESSES,
            dsn=dsn,
            concurrency=4,
            log_level="CRITICAL",
        ) as supervisor:
            await supervisor.ready()
            watched, *others = await recommend(client, world, live=live)
    facts = audit(dsn, str(watched.id), [str(each.id) for each in others], world)
    facts["picture"] = str(draw(out, facts))
    return facts
