"""The picture: the ten with the parts of their scores, and how good such tens are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PARTS = {"similar": "similar listeners", "taste": "own taste", "popular": "popularity"}
COLOURS = {"similar": "#3b6fb6", "taste": "#2e9e5b", "popular": "#c9b458"}
GREY = "#b5bac1"


def draw(out: Path, facts: dict[str, Any]) -> Path:
    """Draw the chart from the facts."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - the last thing that is done

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(5, 3))
    _ten(left, facts)
    _quality(right, facts)
    figure.supxlabel(
        f"diversity {facts['diversity']:.2f}, of the ten best without mixing"
        f" {facts['diversity_before']:.2f};  the index finds {facts['recall']:.1%} of the"
        f" {facts['neighbours']} nearest listeners",
        fontsize=9,
    )
    out.mkdir(parents=True, exist_ok=True)
    target = out / "picture.svg"
    figure.savefig(target, metadata={"Date": None})
    return target


def _ten(axes: Any, facts: dict[str, Any]) -> None:
    names = [f"{each['title']}  ({each['genre']})" for each in facts["top_10"]]
    start = [0.0] * len(names)
    for part, label in PARTS.items():
        widths = [each["parts"][part] for each in facts["top_10"]]
        axes.barh(names, widths, left=start, color=COLOURS[part], label=label)
        start = [one + other for one, other in zip(start, widths, strict=True)]
    for place, total in enumerate(start):
        axes.text(total + 0.01, place, f"{total:.2f}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_title(f"Ten for a newcomer with {facts['history_items']:,} plays", fontsize=11)
    axes.legend(loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _quality(axes: Any, facts: dict[str, Any]) -> None:
    groups = list(facts["quality"])
    for shift, (prefix, label, colour) in enumerate(
        (("", "recommended", COLOURS["similar"]), ("popularity_", "most popular", GREY))
    ):
        values = [facts["quality"][group][f"{prefix}precision"] for group in groups]
        places = [place + 0.38 * shift for place in range(len(groups))]
        drawn = axes.bar(places, values, 0.36, color=colour, label=label)
        axes.bar_label(drawn, [f"{value:.0%}" for value in values], padding=2)
    axes.set_xticks([place + 0.19 for place in range(len(groups))], groups)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("Held-out likes among the ten", fontsize=11)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
