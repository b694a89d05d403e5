"""Compares pgflow's account of two orders with what the services wrote into their own databases."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .account import Account, Speed
    from .keeper import Kept

SLOW = "shipping"
NOTICES = {"mail": "mail_send", "sms": "sms_send", "webhook": "webhook_call"}


@dataclass(frozen=True)
class Effect:
    """Something that a service did, by its own record."""

    key: str
    kind: str
    request: dict[str, Any]
    answer: dict[str, Any]
    pid: int


@dataclass(frozen=True)
class Call:
    """A call that reached a service, by its own log."""

    key: str | None
    path: str
    pid: int
    received_at: float
    answered_at: float | None
    status: int | None


@dataclass(frozen=True)
class Log:
    """A service's database."""

    effects: list[Effect]
    calls: list[Call]

    @classmethod
    def read(cls, service: Kept) -> Log:
        """Read what a service has written."""
        with closing(sqlite3.connect(service.store)) as connection:
            effects = connection.execute("select key, kind, request, answer, pid from effects")
            calls = connection.execute(
                "select key, path, pid, received_at, answered_at, status from calls order by id"
            )
            return cls(
                [
                    Effect(key, kind, json.loads(request), json.loads(answer), pid)
                    for key, kind, request, answer, pid in effects
                ],
                [Call(*row) for row in calls],
            )

    def of(self, kind: str) -> list[Effect]:
        """Return the effects of a kind."""
        return [effect for effect in self.effects if effect.kind == kind]


def check(
    shipped: Account, refunded: Account, speeds: list[Speed], services: dict[str, Kept]
) -> dict[str, bool]:
    """Return each claim and whether it holds."""
    logs = {name: Log.read(service) for name, service in services.items()}
    return (
        _check_payment(shipped, refunded, logs["payment"], services["payment"])
        | _check_branches(shipped, refunded, logs)
        | _check_notices(shipped, refunded, logs)
        | {f"the query names {SLOW} as the slowest service": speeds[0].service == SLOW}
    )


def _check_payment(shipped: Account, refunded: Account, log: Log, service: Kept) -> dict[str, bool]:
    orders = [account.outputs["order_place"] for account in (shipped, refunded)]
    charges, refunds = log.of("charge"), log.of("refund")
    killed = [call for call in log.calls if call.answered_at is None]
    first = next(effect for effect in charges if effect.key == _key(log, "/charges"))
    again = [call for call in log.calls if call.key == first.key and call.pid != first.pid]
    tries = shipped.of("payment_charge")
    returned = [
        (effect.answer["cents"], effect.request["charge_id"], effect.answer["refund_id"])
        for effect in refunds
    ]
    charge, refund = (refunded.outputs[step] for step in ("payment_charge", "payment_refund"))
    return {
        "each order was charged once, with its price": sorted(
            (effect.request["order_id"], effect.answer["cents"]) for effect in charges
        )
        == sorted((order["order_id"], order["cents"]) for order in orders),
        "the payment server was killed after it had stored the charge and before it answered": (
            [(call.key, call.pid) for call in killed] == [(first.key, first.pid)]
            and service.pids[0] == first.pid
            and service.exits[0] == -signal.SIGKILL
        ),
        "the retry reached the server's next process, and got the charge of the killed one": (
            [call.pid for call in again] == [service.pids[1]]
            and shipped.outputs["payment_charge"] == first.answer
            and [attempt.outcome for attempt in tries] == ["failed", "completed"]
        ),
        "one order was refunded, once, with what was charged": returned
        == [(charge["cents"], charge["charge_id"], refund["refund_id"])],
    }


def _check_branches(shipped: Account, refunded: Account, logs: dict[str, Log]) -> dict[str, bool]:
    branches = ("shipping_dispatch", "payment_refund", "order_settle")
    ways = [[account.statuses[step] for step in branches] for account in (shipped, refunded)]
    parcels = [effect.answer["tracking"] for effect in logs["shipping"].of("parcel")]
    outcomes = [effect.answer for effect in logs["order"].of("outcome")]
    attempts = shipped.attempts + refunded.attempts
    retried = {attempt.step for attempt in attempts if attempt.number > 1}
    return {
        "the order in stock was dispatched, the other refunded instead": (
            ways == [["completed", "skipped", "completed"], ["skipped", "completed", "completed"]]
            and parcels == [shipped.outputs["shipping_dispatch"]["tracking"]]
        ),
        "the order service knows both outcomes": outcomes
        == [account.outputs["order_settle"] for account in (shipped, refunded)],
        "only the interrupted charge and the refused text message were tried again": retried
        == {"payment_charge", "sms_send"},
        "no other service was called again": all(
            len({call.key or call.path for call in logs[name].calls}) == len(logs[name].calls)
            for name in ("user", "order", "shipping", "mail", "webhook")
        ),
    }


def _check_notices(shipped: Account, refunded: Account, logs: dict[str, Log]) -> dict[str, bool]:
    accounts = (shipped, refunded)
    told = [[account.outputs[step] for step in NOTICES.values()] for account in accounts]
    received = [
        [effect.key for effect in logs["mail"].of("mail")],
        [effect.answer["receipt"] for effect in logs["sms"].of("sms")],
        [effect.answer["receipt"] for effect in logs["webhook"].of("webhook")],
    ]
    texts = [account.outputs["order_settle"]["text"] for account in accounts]
    seen = [effect.request["text"] for effect in logs["mail"].of("mail")]
    first_calls = [_first_calls(logs[name]) for name in NOTICES]
    return {
        "each customer got one e-mail, one text message and one webhook event": (
            [list(of_order) for of_order in zip(*received, strict=True)] == told
            and all(text in mail for text, mail in zip(texts, seen, strict=True))
        ),
        "the three notices ran at the same time, by pgflow's record": all(
            _overlap(account.of(step)[0].seconds for step in NOTICES.values())
            for account in accounts
        ),
        "the three notices ran at the same time, by the receivers' logs": all(
            _overlap(of_order) for of_order in zip(*first_calls, strict=True)
        ),
    }


def _first_calls(log: Log) -> list[tuple[float, float]]:
    """Return when the first call with each key came, and when it was answered."""
    first: dict[str | None, tuple[float, float]] = {}
    for call in log.calls:
        first.setdefault(call.key, (call.received_at, call.answered_at or call.received_at))
    return list(first.values())


def _overlap(times: Iterable[tuple[float, float]]) -> bool:
    """Tell whether there is a moment that all the intervals share."""
    intervals = list(times)
    return max(begin for begin, _ in intervals) < min(end for _, end in intervals)


def _key(log: Log, path: str) -> str | None:
    return next(call.key for call in log.calls if call.path == path)
