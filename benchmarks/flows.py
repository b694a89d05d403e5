"""The flows that are measured. Their handlers do nothing but carry the times that tell the delays."""

from __future__ import annotations

import time

from pgflow import Flow

CHAIN_LENGTH = 20

fan = Flow[int]("bench_fan")


@fan.step()
def produce(size: int) -> list[int]:
    """Return the items 1 … size - 1; in place of item 0 the negative time of this call's end."""
    items = list(range(size))
    items[0] = -time.monotonic_ns()
    return items


@fan.map(over=produce)
def item(number: int) -> int:
    """Return the item; for item 0 how long after its parent it was called, in nanoseconds."""
    return number if number > 0 else time.monotonic_ns() + number


@fan.step(depends_on=[item])
def collect(item: list[int]) -> dict[str, int | bool]:
    """Return what tells whether every item arrived once, in its place."""
    rest = item[1:]
    return {"items": len(item), "in_order": rest == list(range(1, len(item))), "delay": item[0]}


BATCH_SIZE = 100

batched = Flow[int]("bench_batched")
"""As `fan`, with up to 100 items to a task; the handlers are still written for one item."""

batched_produce = batched.step(name="produce")(produce.function)
batched_item = batched.map(name="item", over=batched_produce, batch_size=BATCH_SIZE)(item.function)
batched.step(name="collect", depends_on=[batched_item])(collect.function)

diamond = Flow[int]("bench_diamond")


@diamond.step()
def top(number: int) -> int:
    """Pass the run's number on."""
    return number


@diamond.step(depends_on=[top])
def left(top: int) -> int:
    """Add one."""
    return top + 1


@diamond.step(depends_on=[top])
def right(top: int) -> int:
    """Double."""
    return top * 2


@diamond.step(depends_on=[left, right])
def bottom(left: int, right: int) -> list[int]:
    """Return both."""
    return [left, right]


chain = Flow[None]("bench_chain")


@chain.step(name="link_0")
def first_link(_: None) -> list[list[int]]:
    """Begin the record: for each link the times at which its handler began and ended."""
    return _recorded([])


def _recorded(links: list[list[int]]) -> list[list[int]]:
    return [*links, [time.monotonic_ns(), time.monotonic_ns()]]


_link = first_link
for _position in range(1, CHAIN_LENGTH):

    @chain.step(name=f"link_{_position}", depends_on=[_link])
    def further_link(links: list[list[int]]) -> list[list[int]]:
        """Append this link's times."""
        return _recorded(links)

    _link = further_link
