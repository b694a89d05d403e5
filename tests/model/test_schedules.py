"""A thousand random schedules, in which the database must do what the reference model does.

`PGFLOW_TEST_SCHEDULES` is their number. Each shard has a seed of its own, so a failure comes again; Hypothesis prints the
shortest schedule that it finds as a program of the machine's methods.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.database import set_stage
from tests.model.machine import Schedules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Databases

SHARDS = 8
SCHEDULES = int(os.environ.get("PGFLOW_TEST_SCHEDULES", "1000"))
EACH = max(SCHEDULES // SHARDS, 1)
STEPS = 25
ROUNDS = 12
"""Goes on, by a quarter of EACH, until every act was done often enough: what one seed gives changes with the code, since
Hypothesis takes constants from it."""
VACUUM_EVERY = 25
"""Schedules; what they roll back stays in the tables until then."""

OFTEN = {
    "define": 50,
    "start_many": 60,
    "claim": 14,
    "claim_all": 150,
    "claim_some": 8,
    "complete": 5,
    "complete_one": 2,
    "complete_and_claim": 25,
    "fail": 3,
    "fail_one": 4,
    "extend": 4,
    "release": 6,
    "again": 5,
    "work": 25,
    "forward": 25,
    "expire": 30,
    "lose": 3,
    "resend": 6,
    "requeue_stalled": 8,
    "orphan": 5,
    "cancel": 1,
    "prune": 4,
    "retry": 1,
    "start": 1,
    "add_step": 1,
    "refused": 4,
    "accepted": 15,
    "already_accepted": 1,
    "stale": 10,
    "finished": 15,
    "grants": 200,
    "taken": 1,
    "recovered": 1,
    "batches": 8,
}
"""What a hundred schedules do at least, so that the machine can't fall idle unnoticed."""


class CountedSchedules(Schedules):
    """Schedules that keep the database small."""

    def teardown(self) -> None:
        super().teardown()
        if self.counts["schedules"] % VACUUM_EVERY == 0:
            self.connection.autocommit = True
            self.connection.execute("vacuum")
            self.connection.autocommit = False


@pytest.fixture(scope="module")
def stage(databases: Databases) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection to a database in which schedules can be played."""
    with databases.installed() as dsn:
        set_stage(dsn)
        with psycopg.connect(dsn) as connection:
            yield connection


@pytest.mark.slow
@pytest.mark.timeout(120 + 5 * EACH)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_schedules(stage: psycopg.Connection[Any], shard: int) -> None:
    class Shard(CountedSchedules):
        connection: ClassVar[psycopg.Connection[Any]] = stage
        counts: ClassVar[Counter[str]] = Counter()

    each = settings(
        max_examples=EACH,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
        print_blob=False,
        report_multiple_bugs=False,
    )
    rare: dict[str, int] = {}
    for round_ in range(ROUNDS):
        many = EACH if round_ == 0 else max(EACH // 4, 1)
        playing = settings(each, max_examples=many)
        run_state_machine_as_test(seed(shard + SHARDS * round_)(Shard), settings=playing)
        rare = {
            name: Shard.counts[name]
            for name, least in OFTEN.items()
            if Shard.counts[name] < least * EACH // 100
        }
        if not rare:
            break
    assert Shard.counts["schedules"] >= EACH
    assert not rare, f"shard {shard} hardly did {rare}: {Shard.counts}"
