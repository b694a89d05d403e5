import inspect
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints
from uuid import UUID

import pytest

from pgflow import records
from pgflow._rows import Row
from pgflow.records import (
    GrantedTask,
    Outcome,
    RawJson,
    RunRecord,
    RunStatus,
    StepStatus,
    TaskReport,
)

RUN = UUID("0198c9a4-0000-7000-8000-000000000001")
KINDS = [
    kind
    for _, kind in inspect.getmembers(records, inspect.isclass)
    if issubclass(kind, Row) and kind is not Row
]


def build(kind: Any, row: dict[str, Any]) -> Any:
    return kind.from_row(row)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_records_are_frozen_slotted_and_resolvable(kind: Any) -> None:
    assert is_dataclass(kind)
    assert "__slots__" in vars(kind)
    record = build(kind, dict.fromkeys(field.name for field in fields(kind)))
    assert not hasattr(record, "__dict__")
    assert set(get_type_hints(kind)) == {field.name for field in fields(kind)}


def test_status_texts_become_enums() -> None:
    row = {
        "run_id": RUN,
        "flow_slug": "f",
        "status": "started",
        "remaining_steps": 1,
        "started_at": None,
    }
    record = RunRecord.from_row(row)
    assert record.status is RunStatus.STARTED
    report = {"run_id": RUN, "step_slug": "s", "task_index": 0, "outcome": "stale"}
    assert TaskReport.from_row(report).outcome is Outcome.STALE


def test_columns_of_a_newer_schema_are_ignored() -> None:
    report = {"run_id": RUN, "step_slug": "s", "task_index": 0, "outcome": "stale", "new": 1}
    assert TaskReport.from_row(report) == TaskReport(RUN, "s", 0, Outcome.STALE)


def test_a_missing_required_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="outcome"):
        TaskReport.from_row({"run_id": RUN, "step_slug": "s", "task_index": 0})


def test_granted_task_follows_the_columns_of_claim_tasks() -> None:
    assert [field.name for field in fields(GrantedTask)] == [
        "flow_slug", "run_id", "step_slug", "task_index", "attempt", "input", "flow_input",
        "msg_id", "queue_name", "step_type", "tries", "max_attempts", "timeout", "exhausted",
        "deferred", "items", "losses",
    ]  # fmt: skip


def test_final_states() -> None:
    assert [status for status in RunStatus if not status.is_final] == ["started"]
    assert [status for status in StepStatus if not status.is_final] == ["created", "started"]


def test_raw_json_is_parsed_on_demand() -> None:
    assert RawJson(b'{"big": 18446744073709551616}').parse() == {"big": 2**64}
    assert RawJson(b"not json") == b"not json"
