"""The flow: three sections at the same time, one document, proofread, then mailed.

The PDF's bytes live in a table, in a row that commits with the step that made them; outputs name the row. The e-mail is
a row of an outbox, which commits with the proofreading; the step that sends marks it, and marking commits with its own end.
"""

from __future__ import annotations

import os
import smtplib
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from pgflow import Flow, NonRetryable, current_task

from . import outbox, sections
from .document import compose
from .layout import Layout, arrange
from .letter import write
from .outbox import Entry
from .proof import misprints, render
from .sections import Quarter, Section


@dataclass
class Request:
    """The run's input."""

    quarter: str
    """`2026-Q3`"""
    recipient: str


@dataclass
class Document:
    """A PDF: where its bytes are is told by the run's id."""

    pages: int
    size: int
    sha256: str


@dataclass
class Proof:
    """What the proofreading found, and the e-mail that it asked for."""

    numbers: int
    """That stand in the PDF as they were computed."""
    message_id: str


@dataclass
class Delivery:
    """The e-mail."""

    message_id: str
    by_this_run: bool
    attempt: int


quarterly = Flow[Request]("quarterly_report", max_attempts=4, base_delay=1, timeout=60)


@quarterly.step()
def sales(request: Request) -> Section:
    """Read what was sold."""
    return sections.sales(_dsn(), Quarter.parse(request.quarter))


@quarterly.step()
def marketing(request: Request) -> Section:
    """Read what was spent on being known, and what it brought."""
    return sections.marketing(_dsn(), Quarter.parse(request.quarter))


@quarterly.step()
def operations(request: Request) -> Section:
    """Read what customers asked for."""
    return sections.operations(_dsn(), Quarter.parse(request.quarter))


def _dsn() -> str:
    """Return the address of the worker's database, wherever it has it from."""
    return current_task().database.dsn


@quarterly.step(depends_on=(sales, marketing, operations))
def aggregate(sales: Section, marketing: Section, operations: Section) -> Layout:
    """Set the sections in relation to each other, and every number in type."""
    return arrange(Request(**current_task().run_input).quarter, sales, marketing, operations)


@quarterly.step(depends_on=(aggregate,))
def make_pdf(layout: Layout) -> Document:
    """Draw the charts, set the pages, store the bytes: the row commits with this step's completion."""
    task = current_task()
    pdf, pages = compose(layout)
    with task.transaction() as connection:
        connection.execute(
            "insert into example_report.documents (run_id, pdf) values (%s, %s)", (task.run_id, pdf)
        )
    return Document(pages, len(pdf), sha256(pdf).hexdigest())


@quarterly.step(depends_on=(aggregate, make_pdf))
def proofread(layout: Layout, document: Document) -> Proof:
    """Open the PDF as a reader would. The e-mail is to be sent if and only if this step completes."""
    task = current_task()
    request = Request(**task.run_input)
    with task.transaction() as connection:
        row = connection.execute(
            "select pdf from example_report.documents where run_id = %s", (task.run_id,)
        ).fetchone()
        pdf = row[0] if row else b""
        if found := misprints(pdf, layout, document.pages):
            raise NonRetryable(f"the PDF is not what was computed: {'; '.join(found[:5])}")
        connection.execute(
            "update example_report.documents set preview = %s where run_id = %s",
            (render(pdf), task.run_id),
        )
        entry = Entry(
            request.quarter,
            request.recipient,
            f"<{task.idempotency_key}@example.com>",
            task.run_id,
            document.sha256,
        )
        message_id = outbox.enter(connection, entry)
    return Proof(len(layout.numbers), message_id)


@quarterly.step(depends_on=(proofread,))
def mail(proof: Proof) -> Delivery:
    """Send what the outbox has, unless it was sent.

    The server may have taken the message although this attempt fails. The next one sends the same bytes under the
    same Message-ID, so that the receiver keeps one copy.
    """
    task = current_task()
    with task.transaction() as connection:
        message = outbox.take(connection, proof.message_id)
        if message.sent:
            return Delivery(proof.message_id, by_this_run=False, attempt=task.attempt)
        address = urlsplit(os.environ["SMTP_URL"])
        with smtplib.SMTP(address.hostname or "", address.port or 25, timeout=20) as server:
            server.send_message(
                write(message.report, message.recipient, proof.message_id, message.pdf)
            )
        outbox.mark_sent(connection, proof.message_id)
    return Delivery(proof.message_id, by_this_run=True, attempt=task.attempt)
