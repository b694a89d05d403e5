"""The outbox: a row for each report and recipient, the e-mail that is to be sent and whether it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pgflow import NonRetryable

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

# A report that another run has asked for already keeps that run's message, unless it has other figures by now.
ENTER = """
insert into example_report.outbox as known (report, recipient, message_id, run_id, sha256)
values (%s, %s, %s, %s, %s)
on conflict (report, recipient) do update set
  message_id = excluded.message_id, run_id = excluded.run_id, sha256 = excluded.sha256
where known.sent_at is null and known.sha256 <> excluded.sha256
"""
KNOWN = """
select message_id, sha256 from example_report.outbox where report = %s and recipient = %s
"""
# The lock makes another run of the same report wait until this one is over.
TAKE = """
select outbox.report, outbox.recipient, outbox.sent_at is not null, document.pdf
from example_report.outbox join example_report.documents as document using (run_id)
where outbox.message_id = %s for update of outbox
"""
MARK = "update example_report.outbox set sent_at = clock_timestamp() where message_id = %s"


class Entry(NamedTuple):
    """What a run asks for: an e-mail with its PDF."""

    report: str
    recipient: str
    message_id: str
    run_id: UUID
    sha256: str
    """Of the PDF."""


class Message(NamedTuple):
    """A row of the outbox, with the PDF."""

    report: str
    recipient: str
    sent: bool
    pdf: bytes


def enter(connection: Connection, entry: Entry) -> str:
    """Ask for an e-mail; return the Message-ID of the one that brings these bytes, which may be an earlier run's."""
    connection.execute(ENTER, entry)
    report = (entry.report, entry.recipient)
    ((message_id, sha256),) = connection.execute(KNOWN, report).fetchall()
    if sha256 != entry.sha256:
        raise NonRetryable(
            f"the report {entry.report} was mailed to {entry.recipient} with other figures;"
            " delete its row of example_report.outbox to have this one mailed as well"
        )
    return str(message_id)


def take(connection: Connection, message_id: str) -> Message:
    """Lock and return the e-mail with this id."""
    row = connection.execute(TAKE, (message_id,)).fetchone()
    if row is None:
        raise NonRetryable(f"the outbox has no {message_id}: a later run has other figures")
    return Message(*row)


def mark_sent(connection: Connection, message_id: str) -> None:
    """Note that an e-mail was sent."""
    connection.execute(MARK, (message_id,))
