"""The flows under chaos, one of each kind; every step is a pure function of its inputs (see `handlers`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pgflow import Flow
from tests.chaos.handlers import doom, is_lifted, observed, observed_sync

if TYPE_CHECKING:
    import random

ROBUST: Final[dict[str, Any]] = {"max_attempts": 1000, "base_delay": 0, "timeout": 60}
"""Chaos may cost any number of attempts without failing a task."""

chain = Flow[Any]("chaos_chain", **ROBUST)


@chain.step()
@observed_sync()
def link_one(order: Any) -> Any:
    return order["seed"] * 2 + 1


@chain.step(depends_on=(link_one,))
@observed()
def link_two(one: Any) -> Any:
    return one + 3


@chain.step(depends_on=(link_two,))
@observed_sync()
def link_three(two: Any) -> Any:
    return two * 5


@chain.step(depends_on=(link_three,))
@observed(sleep=0)
def link_four(three: Any) -> Any:
    return three - 7


diamond = Flow[Any]("chaos_diamond", **ROBUST, jitter=1.0, max_delay=1)


@diamond.step()
@observed()
def top(order: Any) -> Any:
    return order["seed"]


@diamond.step(depends_on=(top,), base_delay=1)
@observed(flaky=3)
def left(above: Any) -> Any:
    return above + 1


@diamond.step(depends_on=(top,))
@observed_sync(flaky=3)
def right(above: Any) -> Any:
    return above + 2


@diamond.step(depends_on=(left, right))
@observed(flaky=4)
def bottom(one: Any, other: Any) -> Any:
    return one * other


fan = Flow[Any]("chaos_fan", **ROBUST)


@fan.step()
@observed(sleep=0)
def numbers(order: Any) -> Any:
    return list(range(order["count"]))


@fan.map(over=numbers)
@observed_sync(flaky=8)
def square(number: Any) -> Any:
    return number * number


@fan.step(depends_on=(square,))
@observed()
def total(squares: Any) -> Any:
    return sum(squares)


nested = Flow[Any]("chaos_nested", **ROBUST)


@nested.step()
@observed_sync(sleep=0)
def roots(order: Any) -> Any:
    return [order["seed"] + number for number in range(order["count"])]


@nested.map(over=roots)
@observed()
def grown(root: Any) -> Any:
    return root + 1


@nested.map(over=grown)
@observed(flaky=10)
def grown_again(stem: Any) -> Any:
    return stem * 10


@nested.step(depends_on=(roots, grown_again))
@observed_sync()
def in_order(first: Any, last: Any) -> Any:
    return [list(pair) for pair in zip(first, last, strict=True)]


batched = Flow[Any]("chaos_batched", **ROBUST)


@batched.map(batch_size=4)
@observed(sleep=0.01, flaky=12)
def sip(number: Any) -> Any:
    return number + 100


@batched.map(over=sip, batch_size=5)
@observed_sync(sleep=0.01, flaky=12)
def gulp(number: Any) -> Any:
    return number - 1


@batched.step(depends_on=(gulp,))
@observed()
def emptied(gulps: Any) -> Any:
    return sum(gulps)


ledger = Flow[Any]("chaos_ledger", **ROBUST)


@ledger.map()
@observed_sync(writes=True)
def book(number: Any) -> Any:
    return number * 3


@ledger.step(depends_on=(book,))
@observed(writes=True)
def close_books(booked: Any) -> Any:
    return sum(booked)


lenient = Flow[Any]("chaos_lenient", **ROBUST)


@lenient.step()
@observed(sleep=0)
def applicants(order: Any) -> Any:
    return [[order["mark"], number] for number in range(order["count"])]


@lenient.map(over=applicants, failure_policy="continue")
@observed_sync(sleep=0.02)
def judge(applicant: Any) -> Any:
    mark, number = applicant
    if number % 3 == 1:
        doom(mark)
    return number


@lenient.step(when_exhausted="skip")
@observed()
def bonus(order: Any) -> Any:
    if order["seed"] % 2:
        doom(order["mark"])
    return 1000


@lenient.step(depends_on=(judge, bonus))
@observed(sleep=0.1)
def verdict(judged: Any, extra: Any) -> Any:
    return [sum(number for number in judged if number is not None), extra]


doomed = Flow[Any]("chaos_doomed", **ROBUST)


@doomed.step()
@observed(sleep=0)
def omens(order: Any) -> Any:
    return [[order["mark"], number] for number in range(order["count"])]


@doomed.map(over=omens, failure_policy="continue")
@observed()
def omen(sign: Any) -> Any:
    mark, number = sign
    if number == 0:
        doom(mark)
    return number


@doomed.step(depends_on=(omen,))
@observed(sleep=0.3)
def prophecy(omens_read: Any) -> Any:
    return [number is not None for number in omens_read]


@doomed.step()
@observed(sleep=0.3)
def fate(order: Any) -> Any:
    doom(order["mark"])
    return order["seed"]


@doomed.step(depends_on=(prophecy, fate))
@observed_sync()
def legend(told: Any, fated: Any) -> Any:
    return [told, fated]


apart = Flow[Any]("chaos_apart", **ROBUST)


@apart.step(isolation="process")
@observed_sync()
def alone(order: Any) -> Any:
    return order["seed"] + 11


@apart.step(depends_on=(alone,))
@observed()
def together(other: Any) -> Any:
    return other * 2


FLOWS: Final = (chain, diamond, fan, nested, batched, ledger, lenient, doomed, apart)
BY_SLUG: Final = {flow.slug: flow for flow in FLOWS}
WEIGHTS: Final = (5, 4, 4, 3, 3, 4, 3, 4, 1)
MAY_FAIL: Final = frozenset({doomed.slug})
"""Flows whose runs may fail; no other run ever does."""

MAY_LACK: Final = frozenset({"judge", "omen"})
"""Maps of whose items some fail for good: their outputs are null."""

MAY_SKIP: Final = frozenset({"bonus"})

__all__ = ["BY_SLUG", "FLOWS", "MAY_FAIL", "MAY_LACK", "MAY_SKIP", "WEIGHTS", "is_lifted"]


def input_of(flow: Flow[Any], chance: random.Random, mark: str) -> Any:
    """Draw the input of a run; `mark` is unique, and what a doom goes by."""
    if flow in (batched, ledger):
        return [chance.randrange(100) for _ in range(chance.choice((0, 1, 5, 9, 14)))]
    count = chance.choice((0, 1, 2, 5, 8, 20)) if flow is fan else chance.choice((0, 1, 3, 6))
    return {"seed": chance.randrange(1000), "count": count, "mark": mark}
