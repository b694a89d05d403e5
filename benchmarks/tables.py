"""The tables, as heads and rows of text, from what `benchmarks/figures/*.json` hold."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple

from benchmarks.goals import GOALS, OURS, Figures, base_rate
from benchmarks.limit import DESCRIPTIONS


class Table(NamedTuple):
    """A table; the columns with a name in `texts` are aligned to the left."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: frozenset[str] = frozenset({"measure", "engine", "goal", "figure of"})

    def markdown(self) -> list[str]:
        """Return its lines."""
        line = "|" + "|".join("---" if name in self.texts else "--:" for name in self.head) + "|"
        cells = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in self.rows]
        return [f"| {' | '.join(self.head)} |", line, *cells]


def map_table(own: Figures) -> Table:
    """Return the maps of different sizes."""
    head = (
        *("items", "workers", "tasks/s", "first task ms", "worker RSS MB", "database B/task"),
        *("worker µs/task", "server µs/task", "WAL B/task", "commits/task"),
    )
    rows: list[tuple[str, ...]] = []
    for found in own["maps"]:
        used, items = found["usage"], found["items"]
        rows.append(
            (
                f"{items:,}",
                str(found["workers"]),
                f"{found['tasks_per_second']:,.0f}",
                f"{1e3 * found['first_task']:.1f}",
                f"{used['peak_rss'] / 1e6:.0f}",
                f"{used['database_bytes'] / items:,.0f}",
                f"{1e6 * used['worker_cpu'] / items:.0f}",
                f"{1e6 * used['server_cpu'] / items:.0f}",
                f"{used['wal_bytes'] / items:,.0f}",
                f"{used['transactions'] / items:.3f}",
            )
        )
    return Table("No-op map between two single steps", head, rows)


def limit_table(own: Figures) -> Table:
    """Return the limits beside our own figure of the same rounds."""
    ours = _map_rate(own, 10_000)
    rows: list[tuple[str, ...]] = []
    if ours:
        rows.append(("**py-pgflow**, two workers", f"{ours:,.0f}", "1.00"))
    limits = [(f"set-based limit: {DESCRIPTIONS[name]}", x) for name, x in own["limits"].items()]
    for name, rates in [*limits, ("our SQL alone: two bare connections", own["sql_alone"])]:
        if rates:
            share = f"{ours / median(rates):.2f}" if ours else "–"
            rows.append((name, f"{median(rates):,.0f}", share))
    return Table(
        "A map of 10,000 and its limits, in turns", ("figure of", "tasks/s", "py-pgflow / it"), rows
    )


def other_table(own: Figures) -> Table:
    """Return small runs, delays, ratios, yardsticks."""
    rows: list[tuple[str, ...]] = []
    if found := own.get("batches"):
        items, used = found["items"], found["usage"]
        about = f"{items:,} items in batches of {found['batch_size']}, {found['workers']} workers"
        rows += [
            (about, f"{found['items_per_second']:,.0f} items/s"),
            ("CPU an item of it, workers", f"{1e6 * used['worker_cpu'] / items:.1f} µs"),
            ("CPU an item of it, server", f"{1e6 * used['server_cpu'] / items:.1f} µs"),
        ]
    for key, how in (
        ("diamonds", "started by one call"),
        ("single_diamonds", "started by a call each"),
    ):
        if found := own.get(key):
            used, runs = found["usage"], found["runs"]
            rows += [
                (
                    f"{runs:,} runs of a diamond, {how}, {found['workers']} workers",
                    f"{found['runs_per_second']:,.0f} runs/s",
                ),
                ("CPU a run, workers", f"{1e3 * used['worker_cpu'] / runs:.2f} ms"),
                (
                    "CPU a run, server, the start included",
                    f"{1e3 * used['server_cpu'] / runs:.2f} ms",
                ),
                ("commits a run", f"{used['transactions'] / runs:.2f}"),
            ]
    for name, key in (
        ("chain of 20, one transition, p50 / p95", "transitions"),
        ("start to the first handler, p50 / p95", "starts"),
    ):
        if delays := own.get(key):
            rows.append((name, f"{1e3 * delays['p50']:.2f} / {1e3 * delays['p95']:.2f} ms"))
    rows += [(name, f"{ratio:.2f}") for name, ratio in own.get("ratios", {}).items()]
    if idle := own.get("idle"):
        spent = f"{idle['statements_per_second']:.2f} statements/s, {idle['cpu_percent']:.2f} % CPU"
        rows.append(("idle worker", spent))
    if starts := own.get("start_ratios"):
        rows += [
            ("`import pgflow` / a bare interpreter", f"{starts['import_pgflow']:.2f}"),
            ("`pgflow --help` / `import typer`", f"{starts['pgflow_help']:.2f}"),
        ]
    rows += [
        (f"pgbench, one-row inserts, {clients} client(s)", f"{rate:,.0f} commits/s")
        for clients, rate in own.get("inserts", {}).items()
    ]
    return Table("Small runs, delays, ratios, the machine", ("measure", "figure"), rows)


def goal_table(own: Figures, peers: Figures) -> Table:
    """Return the goals."""
    rows: list[tuple[str, ...]] = [goal.row(own, peers) for goal in GOALS]
    return Table("Goals", ("figure of", "goal", "measured", "met?"), rows)


