"""Sets the report as a PDF with ReportLab: a title page, then a page for each section."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from reportlab import platypus
from reportlab.lib import colors, pagesizes, units
from reportlab.lib.styles import ParagraphStyle

from .chart import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .layout import Layout, Page

INK, ACCENT, PALE = (colors.HexColor(code) for code in ("#22313a", "#2f7d6b", "#eef3f1"))
TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=30, leading=36, textColor=INK)
HEADING = ParagraphStyle("heading", TITLE, fontSize=18, leading=24, spaceAfter=6 * units.mm)
TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=11, leading=17, textColor=INK)
LABEL = ParagraphStyle("label", TEXT, fontSize=9, leading=12, textColor=ACCENT)
MARGIN, FOOT = 24 * units.mm, 14 * units.mm
WIDTH = pagesizes.A4[0] - 2 * MARGIN


def compose(layout: Layout) -> tuple[bytes, int]:
    """Return the PDF and the number of its pages; equal layouts give equal bytes."""
    charts = [draw(page.series) for page in layout.pages]
    _, pages = _build(layout, charts, None)
    # Only now is it known of how many pages each is one.
    return _build(layout, charts, pages)


def _build(layout: Layout, charts: Sequence[bytes], pages: int | None) -> tuple[bytes, int]:
    def number(canvas: Any, document: Any) -> None:
        canvas.setFont("Helvetica", 9)
        canvas.setFillColor(INK)
        canvas.drawString(MARGIN, FOOT, layout.title)
        canvas.drawRightString(MARGIN + WIDTH, FOOT, f"Page {document.page} of {pages}")

    target = BytesIO()
    document = platypus.SimpleDocTemplate(
        target,
        pagesize=pagesizes.A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        title=layout.title,
        author="py-pgflow",
        invariant=1,  # no time of day, no chance
    )
    document.build(_story(layout, charts), onFirstPage=number, onLaterPages=number)
    return target.getvalue(), document.page


def _story(layout: Layout, charts: Sequence[bytes]) -> list[Any]:
    story = [
        platypus.Spacer(1, 60 * units.mm),
        platypus.Paragraph(layout.title, TITLE),
        platypus.Spacer(1, 12 * units.mm),
        _boxes(layout.highlights, columns=2),
        platypus.Spacer(1, 12 * units.mm),
        *(platypus.Paragraph(sentence, TEXT) for sentence in layout.sentences),
    ]
    for page, chart in zip(layout.pages, charts, strict=True):
        story += [platypus.PageBreak(), *_section(page, chart)]
    return story


def _section(page: Page, chart: bytes) -> list[Any]:
    return [
        platypus.Paragraph(page.title, HEADING),
        _boxes(page.figures, columns=len(page.figures)),
        platypus.Spacer(1, 8 * units.mm),
        platypus.Image(BytesIO(chart), width=WIDTH, height=WIDTH / 2),
        platypus.Spacer(1, 8 * units.mm),
        _table(page.table),
    ]


def _boxes(figures: Sequence[tuple[str, str]], columns: int) -> Any:
    """Set figures large, each with its label below."""
    large = ParagraphStyle("large", TITLE, fontSize=34 - 4.5 * columns, leading=36 - 4 * columns)
    cells = [
        [platypus.Paragraph(value, large), platypus.Paragraph(label, LABEL)]
        for label, value in figures
    ]
    return platypus.Table(
        [cells[at : at + columns] for at in range(0, len(cells), columns)],
        colWidths=[WIDTH / columns] * columns,
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), PALE),
            ("INNERGRID", (0, 0), (-1, -1), 4, colors.white),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 8),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 10),
        ],
    )


def _table(rows: list[list[str]]) -> Any:
    return platypus.Table(
        rows,
        colWidths=[WIDTH / len(rows[0])] * len(rows[0]),
        style=[
            ("FONT", (0, 0), (-1, -1), "Helvetica", 10),
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 10),
            ("TEXTCOLOR", (0, 0), (-1, -1), INK),
            ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
            ("LINEBELOW", (0, 0), (-1, 0), 1, ACCENT),
            ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, PALE]),
            ("TOPPADDING", (0, 0), (-1, -1), 5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
        ],
        repeatRows=1,
    )
