"""What the comparison calls a legal move: the reference model's referee is tested, too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.compare import assert_legal


def picture(run: str, task: str, fence: int = 1) -> dict[str, Any]:
    """Return as much of a picture as the law looks at: one run, no step, one task."""
    return {
        "runs": [["r", run, None, None, 0]],
        "steps": [],
        "tasks": [["r", "s", 0, task, fence]],
    }


def test_a_failed_task_does_not_come_back_by_itself() -> None:
    with pytest.raises(AssertionError, match="task failed -> queued"):
        assert_legal(picture("failed", "failed"), picture("failed", "queued"))


def test_a_retry_brings_it_back() -> None:
    assert_legal(picture("failed", "failed"), picture("started", "queued"))


def test_a_retry_brings_it_back_though_its_run_fails_again_at_once() -> None:
    """Found among 10,000 schedules: a map that is over no array fails the run inside the call that retries it."""
    assert_legal(picture("failed", "failed"), picture("failed", "queued"), {"r"})


def test_a_fence_never_goes_back() -> None:
    with pytest.raises(AssertionError, match="a fence went back"):
        assert_legal(picture("started", "started", 2), picture("started", "queued", 1))
