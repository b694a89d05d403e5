"""What both type checkers must refuse: each line that says `type: ignore`, and no other."""

from collections.abc import AsyncIterator, Iterator

from pgflow import Flow, Step

orders = Flow[int]("orders")


@orders.step()
def number(order: int) -> int:
    return order


@orders.step()
async def words(order: int) -> list[str]:
    return [str(order)]


@orders.map(over=words)
def length(word: str) -> int:
    return len(word)


@orders.map(over=words, failure_policy="continue")
def maybe_length(word: str) -> int:
    return len(word)


@orders.step()  # type: ignore[arg-type]  # the run's input is an int
def wrong_input(order: str) -> int:
    return 1


@orders.step()  # type: ignore[arg-type]  # a root takes the input
def no_parameter() -> int:
    return 1


@orders.step(depends_on=(number,))  # type: ignore[arg-type]  # an int arrives
def wrong_type(value: str) -> int:
    return 1


@orders.step(depends_on=(number, words))  # type: ignore[arg-type]  # the other way round
def wrong_order(words: list[str], value: int) -> int:
    return 1


@orders.step(depends_on=(number, words))  # type: ignore[arg-type]  # two outputs arrive
def too_few(value: int) -> int:
    return 1


@orders.step(depends_on=(number,))  # type: ignore[arg-type]  # one output arrives
def too_many(value: int, words: list[str]) -> int:
    return 1


@orders.step(depends_on=(length,))  # type: ignore[arg-type]  # a list of integers arrives
async def wrong_element(lengths: list[str]) -> int:
    return 1


@orders.step(depends_on=(length,))  # type: ignore[arg-type]  # a stream of integers arrives
async def wrong_stream(lengths: AsyncIterator[str]) -> int:
    return 1


@orders.step(depends_on=(words,))  # type: ignore[arg-type]  # only a map's output can be streamed
def stream_of_single(words: Iterator[str]) -> int:
    return 1


@orders.step(depends_on=(maybe_length,))  # type: ignore[arg-type]  # failed items are None
def forgets_none(lengths: list[int]) -> int:
    return sum(lengths)


@orders.map(over=words)  # type: ignore[arg-type]  # each item is a str
def wrong_item(word: int) -> int:
    return word


@orders.map(over=number)  # type: ignore[arg-type]  # an int is no list
def over_no_list(value: int) -> int:
    return value


@orders.map()  # type: ignore[call-overload, untyped-decorator]  # the run's input is no list
def root_map(value: str) -> int:
    return 1


@orders.step(when_unmet="skp")  # type: ignore[call-overload, untyped-decorator]  # no such mode
def wrong_mode(order: int) -> int:
    return 1


@orders.step(max_attemps=3)  # type: ignore[call-overload, untyped-decorator]  # no such option
def wrong_option(order: int) -> int:
    return 1


@orders.step(failure_policy="continue")  # type: ignore[call-overload, untyped-decorator]  # only a map has one
def policy_of_single(order: int) -> int:
    return 1


@orders.step(depends_on=number)  # type: ignore[call-overload, untyped-decorator]  # a tuple is needed
def no_tuple(value: int) -> int:
    return 1


def output(step: Step[int]) -> int:
    return 1


output(words)  # type: ignore[arg-type]  # it produces a list


@orders.map(over=words, batch_size=5)  # type: ignore[arg-type]  # each item is a str
def wrong_batch(words: list[int]) -> list[int]:
    return words


@orders.step(batch_size=5)  # type: ignore[call-overload, untyped-decorator]  # only a map has items
def batch_of_single(order: int) -> int:
    return 1


@orders.map(initial_tasks=4, batch_size=5)  # type: ignore[call-overload, untyped-decorator]  # no array
def batch_of_fixed(order: int) -> int:
    return 1
