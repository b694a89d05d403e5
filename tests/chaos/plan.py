"""What happens when: acts drawn from a seed, before anything has happened.

The sequence of acts with their pauses, durations and dice is the same for the same seed and quotas. What is not: which
tasks are under way when an act strikes, what the dice choose among (workers, backends that live at that moment), and how
long the machine takes for all of it.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


class Deed(Enum):
    """What the nemesis does."""

    KILL_WORKER = "SIGKILL of a worker"
    STOP_WORKER = "SIGSTOP of a worker past its lease, then SIGCONT"
    TERMINATE_WORKER = "SIGTERM of a worker"
    IMMEDIATE_STOP = "immediate stop of PostgreSQL, and start"
    KILL_BACKEND = "kill -9 of a backend, so that PostgreSQL restarts them all"
    TERMINATE_BACKEND = "pg_terminate_backend"
    CANCEL_BACKEND = "pg_cancel_backend, as a statement timeout does"
    LOSE_REPORT = "reply to a report or a commit lost after the commit"
    LOSE_START = "reply to a start lost after the commit"
    LOSE_CLAIM = "reply to a claim lost after the commit"
    CUT_BEFORE_SEND = "connection cut before a report is sent"
    CUT_ALL = "a share of all connections cut"
    DELAY = "a report delayed"
    BLACK_HOLE = "nothing passes on a connection for a while"
    STATEMENT_TIMEOUT = "statement_timeout of 1 ms for new sessions, for a moment"
    READ_ONLY = "the server refuses writes for a moment"
    MIGRATE = "two migrators replace all functions and views"


@dataclass(frozen=True, slots=True)
class Act:
    """One act of the nemesis."""

    number: int
    pause: float
    """Seconds after the act before."""
    deed: Deed
    seconds: float
    """How long it lasts, for what has a duration."""
    dice: int
    """Seed for what is chosen on the spot."""

    def describe(self) -> dict[str, Any]:
        return {**asdict(self), "deed": self.deed.name}


CRASHES: Final = (Deed.IMMEDIATE_STOP, Deed.KILL_BACKEND)
"""Acts that crash the database."""

WEIGHTS: Final[dict[Deed, float]] = {
    Deed.KILL_WORKER: 30,
    Deed.STOP_WORKER: 4,
    Deed.TERMINATE_WORKER: 2,
    Deed.IMMEDIATE_STOP: 3,
    Deed.KILL_BACKEND: 3,
    Deed.TERMINATE_BACKEND: 5,
    Deed.CANCEL_BACKEND: 5,
    Deed.LOSE_REPORT: 26,
    Deed.LOSE_START: 5,
    Deed.LOSE_CLAIM: 4,
    Deed.CUT_BEFORE_SEND: 4,
    Deed.CUT_ALL: 1,
    Deed.DELAY: 3,
    Deed.BLACK_HOLE: 2,
    Deed.STATEMENT_TIMEOUT: 1,
    Deed.READ_ONLY: 1,
    Deed.MIGRATE: 1,
}
DURATIONS: Final[dict[Deed, tuple[float, float]]] = {
    Deed.STOP_WORKER: (2.5, 4.0),
    Deed.DELAY: (0.05, 1.5),
    Deed.BLACK_HOLE: (1.0, 4.0),
    Deed.STATEMENT_TIMEOUT: (0.2, 0.6),
    Deed.READ_ONLY: (0.2, 0.8),
}


def acts(seed: int, pace: float) -> Iterator[Act]:
    """Yield acts without end, one in `pace` seconds on average."""
    chance = random.Random(f"nemesis {seed}")
    deeds, weights = list(WEIGHTS), list(WEIGHTS.values())
    number = 0
    while True:
        # Every kind happens at least once in a run of some length: first each of them, in any order.
        for deed in (
            chance.sample(deeds, len(deeds)) if number == 0 else chance.choices(deeds, weights)
        ):
            pause = min(chance.expovariate(1 / pace), 4 * pace)
            seconds = chance.uniform(*DURATIONS.get(deed, (0.0, 0.0)))
            yield Act(number, pause, deed, seconds, chance.getrandbits(32))
            number += 1
