"""Parts of the pattern of a report: what is set in type, proofread, and written into the outbox."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from examples.report import outbox
from examples.report.company import found
from examples.report.document import compose
from examples.report.layout import Layout, arrange, typed
from examples.report.letter import write
from examples.report.outbox import Entry
from examples.report.proof import misprints
from examples.report.sections import Figure, Quarter, Section, Series
from pgflow import NonRetryable
from tests.support.patterns import ROOT


def some_layout(revenue: int = 100_000, spend: int = 400) -> Layout:
    def section(title: str, *values: str) -> Section:
        figures = [Figure(f"{title} {at}", Decimal(value), "") for at, value in enumerate(values)]
        rows: list[tuple[str, list[Decimal | None]]]
        rows = [(name, [*map(Decimal, values)]) for name in ("Here", "There")]
        series = Series("By place", ["Here", "There"], [Decimal(1), Decimal(2)], "")
        return Section(title, figures, ["Place", "A", "B", "C"], ["", "€", "%"], rows, series)

    return arrange(
        "2026-Q3",
        section("Sales", str(revenue), "50", "3"),
        section("Marketing", str(spend), "5", "6"),
        section("Operations", "7", "8", "9"),
    )


def test_a_pdf_is_the_same_each_time_and_has_no_misprints() -> None:
    layout = some_layout()
    pdf, pages = compose(layout)
    assert (pdf, pages) == compose(layout)
    assert pages == 4
    assert misprints(pdf, layout, pages) == []


def test_a_number_that_is_not_in_the_pdf_is_found() -> None:
    pdf, pages = compose(some_layout())
    assert any("123,456.00" in text for text in misprints(pdf, some_layout(123_456), pages))
    assert misprints(pdf, some_layout(), 5) == ["it has 4 pages instead of 5"]


def test_a_number_is_looked_for_as_a_whole_and_where_it_has_to_stand() -> None:
    layout = some_layout()
    pdf, pages = compose(layout)
    sales, marketing, _ = layout.pages
    marketing.figures[1] = ("Marketing 1", "0")  # which is in every 50
    sales.table[2][3] = "9.0 %"  # which stands on the last page
    assert misprints(pdf, layout, pages) == [
        "'There 100,000 50.00 € 9.0 %' is missing",
        "'0 Marketing 1' is missing",
    ]


def test_a_section_may_take_several_pages() -> None:
    layout = some_layout()
    layout.pages[1].table += [[f"Place {number}", "1", "2", "3"] for number in range(60)]
    pdf, pages = compose(layout)
    assert pages > 4
    assert misprints(pdf, layout, pages) == []


def test_a_quarter_without_marketing_costs_has_a_report() -> None:
    layout = some_layout(spend=0)
    assert ("Revenue per euro of marketing", "–") in layout.highlights  # noqa: RUF001 - a dash is meant
    pdf, pages = compose(layout)
    assert misprints(pdf, layout, pages) == []


RENDER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from examples.report.proof import render

pdf = sys.stdin.buffer.read()
with ThreadPoolExecutor(8) as threads:
    pictures = set(threads.map(render, [pdf] * 16))
print(len(pictures))
"""


def test_threads_of_a_worker_may_render_at_once() -> None:
    """PDFium ends the process when two threads are in it; two reports at a time are nothing unusual."""
    pdf, _ = compose(some_layout())
    command = [sys.executable, "-c", RENDER]
    done = subprocess.run(
        command, cwd=ROOT, input=pdf, capture_output=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr[-2000:]


def test_a_letter_is_the_same_each_time() -> None:
    letters = [write("2026-Q3", "ada@example.org", "<key@example.com>", b"%PDF") for _ in range(2)]
    assert letters[0].as_bytes() == letters[1].as_bytes()


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [("1234.5", "€", "1,234.50 €"), ("1234", "", "1,234"), ("12.34", "h", "12.3 h"), ("7", "%", "7.0 %")],
)  # fmt: skip
def test_numbers_in_type(value: str, unit: str, expected: str) -> None:
    assert typed(Decimal(value), unit) == expected


def test_a_quarter_knows_its_days() -> None:
    assert [str(day) for day in Quarter.parse("2026-Q1").days.values()] == [
        "2025-10-01",
        "2026-01-01",
        "2026-04-01",
    ]
    assert str(Quarter.parse("2026-Q4").days["after"]) == "2027-01-01"
    with pytest.raises(NonRetryable, match="no quarter"):
        Quarter.parse("2026-Q5")


def test_a_row_of_the_outbox_is_taken_over_until_it_is_sent(database_url: str) -> None:
    found(database_url)
    first, again, other, last = (
        Entry("2026-Q3", "ada@example.org", f"<{number}@example.com>", uuid4(), sha256)
        for number, sha256 in enumerate(("old", "old", "new", "newest"))
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        for entry in (first, again, other, last):
            connection.execute(
                "insert into example_report.documents (run_id, pdf) values (%s, %s)",
                (entry.run_id, entry.sha256.encode()),
            )
        assert outbox.enter(connection, first) == first.message_id
        assert outbox.enter(connection, again) == first.message_id
        assert outbox.enter(connection, other) == other.message_id
        assert outbox.take(connection, other.message_id).pdf == b"new"
        with pytest.raises(NonRetryable, match="a later run has other figures"):
            outbox.take(connection, first.message_id)
        outbox.mark_sent(connection, other.message_id)
        assert outbox.enter(connection, other) == other.message_id
        assert outbox.take(connection, other.message_id).sent
        with pytest.raises(NonRetryable, match=r"was mailed to ada@example.org with other"):
            outbox.enter(connection, last)
