"""Every two mutating functions, one of them stopped at its locks while the other runs, against both serial orders.

An act is stopped before its commit, when it holds all its locks, and at single locks: a third session, the gate, holds
the row (or table, or advisory lock) that it needs. Then the other act runs until it is done or waits as well, and the
gate opens. What both returned and all tables must be as after one of the serial orders. Acts that never wait leave what
is locked for later; they are called once more, and must have come to the same by then.

`make test` takes one lock for each act of a pair, another one in each pair; PGFLOW_TEST_ALL_LOCKS=1 takes them all.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from difflib import unified_diff
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, TypeAlias

import psycopg
import pytest

from tests.races.acts import ACTS, Act, merged, scenes_of
from tests.races.locks import Lock, locks_of
from tests.races.outcomes import end, outcome
from tests.races.scenes import Scenes
from tests.races.stage import Stage, contradictions
from tests.support.sql import Connection, rows, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Databases

ALL_LOCKS = os.environ.get("PGFLOW_TEST_ALL_LOCKS") == "1"
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
OTHERS = """select count(*) from pg_stat_activity
  where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"""
PAIRS = [
    pytest.param(one, other, id=f"{one.name}-{other.name}")
    for one, other in combinations_with_replacement(ACTS, 2)
]

Known: TypeAlias = "dict[tuple[str, str], list[Lock]]"
"""The locks of each act in each scene, as far as they have been looked for."""

ORDERS = ((0, 1), (1, 0))


class Matrix:
    """Two acts on a scene: one after the other, or one held up by the other."""

    def __init__(self, stage: Stage, scenes: Scenes, known: Known) -> None:
        self.stage = stage
        self.scenes = scenes
        self._locks = known

    def locks(self, act: Act, scene: str) -> list[Lock]:
        """Return the locks that an act takes in a scene when it is alone."""
        if (act.name, scene) not in self._locks:
            self.scenes.restore(scene)
            acting = self.stage.session()
            act(acting)
            found = locks_of(acting, self.stage.setup, self.scenes.all_tables)
            self._locks[act.name, scene] = found
            acting.rollback()
            self.stage.clear()
        return self._locks[act.name, scene]

    def serial(self, scene: str, acts: tuple[Act, Act], order: tuple[int, int]) -> str:
        """Run two acts one after the other and return the outcome, with the results in the order of the acts."""
        self.scenes.restore(scene)
        results: list[object] = [None, None]
        for number in order:
            results[number] = self.stage.act(acts[number]).result()
        return self.outcome(results)

    def end(self, scene: str, acts: tuple[Act, Act], order: tuple[int, int]) -> str:
        """Run two acts one after the other and return what becomes of their runs in the end."""
        self.serial(scene, acts, order)
        return end(self.scenes.connection)

    def held_up(
        self, scene: str, acts: tuple[Act, Act], first: int, lock: Lock | None
    ) -> list[object]:
        """Stop an act at a lock, or with all its locks before its commit; run the other, let both end."""
        self.scenes.restore(scene)
        results: list[object] = [None, None]
        second = 1 - first
        if lock is None:
            acting = self.stage.session()
            results[first] = acts[first](acting)
            other = self.stage.act(acts[second])
            self.stage.blocked(other)
            acting.commit()
        else:
            gate = self.stage.session()
            gate.execute(lock.statement.encode())
            one = self.stage.act(acts[first])
            assert self.stage.blocked(one) or acts[first].skips, f"not stopped at {lock.name}"
            other = self.stage.act(acts[second])
            self.stage.blocked(other)
            gate.commit()
            results[first] = one.result()
        results[second] = other.result()
        return results

    def outcome(self, results: list[object]) -> str:
        """Return results and tables in a form that can be compared; there must have been no deadlock."""
        self.stage.clear()
        found = outcome(self.scenes.connection, self.scenes.tables, results)
        assert '"40P01"' not in found, "deadlock"
        return found

    def repeat(self, acts: tuple[Act, Act], results: list[object]) -> Iterator[str]:
        """Call the acts again that leave things for later, and return the outcome after each."""
        for number, act in enumerate(acts):
            if act.skips:
                self.scenes.make_due()
                more = self.stage.act(act).result()
                results[number] = merged(results[number], more)
                yield self.outcome(results)

    def heal(self) -> list[str]:
        """Return what contradicts itself in the database, when lost messages have been sent again."""
        rows(self.stage.setup, "select pgflow.resend_lost_messages()")
        return contradictions(self.stage.setup)


@pytest.fixture(scope="module")
def _matrix(databases: Databases) -> Iterator[tuple[str, list[Connection], Scenes, Known]]:
    sessions: list[Connection] = []
    with databases.installed() as dsn, psycopg.connect(dsn) as connection:
        yield dsn, sessions, Scenes(connection), {}
        for session in sessions:
            session.close()
        # A session's statistics are complete when it is gone.
        while value(connection, OTHERS):
            time.sleep(0.01)
        deadlocks = value(connection, DEADLOCKS)
    assert deadlocks == 0


@pytest.fixture
def matrix(_matrix: tuple[str, list[Connection], Scenes, Known]) -> Iterator[Matrix]:
    dsn, sessions, scenes, known = _matrix
    stage = Stage(dsn, sessions)
    try:
        yield Matrix(stage, scenes, known)
    finally:
        stage.close()


def chosen(locks: list[Lock], case: str) -> list[Lock]:
    """Choose a lock for a case, always the same; or all."""
    if ALL_LOCKS or not locks:
        return locks
    return [locks[zlib.crc32(case.encode()) % len(locks)]]


def stops(matrix: Matrix, acts: tuple[Act, Act], scene: str) -> Iterator[tuple[int, Lock | None]]:
    """Give each act of two that is to be stopped, with where: before its commit, and at its locks."""
    for first, act in enumerate(acts if acts[0] is not acts[1] else acts[:1]):
        yield first, None
        for lock in chosen(matrix.locks(act, scene), f"{scene} {act.name} {acts[1 - first].name}"):
            yield first, lock


def errors(outcomes: list[str]) -> set[str]:
    """Return the errors that acts met with."""
    results = [result for found in outcomes for result in json.loads(found)["results"]]
    return {str(one) for one in results if isinstance(one, dict) and "error" in one}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_acts_that_meet_come_to_one_of_their_serial_orders(
    matrix: Matrix, one: Act, other: Act
) -> None:
    acts = (one, other)
    for scene in scenes_of(one, other):
        serial = [matrix.serial(scene, acts, order) for order in ORDERS]
        assert matrix.heal() == []
        for first, lock in stops(matrix, acts, scene):
            results = matrix.held_up(scene, acts, first, lock)
            found = [matrix.outcome(results)]
            if found[0] not in serial:
                found += matrix.repeat(acts, results)
            assert matrix.heal() == []
            stop = lock.name if lock else "its commit"
            case = (
                f"In {scene}, {acts[first].name} was stopped at {stop}, {acts[1 - first].name} ran."
            )
            assert errors(found) <= errors(serial), difference(case, serial, found[0])
            if not any(each in serial for each in found):
                assert one.skips or other.skips, difference(case, serial, found[-1])
                last = end(matrix.scenes.connection)
                ends = [matrix.end(scene, acts, order) for order in ORDERS]
                assert last in ends, difference(case, ends, last)
                assert matrix.heal() == []


def difference(case: str, serial: list[str], found: str) -> str:
    """Tell how the outcome of a case differs from each of the serial ones."""
    lines = [case]
    for number, expected in enumerate(serial):
        lines.append(f"Against serial order {number + 1}:")
        lines += unified_diff(expected.splitlines(), found.splitlines(), lineterm="", n=6)
    return "\n".join(lines)
