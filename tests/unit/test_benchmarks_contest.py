"""The comparison's own logic: who gets how much, what of a host's answer counts, and how a failing host is told."""

from __future__ import annotations

import sys

import pytest

from benchmarks.checks import WrongResult
from benchmarks.contest import choose, fitting, quantile
from benchmarks.contestant import ENTRIES, Contestant, ContestantFailed, TooSlow
from benchmarks.peers import engine
from benchmarks.verify import verify_chain, verify_diamonds, verify_fan

# Statistics and sizes


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([2.0, 1.0], 0.5) == 1.0
    assert quantile([float(n) for n in range(1, 21)], 0.95) == 19.0
    assert quantile([5.0], 0.95) == 5.0


def test_an_engine_gets_as_many_items_as_fit_its_time() -> None:
    assert fitting(10_000, 1_000, 60) == 10_000
    assert fitting(10_000, 100, 60) == 5_000
    assert fitting(10_000, 40, 60) == 2_000
    assert fitting(10_000, 20, 60) == 1_000
    assert fitting(10_000, 10, 60) == 0
    assert fitting(100_000, 1_000, 60) == 0


def test_unknown_engines_are_named() -> None:
    assert choose(None) == list(ENTRIES)
    assert [entry.name for entry in choose(["oban"])] == ["ours", "oban"]
    with pytest.raises(ValueError, match="no such engine: nosuch; there are absurd"):
        choose(["nosuch"])


# Verification


def test_only_the_results_of_all_items_in_order_count() -> None:
    right = engine.gather([0, 1, 2])
    verify_fan(dict(right), 3)
    for wrong in ([0, 1], [0, 2, 1], [0, 1, 2, 3], [0, 0, 2], [0, 1, 3]):
        with pytest.raises(WrongResult):
            verify_fan(dict(engine.gather(wrong)), 3)


def test_only_right_diamonds_count() -> None:
    outputs = [[number + 1, number * 2] for number in range(3)]
    verify_diamonds({"outputs": outputs}, 3)
    for wrong in (outputs[:2], outputs[::-1], [*outputs[:2], [3, 5]]):
        with pytest.raises(WrongResult):
            verify_diamonds({"outputs": wrong}, 3)


def test_only_whole_chains_count() -> None:
    links: list[list[int]] = [
        [1_000 * n, 1_000 * n + 400] for n in range(1, engine.CHAIN_LENGTH + 1)
    ]
    start, transitions = verify_chain({"begin_ns": 500, "links": links})
    assert start == pytest.approx(5e-7)
    assert transitions == pytest.approx([6e-7] * (engine.CHAIN_LENGTH - 1))
    with pytest.raises(WrongResult):
        verify_chain({"begin_ns": 500, "links": links[1:]})
    with pytest.raises(WrongResult):
        verify_chain({"begin_ns": 1_001, "links": links})


def host(script: str) -> Contestant:
    return Contestant([sys.executable, "-c", script], "nowhere")


def test_hosts_that_fail_are_slow_or_die_are_told_apart() -> None:
    answer = "import sys; sys.stdin.readline(); print('{}', flush=True); sys.stdin.read()"
    with host(answer.format('{"ok": [1]}')) as contestant:
        assert contestant.ask("anything", 30) == [1]
        with pytest.raises(TooSlow, match="more: no answer in 0 s"):
            contestant.ask("more", 0.05)
    with (
        host(answer.format('{"error": "no luck"}')) as contestant,
        pytest.raises(ContestantFailed, match="fan: no luck"),
    ):
        contestant.ask("fan", 30)
    with (
        host("import sys; sys.stdin.readline(); sys.exit('last words')") as contestant,
        pytest.raises(ContestantFailed, match="last words"),
    ):
        contestant.ask("fan", 30)
