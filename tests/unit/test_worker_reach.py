"""Reach: after a long outage nobody claims before all can have renewed their leases; short trouble stops nobody."""

from __future__ import annotations

import pytest

from pgflow._reach import ASK_AGAIN, Reach


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pgflow._reach.time", clock)
    return clock


def test_a_call_that_fails_and_is_repeated_stops_no_claims(clock: Clock) -> None:
    reach = Reach(30)
    assert reach.pause() == 0
    reach.failed()
    clock.now += 9
    assert reach.pause() == 0
    reach.reached()
    assert reach.pause() == 0


def test_fault_10_claims_wait_through_a_long_outage_and_until_leases_are_renewed(
    clock: Clock,
) -> None:
    reach = Reach(30)
    reach.failed()
    clock.now += 5
    reach.failed()
    clock.now += 6
    assert reach.pause() == ASK_AGAIN, "counted from the first failure"
    clock.now += 600
    assert reach.pause() == ASK_AGAIN
    reach.reached()
    assert reach.pause() == pytest.approx(2 * 3 + ASK_AGAIN)
    clock.now += 6.2
    assert reach.pause() == 0
    reach.failed()
    reach.reached()
    assert reach.pause() == 0, "the next trouble is another one"


def test_short_leases_are_renewed_sooner(clock: Clock) -> None:
    reach = Reach(3)
    assert reach.retry == 0.5
    reach.failed()
    clock.now += 1.1
    reach.reached()
    assert reach.pause() == pytest.approx(1 + ASK_AGAIN)
