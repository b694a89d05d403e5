"""Two small services over HTTP: the warehouse's stock, and exchange rates; figures from data/*.json.

With --hang N the first N requests for a stock get no answer, as from a server that has lost its database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .loopback import serve

if TYPE_CHECKING:
    from starlette.requests import Request

FOREVER = 3600.0


def data(name: str) -> dict[str, float]:
    """Read a file of figures."""
    figures: dict[str, float] = json.loads((Path(__file__).parent / "data" / name).read_text())
    return figures


class Services:
    """The routes, with a record of who asked for what."""

    def __init__(self, hang: int) -> None:
        self._hang = hang
        self._requests: list[dict[str, Any]] = []
        routes = [
            Route("/stock/{product}", self.stock),
            Route("/rates/{base}/{quote}", self.rate),
            Route("/requests", self.requests),
        ]
        self.app = Starlette(routes=routes)

    async def stock(self, request: Request) -> Response:
        """Say how many bags of a product there are."""
        answers = self._hang <= 0
        self._hang -= 1
        self._note(request, answers=answers)
        if not answers:
            await asyncio.sleep(FOREVER)
        product, stock = request.path_params["product"], data("stock.json")
        if product not in stock:
            return Response(f"no product {product}, only {', '.join(stock)}", status_code=404)
        return JSONResponse({"product": product, "bags_in_stock": stock[product]})

    async def rate(self, request: Request) -> Response:
        """Say what one unit of a currency is worth in another."""
        self._note(request, answers=True)
        base, quote, rates = (
            request.path_params["base"],
            request.path_params["quote"],
            data("rates.json"),
        )
        if unknown := {base, quote} - set(rates):
            return Response(f"no currency {', '.join(unknown)}", status_code=404)
        rate = round(rates[base] / rates[quote], 6)
        return JSONResponse({"base": base, "quote": quote, "rate": rate})

    async def requests(self, _request: Request) -> Response:
        """List what was asked so far."""
        return JSONResponse(self._requests)

    def _note(self, request: Request, *, answers: bool) -> None:
        key = request.headers.get("idempotency-key")
        self._requests.append({"path": request.url.path, "key": key, "answered": answers})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hang", type=int, default=0)
    serve(Services(parser.parse_args().hang).app)
