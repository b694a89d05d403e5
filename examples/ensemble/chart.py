"""The picture: the accuracy of each model and of the vote, and how far its confidence can be trusted."""

from pathlib import Path
from typing import Any

BLUE, GREEN, AMBER, GREY = "#6c8ebf", "#2e9e5b", "#d99a2b", "#9aa0a6"


def draw(out: Path, facts: dict[str, Any]) -> Path:
    """Draw the chart from the facts."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - the last thing that is done

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _accuracies(left, facts)
    _calibration(right, facts)
    target = out / "picture.svg"
    figure.savefig(target, metadata={"Date": None})
    return target


def _accuracies(axes: Any, facts: dict[str, Any]) -> None:
    bars = {name.replace("_", " "): value for name, value in facts["accuracy"].items()}
    colours = [BLUE] * len(bars) + [GREEN, AMBER]
    bars |= {
        "vote of three": facts["ensemble"],
        "vote without\nrandom forest": facts["ensemble_without_one"],
    }
    drawn = axes.barh(list(bars), list(bars.values()), color=colours)
    axes.bar_label(drawn, [f"{value:.1%}  " for value in bars.values()], padding=-44, color="white")
    axes.axvline(facts["mean_accuracy"], color=GREY, linestyle="--", linewidth=1, zorder=0)
    axes.set_xlabel(
        f"dashed: the mean of the three models, {facts['mean_accuracy']:.1%}", color=GREY
    )
    axes.invert_yaxis()
    axes.set_xlim(0.9, 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title(f"Accuracy on {facts['held_out']} held-out digits", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _calibration(axes: Any, facts: dict[str, Any]) -> None:
    rows = facts["calibration"]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.plot(
        [row["confidence"] for row in rows], [row["accuracy"] for row in rows], "o-", color=GREEN
    )
    for row in rows:
        place = (row["confidence"], row["accuracy"])
        axes.annotate(row["images"], place, (0, -15), textcoords="offset points", ha="center")
    axes.set_xlim(0.3, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("confidence of the vote")
    axes.set_ylabel("share that is right")
    axes.set_title("Calibration, with the number of images", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
