"""What a worker keeps in mind of runs and plans: what it uses stays, whoever came first."""

from __future__ import annotations

from collections import OrderedDict

from pgflow._learning import keep, unknown


def test_what_is_used_outlives_what_came_later() -> None:
    kept: OrderedDict[str, int] = OrderedDict()
    for number, key in enumerate("abc"):
        keep(kept, key, number, 3)
    assert unknown(kept, ["a", "d"]) == ["d"]
    keep(kept, "d", 3, 3)
    assert list(kept) == ["c", "a", "d"]
