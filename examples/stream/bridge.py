"""The bridge: takes events from the stream and starts a run for every hundred, or after an interval for fewer.

The run and the note that these events are taken commit together; only then are the events acknowledged. So a bridge
that dies in between gets them again, finds the note, and starts nothing. An event that cannot be read goes to the
quarantine in the same transaction: it would be delivered again for ever, and nothing after it.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import nats.errors
import psycopg
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from pgflow import Client, Database
from pgflow.embedded import resolve_dsn

from . import store
from .broker import STREAM, SUBJECT, NoBroker, connect
from .flow import Batch, Sale, stream_metrics
from .leash import end_with_parent

DURABLE = "bridge"
BATCH = 100
LARGEST = 10**12
"""Cents of one sale; with more, sums might not fit their columns."""
INTERVAL = 1.0
"""Seconds after which a run gets what there is."""
ACK_WAIT = 2.0
"""Seconds until the broker delivers again what is not acknowledged; more than INTERVAL, and a commit."""


async def run(
    url: str, dsn: str, after_commit: Callable[[int], None] = lambda _commits: None
) -> None:
    """Take events for ever. `after_commit` is told how often, before the events are acknowledged."""
    stream = (await connect(url)).jetstream()
    # A stream that is made anew counts from 1 again, so the time of its making is a part of its name.
    name = f"{STREAM} {(await stream.stream_info(STREAM)).created}"
    async with (
        Database.connect(dsn) as database,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
    ):
        await store.open_stream(connection, name)
        print("ready", flush=True)
        commits = 0
        async for messages in batches(stream):
            commits += await hand_over(Client(database), connection, name, messages)
            after_commit(commits)
            for message in messages:
                await message.ack()


async def batches(stream: JetStreamContext) -> AsyncIterator[list[Msg]]:
    """Yield BATCH messages, or after INTERVAL those that there are."""
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT)
    subscription = await stream.pull_subscribe(SUBJECT, DURABLE, STREAM, config)
    clock = asyncio.get_running_loop().time
    while True:
        buffer: list[Msg] = []
        until = clock() + INTERVAL
        while (room := BATCH - len(buffer)) > 0 and (rest := until - clock()) > 0:
            try:
                buffer += await subscription.fetch(room, timeout=rest)
            except TimeoutError:
                pass
            except nats.errors.Error:  # the broker is away
                await asyncio.sleep(0.1)
        if buffer:
            yield buffer


async def hand_over(
    client: Client,
    connection: psycopg.AsyncConnection[Any],
    stream: str,
    messages: list[Msg],
) -> int:
    """Start a run for the events that are new, and note them, in one transaction; return how many runs."""
    received = {message.metadata.sequence.stream: message for message in messages}
    async with connection.transaction():
        seqs = await store.untaken(connection, stream, received)
        if len(seqs) < len(messages):
            await store.count_redelivered(connection, stream, len(messages) - len(seqs))
        if not seqs:
            return 0
        sales, bad = read({seq: received[seq].data for seq in seqs})
        await store.take(connection, stream, seqs)
        await store.put_aside(connection, stream, bad)
        if not sales:
            return 0
        key = f"{stream} {sales[0].seq}"
        started = await client.start(stream_metrics, Batch(sales), key=key, connection=connection)
        await store.note_run(connection, stream, [sale.seq for sale in sales], started.id)
    return 1


def read(events: Mapping[int, bytes]) -> tuple[list[Sale], dict[int, store.BadEvent]]:
    """Return the sales, and by their numbers the events that are none."""
    sales, bad = [], {}
    for seq, data in events.items():
        try:
            sales.append(parse(seq, data))
        except (ValueError, RecursionError) as error:
            bad[seq] = store.BadEvent(data, f"{type(error).__name__}: {error}")
    return sales, bad


def parse(seq: int, data: bytes) -> Sale:
    """Read an event, or raise ValueError: whoever may publish may publish anything."""
    match json.loads(data):
        case {"shop": str(shop), "cents": int(cents)} if (
            shop and shop.isprintable() and abs(cents) <= LARGEST and not isinstance(cents, bool)
        ):
            return Sale(seq, shop, cents)
    raise ValueError("no shop (text) and cents (a whole number up to 10^12)")


def main() -> None:
    """Run the bridge as the command line says, until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--die-after", type=int, help="end with SIGKILL after so many commits")
    parser.add_argument("--leashed", action="store_true", help="end when standard input does")
    options = parser.parse_args()
    if options.leashed:
        end_with_parent()

    def die(commits: int) -> None:
        if commits == options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        asyncio.run(run(options.url, resolve_dsn(), die))
    except NoBroker as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
