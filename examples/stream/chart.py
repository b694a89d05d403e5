"""The picture: events published, in runs and written over time, how far behind the flow is, and who was away when."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psycopg

from .publisher import Entry

mpl.use("svg")  # before pyplot: no display is needed
mpl.rcParams.update({"svg.hashsalt": "stream", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of a backend

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#c05621", "#2f855a", "#4a5568"
OUTAGES = {"bridge": "#805ad5", "broker": "#c53030", "workers": "#b7791f"}
TAKEN = "select taken_at, events from stream_example.batches order by 1"
WRITTEN = "select written_at, events from stream_example.batches order by 1"

Line = tuple[list[float], list[int]]


def draw(
    path: Path,
    connection: psycopg.Connection[Any],
    ledger: Sequence[Entry],
    outages: Mapping[str, tuple[float, float]],
) -> None:
    """Write the chart as SVG; an outage is from when to when, in seconds since the epoch."""
    zero = min(entry.confirmed_at for entry in ledger)
    published = _line(zero, [(entry.confirmed_at, 1) for entry in ledger])
    taken = _line(zero, _seconds(connection.execute(TAKEN).fetchall()))
    done = _seconds(connection.execute(WRITTEN).fetchall())
    written = _line(zero, done)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(10, 5.2), height_ratios=(2.2, 1), sharex=True, layout="constrained"
    )
    for (times, counts), colour, label in (
        (published, BLUE, "published (the ledger)"),
        (taken, ORANGE, "in a run"),
        (written, GREEN, "written to the totals"),
    ):
        above.step(times, counts, where="post", color=colour, label=label, linewidth=1.8)
    behind = [(entry.confirmed_at, 1) for entry in ledger] + [(at, -events) for at, events in done]
    lag = _line(zero, behind)
    below.fill_between(*lag, step="post", color=GREY, alpha=0.35, linewidth=0)
    for who, (start, end) in outages.items():
        for axes in (above, below):
            axes.axvspan(start - zero, end - zero, color=OUTAGES[who], alpha=0.18, linewidth=0)
        above.text(
            start - zero, 1.01, f"{who} killed", color=OUTAGES[who], rotation=25,
            transform=above.get_xaxis_transform(), fontsize=9, fontweight="bold",
        )  # fmt: skip
    above.set_ylabel("events")
    above.yaxis.set_major_formatter("{x:,.0f}")
    above.legend(frameon=False, loc="upper left")
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.set_ylabel("not yet written")
    below.set_xlabel("seconds since the first event")
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _seconds(rows: Sequence[tuple[datetime, int]]) -> list[tuple[float, int]]:
    return [(at.timestamp(), events) for at, events in rows]


def _line(zero: float, changes: Sequence[tuple[float, int]]) -> Line:
    """Add the changes up, to a hundredth of a second."""
    at = Counter[float]({0.0: 0})
    for when, change in changes:
        at[round(when - zero, 2)] += change
    times = sorted(at)
    return times, [*accumulate(at[time] for time in times)]
