"""The example's two questions, and the figures that a right answer has, worked out from the files in plain Python."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from .grounding import figures
from .services_server import data
from .shop import orders, passages

TWO_ROUNDS = (
    "Which product brought the most revenue in Norway in 2025, and how much is that in euros?"
    " How many bags of Sidamo are in the warehouse? May a customer return an opened bag?"
)
"""The currency to convert from is known only after the orders were looked up."""
ONE_ROUND = "How many bags of Yirgacheffe did we sell in Japan in 2024? How long are samples of a roast kept?"


def expected() -> dict[str, set[Decimal]]:
    """Return the figures that must stand in the answer to each question."""
    revenue: Counter[str] = Counter()
    for order in orders():
        if (order.country, order.ordered_on.year) == ("Norway", 2025):
            revenue[order.product] += order.bags * order.unit_price  # type: ignore[assignment]  # Decimals
    _, most = revenue.most_common(1)[0]
    euros = round(Decimal(most) * Decimal(str(data("rates.json")["NOK"])), 2)
    sold = sum(
        order.bags
        for order in orders()
        if (order.product, order.country, order.ordered_on.year) == ("Yirgacheffe", "Japan", 2024)
    )
    handbook = dict(passages())
    return {
        TWO_ROUNDS: {
            Decimal(most),
            euros,
            Decimal(data("stock.json")["Sidamo"]),
            figures(handbook["Opened bags"])[0],
        },
        ONE_ROUND: {Decimal(sold), *figures(handbook["Samples of a roast"])},
    }
