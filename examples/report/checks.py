"""Compares the report with the tables that it is about, and pgflow's account with what the mail server got."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

import psycopg
from pypdf import PdfReader

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from .flow import Delivery
    from .mail_server import Inbox

PAGES = 4
SECTIONS = ("sales", "marketing", "operations")
# Another way to the same numbers than that of the sections: row by row, added up here.
ORDERS = (
    "select region, amount from example_report.orders where extract(quarter from ordered_on) = 3"
)
SIGNUPS = (
    "select channel, cost, visits, signups from example_report.campaigns"
    " where extract(quarter from ran_on) = 3"
)
TICKETS = "select topic from example_report.tickets where extract(quarter from opened_at) = 3"
ATTEMPTS = """
select step_slug, started_at, ended_at, outcome, error from pgflow.task_attempts
where run_id = %s order by started_at, attempt
"""


@dataclass(frozen=True)
class Attempt:
    """One try at a step, by pgflow's record."""

    step: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    error: str | None


@dataclass(frozen=True)
class Product:
    """What a run left behind."""

    attempts: list[Attempt]
    output: dict[str, Any]
    """Of the step that made the PDF."""
    pdf: bytes
    preview: bytes
    outbox: list[tuple[str, bool]]
    """Message-ID, and whether it was sent."""

    @property
    def texts(self) -> list[str]:
        """Return the text of each page of the PDF."""
        return [page.extract_text() for page in PdfReader(BytesIO(self.pdf)).pages]

    @classmethod
    def read(cls, dsn: str, run_id: UUID) -> Product:
        """Read a run that has ended."""
        with psycopg.connect(dsn) as connection:
            attempts = connection.execute(ATTEMPTS, [run_id]).fetchall()
            output = connection.execute(
                "select output from pgflow.step_states where run_id = %s and step_slug = 'make_pdf'",
                [run_id],
            ).fetchone()
            document = connection.execute(
                "select pdf, preview from example_report.documents where run_id = %s", [run_id]
            ).fetchone()
            outbox = connection.execute(
                "select message_id, sent_at is not null from example_report.outbox"
            ).fetchall()
        assert output is not None, "the run has this step"
        assert document is not None, "the step commits its row with its completion"
        pdf, preview = document
        return cls([Attempt(*row) for row in attempts], output[0], pdf, preview, outbox)


def check(dsn: str, product: Product, inbox: Inbox, deliveries: list[Delivery]) -> dict[str, bool]:
    """Return each claim and whether it holds; the deliveries are those of both runs."""
    return (
        {"the three sections were begun together, none waited for another": _together(product)}
        | _check_pdf(dsn, product)
        | _check_mail(product, inbox, deliveries)
    )


def _together(product: Product) -> bool:
    """Tell whether a worker had all three sections before any of them was done."""
    tries = [attempt for attempt in product.attempts if attempt.step in SECTIONS]
    return len(tries) == len(SECTIONS) and (
        max(attempt.started_at for attempt in tries) < min(attempt.ended_at for attempt in tries)
    )


def _check_pdf(dsn: str, product: Product) -> dict[str, bool]:
    texts = product.texts
    words = " ".join(" ".join(texts).split())
    orders, campaigns, tickets = _read(dsn)
    return {
        "the PDF opens, and each of its four pages is numbered": len(texts) == PAGES
        and all(f"Page {number} of {PAGES}" in text for number, text in enumerate(texts, 1)),
        "revenue and orders in the PDF are those of the table, for each region too": all(
            f"{name} {len(amounts):,} {sum(amounts):,.2f} €" in words
            for name, amounts in orders.items()
        )
        and f"{sum(sum(amounts) for amounts in orders.values()):,.2f} €" in words,
        "spend, visits and signups in the PDF are those of the table, for each channel": all(
            f"{name} {cost:,.2f} € {visits:,} {signups:,}" in words
            for name, (cost, visits, signups) in campaigns.items()
        ),
        "tickets in the PDF are those of the table, for each topic": all(
            f"{name} {number:,}" in words for name, number in tickets.items()
        ),
    }


def _read(dsn: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]], dict[str, int]]:
    """Return the amounts by region, the sums by channel and the number of tickets by topic."""
    orders: dict[str, list[Any]] = {}
    campaigns: dict[str, list[Any]] = {}
    tickets: dict[str, int] = {}
    with psycopg.connect(dsn) as connection:
        for region, amount in connection.execute(ORDERS):
            orders.setdefault(region, []).append(amount)
        for channel, *values in connection.execute(SIGNUPS):
            sums = campaigns.get(channel, [0, 0, 0])
            campaigns[channel] = [old + new for old, new in zip(sums, values, strict=True)]
        for (topic,) in connection.execute(TICKETS):
            tickets[topic] = tickets.get(topic, 0) + 1
    return orders, campaigns, tickets


def _check_mail(product: Product, inbox: Inbox, deliveries: list[Delivery]) -> dict[str, bool]:
    ids = [message_id for message_id, _ in inbox.deliveries]
    tries = [attempt for attempt in product.attempts if attempt.step == "mail"]
    first, second = deliveries
    attached = [
        (message_id, part.get_content())
        for message_id, message in inbox.kept.items()
        for part in message.iter_attachments()
    ]
    return {
        "the server took the message before the attempt failed, and got it again": (
            [attempt.outcome for attempt in tries] == ["failed", "completed"]
            and "Disconnected" in (tries[0].error or "")
            and ids == [first.message_id] * 2
            and len(set(inbox.deliveries)) == 1
        ),
        "the user has one e-mail, with the PDF as it was stored": (
            attached == [(first.message_id, product.pdf)]
            and sha256(product.pdf).hexdigest() == product.output["sha256"]
        ),
        "the outbox has that message, as sent": product.outbox == [(first.message_id, True)],
        "the same report, asked for again, was not mailed again": (
            first.by_this_run and not second.by_this_run and second.message_id == first.message_id
        ),
    }
