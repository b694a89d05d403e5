"""Chaos for a minute: real workers, a real server, a plan of faults from a fixed seed, and the offline checker.

`python -m tests.chaos` is the same for as long as one likes (`docs/reliability.md`).
"""

from __future__ import annotations

import pytest

from tests.chaos import report
from tests.chaos.hunt import Quarry, hunt
from tests.chaos.plan import Deed

QUARRY = Quarry(seconds=45, kills=15, crashes=3, doubts=15)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_in_chaos() -> None:
    outcome = hunt(20, QUARRY)
    shown = "\n".join(f"{one.invariant}: {one.detail}" for one in outcome.violations[:20])
    assert not outcome.violations, f"{report.command(outcome)}\n{outcome.directory}\n{shown}"
    assert outcome.healing_seconds <= outcome.healing_bound
    # It was no walk in the park.
    figures = report.figures(outcome)
    assert figures["commits in doubt"] >= QUARRY.doubts
    assert figures["attempts lost"] > 0
    assert figures["runs completed"] > 50
    assert figures["reports already accepted"] > 0
    assert all(outcome.deeds[deed.name] for deed in (Deed.STOP_WORKER, Deed.MIGRATE))
