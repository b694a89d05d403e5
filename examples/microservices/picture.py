"""A picture of the runs: when each attempt began and ended, by pgflow's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from .account import Account, Attempt

COLOURS = {"completed": "#2f7d6b", "failed": "#c0392b"}
SKIPPED = "#9aa3ab"


def draw(path: Path, runs: dict[str, Account], remarks: dict[tuple[str, int], str]) -> None:
    """Write the timelines of the runs, by their titles; `remarks` stand beside attempts that were not the only one."""
    rows = [len(account.statuses) for account in runs.values()]
    figure = Figure(figsize=(10, 0.34 * sum(rows) + 1.6), layout="constrained")
    axes = figure.subplots(len(runs), 1, sharex=True, gridspec_kw={"height_ratios": rows})
    for axis, (title, account) in zip(axes, runs.items(), strict=True):
        _timeline(axis, title, account, remarks)
    axes[-1].set_xlabel("seconds since the run began")
    figure.legend(
        handles=[
            Patch(color=COLOURS["completed"], label="attempt that completed"),
            Patch(
                facecolor="white",
                edgecolor=COLOURS["failed"],
                hatch="////",
                label="attempt that failed",
            ),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path)


def _timeline(
    axis: Axes, title: str, account: Account, remarks: dict[tuple[str, int], str]
) -> None:
    steps = list(account.statuses)
    zero = account.attempts[0].started_at.timestamp()
    axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axis.set_yticks(range(len(steps)), steps, fontfamily="monospace", fontsize=9)
    axis.invert_yaxis()
    axis.grid(axis="x", color="#e4e7ea")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    for row, step in enumerate(steps):
        attempts = account.of(step)
        for attempt in attempts:
            remark = remarks.get((step, attempt.number), "") if len(attempts) > 1 else ""
            _bar(axis, row, attempt, zero, remark)
        if account.statuses[step] == "skipped":
            axis.text(0.05, row, "skipped", va="center", color=SKIPPED, fontsize=9, style="italic")


def _bar(axis: Axes, row: int, attempt: Attempt, zero: float, remark: str) -> None:
    began, ended = (moment - zero for moment in attempt.seconds)
    failed = attempt.outcome != "completed"
    axis.barh(
        row,
        max(ended - began, 0.015),
        left=began,
        height=0.62,
        color="white" if failed else COLOURS["completed"],
        edgecolor=COLOURS["failed" if failed else "completed"],
        hatch="////" if failed else None,
    )
    if remark:
        axis.annotate(
            remark,
            (ended, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=COLOURS["failed" if failed else "completed"],
        )
