"""The demo's flow, as an application would write it: read the subscribers, mail each, count the results."""

import csv
import os
import smtplib
import threading
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from importlib.resources import files

from pgflow import Flow, NonRetryable, at_most, current_task

SENDER = Address("Example News", "news", "example.com")
GREETINGS = {"de": "Hallo", "en": "Hello", "es": "Hola", "fr": "Bonjour", "pl": "Cześć"}
PERMANENT = 500
"""SMTP answers from here on are final; those below ask to try again."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """The run's input."""

    campaign_id: int
    smtp_host: str
    smtp_port: int


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One line of the CSV file."""

    id: int
    name: str
    email: str
    language: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a delivered message leaves behind."""

    subscriber_id: int
    email: str
    message_id: str
    attempt: int
    pid: int
    """The worker process that delivered it."""


@dataclass(frozen=True, slots=True)
class Report:
    """The campaign's result."""

    subscribers: int
    sent: int
    retried: int
    """Messages that needed more than one attempt."""
    unreachable: list[str]
    """Addresses that got nothing."""


email_campaign = Flow[Campaign]("email_campaign", max_attempts=3, base_delay=1, timeout=60)


@email_campaign.step()
def fetch_subscribers(_campaign: Campaign) -> list[Subscriber]:
    """Read the subscribers from the CSV file."""
    with files("pgflow.demo").joinpath("subscribers.csv").open(encoding="utf-8") as source:
        return [
            Subscriber(int(row["id"]), row["name"], row["email"], row["language"])
            for row in csv.DictReader(source)
        ]


@email_campaign.map(
    over=fetch_subscribers, max_attempts=5, timeout=30, failure_policy=at_most(percent=1)
)
def send_email(subscriber: Subscriber) -> Receipt:
    """Deliver one message; a task for each subscriber.

    A worker may die after the server took the message and before pgflow heard of it: then it is sent
    again. The Message-ID is the same in every attempt, so that the server keeps one copy.
    """
    task = current_task()
    campaign = Campaign(**task.run_input)
    message = compose(subscriber, campaign, message_id=f"<{task.idempotency_key}@example.com>")
    try:
        connection(campaign).send_message(message)
    except smtplib.SMTPRecipientsRefused as refusal:
        code, reason = refusal.recipients[subscriber.email]
        if code >= PERMANENT:
            raise NonRetryable(f"{code} {reason.decode()}") from refusal
        raise
    return Receipt(
        subscriber.id, subscriber.email, message["Message-ID"], task.attempt, os.getpid()
    )


@email_campaign.step(depends_on=(fetch_subscribers, send_email))
def track_results(subscribers: list[Subscriber], receipts: list[Receipt | None]) -> Report:
    """Count what was sent; a failed item of the map arrives as None, in its place."""
    sent = [receipt for receipt in receipts if receipt is not None]
    return Report(
        subscribers=len(subscribers),
        sent=len(sent),
        retried=sum(receipt.attempt > 1 for receipt in sent),
        unreachable=[
            subscriber.email
            for subscriber, receipt in zip(subscribers, receipts, strict=True)
            if receipt is None
        ],
    )


def compose(subscriber: Subscriber, campaign: Campaign, *, message_id: str) -> EmailMessage:
    """Write the message to one subscriber."""
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = Address(subscriber.name, addr_spec=subscriber.email)
    message["Subject"] = f"Newsletter no. {campaign.campaign_id}"
    message["Message-ID"] = message_id
    greeting = GREETINGS[subscriber.language]
    message.set_content(f"{greeting} {subscriber.name},\n\nthis is a demonstration.\n")
    return message


_connections = threading.local()


def connection(campaign: Campaign) -> smtplib.SMTP:
    """Return this thread's connection to the server; one that broke is replaced."""
    address = (campaign.smtp_host, campaign.smtp_port)
    server: smtplib.SMTP | None = getattr(_connections, "server", None)
    if server is None or server.sock is None or _connections.address != address:
        server = smtplib.SMTP(*address, timeout=10)
        _connections.server, _connections.address = server, address
    return server
