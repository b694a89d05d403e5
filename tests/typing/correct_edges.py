"""What must pass both type checkers; checked by test_typing.py, never executed."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

from pgflow import Flow, Run, Step, at_most
from pgflow.flow import MapStep

T = TypeVar("T")


@dataclass
class Campaign:
    campaign_id: int


@dataclass
class Subscriber:
    email: str


@dataclass
class Receipt:
    sent: bool


campaign = Flow[Campaign]("campaign", max_attempts=3, timeout=60)


@campaign.step()
async def fetch(campaign: Campaign) -> list[Subscriber]:
    return [Subscriber("ada@example.org")]


@campaign.step(timeout=5, queue="gpu", if_={"campaign_id": 1}, when_unmet="skip-cascade")
def title(campaign: Campaign) -> str:
    return str(campaign.campaign_id)


@campaign.map(over=fetch, max_attempts=5)
async def send(subscriber: Subscriber) -> Receipt:
    return Receipt(sent=True)


@campaign.map(over=fetch, failure_policy=at_most(percent=1))
def send_leniently(subscriber: Subscriber) -> Receipt:
    return Receipt(sent=True)


@campaign.map(over=send)
def weigh(receipt: Receipt) -> float:
    return 1.5


@campaign.map(over=send_leniently, failure_policy="continue")
def weigh_leniently(receipt: Receipt | None) -> float:
    return 1.5


@campaign.map(initial_tasks=4)
def shard(campaign: Campaign) -> int:
    return 1


assert_type(fetch, Step[list[Subscriber]])
assert_type(title, Step[str])
assert_type(send, MapStep[Receipt])
assert_type(send_leniently, MapStep[Receipt | None])
assert_type(weigh, MapStep[float])
assert_type(weigh_leniently, MapStep[float | None])
assert_type(shard, MapStep[int])


@campaign.step(depends_on=(fetch,))
def one(subscribers: Sequence[Subscriber]) -> int:
    return len(subscribers)


@campaign.step(depends_on=(fetch, send))
def two(subscribers: list[Subscriber], receipts: list[Receipt]) -> int:
    return 2


@campaign.step(depends_on=(fetch, send_leniently, title))
async def three(subscribers: list[Subscriber], receipts: list[Receipt | None], title: str) -> int:
    return 3


@campaign.step(depends_on=(fetch, send, title, one))
def four(a: list[Subscriber], b: list[Receipt], c: str, d: int | None) -> int:
    return 4


@campaign.step(depends_on=(fetch, send, title, one, two))
def five(a: list[Subscriber], b: list[Receipt], c: str, d: int, e: float) -> None:
    return None


assert_type(three, Step[int])
assert_type(five, Step[None])


@campaign.step(depends_on=(send,))
def streamed(receipts: Iterator[Receipt]) -> int:
    return sum(receipt.sent for receipt in receipts)


@campaign.step(depends_on=(send, weigh))
async def streamed_async(receipts: AsyncIterator[Receipt], weights: Iterable[float]) -> int:
    return 1


@campaign.step(depends_on=[fetch, "send", one, two, three, four])
def untyped(*outputs: Any) -> int:
    return len(outputs)


assert_type(untyped, Step[int])

items = Flow[list[int]]("items")


@items.map()
def double(number: int) -> int:
    return 2 * number


assert_type(double, MapStep[int])

loose = Flow("loose")
assert_type(loose, Flow[Any])


@loose.step()
def anything(value: dict[str, int]) -> str:
    return ""


@loose.map()
def any_item(item: str) -> str:
    return item


class Outputs:
    """Stands for Result: its items are typed by the step."""

    def __getitem__(self, step: Step[T]) -> T:
        raise NotImplementedError


assert_type(Outputs()[three], int)
assert_type(Outputs()[fetch], list[Subscriber])
assert_type(Outputs()[send], list[Receipt])
assert_type(Outputs()[send_leniently], list[Receipt | None])


@campaign.map(over=fetch, batch_size=100)
async def send_in_batches(subscriber: Subscriber) -> Receipt:
    return Receipt(sent=True)


@campaign.map(over=fetch, batch_size=100)
def send_whole_batches(subscribers: list[Subscriber]) -> list[Receipt]:
    return [Receipt(sent=True) for _ in subscribers]


@campaign.map(over=send_whole_batches, batch_size=100, failure_policy=at_most(3))
async def weigh_batches(receipts: list[Receipt]) -> list[float]:
    return [1.5 for _ in receipts]


@campaign.step(depends_on=(send_in_batches, send_whole_batches, weigh_batches))
def after_batches(one: list[Receipt], other: list[Receipt], weights: list[float | None]) -> int:
    return 1


assert_type(send_in_batches, MapStep[Receipt])
assert_type(send_whole_batches, MapStep[Receipt])
assert_type(weigh_batches, MapStep[float | None])

letters = Flow[list[str]]("letters")


@letters.map(batch_size=10)
def shout(words: list[str]) -> list[int]:
    return [len(word) for word in words]


assert_type(shout, MapStep[int])


async def outputs(run: Run) -> None:
    assert_type(await run.output_of(shout), list[int])
    assert_type(await run.output_of(after_batches), int)
