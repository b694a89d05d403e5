"""Exactly once: a step whose writes and whose completion commit together.

The handler fails after its write, twice; the row stands there once, not three times.
Run it: `python examples/transactional_step.py`. Without PGFLOW_DSN it starts a PostgreSQL of its own.
"""

from dataclasses import dataclass

import psycopg

from pgflow import Flow, current_task, execute
from pgflow.embedded import resolve_dsn


@dataclass
class Transfer:
    """The run's input."""

    account: str
    amount: int


transfers = Flow[Transfer]("transfers", max_attempts=3, base_delay=0)


@transfers.step()
def book(transfer: Transfer) -> int:
    """Insert a row through the transaction that also completes this task."""
    task = current_task()
    with task.transaction() as connection:
        connection.execute(
            "insert into example_bookings (account, amount) values (%s, %s)",
            (transfer.account, transfer.amount),
        )
        if task.attempt < task.max_attempts:
            raise ConnectionError("the bank's line broke after the insert")
    return task.attempt


if __name__ == "__main__":
    dsn = resolve_dsn()
    with psycopg.connect(dsn) as connection:
        connection.execute("drop table if exists example_bookings")
        connection.execute("create table example_bookings (account text, amount int)")
    result = execute(transfers, Transfer("DE02", 100))
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select account, amount from example_bookings").fetchall()
    print(f"attempts: {result[book]}, rows: {rows}")
