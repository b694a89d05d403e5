"""The flow: user, order, payment, shipping; a refund if nothing can be shipped; then the customer is told.

A step that calls a service is named SERVICE_verb, so that SQL can tell which service is slow (slowest.sql).
"""

from __future__ import annotations

import os
import smtplib
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from urllib.parse import urlsplit

from pgflow import Flow, current_task

from .calls import TIMEOUT, get, post


@dataclass
class Cart:
    """The run's input."""

    user_id: int
    sku: str
    pieces: int


@dataclass
class User:
    """Whom to tell, and where."""

    name: str
    email: str
    phone: str


@dataclass
class Order:
    """What is bought."""

    order_id: str
    sku: str
    pieces: int
    cents: int


@dataclass
class Charge:
    """Money taken."""

    charge_id: str
    cents: int


@dataclass
class Reservation:
    """Whether the order can be shipped."""

    possible: bool
    reason: str | None


@dataclass
class Parcel:
    """On its way."""

    tracking: str


@dataclass
class Refund:
    """Money given back."""

    refund_id: str
    cents: int


@dataclass
class Outcome:
    """How the order ended, in a word and in a sentence."""

    order_id: str
    status: str
    text: str


@dataclass
class Response:
    """What the client gets."""

    order_id: str
    status: str
    told: list[str | None]
    """Receipts of the e-mail, the text message and the webhook; None for one that reached nobody."""


checkout = Flow[Cart]("checkout", max_attempts=4, base_delay=1, timeout=30)


@checkout.step()
async def user_fetch(cart: Cart) -> User:
    """Ask the user service who buys."""
    return User(**await get("user", f"/users/{cart.user_id}"))


@checkout.step(depends_on=(user_fetch,))
async def order_place(_user: User) -> Order:
    """Have the order service take the order, and price it."""
    cart = current_task().run_input
    return Order(**await post("order", "/orders", cart))


@checkout.step(depends_on=(order_place,))
async def payment_charge(order: Order) -> Charge:
    """Charge the customer once: every attempt brings the same Idempotency-Key."""
    body = {"order_id": order.order_id, "cents": order.cents}
    return Charge(**await post("payment", "/charges", body))


@checkout.step(depends_on=(order_place, payment_charge), max_attempts=3, when_exhausted="skip")
async def shipping_reserve(order: Order, _charge: Charge) -> Reservation:
    """Ask whether it can be shipped; a shipping service that cannot be reached counts as no."""
    return Reservation(**await post("shipping", "/reservations", asdict(order)))


@checkout.step(
    depends_on=(order_place, shipping_reserve),
    if_={"shipping_reserve": {"possible": True}},
    when_exhausted="skip",
)
async def shipping_dispatch(order: Order, _reservation: Reservation) -> Parcel:
    """Send it."""
    return Parcel(**await post("shipping", "/parcels", asdict(order)))


@checkout.step(depends_on=(payment_charge, shipping_dispatch), if_not={"shipping_dispatch": {}})
async def payment_refund(charge: Charge, _parcel: Parcel | None) -> Refund:
    """Compensate, whatever kept the parcel from leaving: give the money back, under a key of this step's own."""
    return Refund(**await post("payment", "/refunds", asdict(charge)))


@checkout.step(depends_on=(order_place, shipping_dispatch, payment_refund))
async def order_settle(order: Order, parcel: Parcel | None, refund: Refund | None) -> Outcome:
    """Tell the order service how it ended: one of the two branches brings something."""
    body = {
        "order_id": order.order_id,
        "tracking": parcel.tracking if parcel else None,
        "refund_id": refund.refund_id if refund else None,
    }
    return Outcome(**await post("order", "/outcomes", body))


# A notice that reaches nobody takes neither the others with it nor the order, which is settled by now.
@checkout.step(depends_on=(user_fetch, order_settle), when_exhausted="skip")
def mail_send(user: User, outcome: Outcome) -> str:
    """Mail the customer; the Message-ID is the key by which a mail server knows a repeated message."""
    message = EmailMessage()
    message["From"], message["To"] = "shop@example.com", user.email
    message["Subject"] = f"{outcome.order_id}: {outcome.status}"
    message["Message-ID"] = f"<{current_task().idempotency_key}@example.com>"
    message.set_content(f"Dear {user.name},\n\n{outcome.text}\n")
    address = urlsplit(os.environ["MAIL_URL"])
    with smtplib.SMTP(address.hostname or "", address.port or 0, timeout=TIMEOUT) as server:
        server.send_message(message)
    return str(message["Message-ID"])


@checkout.step(depends_on=(user_fetch, order_settle), when_exhausted="skip")
async def sms_send(user: User, outcome: Outcome) -> str:
    """Send a text message; the gateway is busy at times, and says when to come again."""
    answer = await post("sms", "/messages", {"to": user.phone, "text": outcome.text})
    return str(answer["receipt"])


@checkout.step(depends_on=(order_settle,), when_exhausted="skip")
async def webhook_call(outcome: Outcome) -> str:
    """Post a signed event to whoever subscribed."""
    return str((await post("webhook", "/events", asdict(outcome)))["receipt"])


@checkout.step(depends_on=(order_settle, mail_send, sms_send, webhook_call))
def response(outcome: Outcome, mail: str | None, sms: str | None, event: str | None) -> Response:
    """Answer the client, when everybody who could be reached has been told."""
    return Response(outcome.order_id, outcome.status, [mail, sms, event])
