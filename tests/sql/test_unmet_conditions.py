"""What becomes of run and steps when a condition is unmet: fail, skip and skip-cascade (contract, 8.1)."""

from __future__ import annotations

from tests.support.conditions import NEVER, forbidden, required
from tests.support.sql import (
    Connection,
    archived,
    begin,
    define,
    event_names,
    finish,
    messages,
    payload,
    record_events,
    rows,
    run,
    start,
    state,
    statuses,
    tasks,
    work,
)

# Unmet conditions that fail


FAILING = required(NEVER, when_unmet="fail")


def test_fail_fails_step_and_run(connection: Connection) -> None:
    define(connection, "f", {"a": FAILING})
    started = start(connection, "f")
    found = state(connection, started["run_id"], "a")
    assert (found["status"], found["error_message"]) == ("failed", "Condition not met")
    assert found["failed_at"] is not None
    assert started["status"] == "failed"
    assert started["failed_at"] is not None


def test_fail_empties_the_queue(connection: Connection) -> None:
    define(connection, "f", {"a": [], "slow": [], "b": required(NEVER, "a", when_unmet="fail")})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a")
    assert run(connection, run_id)["status"] == "failed"
    assert messages(connection, "f") == []
    assert len(archived(connection, "f")) == 2


def test_fail_keeps_the_status_of_other_tasks(connection: Connection) -> None:
    define(
        connection,
        "f",
        {
            "a": [],
            "started": [],
            "b": required(NEVER, "a", when_unmet="fail"),
            "waiting": ["started"],
        },
    )
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a")
    found = {one["step_slug"]: one["status"] for one in tasks(connection, run_id)}
    assert found == {"a": "completed", "started": "started"}
    assert statuses(connection, run_id)["waiting"] == "created"


def test_fail_emits_the_steps_event_then_the_runs(connection: Connection) -> None:
    record_events(connection)
    define(connection, "f", {"a": FAILING})
    run_id = start(connection, "f")["run_id"]
    assert event_names(connection, run_id) == ["run:started", "step:a:failed", "run:failed"]
    for event in ("step:a:failed", "run:failed"):
        assert payload(connection, run_id, event)["error_message"] == "Condition not met"


def test_fail_has_precedence_over_skips_of_the_same_round(connection: Connection) -> None:
    define(
        connection,
        "f",
        {
            "skipped": required(NEVER),
            "cascade": required(NEVER, when_unmet="skip-cascade"),
            "z": FAILING,
        },
    )
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {
        "skipped": "created",
        "cascade": "created",
        "z": "failed",
    }


def test_only_the_first_of_several_failing_steps_fails(connection: Connection) -> None:
    define(connection, "f", {"z": FAILING, "a": FAILING})
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {"z": "failed", "a": "created"}


def test_fail_starts_no_other_root(connection: Connection) -> None:
    define(connection, "f", {"a": [], "z": FAILING})
    run_id = start(connection, "f")["run_id"]
    assert tasks(connection, run_id) == []
    assert messages(connection, "f") == []


def test_a_failing_condition_behind_a_skip_fails_the_run(connection: Connection) -> None:
    define(
        connection, "f", {"a": required(NEVER), "b": required({"a": {}}, "a", when_unmet="fail")}
    )
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {"a": "skipped", "b": "failed"}


# Unmet conditions that skip


def test_skip_sets_reason_and_time_without_tasks(connection: Connection) -> None:
    define(connection, "f", {"a": required(NEVER), "b": []})
    run_id = start(connection, "f")["run_id"]
    found = state(connection, run_id, "a")
    columns = ("status", "skip_reason", "remaining_tasks", "output", "started_at", "error_message")
    assert tuple(found[column] for column in columns) == (
        "skipped",
        "condition_unmet",
        None,
        None,
        None,
        None,
    )
    assert found["skipped_at"] is not None
    assert tasks(connection, run_id, "a") == []


def test_skip_lowers_remaining_steps(connection: Connection) -> None:
    define(connection, "f", {"a": required(NEVER), "b": required(NEVER), "c": []})
    assert start(connection, "f")["remaining_steps"] == 1


