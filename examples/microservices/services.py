"""The services: four of the shop (user, order, payment, shipping) and three of others (sms, webhook, mail).

Each is a program of its own with a store of its own. All but `mail` are Starlette applications, built by `application`.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import uuid
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from .signing import signature
from .store import KeyReused, Store

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from starlette.requests import Request

    Act = Callable[[sqlite3.Connection, dict[str, Any]], dict[str, Any]]
    Check = Callable[[Request], Awaitable[None]]

USERS = """
create table if not exists users (id integer primary key, name text, email text, phone text);
insert or ignore into users values
    (1, 'Ada Lovelace', 'ada@example.org', '+44 20 7946 0001'),
    (2, 'Blaise Pascal', 'blaise@example.org', '+33 1 99 00 00 02');
"""
PRICES = """
create table if not exists prices (sku text primary key, cents integer not null);
insert or ignore into prices values ('keyboard', 8900), ('lamp', 4250);
"""
STOCK = """
create table if not exists stock (sku text primary key, pieces integer not null);
insert or ignore into stock values ('keyboard', 20), ('lamp', 0);
"""
SCHEMAS = {"user": USERS, "order": PRICES, "shipping": STOCK}
SERVICES = ("user", "order", "payment", "shipping", "sms", "webhook", "mail")


def application(name: str, path: Path, delay: float) -> Starlette:
    """Build a service; it takes `delay` seconds for each call, between the effect and the answer."""
    service = Service(Store(path, SCHEMAS.get(name, "")), delay)
    routes = {
        "user": [Route("/users/{id:int}", service.user)],
        "order": [
            Route("/orders", service.effect("order", place), methods=["POST"]),
            Route("/outcomes", service.effect("outcome", settle), methods=["POST"]),
        ],
        "payment": [
            Route("/charges", service.effect("charge", charge), methods=["POST"]),
            Route("/refunds", service.effect("refund", refund), methods=["POST"]),
        ],
        "shipping": [
            Route("/reservations", service.effect("reservation", reserve), methods=["POST"]),
            Route("/parcels", service.effect("parcel", dispatch), methods=["POST"]),
        ],
        "sms": [Route("/messages", service.effect("sms", send, service.busy), methods=["POST"])],
        "webhook": [Route("/events", service.effect("webhook", receive, signed), methods=["POST"])],
    }
    return Starlette(routes=[Route("/health", healthy), *routes[name]])


async def healthy(_request: Request) -> JSONResponse:
    """Say that the service is there."""
    return JSONResponse({"pid": os.getpid()})


class Service:
    """Handles calls: logs them, honours the Idempotency-Key header, takes its time."""

    def __init__(self, store: Store, delay: float) -> None:
        self._store = store
        self._delay = delay

    async def user(self, request: Request) -> JSONResponse:
        """Return a user: a read, which needs no key."""
        call = await asyncio.to_thread(self._store.log_call, None, request.url.path)
        rows = await asyncio.to_thread(
            self._store.read,
            "select name, email, phone from users where id = ?",
            request.path_params["id"],
        )
        if not rows:
            return await self._answer(call, {"error": "no such user"}, 404)
        return await self._answer(call, dict(zip(("name", "email", "phone"), rows[0], strict=True)))

    def effect(
        self, kind: str, act: Act, check: Check | None = None
    ) -> Callable[[Request], Awaitable[JSONResponse]]:
        """Make a handler that has its effect once for each key."""

        async def handle(request: Request) -> JSONResponse:
            key, body = request.headers.get("Idempotency-Key"), await request.json()
            call = await asyncio.to_thread(self._store.log_call, key, request.url.path)
            if key is None:
                return await self._answer(call, {"error": "Idempotency-Key is missing"}, 400)
            try:
                if check is not None:
                    await check(request)
                answer, replayed = await asyncio.to_thread(
                    self._store.once, key, kind, body, lambda connection: act(connection, body)
                )
            except KeyReused:
                return await self._answer(call, {"error": "the key is of another request"}, 422)
            except HTTPException as refusal:
                return await self._answer(
                    call, {"error": refusal.detail}, refusal.status_code, refusal.headers
                )
            return await self._answer(
                call, answer, headers={"Idempotent-Replayed": str(replayed).lower()}
            )

        return handle

    async def busy(self, request: Request) -> None:
        """Turn the very first call away, as gateways do at times."""
        if len(await asyncio.to_thread(self._store.read, "select id from calls limit 2")) == 1:
            raise HTTPException(503, f"{request.url.path} is busy", headers={"Retry-After": "1"})

    async def _answer(
        self, call: int, body: dict[str, Any], status: int = 200, headers: Any = None
    ) -> JSONResponse:
        await asyncio.sleep(self._delay)
        await asyncio.to_thread(self._store.log_answer, call, status)
        return JSONResponse(body, status, headers)


async def signed(request: Request) -> None:
    """Refuse an event that the shop did not sign."""
    expected = signature(await request.body())
    if not hmac.compare_digest(request.headers.get("Webhook-Signature", ""), expected):
        raise HTTPException(401, "the signature is wrong")


def place(connection: sqlite3.Connection, order: dict[str, Any]) -> dict[str, Any]:
    """Take an order, and set its price."""
    price = connection.execute("select cents from prices where sku = ?", (order["sku"],)).fetchone()
    if price is None:
        raise HTTPException(404, f"there is no {order['sku']}")
    return {
        "order_id": f"order-{uuid.uuid4().hex[:8]}",
        "sku": order["sku"],
        "pieces": order["pieces"],
        "cents": price[0] * order["pieces"],
    }


def settle(_connection: sqlite3.Connection, outcome: dict[str, Any]) -> dict[str, Any]:
    """Close an order, and word what the customer is told."""
    order_id = outcome["order_id"]
    if outcome["tracking"]:
        text = f"Your {order_id} is on its way: {outcome['tracking']}."
        return {"order_id": order_id, "status": "shipped", "text": text}
    text = f"We cannot ship your {order_id}, sorry. Your money is on its way back to you."
    return {"order_id": order_id, "status": "refunded", "text": text}


def charge(_connection: sqlite3.Connection, order: dict[str, Any]) -> dict[str, Any]:
    """Take the money."""
    return {"charge_id": f"charge-{uuid.uuid4().hex[:8]}", "cents": order["cents"]}


def refund(_connection: sqlite3.Connection, charged: dict[str, Any]) -> dict[str, Any]:
    """Give the money of a charge back."""
    return {"refund_id": f"refund-{uuid.uuid4().hex[:8]}", "cents": charged["cents"]}


def reserve(connection: sqlite3.Connection, order: dict[str, Any]) -> dict[str, Any]:
    """Put the pieces aside, if there are enough of them."""
    taken = connection.execute(
        "update stock set pieces = pieces - :pieces where sku = :sku and pieces >= :pieces", order
    )
    if not taken.rowcount:
        return {"possible": False, "reason": f"{order['sku']} is out of stock"}
    return {"possible": True, "reason": None}


def dispatch(_connection: sqlite3.Connection, order: dict[str, Any]) -> dict[str, Any]:
    """Hand the parcel to a carrier."""
    return {"tracking": f"parcel-{uuid.uuid4().hex[:8]}-{order['sku']}"}


def send(_connection: sqlite3.Connection, message: dict[str, Any]) -> dict[str, Any]:
    """Pass a text message on."""
    return {"receipt": f"sms-{uuid.uuid4().hex[:8]}", "to": message["to"]}


def receive(_connection: sqlite3.Connection, event: dict[str, Any]) -> dict[str, Any]:
    """Take note of an event."""
    return {"receipt": f"event-{uuid.uuid4().hex[:8]}", "order_id": event["order_id"]}
