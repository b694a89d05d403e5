"""What the report says: the sections set in relation to each other, and every number in type."""

from dataclasses import dataclass
from decimal import Decimal

from .sections import Section, Series


@dataclass
class Page:
    """A section, ready to be set."""

    title: str
    figures: list[tuple[str, str]]
    table: list[list[str]]
    """The first row is the head."""
    series: Series

    @property
    def phrases(self) -> list[str]:
        """Return what the page says, as it is read: each figure with its label, each row of the table."""
        rows = [" ".join(row) for row in self.table]
        return [self.title, *(f"{value} {label}" for label, value in self.figures), *rows]


@dataclass
class Layout:
    """The whole report, ready to be set."""

    title: str
    highlights: list[tuple[str, str]]
    sentences: list[str]
    pages: list[Page]

    @property
    def numbers(self) -> list[str]:
        """Return every number that the report has to show."""
        cells = [cell for page in self.pages for row in page.table[1:] for cell in row[1:]]
        figures = [value for page in self.pages for _, value in page.figures]
        return [value for _, value in self.highlights] + figures + cells

    @property
    def phrases(self) -> list[list[str]]:
        """Return what the report says: on its first page, then in each section."""
        highlights = [f"{value} {label}" for label, value in self.highlights]
        first = [self.title, *highlights, *self.sentences]
        return [first, *(page.phrases for page in self.pages)]


def arrange(quarter: str, sales: Section, marketing: Section, operations: Section) -> Layout:
    """Aggregate the sections: what no section knows alone stands on the first page."""
    revenue, orders = (figure.value for figure in sales.figures[:2])
    spend, tickets = marketing.figures[0].value, operations.figures[0].value
    best, weakest = sales.rows[0], sales.rows[-1]
    channel = marketing.rows[0]
    return Layout(
        f"Quarterly report {quarter}",
        [
            ("Revenue", typed(revenue, "€")),
            ("Orders", typed(orders)),
            ("Revenue per euro of marketing", typed(revenue / spend if spend else None, "€")),
            ("Tickets per 100 orders", typed(round(100 * tickets / orders, 1))),
        ],
        [
            f"{best[0]} brought {typed(best[1][2], '%')} of the revenue, {weakest[0]} {typed(weakest[1][2], '%')}.",
            f"{channel[0]} brought most signups: {typed(channel[1][2])}.",
            f"Half of the closed tickets took less than {typed(operations.figures[2].value, 'h')}.",
        ],
        [_page(section) for section in (sales, marketing, operations)],
    )


def typed(value: Decimal | None, unit: str = "") -> str:
    """Set a number in type: money with cents, counts whole, others as they come, a dash where there is none."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash is meant
    if unit == "€":
        return f"{value:,.2f} €"
    text = f"{value:,}" if value == value.to_integral_value() and not unit else f"{value:,.1f}"
    return f"{text} {unit}".rstrip()


def _page(section: Section) -> Page:
    rows = [
        [name, *(typed(value, unit) for value, unit in zip(values, section.units, strict=True))]
        for name, values in section.rows
    ]
    figures = [(figure.label, typed(figure.value, figure.unit)) for figure in section.figures]
    return Page(section.title, figures, [section.columns, *rows], section.series)
