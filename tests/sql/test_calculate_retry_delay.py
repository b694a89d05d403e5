"""pgflow.calculate_retry_delay: base x 2^attempts, in seconds."""

from __future__ import annotations

import pytest

from tests.support.sql import Connection, begin, fail, messages, rows, value
from tests.support.tasks import one_step


def delay(connection: Connection, base: float, attempts: int) -> int:
    query = "select pgflow.calculate_retry_delay(base_delay => %s::numeric, attempts_count => %s)"
    result = value(connection, query, base, attempts)
    assert isinstance(result, int)
    return result


@pytest.mark.parametrize(("attempts", "expected"), [(0, 5), (1, 10), (2, 20), (3, 40), (10, 5120)])
def test_doubles_with_each_attempt(connection: Connection, attempts: int, expected: int) -> None:
    assert delay(connection, 5, attempts) == expected


def test_a_base_of_0_never_waits(connection: Connection) -> None:
    assert delay(connection, 0, 20) == 0


@pytest.mark.parametrize(("base", "expected"), [(0.3, 0), (0.5, 1), (0.7, 1), (1.9, 3)])
def test_rounds_fractions_down(connection: Connection, base: float, expected: int) -> None:
    assert delay(connection, base, 1) == expected


@pytest.mark.parametrize("attempts", [28, 29, 31, 62, 64, 1_000, 1_000_000, 2_147_483_647])
def test_never_overflows(connection: Connection, attempts: int) -> None:
    assert 0 < delay(connection, 5, attempts) <= 2_147_483_647


def test_never_shrinks_with_more_attempts(connection: Connection) -> None:
    delays = [delay(connection, 5, attempts) for attempts in range(40)]
    assert delays == sorted(delays)


def test_takes_the_largest_base_delay(connection: Connection) -> None:
    assert 0 < delay(connection, 2_147_483_647, 2_147_483_647) <= 2_147_483_647


def test_a_base_of_0_survives_any_number_of_attempts(connection: Connection) -> None:
    assert delay(connection, 0, 2_147_483_647) == 0


def test_is_immutable(connection: Connection) -> None:
    query = "select provolatile from pg_proc where oid = 'pgflow.calculate_retry_delay'::regproc"
    assert value(connection, query) == "i"


def test_takes_its_parameters_by_position(connection: Connection) -> None:
    assert rows(connection, "select pgflow.calculate_retry_delay(2, 3) as delay") == [{"delay": 16}]


@pytest.mark.parametrize("base", [0, 1, 5, 7])
def test_fail_task_uses_the_functions_own_result(connection: Connection, base: int) -> None:
    run_id = one_step(connection, base_delay=base, max_attempts=3)
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert round(messages(connection, "f")[0]["delay"]) == delay(connection, base, 1)
