"""The picture of a run, drawn from fixed snapshots."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from rich.console import Console

from pgflow.live.follow import Pace, PlainDisplay
from pgflow.live.tree import RunTree, Snapshot
from pgflow.records import RunStatus, RunSummary, StepStatus, StepSummary

RUN = UUID("0190a3c4-1111-7222-8333-444455556666")


def make_run(status: RunStatus = RunStatus.STARTED, error: str | None = None) -> RunSummary:
    return RunSummary(
        run_id=RUN,
        flow_slug="email_campaign",
        status=status,
        total_steps=3,
        done_steps=1,
        total_tasks=1002,
        done_tasks=613,
        failed_tasks=2,
        progress=Decimal("61.2"),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration=timedelta(seconds=67),
        error_message=error,
    )


def make_step(
    index: int,
    slug: str,
    status: StepStatus,
    deps: list[str],
    *,
    total: int | None = 1,
    done: int = 0,
    failed: int = 0,
    retried: int = 0,
    step_type: str = "single",
    error: str | None = None,
    took: float | None = None,
    skip_reason: str | None = None,
) -> StepSummary:
    return StepSummary(
        run_id=RUN,
        flow_slug="email_campaign",
        step_slug=slug,
        step_index=index,
        step_type=step_type,
        status=status,
        deps=deps,
        total_tasks=total,
        queued_tasks=0,
        started_tasks=0,
        completed_tasks=done,
        failed_tasks=failed,
        retried_tasks=retried,
        duration=None if took is None else timedelta(seconds=took),
        error_message=error,
        skip_reason=skip_reason,
    )


def campaign(done: int = 612) -> Snapshot:
    fetch = make_step(0, "fetch_subscribers", StepStatus.COMPLETED, [], done=1, took=0.12)
    send = make_step(
        1, "send_email", StepStatus.STARTED, ["fetch_subscribers"],
        total=1000, done=done, failed=2, retried=7, step_type="map",
    )  # fmt: skip
    track = make_step(
        2, "track_results", StepStatus.CREATED, ["fetch_subscribers", "send_email"], total=None
    )
    return Snapshot(make_run(), (fetch, send, track), {"send_email": 5.0})


def draw(tree: RunTree, width: int = 80, *, ascii_only: bool = False) -> list[str]:
    buffer = (
        io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
        if ascii_only
        else io.StringIO()
    )
    Console(file=buffer, width=width).print(tree)
    buffer.seek(0)
    return [line.rstrip() for line in buffer.read().splitlines()]


def test_shows_each_step_with_bar_retries_failures_and_time_left() -> None:
    assert draw(RunTree(campaign())) == [
        "email_campaign  started  1:07  0190a3c4-1111-7222-8333-444455556666",
        "✓ fetch_subscribers                          1/1  0.12 s",
        "└─ ● send_email        ━━━━━━━━━─────  614/1,000  2 failed, 7 retried, ETA 0:05",
        "   └─ ○ track_results                             after send_email",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = draw(RunTree(campaign()), width)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "614/1,000" in lines[2]


def test_bar_grows_with_the_tasks_done_and_with_the_terminal() -> None:
    def bar(done: int, width: int) -> tuple[int, int]:
        line = draw(RunTree(campaign(done)), width)[2]
        return line.count("━"), line.count("─") - 1  # the branch has one

    full, empty = bar(500, 120)
    assert full + empty == 40
    assert full == 21  # half, and the two failed are never invisible
    assert sum(bar(500, 80)) == 14
    assert bar(998, 120) == (40, 0)


def test_uses_ascii_where_the_terminal_has_nothing_else() -> None:
    for width in (30, 80):
        text = "\n".join(draw(RunTree(campaign()), width, ascii_only=True))
        assert text.isascii()
    assert "`- > send" in text


def test_siblings_hang_below_their_last_dependency() -> None:
    steps = [
        make_step(0, "a", StepStatus.COMPLETED, [], done=1),
        make_step(1, "b", StepStatus.FAILED, ["a"], failed=1, error="ValueError: \x1b[31mred"),
        make_step(2, "c", StepStatus.STARTED, ["a"]),
        make_step(3, "d", StepStatus.SKIPPED, ["a"], skip_reason="condition_unmet"),
        make_step(4, "e", StepStatus.CREATED, ["b", "c"], total=None),
    ]
    lines = draw(RunTree(Snapshot(make_run(), steps)))
    assert [line.split("  ")[0] for line in lines[1:]] == ["✓ a", "├─ ✗ b", "├─ ● c", "│", "└─ ⊘ d"]
    assert lines[4].startswith("│  └─ ○ e")
    # b has failed, so only c is waited for; stored text cannot colour the reader's terminal.
    assert lines[4].endswith("after c")
    assert lines[2].endswith(r"ValueError: \x1b[31mred")
    assert lines[5].endswith("skipped: condition_unmet")


def test_a_step_skipped_after_failures_says_both() -> None:
    step = make_step(
        0, "a", StepStatus.SKIPPED, [], failed=1, retried=1, skip_reason="handler_failed"
    )
    lines = draw(RunTree(Snapshot(make_run(), [step])))
    assert lines[1].endswith("1 failed, 1 retried, skipped: handler_failed")


def test_a_long_chain_is_neither_indented_out_of_sight_nor_recursive() -> None:
    chain = [
        make_step(i, f"step_{i}", StepStatus.CREATED, [f"step_{i - 1}"] if i else [], total=None)
        for i in range(3000)
    ]
    lines = draw(RunTree(Snapshot(make_run(), chain)))
    assert len(lines) == 3001
    assert all(f"step_{i}" in line for i, line in enumerate(lines[1:]))


def test_a_low_terminal_shows_what_runs_and_what_comes_next() -> None:
    steps = [
        make_step(i, f"s{i}", StepStatus.COMPLETED if i < 50 else StepStatus.CREATED, [])
        for i in range(100)
    ]
    steps[50] = make_step(50, "s50", StepStatus.STARTED, [])
    lines = draw(RunTree(Snapshot(make_run(), steps), max_steps=3))
    assert [line.split()[1] for line in lines[1:4]] == ["s50", "s51", "s52"]
    assert lines[4] == "... and 97 more"


def test_a_failed_run_says_why() -> None:
    lines = draw(RunTree(Snapshot(make_run(RunStatus.FAILED, "step send_email: boom"), [])))
    assert lines[-1] == "step send_email: boom"


def test_pace_estimates_from_the_latest_progress() -> None:
    pace = Pace(window=10)

    def at(moment: float, done: int) -> dict[str, float]:
        step = make_step(0, "m", StepStatus.STARTED, [], total=1000, done=done, step_type="map")
        return pace.observe([step], moment)

    assert at(0, 100) == {}  # one look makes no rate
    assert at(1, 200) == {"m": pytest.approx(8.0)}
    remaining = {}
    for moment in range(2, 30):  # slower now: 10 a second
        remaining = at(moment, 200 + 10 * (moment - 1))
    assert remaining == {"m": pytest.approx((1000 - 480) / 10)}


def test_plain_lines_tell_changes_once(capsys: pytest.CaptureFixture[str]) -> None:
    display = PlainDisplay()
    for done in (0, 10, 240, 250, 260, 600):
        display.show(campaign(done))
    assert capsys.readouterr().out.splitlines() == [
        "1:07  fetch_subscribers completed in 0.12 s, 1 of 1 task",
        "1:07  send_email started, 2 of 1,000 tasks, 2 failed, 7 retried, ETA 0:05",
        "1:07  send_email started, 252 of 1,000 tasks, 2 failed, 7 retried, ETA 0:05",
        "1:07  send_email started, 602 of 1,000 tasks, 2 failed, 7 retried, ETA 0:05",
    ]
