"""Draws what the plans were and what they found: three graphs, twelve months, four regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from .checks import Job

INK, SOFT, WARM = "#1f3b57", "#dbe7f3", "#d9622b"


def save(
    path: Path, jobs: list[Job], months: list[dict[str, Any]], changes: list[dict[str, Any]]
) -> None:
    """Write the picture as SVG."""
    mpl.rcParams |= {"svg.hashsalt": "planner", "font.size": 9, "svg.fonttype": "path"}
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    panels = figure.subplot_mosaic("AABBCC;DDDDEE", height_ratios=[1.25, 1])
    for name, job in zip("ABC", jobs, strict=True):
        draw_plan(panels[name], job)
    unusual = {one["month"] for one in jobs[0].output["unusual_months"]}
    labels = [one["month"] for one in months]
    colours = [WARM if one["month"] in unusual else INK for one in months]
    panels["D"].bar(labels, [one["revenue"] for one in months], color=colours)
    panels["D"].set_title("Revenue of each month of 2025, the unusual ones in orange", loc="left")
    panels["D"].tick_params(axis="x", rotation=45)
    regions = [one["region"] for one in changes]
    percents = [one["percent"] for one in changes]
    panels["E"].barh(regions, percents, color=[INK if one >= 0 else WARM for one in percents])
    panels["E"].axvline(0, color="black", linewidth=0.8)
    panels["E"].set_title("Regions, 2025 against 2024, in percent", loc="left")
    for name in "DE":
        panels[name].spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def draw_plan(axes: Axes, job: Job) -> None:
    """Draw the steps of a plan, each below those that it waits for."""
    levels: dict[str, int] = {}
    for slug, deps in job.shape.items():  # in an order that respects the dependencies
        levels[slug] = 1 + max((levels[dep] for dep in deps), default=-1)
    places: dict[str, tuple[float, float]] = {}
    for level in sorted(set(levels.values())):
        row = [slug for slug, one in levels.items() if one == level]
        for index, slug in enumerate(row):
            places[slug] = ((index + 0.5) / len(row), -level)
    for slug, deps in job.shape.items():
        for dep in deps:
            arrow = {"arrowstyle": "-|>", "color": INK, "shrinkA": 13, "shrinkB": 13}
            axes.annotate("", places[slug], places[dep], arrowprops=arrow)
    box = {"boxstyle": "round,pad=0.5", "facecolor": SOFT, "edgecolor": INK}
    for slug, (x, y) in places.items():
        axes.text(x, y, slug, ha="center", va="center", bbox=box, color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(-max(levels.values()) - 0.5, 0.5)
    axes.set_axis_off()
    kinds = [len(problems) for problems in job.refusals]
    refused = f"refused with {' and '.join(map(str, kinds))} reasons, then run" if kinds else "run"
    axes.set_title(f"{job.slug}\n{refused}", loc="left", color=INK)
