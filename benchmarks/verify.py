"""Verifies what the hosts answer: sum, number and order of a fan's results, every diamond's output, every link."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from benchmarks.checks import WrongResult, check_chain
from benchmarks.peers.engine import CHAIN_LENGTH, left, right


def verify_fan(reply: dict[str, Any], size: int) -> None:
    """Demand the results of all items, each once and in order."""
    found = (reply["count"], reply["sum"], reply["in_order"])
    if found != (size, size * (size - 1) // 2, True):
        raise WrongResult(f"a fan of {size} items gave count, sum, in order: {found}")


def verify_diamonds(reply: dict[str, Any], runs: int) -> None:
    """Demand of every run what its diamond computes."""
    expected = [[left(number), right(number)] for number in range(runs)]
    if reply["outputs"] != expected:
        raise WrongResult(f"{runs} diamonds gave {len(reply['outputs'])} outputs, not all right")


def verify_chain(reply: dict[str, Any]) -> tuple[float, list[float]]:
    """Return seconds from the start to the first handler, and from the end of each to the begin of the next."""
    links = check_chain({"links": reply["links"]}, CHAIN_LENGTH)
    start = (links[0][0] - reply["begin_ns"]) / 1e9
    if start < 0:
        raise WrongResult("a chain began before it was started")
    return start, [(after[0] - before[1]) / 1e9 for before, after in pairwise(links)]
