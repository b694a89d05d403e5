"""Draws a section's chart."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from .sections import Series

INK, ACCENT = "#22313a", "#2f7d6b"
MANY = 6
"""Bars from which on their labels are set small."""


def draw(series: Series) -> bytes:
    """Draw a series as bars, twice as wide as high; return a PNG, the same for the same series."""
    # No pyplot: it has a state of its own, and handlers run in several threads.
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    values = [float(value) for value in series.values]
    bars = axis.bar(series.labels, values, color=ACCENT, width=0.7)
    axis.bar_label(bars, [f"{value:,.0f}" for value in values], fontsize=8, color=INK, padding=2)
    unit = f" ({series.unit})" if series.unit else ""
    axis.set_title(series.title + unit, loc="left", color=INK)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_yticks([])
    axis.tick_params(axis="x", labelsize=8 if len(values) > MANY else 10, length=0)
    target = BytesIO()
    figure.savefig(target, format="png", dpi=150, metadata={"Software": None})
    return target.getvalue()
