"""What the pipeline looks things up in; a table in the database as a rule, constants here."""

from decimal import Decimal

NAMES = {
    "DE": ("Germany", "Deutschland"),
    "FR": ("France", "République française"),
    "GB": ("United Kingdom", "Great Britain"),
    "CH": ("Switzerland", "Schweiz", "Suisse"),
    "PL": ("Poland", "Polska"),
    "US": ("United States", "USA"),
}
COUNTRIES = {name.casefold(): code for code, names in NAMES.items() for name in (code, *names)}

RATES = {
    "EUR": Decimal(1),
    "USD": Decimal("1.0843"),
    "GBP": Decimal("0.8561"),
    "CHF": Decimal("0.9514"),
    "PLN": Decimal("4.3120"),
}
"""How much of a currency a euro buys."""
