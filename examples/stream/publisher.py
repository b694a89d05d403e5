"""A process that publishes sales, and writes down in a ledger of its own what the broker has confirmed."""

import argparse
import asyncio
import csv
import json
import random
import signal
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import nats.errors
from nats.js import JetStreamContext

from .broker import SUBJECT, connect
from .leash import end_with_parent

SHOPS = ("Berlin", "Lisbon", "London", "Oslo", "Paris", "Prague", "Vienna", "Warsaw")
AT_ONCE = 20
CONFIRMATION = 1.0
"""Seconds to wait for it before an event is published again."""


@dataclass(frozen=True)
class Entry:
    """A line of the ledger."""

    event: str
    shop: str
    cents: int
    seq: int
    """Its number in the stream, as the broker has confirmed it."""
    confirmed_at: float
    attempts: int


async def publish(url: str, events: int, rate: float, seed: int, ledger: Path) -> None:
    """Publish `events` sales, `rate` a second, each until it is confirmed."""
    client = await connect(url)
    stream = client.jetstream()
    chance = random.Random(seed)  # noqa: S311 - sample data, no secret
    start = time.monotonic()
    with ledger.open("w", newline="") as file:
        writer = csv.writer(file)
        for first in range(0, events, AT_ONCE):
            await asyncio.sleep(start + first / rate - time.monotonic())
            sales = [
                (f"sale-{number}", chance.choice(SHOPS), chance.randint(100, 100_000))
                for number in range(first, min(first + AT_ONCE, events))
            ]
            entries = await asyncio.gather(*(publish_one(stream, *sale) for sale in sales))
            writer.writerows(map(astuple, entries))
            file.flush()
    await client.close()


async def publish_one(stream: JetStreamContext, event: str, shop: str, cents: int) -> Entry:
    """Publish until confirmed; by the id the broker knows an event that it has already."""
    body = json.dumps({"shop": shop, "cents": cents}).encode()
    attempts = 0
    while True:
        attempts += 1
        try:
            ack = await stream.publish(
                SUBJECT, body, timeout=CONFIRMATION, headers={"Nats-Msg-Id": event}
            )
        except (nats.errors.Error, OSError):
            await asyncio.sleep(0.1)
        else:
            return Entry(event, shop, cents, ack.seq, time.time(), attempts)


def read_ledger(ledger: Path) -> list[Entry]:
    """Return what has been confirmed so far."""
    with ledger.open(newline="") as file:
        return [
            Entry(event, shop, int(cents), int(seq), float(at), int(attempts))
            for event, shop, cents, seq, at, attempts in csv.reader(file)
        ]


def main() -> None:
    """Publish as the command line says."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    end_with_parent()
    asyncio.run(publish(options.url, options.events, options.rate, options.seed, options.ledger))


if __name__ == "__main__":
    main()
