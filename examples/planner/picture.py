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


def save(path: Path, jobs: list[Job]) -> None:
    """Write the picture as SVG: the plans, and of what they found as much as there is."""
    mpl.rcParams |= {"svg.hashsalt": "planner", "font.size": 9, "svg.fonttype": "path"}
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.25, 1])[:, 0]
    for axes, job in zip(upper.subplots(1, len(jobs), squeeze=False)[0], jobs, strict=True):
        draw_plan(axes, job)
    left, right = lower.subplots(1, 2, width_ratios=[2, 1])
    draw_months(left, _first(jobs, "monthly_revenue"), _first(jobs, "unusual_months"))
    draw_changes(right, _first(jobs, "compare_regions"))
    figure.savefig(path, metadata={"Date": None})


def _first(jobs: list[Job], handler: str) -> list[dict[str, Any]]:
    """Return what the first step of a handler gave; nothing if no plan has one."""
    return next((output for job in jobs for output in job.outputs_of(handler)), [])


def draw_months(axes: Axes, months: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Draw the revenue of each month."""
    unusual = {one["month"] for one in found}
    labels = [one["month"] for one in months]
    colours = [WARM if one["month"] in unusual else INK for one in months]
    axes.bar(labels, [one["revenue"] for one in months], color=colours)
    axes.set_title("Revenue of each month of 2025, the unusual ones in orange", loc="left")
    axes.tick_params(axis="x", rotation=45)
    axes.spines[["top", "right"]].set_visible(False)


def draw_changes(axes: Axes, changes: list[dict[str, Any]]) -> None:
    """Draw how the revenue of each region has changed."""
    regions = [one["region"] for one in changes]
    percents = [one["percent"] for one in changes]
    axes.barh(regions, percents, color=[INK if one >= 0 else WARM for one in percents])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_title("Regions, 2025 against 2024, in percent", loc="left")
    axes.spines[["top", "right"]].set_visible(False)


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
