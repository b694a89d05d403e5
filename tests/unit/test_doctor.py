"""How the doctor judges what it reads, also where a test's own server cannot be made to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgflow._doctor.findings import Finding, Severity
from pgflow._doctor.server import (
    judge_clock,
    judge_load,
    judge_settings,
    judge_tables,
    judge_transactions,
)
from pgflow._doctor.work import judge_functions, judge_handlers, judge_invariants, judge_queues

if TYPE_CHECKING:
    from collections.abc import Iterable

GOOD = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "autovacuum": "on",
    "track_activities": "on",
    "max_connections": "100",
}


def one(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_good_settings_have_no_finding() -> None:
    assert list(judge_settings(GOOD, "app")) == []


@pytest.mark.parametrize(
    ("name", "value", "severity", "mend"),
    [
        ("fsync", "off", "error", "alter system set fsync = on"),
        ("full_page_writes", "off", "error", "alter system set full_page_writes = on"),
        ("autovacuum", "off", "error", "alter system set autovacuum = on"),
        ("default_transaction_read_only", "on", "error", "read_only = off"),
        ("track_activities", "off", "warning", "alter system set track_activities = on"),
        ("synchronous_commit", "off", "warning", "alter system set synchronous_commit = on"),
        ("default_transaction_isolation", "serializable", "warning", "alter role app set"),
        ("idle_session_timeout", "60000", "warning", "alter role app set idle_session_timeout = 0"),
        ("transaction_timeout", "9", "warning", "alter role app set transaction_timeout = 0"),
        ("statement_timeout", "5000", "info", ""),
    ],
)
def test_a_setting_that_hurts_is_named_with_its_mend(
    name: str, value: str, severity: str, mend: str
) -> None:
    finding = one(judge_settings({**GOOD, name: value}, "app"))
    assert (finding.where, finding.severity) == (name, severity)
    assert mend in finding.mend
    assert bool(finding.mend) == bool(mend)


def test_a_server_without_newer_settings_is_judged() -> None:
    known = {name: value for name, value in GOOD.items() if name != "transaction_timeout"}
    assert list(judge_settings(known, "app")) == []


def test_a_crowded_server_is_found() -> None:
    assert list(judge_load(89, 100)) == []
    assert one(judge_load(90, 100)).severity == Severity.WARNING


@pytest.mark.parametrize(("ahead", "word"), [(3600.0, "ahead of"), (-60.0, "behind")])
def test_a_different_clock_is_said_to_be_harmless(ahead: float, word: str) -> None:
    finding = one(judge_clock(ahead))
    assert finding.severity == Severity.INFO
    assert word in finding.what
    assert "harmless" in finding.what
    assert list(judge_clock(1.5)) == []


def row(**values: Any) -> dict[str, Any]:
    return values


def test_transactions_are_worse_the_older_they_are() -> None:
    known = {"name": "7", "owner": "app", "application": "psql", "state": "idle in transaction"}
    found = [
        one(judge_transactions([row(kind="transaction", age=age, **known)])) for age in (400, 4000)
    ]
    assert [finding.severity for finding in found] == ["warning", "error"]
    assert found[0].mend == "select pg_terminate_backend(7);"


def test_prepared_transactions_and_slots_have_their_own_mends() -> None:
    common = {"owner": "app", "application": "", "state": ""}
    prepared = one(judge_transactions([row(kind="prepared", name="gid", age=400.0, **common)]))
    slot = one(judge_transactions([row(kind="slot", name="standby", age=None, **common)]))
    assert prepared.mend.startswith("rollback prepared 'gid'")
    assert "pg_drop_replication_slot('standby')" in slot.mend


def table(**values: Any) -> dict[str, Any]:
    defaults = {"name": "pgmq.q_f", "live": 10, "dead": 0, "bytes": 8192}
    return {**defaults, "is_archive": False, "is_never_vacuumed": False, **values}


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"dead": 30_000}, "bloat"),
        ({"is_never_vacuumed": True}, "bloat"),
        ({"is_archive": True, "bytes": 3 * 1024**3}, "archive"),
    ],
)
def test_tables_in_a_bad_state_are_found(values: dict[str, Any], check: str) -> None:
    finding = one(judge_tables([table(**values)]))
    assert (finding.check, finding.where) == (check, "pgmq.q_f")


def test_tables_with_some_dead_rows_are_normal() -> None:
    rows = [table(dead=15_000), table(dead=30_000, live=20_000), table(bytes=3 * 1024**3)]
    assert list(judge_tables(rows)) == []


def function(**values: Any) -> dict[str, Any]:
    defaults = {"name": "f", "signature": "pgflow.f()", "body": "\nb\n"}
    return {**defaults, "pins_path": True, "is_public": False, **values}


@pytest.mark.parametrize(
    ("found", "check"),
    [
        ([function(body="\nc\n")], "altered_function"),
        ([function(pins_path=False)], "search_path"),
        ([function(is_public=True)], "public"),
        ([], "altered_function"),
    ],
)
def test_functions_that_are_not_as_installed_are_found(
    found: list[dict[str, Any]], check: str
) -> None:
    finding = one(judge_functions(found, {"f": "\nb\n"}))
    assert (finding.check, finding.where, finding.severity) == (check, "f", "error")


def test_functions_of_queues_are_not_compared() -> None:
    rows = [function(), function(name="q_f_send", body="whatever")]
    assert list(judge_functions(rows, {"f": "\nb\n"})) == []


STEP = row(
    flow_slug="f",
    step_slug="b",
    step_type="map",
    deps=["a"],
    queue_name="f",
    handler=None,
    runs=2,
    age=9.0,
)
PLANNED = {**STEP, "queue_name": "plans", "handler": "sales"}


def worker(**values: Any) -> dict[str, Any]:
    return {"handlers": None, "flows": None, "registered": None, **values}


@pytest.mark.parametrize(
    ("living", "step"),
    [
        (worker(queues=["f"], handlers=["f.b(map:a)"], flows={"f": 1}), STEP),
        (worker(queues=["x", "f"], handlers=["f.b"]), STEP),
        (worker(queues=["f"], flows={"f": 1}), STEP),
        (worker(queues=["f"]), STEP),
        (worker(queues=["plans"], flows={}, registered=["sales", "letter"]), PLANNED),
    ],
)
def test_a_worker_that_can_run_a_step_is_enough(
    living: dict[str, Any], step: dict[str, Any]
) -> None:
    assert list(judge_handlers([step], [living])) == []


@pytest.mark.parametrize(
    "living",
    [
        worker(queues=["plans"], flows={}, registered=["letter"]),
        worker(queues=["other"], flows={}, registered=["sales"]),
    ],
)
def test_a_step_of_a_plan_needs_its_handler_on_its_queue(living: dict[str, Any]) -> None:
    finding = one(judge_handlers([PLANNED], [living]))
    assert finding.mend == (
        "Start a worker with the handler sales: pgflow worker module:handlers --queue plans"
    )


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ([], "no living worker serves its queue"),
        ([worker(queues=["g"], handlers=["f.b"])], "no living worker serves its queue"),
        ([worker(queues=["f"], handlers=["f.b(single:a)"])], "has a handler for it"),
        ([worker(queues=["f"], flows={"g": 1})], "has a handler for it"),
    ],
)
def test_a_step_that_nobody_can_run_is_found(workers: list[dict[str, Any]], reason: str) -> None:
    finding = one(judge_handlers([STEP], workers))
    assert (finding.check, finding.where, finding.severity) == ("unserved_step", "f.b", "error")
    assert reason in finding.what


@pytest.mark.parametrize(
    ("age", "workers", "severity"),
    [(61.0, 0, "warning"), (61.0, 2, "warning"), (601.0, 2, "warning"), (601.0, 0, "error")],
)
def test_a_queue_that_waits_is_found(age: float, workers: int, severity: str) -> None:
    queue = row(queue_name="f", visible=5, total=5, oldest_age_seconds=age, workers=workers)
    assert one(judge_queues([queue])).severity == severity


def test_queues_that_are_empty_or_young_are_normal() -> None:
    queues = [
        row(queue_name="f", visible=5, total=5, oldest_age_seconds=age, workers=0)
        for age in (None, 59.0)
    ]
    assert list(judge_queues(queues)) == []


def test_many_violations_of_one_kind_are_counted() -> None:
    violation = row(
        invariant="lost_message", severity="error", run_id=None, step_slug="a", task_index=0,
        queue_name="f", msg_id=None, detail="gone", mend="mend", safe=True,
    )  # fmt: skip
    found = list(judge_invariants([violation] * 12))
    assert [finding.severity for finding in found] == ["error"] * 10 + ["info"]
    assert found[0].where == "step_slug a, task_index 0, queue_name f"
    assert found[-1].what.startswith("2 more")
