"""Throughput over time, from the times at which batches of tasks were completed; and the goals that figures have."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, and the tasks completed in it."""

    begin: float
    end: float
    tasks: int

    @property
    def rate(self) -> float:
        """Return tasks a second."""
        return self.tasks / (self.end - self.begin)


@dataclass(frozen=True, slots=True)
class Curve:
    """How many tasks were completed when."""

    begin: float
    """When the first task was granted, in seconds of any clock."""
    batches: tuple[tuple[float, int], ...]
    """Moments of the same clock, ascending, each with the tasks completed at it."""

    def __post_init__(self) -> None:
        """Demand at least one batch, in order, none before the begin."""
        moments = [self.begin, *(moment for moment, _ in self.batches)]
        if len(moments) == 1 or moments != sorted(moments):
            raise ValueError("a curve needs batches in the order of their times, after its begin")

    @property
    def tasks(self) -> int:
        """Return the number of tasks."""
        return sum(count for _, count in self.batches)

    @property
    def seconds(self) -> float:
        """Return the time from the first grant to the last completion."""
        return self.batches[-1][0] - self.begin

    def buckets(self, number: int) -> list[float]:
        """Return tasks a second in so many equal parts of the time."""
        width = self.seconds / number
        counts = [0] * number
        for moment, count in self.batches:
            counts[min(number - 1, int((moment - self.begin) / width))] += count
        return [count / width for count in counts]

    def spans(self) -> tuple[Span, Span]:
        """Return in which time the first, and the last tenth of the tasks was completed."""
        done = list(accumulate(count for _, count in self.batches))
        total = done[-1]
        first = bisect_left(done, total / 10)
        last = bisect_left(done, total * 9 / 10)
        spans = (
            Span(self.begin, self.batches[first][0], done[first]),
            Span(self.batches[last][0], self.batches[-1][0], total - done[last]),
        )
        if min(span.end - span.begin for span in spans) <= 0:
            raise ValueError("a curve of so few batches has no tenths")
        return spans

    def flatness(self) -> float:
        """Return the rate of the last tenth of the tasks over that of the first."""
        first, last = self.spans()
        return last.rate / first.rate


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and the limit that it is to keep."""

    name: str
    figure: float
    limit: float
    unit: str = ""
    at_least: bool = False
    """The limit is a lower one."""

    @property
    def is_met(self) -> bool:
        """Tell whether the figure keeps its limit."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        """Return name, figure, goal and verdict as text."""
        sign = "≥" if self.at_least else "≤"
        unit = f" {self.unit}" if self.unit else ""
        verdict = "met" if self.is_met else "missed"
        return (
            self.name,
            f"{_short(self.figure)}{unit}",
            f"{sign} {_short(self.limit)}{unit}",
            verdict,
        )


def _short(number: float) -> str:
    """Write three digits at least, and never more than a thousandth."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 64, 36, 28


def as_svg(curve: Curve, number: int, title: str) -> str:
    """Draw tasks a second over time, from zero, as one line of so many parts."""
    rates = curve.buckets(number)
    top = _round_up(max(rates))
    across = (WIDTH - LEFT - 16) / number
    down = HEIGHT - TOP - BOTTOM
    floor = HEIGHT - BOTTOM
    points = " ".join(
        f"{LEFT + (index + 0.5) * across:.1f},{floor - rate / top * down:.1f}"
        for index, rate in enumerate(rates)
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<style>text { font: 12px sans-serif }</style>",
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" fill="#222222">{title}</text>',
    ]
    for step in range(5):
        y = floor - step / 4 * down
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{top * step / 4:,.0f}</text>',
        ]
    for step in range(7):
        x = LEFT + step / 6 * (WIDTH - LEFT - 16)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle" fill="#555555">'
            f"{curve.seconds * step / 6:.0f} s</text>"
        )
    line = f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="2"/>'
    return "\n".join([*parts, line, "</svg>", ""])


def _round_up(rate: float) -> float:
    """Return the next number whose first two digits are even, so that its quarters are short."""
    unit = 10.0 ** (len(str(int(rate))) - 2)
    return max(-(-rate // (4 * unit)) * 4 * unit, 4.0)