# The comparison


def fan_table(peers: Figures) -> Table:
    """Return the fans: ratios first."""
    sizes = [str(size) for size in peers["plan"]["sizes"]]
    labels = [f"{int(size):,}" for size in sizes]
    head = (
        "engine",
        *(f"py-pgflow is × at {x}" for x in labels),
        *(f"tasks/s at {x}" for x in labels),
        *("worker µs/task", "server µs/task", "commits/task"),
    )
    ours = peers["engines"][OURS]
    rows = [(f"*{name}*", *cells) for name, cells in _limit_cells(peers, sizes, ours)]
    for name, standing in _by_base_rate(peers):
        label = f"**{standing['label']}**" if name == OURS else standing["label"]
        fans = [standing["fans"].get(size) for size in sizes]
        own_fans = [ours["fans"].get(size) for size in sizes]
        ratios = [_ratio(one, other) for one, other in zip(own_fans, fans, strict=True)]
        rates = [_rate(fan, peers["plan"]["cap"]) for fan in fans]
        costs = _costs(standing["fans"].get("10000"))
        rows.append((label, *ratios, *rates, *costs))
    return Table("One step → N no-op items → one step that gets all results", head, rows)


def diamond_table(peers: Figures) -> Table:
    """Return diamonds and delays."""
    head = (
        *(
            "engine",
            "py-pgflow is × at diamonds",
            "diamonds/s",
            "transition p50 / p95 ms",
            "start p50 / p95 ms",
        ),
        *("its transition / ours", "its start / ours"),
    )
    ours = peers["engines"][OURS]
    rows: list[tuple[str, ...]] = []
    for name, standing in _by_base_rate(peers):
        rows.append(
            (
                f"**{standing['label']}**" if name == OURS else standing["label"],
                _median_ratio(ours["diamonds"], standing["diamonds"]),
                f"{median(standing['diamonds']):,.0f}" if standing["diamonds"] else "too slow",
                _pair(standing, "transition"),
                _pair(standing, "start"),
                _median_ratio(standing["transition_p50"], ours["transition_p50"]),
                _median_ratio(standing["start_p50"], ours["start_p50"]),
            )
        )
    return Table("Diamonds, and delays on an idle system", head, rows)


def failures(peers: Figures) -> list[str]:
    """Return a line for each engine that could not be measured."""
    return [
        f"- **{standing['label']}** was not measured: {' '.join(standing['failed'].split())}"
        for standing in peers["engines"].values()
        if standing["failed"]
    ]


def notes(peers: Figures) -> list[str]:
    """Return a line for each engine: version and settings."""
    return [
        f"- **{standing['label']} {standing['version']}** on {standing['store']}: {standing['notes']}."
        for standing in peers["engines"].values()
        if standing["version"]
    ]


def _by_base_rate(peers: Figures) -> list[tuple[str, Figures]]:
    standings = [(name, s) for name, s in peers["engines"].items() if s["fans"] and not s["failed"]]
    return sorted(standings, key=lambda found: -(base_rate(found[1]) or 0.0))


def _limit_cells(
    peers: Figures, sizes: list[str], ours: Figures
) -> list[tuple[str, tuple[str, ...]]]:
    if not peers["limit"]:
        return []
    limit = median(peers["limit"])
    own = base_rate(ours)
    ratios = [f"{own / limit:.2f}" if x == "10000" and own else "" for x in sizes]
    rates = [f"{limit:,.0f}" if x == "10000" else "" for x in sizes]
    return [("set-based limit, two connections, fused", (*ratios, *rates, "", "", ""))]


def _ratio(ours: Any, theirs: Any) -> str:
    if not ours or not theirs or not ours["rates"] or not theirs["rates"]:
        return "–"
    return f"{median(ours['rates']) / median(theirs['rates']):.1f}"


def _rate(fan: Any, cap: float) -> str:
    if not fan:
        return "–"
    if fan["too_slow"]:
        return f"over {cap:.0f} s"
    shown = f"{median(fan['rates']):,.0f}"
    return shown if fan["asked"] == fan["size"] else f"{shown} ({fan['size']:,} items)"


def _costs(fan: Any) -> tuple[str, str, str]:
    if not fan or not fan["rates"]:
        return "–", "–", "–"
    commits = f"{median(fan['commits']):.2f}" if fan["commits"] else "–"
    return f"{median(fan['worker_cpu']):,.0f}", f"{median(fan['server_cpu']):,.0f}", commits


def _pair(standing: Figures, name: str) -> str:
    p50, p95 = standing[f"{name}_p50"], standing[f"{name}_p95"]
    return f"{1e3 * median(p50):.1f} / {1e3 * median(p95):.1f}" if p50 else "–"


def _median_ratio(one: list[float], other: list[float]) -> str:
    return f"{median(one) / median(other):.1f}" if one and other else "–"


def _map_rate(own: Figures, items: int) -> float | None:
    found = (m for m in own["maps"] if (m["items"], m["workers"]) == (items, 2))
    return next((float(m["tasks_per_second"]) for m in found), None)
