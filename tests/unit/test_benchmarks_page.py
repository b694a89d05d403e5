"""What is told about the figures: goals, tables, chart and page; by figures made up here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import draw
from benchmarks.goals import GOALS, Figures, Goal, base_rate, fan_rate
from benchmarks.page import as_markdown, keep, kept, stamped, write
from benchmarks.tables import diamond_table, failures, fan_table, goal_table

if TYPE_CHECKING:
    from pathlib import Path

NONE = "\N{EN DASH}"
SVG = "{http://www.w3.org/2000/svg}"
USAGE = {
    "seconds": 1.0,
    "worker_cpu": 7.0,
    "server_cpu": 12.1,
    "wal_bytes": 150_000_000,
    "transactions": 1_900,
    "database_bytes": 1_000_000,
    "peak_rss": 50_000_000,
}


def own_figures() -> Figures:
    maps = [
        {"items": items, "workers": 2, "tasks_per_second": rate, "first_task": 0.01, "usage": USAGE}
        for items, rate in ((10_000, 7_000.0), (100_000, 6_299.0))
    ]
    found = {
        "versions": {"pgflow": "0.1.0"},
        "settings": {"fsync": "on"},
        "maps": maps,
        "limits": {"fused": [9_000.0, 10_000.0, 11_000.0]},
        "sql_alone": [12_000.0],
    }
    return stamped(found, "own command", 60.0)


def standing(label: str, rate: float, store: str = "PostgreSQL", **more: Any) -> Figures:
    fan = {"asked": 10_000, "size": 10_000, "rates": [rate], "too_slow": False}
    fan |= {"worker_cpu": [50.0], "server_cpu": [100.0], "commits": [0.02]}
    return {
        "label": label,
        "store": store,
        "version": "1.2",
        "notes": "all defaults",
        "failed": None,
        "fans": {"10000": fan},
        "diamonds": [rate / 20],
        "transition_p50": [10 / rate],
        "transition_p95": [20 / rate],
        "start_p50": [10 / rate],
        "start_p95": [20 / rate],
    } | more


def peer_figures() -> Figures:
    plan = {"repetitions": 3, "sizes": [10_000], "diamonds": 1_000, "chains": 8, "cap": 60.0}
    engines = {
        "ours": standing("py-pgflow", 6_000.0),
        "slow": standing("A & B", 1_000.0),
        "fast": standing("C", 1_500.0),
        "bullmq": standing("BullMQ", 2_000.0, "Redis"),
        "absent": standing("D", 1.0, version="", failed="not\ninstalled"),
    }
    found = {"plan": plan, "settings": {"jit": "off"}, "limit": [8_000.0], "engines": engines}
    return stamped(found, "peers command", 600.0)


def cells(rows: list[tuple[str, ...]], name: str) -> tuple[str, ...]:
    (row,) = (row for row in rows if name in row[0])
    return row[1:]


# Goals


@pytest.mark.parametrize(
    ("sense", "figure", "shown", "met"),
    [
        ("≥", 0.7, "0.70", "met"),
        ("≥", 0.6999, "0.69", "**not met**"),
        ("≥", 0.29, "0.29", "**not met**"),
        ("≥", 0.7099, "0.70", "met"),
        ("≤", 0.7, "0.70", "met"),
        ("≤", 0.7001, "0.71", "**not met**"),
        ("≤", 0.6901, "0.70", "met"),
        ("<", 0.7, "0.70", "**not met**"),
        ("<", 0.6999, "0.70", "met"),
        ("≥", None, NONE, "not measured"),
    ],
)
def test_goals_are_judged_raw_and_shown_rounded_against_us(
    sense: Any, figure: float | None, shown: str, met: str
) -> None:
    goal = Goal("name", sense, 0.7, "", lambda *_: figure, 2)
    assert goal.row({}, {}) == ("name", f"{sense} 0.7", shown, met)


def test_goals_take_their_figures_from_where_they_were_measured() -> None:
    rows = goal_table(own_figures(), peer_figures()).rows
    assert cells(rows, "set-based limit") == ("≥ 0.7", "0.70", "met")
    assert cells(rows, "best PostgreSQL peer") == ("≥ 4", "4.00", "met")
    assert cells(rows, "10,000 / BullMQ") == ("≥ 2.5", "3.00", "met")
    assert cells(rows, "rate of 100,000") == ("≥ 0.9", "0.89", "**not met**")
    assert cells(rows, "a map of 100,000, workers") == ("≤ 70 µs", "70.0 µs", "met")
    assert cells(rows, "the whole server") == ("≤ 120 µs", "121.0 µs", "**not met**")
    assert cells(rows, "commits") == ("≤ 0.02", "0.0190", "met")
    assert cells(rows, "WAL") == ("≤ 2,000 B", "1,500 B", "met")
    assert cells(rows, "batches of 100")[2] == "not measured"


def test_goals_without_figures_are_not_measured() -> None:
    assert {goal.row({}, {})[3] for goal in GOALS} == {"not measured"}


def test_every_goal_of_our_own_figures_can_be_judged() -> None:
    delays = {"p50": 0.001, "p95": 0.002}
    own = own_figures() | {
        "batches": {"batch_size": 100, "items_per_second": 49_999.9},
        "diamonds": {"runs": 1_000, "runs_per_second": 599.9},
        "transitions": delays,
        "starts": delays,
        "idle": {"statements_per_second": 0.2, "cpu_percent": 0.1001},
        "start_ratios": {"import_pgflow": 3.0, "pgflow_help": 1.2501},
    }
    rows = goal_table(own, peer_figures()).rows
    assert "not measured" not in {row[3] for row in rows}
    assert cells(rows, "batches of 100")[1:] == ("49,999 items/s", "**not met**")
    assert cells(rows, "1,000 diamonds")[1:] == ("599 runs/s", "**not met**")
    assert cells(rows, "statements")[1:] == ("0.20", "met")
    assert cells(rows, "share of a processor")[1:] == ("0.11 %", "**not met**")
    assert cells(rows, "import pgflow")[1:] == ("3.00", "met")
    assert cells(rows, "--help")[1:] == ("1.26", "**not met**")


def test_a_goal_counts_our_rate_for_the_whole_size_alone() -> None:
    whole = standing("E", 5.0)
    smaller = standing("E", 5.0)
    smaller["fans"]["10000"]["size"] = 1_000
    assert (fan_rate(whole, 10_000), base_rate(whole)) == (5.0, 5.0)
    assert (fan_rate(smaller, 10_000), base_rate(smaller)) == (None, 5.0)
    assert fan_rate(whole, 1_000) is None


# Tables, chart, page


def test_the_comparison_has_ratios_first_and_the_fastest_first() -> None:
    peers = peer_figures()
    rows = fan_table(peers).rows
    assert [row[0] for row in rows] == [
        "*set-based limit, two connections, fused*",
        *("**py-pgflow**", "BullMQ", "C", "A & B"),
    ]
    assert rows[0][1:3] == ("0.75", "8,000")
    assert rows[-1] == ("A & B", "6.0", "1,000", "50", "100", "0.02")
    assert cells(diamond_table(peers).rows, "C")[:2] == ("4.0", "75")
    assert failures(peers) == ["- **D** was not measured: not installed"]


def test_slow_engines_are_marked() -> None:
    peers = peer_figures()
    fans = {name: peers["engines"][name]["fans"]["10000"] for name in ("slow", "fast")}
    fans["slow"] |= {"size": 1_000}
    fans["fast"] |= {"size": 0, "rates": [], "too_slow": True}
    rows = fan_table(peers).rows
    assert cells(rows, "A & B")[:2] == ("6.0", "1,000 (1,000 items)")
    assert cells(rows, "C")[:2] == (NONE, "over 60 s")


@pytest.mark.parametrize("peers", [{}, peer_figures()])
def test_the_chart_is_svg_with_bars_to_scale(peers: Figures) -> None:
    root = ET.fromstring(draw(own_figures(), peers))
    assert root.tag == f"{SVG}svg"
    bars = root.findall(f"{SVG}rect")
    right, bottom = float(root.attrib["width"]), float(root.attrib["height"])
    for bar in bars:
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) < right
        assert float(bar.attrib["y"]) + float(bar.attrib["height"]) < bottom
    widths = [float(bar.attrib["width"]) for bar in bars]
    limit, ours = (8_000, 6_000) if peers else (10_000, 7_000)
    assert widths[1] / widths[0] == pytest.approx(ours / limit, abs=0.001)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "py-pgflow" in texts
    assert ("A & B" in texts) == bool(peers)
    assert "D" not in texts


def test_the_chart_tells_who_was_given_fewer_items() -> None:
    peers = peer_figures()
    peers["engines"]["slow"]["fans"]["10000"]["size"] = 1_000
    texts = [text.text for text in ET.fromstring(draw({}, peers)).iter(f"{SVG}text")]
    assert "1,000 (1,000 items)" in texts
    assert "1,500" in texts


def test_the_chart_of_nothing_is_svg_too() -> None:
    assert ET.fromstring(draw({}, {})).findall(f"{SVG}rect") == []


def test_each_run_renews_its_own_half_of_the_page(tmp_path: Path) -> None:
    figures, docs = tmp_path / "figures", tmp_path / "docs"
    docs.mkdir()
    assert kept("own", figures) == {}
    keep("peers", peer_figures(), figures)
    keep("own", own_figures() | {"command": "an older command"}, figures)
    keep("own", own_figures(), figures)
    assert kept("own", figures) == own_figures()
    write(docs, figures)
    page = (docs / "benchmarks.md").read_text(encoding="utf-8")
    assert "`own command`" in page
    assert "`peers command`" in page
    assert "older" not in page
    assert "**D** was not measured" in page
    ET.fromstring((docs / "images" / "benchmarks.svg").read_text(encoding="utf-8"))


@pytest.mark.parametrize("own", [{}, own_figures()])
@pytest.mark.parametrize("peers", [{}, peer_figures()])
def test_the_tables_of_the_page_are_whole(own: Figures, peers: Figures) -> None:
    page = as_markdown(own, peers)
    assert ("## py-pgflow alone" in page) == bool(own)
    assert ("## Beside its peers" in page) == bool(peers)
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) == 1 + 3 * bool(own) + 2 * bool(peers)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
