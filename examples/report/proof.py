"""Reads a PDF as its reader will: pypdf for what it says, pypdfium2 for how it looks."""

from __future__ import annotations

import threading
from io import BytesIO
from typing import TYPE_CHECKING

import pypdfium2
from PIL import Image
from pypdf import PdfReader

if TYPE_CHECKING:
    from .layout import Layout

SHOWN = 2
"""Pages that a preview shows, side by side."""
SCALE = 2
"""Pixels a point."""
GAP, DESK, COLOURS = 24, "#c9d2d6", 64
_pdfium = threading.Lock()
"""PDFium is not made for threads: two of a worker's that render at once end the process."""


def misprints(pdf: bytes, layout: Layout, pages: int) -> list[str]:
    """Return what the PDF does not say although the layout does."""
    texts = [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]
    if len(texts) != pages:
        return [f"it has {len(texts)} pages instead of {pages}"]
    found = [
        f"page {number} is not numbered"
        for number, text in enumerate(texts, 1)
        if f"Page {number} of {pages}" not in text
    ]
    for text, phrases in zip(_parts(texts, layout), layout.phrases, strict=True):
        # Whole words of this part alone: a 5 is in every 50, and most numbers are on the first page too.
        words = f" {' '.join(text.split())} "
        found += [f"{phrase!r} is missing" for phrase in phrases if f" {phrase} " not in words]
    return found


def _parts(texts: list[str], layout: Layout) -> list[str]:
    """Return the text of the first page and of each section, which may take several pages."""
    parts = [""] * (1 + len(layout.pages))
    part = 0
    for number, text in enumerate(texts, 1):
        _, _, content = text.partition(f"Page {number} of {len(texts)}\n")
        if part < len(layout.pages) and content.startswith(f"{layout.pages[part].title}\n"):
            part += 1
        parts[part] += f"{content}\n"
    return parts


def render(pdf: bytes) -> bytes:
    """Return a PNG of the first pages."""
    with _pdfium, pypdfium2.PdfDocument(pdf) as document:
        shown = range(min(SHOWN, len(document)))
        # A copy, which outlives PDFium's own bitmap.
        pages = [document[number].render(scale=SCALE).to_pil().copy() for number in shown]
    width = GAP + sum(page.width + GAP for page in pages)
    sheet = Image.new("RGB", (width, pages[0].height + 2 * GAP), DESK)
    left = GAP
    for page in pages:
        sheet.paste(page, (left, GAP))
        left += page.width + GAP
    target = BytesIO()
    sheet.quantize(COLOURS).save(target, "PNG", optimize=True)
    return target.getvalue()
