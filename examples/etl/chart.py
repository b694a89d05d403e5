"""The picture: where the rows of each run went, and what was wrong with those in quarantine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from .store import Load

mpl.use("svg")  # before pyplot: no display is needed
mpl.rcParams.update({"svg.hashsalt": "etl", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of a backend

COLOURS = {
    "inserted": "#2f855a",
    "unchanged": "#a0aec0",
    "quarantined": "#c05621",
}


def draw(path: Path, runs: Sequence[tuple[str, Load]], reasons: Mapping[int, str]) -> None:
    """Write the chart as SVG."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 3.4), width_ratios=(1.25, 1), layout="constrained"
    )
    names = [name for name, _ in runs]
    start = [0] * len(runs)
    for what, colour in COLOURS.items():
        widths = [getattr(load, what) for _, load in runs]
        left.barh(names, widths, left=start, color=colour, label=what, height=0.55)
        start = [begin + width for begin, width in zip(start, widths, strict=True)]
    for place, (_, load) in enumerate(runs):
        text = ", ".join(
            f"{getattr(load, what):,} {what}" for what in COLOURS if getattr(load, what)
        )
        left.text(60, place + 0.42, text, va="center", fontsize=8)
    left.set_ylim(len(runs) - 0.35, -0.5)
    left.set_xlabel("rows")
    left.xaxis.set_major_formatter("{x:,.0f}")
    left.set_title("Rows of each run", loc="left", fontweight="bold")
    left.legend(frameon=False, loc="lower right", fontsize=8)

    counted = Counter(reasons.values()).most_common()
    bars = right.barh(
        [reason for reason, _ in counted],
        [number for _, number in counted],
        color=COLOURS["quarantined"],
        height=0.6,
    )
    right.bar_label(bars, padding=3)
    right.invert_yaxis()
    right.set_xlabel("rows")
    right.set_title(f"{len(reasons):,} rows quarantined, all mended", loc="left", fontweight="bold")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
