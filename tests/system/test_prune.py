"""Client.prune and `pgflow prune`: old runs go in batches, per flow and outcome (fault 56)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgflow.client import Client
from pgflow.errors import FlowNotFound, UsageError
from pgflow.records import Pruned
from tests.support.command import Here
from tests.support.sql import call, define, rows, start, work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow.database import Database
    from tests.support.sql import Connection


@pytest.fixture
def old(database_url: str) -> Iterator[Connection]:
    """Give a session; seven completed and three cancelled runs of two flows ended a month ago, one just now."""
    with psycopg.connect(database_url, autocommit=True) as session:
        for flow in ("f", "g"):
            define(session, flow, {"a": []})
        for flow in "fffffgg":
            start(session, flow)
            work(session, flow)
        for _ in range(3):
            call(session, "cancel_run", run_id=start(session, "g")["run_id"])
        session.execute("""update pgflow.runs set completed_at = completed_at - interval '30 days',
          cancelled_at = cancelled_at - interval '30 days'""")
        start(session, "f")
        work(session, "f")
        yield session


def left(session: Connection) -> list[tuple[str, str]]:
    query = "select flow_slug, status from pgflow.runs order by 1, 2"
    return [(one["flow_slug"], one["status"]) for one in rows(session, query)]


async def test_prunes_in_batches_until_nothing_is_left(old: Connection, db: Database) -> None:
    assert await Client(db).prune(86_400.0, batch_size=3) == Pruned(runs=10)
    assert left(old) == [("f", "completed")]


async def test_prunes_a_flow_and_an_outcome(old: Connection, db: Database) -> None:
    assert (await Client(db).prune(86_400.0, flow="g", statuses=["cancelled"])).runs == 3
    assert left(old) == [("f", "completed")] * 6 + [("g", "completed")] * 2


async def test_what_cannot_be_meant_is_refused(old: Connection, db: Database) -> None:
    client = Client(db)
    with pytest.raises(UsageError, match="'started' is not how a run ends"):
        await client.prune(0.0, statuses=["started"])
    with pytest.raises(UsageError, match="older_than must not be negative"):
        await client.prune(-1.0)
    with pytest.raises(FlowNotFound, match="ff"):
        await client.prune(0.0, flow="ff")
    assert len(left(old)) == 11


def test_the_command(
    old: Connection, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pgflow = Here(database_url, capsys)
    some = pgflow("prune", "--older-than", "2w", "--flow", "f", "--batch-size", "2", "--json")
    assert (some.code, some.json) == (0, {"runs": 5, "messages": 0, "workers": 0})
    rest = pgflow("prune", "--older-than", "14d", "--status", "completed", "--status", "cancelled")
    assert (rest.code, rest.out) == (0, "Deleted 5 runs, 0 messages and 0 workers.\n")
    assert left(old) == [("f", "completed")]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1 month", "1e9d", "٣d"])
def test_an_age_is_a_number_and_a_unit(
    old: Connection, database_url: str, capsys: pytest.CaptureFixture[str], age: str
) -> None:
    done = Here(database_url, capsys)("prune", "--older-than", age)
    assert done.code == 2
    assert "is not an age" in done.err
    assert "30d" in done.err
    assert len(left(old)) == 11
