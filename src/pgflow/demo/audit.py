"""The demo's summary, and the proof of it: what pgflow says is compared with what the server received."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from pgflow.demo.campaign import Receipt, Report
from pgflow.demo.mail_server import Inbox


@dataclass(frozen=True, slots=True)
class Check:
    """A claim about the run, and whether it holds."""

    claim: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker process delivered."""

    pid: int
    delivered: int
    killed: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pgflow knows when the run has ended."""

    report: Report
    """The output of the run's last step."""
    receipts: Sequence[Receipt]
    """The outputs of the map's tasks that completed."""
    failed: Collection[str]
    """Addresses of the map's tasks that failed for good."""
    lost_attempts: int
    """Attempts that ended with the killed worker."""
    killed_pid: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo did."""

    subscribers: int
    sent: int
    retried: int
    deferred: int
    """Messages that the server refused once."""
    failed: list[str]
    lost_attempts: int
    duplicates: int
    """Messages that the server got again, after a worker died before it could report them."""
    workers: list[WorkerShare]
    checks: list[Check]

    @property
    def agrees(self) -> bool:
        """Tell whether every check holds."""
        return all(check.holds for check in self.checks)


def audit(outcome: Outcome, inbox: Inbox) -> Summary:
    """Compare pgflow's account with the server's."""
    report, receipts = outcome.report, outcome.receipts
    delivered = Counter(receipt.pid for receipt in receipts)
    retried = {receipt.email for receipt in receipts if receipt.attempt > 1}
    again = {inbox.accepted[message_id] for message_id in inbox.duplicates}
    twice = sum(inbox.duplicates.values())
    checks = [
        _equal(
            "every message reported as sent is in the server's inbox, and no other",
            ((receipt.message_id, receipt.email) for receipt in receipts),
            inbox.accepted.items(),
        ),
        _equal(
            "the failed list is the server's list of final refusals", outcome.failed, inbox.refused
        ),
        _none(
            "each address refused once got its message by a retry", set(inbox.deferred) - retried
        ),
        _none("a message came twice only where a worker died with it", again - retried),
        Check(
            "no more messages came twice than attempts were lost",
            twice <= outcome.lost_attempts,
            f"{twice} twice, {outcome.lost_attempts} lost",
        ),
        Check(
            "the last step counted the same",
            (report.subscribers, report.sent, report.retried, sorted(report.unreachable))
            == (
                len(receipts) + len(outcome.failed),
                len(receipts),
                len(retried),
                sorted(outcome.failed),
            ),
            f"{report.sent:,} sent, {len(outcome.failed):,} failed of {report.subscribers:,}",
        ),
        Check(
            "the killed worker had delivered a part, the others the rest",
            outcome.killed_pid is not None and 0 < delivered[outcome.killed_pid] < len(receipts),
            f"{delivered[outcome.killed_pid or 0]:,} of {len(receipts):,}",
        ),
    ]
    return Summary(
        subscribers=report.subscribers,
        sent=report.sent,
        retried=report.retried,
        deferred=len(inbox.deferred),
        failed=sorted(outcome.failed),
        lost_attempts=outcome.lost_attempts,
        duplicates=twice,
        workers=[
            WorkerShare(pid, number, pid == outcome.killed_pid)
            for pid, number in sorted(delivered.items())
        ],
        checks=checks,
    )


def _equal(claim: str, ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> Check:
    return _none(claim, set(ours) ^ set(theirs))


def _none(claim: str, exceptions: Collection[Hashable]) -> Check:
    some = ", ".join(sorted(map(str, exceptions))[:3])
    return Check(claim, not exceptions, f"{len(exceptions):,} differ: {some}" if exceptions else "")