def test_children_of_a_skipped_step_go_on_without_it(connection: Connection) -> None:
    define(connection, "f", {"a": required(NEVER), "b": [], "c": ["a", "b"]})
    run_id = start(connection, "f")["run_id"]
    assert state(connection, run_id, "c")["remaining_deps"] == 1
    finish(connection, "f", "b", 2)
    (task,) = begin(connection, "f")
    assert (task["step_slug"], task["input"]) == ("c", {"b": 2})


def test_a_child_all_of_whose_parents_were_skipped_starts_with_an_empty_object(
    connection: Connection,
) -> None:
    define(connection, "f", {"a": required(NEVER), "b": required(NEVER), "c": ["a", "b"]})
    run_id = start(connection, "f")["run_id"]
    assert state(connection, run_id, "c")["remaining_deps"] == 0
    (task,) = begin(connection, "f")
    assert (task["step_slug"], task["input"], task["flow_input"]) == ("c", {}, None)


def test_a_map_behind_a_skipped_step_is_empty(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"a": required(NEVER), "m": {"deps": ["a"], "step_type": "map"}, "end": ["m"]},
    )
    run_id = start(connection, "f")["run_id"]
    found = state(connection, run_id, "m")
    assert (found["status"], found["initial_tasks"], found["output"]) == ("completed", 0, [])
    (task,) = begin(connection, "f")
    assert (task["step_slug"], task["input"]) == ("end", {"m": []})


def test_one_event_for_each_skipped_step(connection: Connection) -> None:
    record_events(connection)
    define(connection, "f", {"a": required(NEVER), "b": required(NEVER), "c": []})
    run_id = start(connection, "f")["run_id"]
    skipped = [event for event in event_names(connection, run_id) if event.endswith("skipped")]
    assert sorted(skipped) == ["step:a:skipped", "step:b:skipped"]
    assert payload(connection, run_id, "step:a:skipped")["skip_reason"] == "condition_unmet"


def test_a_run_whose_steps_are_all_skipped_completes_without_output(connection: Connection) -> None:
    define(connection, "f", {"a": required(NEVER), "b": required(NEVER, "a")})
    started = start(connection, "f")
    assert (started["status"], started["output"], started["remaining_steps"]) == (
        "completed",
        None,
        0,
    )


def test_branches_by_role(connection: Connection) -> None:
    steps = {"x": required({"role": "admin"}), "y": forbidden({"role": "admin"}), "j": ["x", "y"]}
    define(connection, "f", steps)
    run_id = start(connection, "f", {"role": "user"})["run_id"]
    assert statuses(connection, run_id) == {"x": "skipped", "y": "started", "j": "created"}
    assert state(connection, run_id, "j")["remaining_deps"] == 1
    work(connection, "f", {"y": 1, "j": lambda task: task["input"]})
    assert run(connection, run_id)["output"] == {"j": {"y": 1}}


# Unmet conditions that skip everything downstream


def test_skip_cascade_takes_everything_downstream(connection: Connection) -> None:
    steps = {
        "a": required(NEVER, when_unmet="skip-cascade"),
        "b": ["a"],
        "c": ["b"],
        "other": [],
        "join": ["c", "other"],
    }
    define(connection, "f", steps)
    started = start(connection, "f")
    query = "select step_slug, skip_reason from pgflow.step_states where run_id = %s order by step_index"
    found = [tuple(one.values()) for one in rows(connection, query, started["run_id"])]
    downstream = "dependency_skipped"
    assert found == [
        ("a", "condition_unmet"),
        ("b", downstream),
        ("c", downstream),
        ("other", None),
        ("join", downstream),
    ]
    assert started["remaining_steps"] == 1


def test_skip_cascade_of_a_dependent(connection: Connection) -> None:
    define(
        connection, "f", {"a": [], "b": required(NEVER, "a", when_unmet="skip-cascade"), "c": ["b"]}
    )
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", 1)
    assert statuses(connection, run_id) == {"a": "completed", "b": "skipped", "c": "skipped"}
    found = run(connection, run_id)
    assert (found["status"], found["output"]) == ("completed", None)


def test_skip_and_skip_cascade_in_one_round(connection: Connection) -> None:
    steps = {
        "s": required(NEVER),
        "k": required(NEVER, when_unmet="skip-cascade"),
        "j": ["s", "k"],
        "only": ["s"],
    }
    define(connection, "f", steps)
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {
        "s": "skipped",
        "k": "skipped",
        "j": "skipped",
        "only": "started",
    }
    assert run(connection, run_id)["remaining_steps"] == 1
