"""The demo's CSV file, SMTP server and audit, without a database."""

from __future__ import annotations

import io
import smtplib
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from pgflow.demo.audit import Outcome, audit
from pgflow.demo.campaign import Receipt, Report
from pgflow.demo.generate_subscribers import write
from pgflow.demo.mail_server import LOOPBACK, Inbox, MailServer

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_csv_file_is_what_its_generator_writes() -> None:
    target = io.StringIO()
    write(target)
    shipped = files("pgflow.demo").joinpath("subscribers.csv").read_text(encoding="utf-8")
    assert target.getvalue() == shipped
    lines = shipped.splitlines()[1:]
    addresses = [line.split(",")[2] for line in lines]
    assert len(set(addresses)) == len(lines) == 1000
    assert all(address.isascii() for address in addresses)
    assert all(address.endswith(("example.com", "example.org")) for address in addresses)
    assert sum(address.endswith("@busy.example.org") for address in addresses) == 8
    assert sum(address.endswith("@gone.example.org") for address in addresses) == 2


def send(port: int, recipient: str, message_id: str) -> None:
    with smtplib.SMTP(LOOPBACK, port, timeout=5) as server:
        server.sendmail("a@example.com", [recipient], f"Message-ID: {message_id}\r\n\r\nhello\r\n")


def test_the_server_refuses_once_or_for_good_and_keeps_one_copy() -> None:
    with MailServer(delay=0) as mail:
        send(mail.port, "x@example.com", "<1@x>")
        send(mail.port, "x@example.com", "<1@x>")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="450"):
            send(mail.port, "x@busy.example.org", "<2@x>")
        send(mail.port, "x@busy.example.org", "<2@x>")
        for _ in range(2):
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
                send(mail.port, "x@gone.example.org", "<3@x>")
    assert mail.inbox.accepted == {"<1@x>": "x@example.com", "<2@x>": "x@busy.example.org"}
    assert mail.inbox.duplicates == {"<1@x>": 1}
    assert mail.inbox.deferred == {"x@busy.example.org": 1}
    assert mail.inbox.refused == {"x@gone.example.org": 2}
    with pytest.raises(ConnectionRefusedError):
        send(mail.port, "x@example.com", "<4@x>")


def agreeing() -> tuple[Outcome, Inbox]:
    receipts = [
        Receipt(1, "a@example.com", "<1>", attempt=1, pid=10),
        Receipt(2, "b@example.com", "<2>", attempt=2, pid=11),
        Receipt(3, "c@busy.example.org", "<3>", attempt=2, pid=11),
    ]
    report = Report(subscribers=4, sent=3, retried=2, unreachable=["d@gone.example.org"])
    inbox = Inbox(delay=0)
    inbox.accepted.update({receipt.message_id: receipt.email for receipt in receipts})
    inbox.duplicates["<2>"] += 1
    inbox.deferred["c@busy.example.org"] += 1
    inbox.refused["d@gone.example.org"] += 1
    return Outcome(report, receipts, {"d@gone.example.org"}, lost_attempts=1, killed_pid=10), inbox


def test_the_audit_passes_when_both_sides_agree() -> None:
    summary = audit(*agreeing())
    assert summary.agrees
    assert (summary.sent, summary.retried, summary.failed) == (3, 2, ["d@gone.example.org"])
    assert (summary.duplicates, summary.lost_attempts) == (1, 1)
    assert [(worker.pid, worker.delivered, worker.killed) for worker in summary.workers] == [
        (10, 1, True),
        (11, 2, False),
    ]


def lose_a_message(outcome: Outcome, inbox: Inbox) -> Outcome:
    del inbox.accepted["<1>"]
    return outcome


def deliver_to_another(outcome: Outcome, inbox: Inbox) -> Outcome:
    inbox.accepted["<1>"] = "z@example.com"
    return outcome


def deliver_unasked(outcome: Outcome, inbox: Inbox) -> Outcome:
    inbox.accepted["<9>"] = "z@example.com"
    return outcome


def forget_a_refusal(outcome: Outcome, inbox: Inbox) -> Outcome:
    inbox.refused.clear()
    return outcome


def deliver_twice_without_a_cause(outcome: Outcome, inbox: Inbox) -> Outcome:
    inbox.duplicates["<1>"] += 1
    return outcome


def deliver_twice_too_often(outcome: Outcome, inbox: Inbox) -> Outcome:
    inbox.duplicates["<2>"] += 1
    return outcome


def deliver_refused_without_a_retry(outcome: Outcome, inbox: Inbox) -> Outcome:
    inbox.deferred["a@example.com"] += 1
    return outcome


def miscount(outcome: Outcome, _inbox: Inbox) -> Outcome:
    return replace(outcome, report=replace(outcome.report, sent=4))


def kill_nobody(outcome: Outcome, _inbox: Inbox) -> Outcome:
    return replace(outcome, killed_pid=None)


@pytest.mark.parametrize(
    "disturb",
    [
        lose_a_message,
        deliver_to_another,
        deliver_unasked,
        forget_a_refusal,
        deliver_twice_without_a_cause,
        deliver_twice_too_often,
        deliver_refused_without_a_retry,
        miscount,
        kill_nobody,
    ],
)
def test_the_audit_notices_any_disagreement(
    disturb: Callable[[Outcome, Inbox], Outcome],
) -> None:
    outcome, inbox = agreeing()
    assert not audit(disturb(outcome, inbox), inbox).agrees
