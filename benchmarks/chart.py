"""Draws docs/images/benchmarks.svg: bars, no library, readable on light and dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import escape

from benchmarks.goals import OURS, Figures, base_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, LABELS, VALUES = 860, 190, 130
"""Pixels: all, left of the bars, right of them."""
ROW, BAR, HEAD, GAP = 24, 15, 34, 26

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 14px; }
  .hint, .value { fill: #59636e; }
  .peer { fill: #9aa4af; }
  .ours { fill: #0969da; }
  .limit { fill: none; stroke: #59636e; stroke-dasharray: 4 3; }
  .strong { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .hint, .value { fill: #9198a1; }
    .peer { fill: #656c76; }
    .ours { fill: #4493f8; }
    .limit { stroke: #9198a1; }
  }
"""

BASE = 10_000
"""Items of the fan that is drawn."""

Kind = Literal["peer", "ours", "limit"]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and what is written beside it."""

    label: str
    value: float
    kind: Kind
    shown: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of one scale."""

    title: str
    hint: str
    bars: Sequence[Bar]


def draw(own: Figures, peers: Figures) -> str:
    """Return the chart of what was measured: with peers if there are any, else our figures and the limits."""
    panels = [panel for panel in (*_panels(own, peers),) if panel.bars]
    parts: list[str] = []
    top = 8
    for panel in panels:
        parts += _panel(panel, top)
        top += HEAD + ROW * len(panel.bars) + GAP
    height = max(top - GAP + 12, 20)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>Benchmarks of py-pgflow and its peers</title>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(panel: Panel, top: int) -> list[str]:
    lines = [
        f'<text class="title" x="0" y="{top + 14}">{escape(panel.title)}</text>',
        f'<text class="hint" x="{WIDTH}" y="{top + 14}" text-anchor="end">{escape(panel.hint)}</text>',
    ]
    largest = max(bar.value for bar in panel.bars)
    for place, bar in enumerate(panel.bars):
        y = top + HEAD + place * ROW
        length = max(1.5, (WIDTH - LABELS - VALUES) * bar.value / largest)
        strong = " strong" if bar.kind == "ours" else ""
        middle = y + BAR - 3
        lines += [
            f'<text class="{strong.strip() or "name"}" x="{LABELS - 10}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="value{strong}" x="{LABELS + length + 8:.1f}" y="{middle}">{escape(bar.shown)}</text>',
        ]
    return lines


def _panels(own: Figures, peers: Figures) -> list[Panel]:
    engines = {name: x for name, x in peers.get("engines", {}).items() if not x["failed"]}
    if not engines:
        return [Panel("A map of 10,000 no-op tasks", "tasks a second", _own_bars(own))]
    fans = _sorted(
        [_bar(n, x, base_rate(x), _counted(x)) for n, x in engines.items()], largest=True
    )
    if peers["limit"]:
        limit = median(peers["limit"])
        fans = [Bar("set-based limit, bare SQL", limit, "limit", _count(limit)), *fans]
    diamonds = [_bar(n, x, _median(x["diamonds"]), _count) for n, x in engines.items()]
    delays = [_bar(n, x, _median(x["transition_p50"]), _millis) for n, x in engines.items()]
    starts = [_bar(n, x, _median(x["start_p50"]), _millis) for n, x in engines.items()]
    return [
        Panel("Fan-out and fan-in of 10,000 no-op items", "items a second: more is better", fans),
        Panel(
            "Runs of a diamond of four steps",
            "runs a second: more is better",
            _sorted(diamonds, largest=True),
        ),
        Panel(
            "From step to step in a chain, idle system",
            "p50: less is better",
            _sorted(delays, largest=False),
        ),
        Panel(
            "From start to the first handler, idle system",
            "p50: less is better",
            _sorted(starts, largest=False),
        ),
    ]


def _own_bars(own: Figures) -> list[Bar]:
    maps = [m for m in own.get("maps", []) if (m["items"], m["workers"]) == (10_000, 2)]
    bars = [
        Bar("py-pgflow", m["tasks_per_second"], "ours", _count(m["tasks_per_second"])) for m in maps
    ]
    limits = own.get("limits", {}).get("fused")
    if limits:
        bars.append(Bar("set-based limit", median(limits), "limit", _count(median(limits))))
    return _sorted([*bars], largest=True)


def _bar(
    name: str, standing: Figures, value: float | None, shown: Callable[[float], str]
) -> Bar | None:
    if value is None:
        return None
    return Bar(standing["label"], value, "ours" if name == OURS else "peer", shown(value))


def _sorted(bars: Sequence[Bar | None], *, largest: bool) -> list[Bar]:
    return sorted((b for b in bars if b), key=lambda bar: bar.value, reverse=largest)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _counted(standing: Figures) -> Callable[[float], str]:
    size = standing["fans"].get("10000", {}).get("size", BASE)
    # An engine that is too slow for all of them was given fewer.
    return _count if size == BASE else lambda value: f"{_count(value)} ({size:,} items)"


def _millis(value: float) -> str:
    return f"{1e3 * value:.1f} ms"
