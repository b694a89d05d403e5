import inspect
import pickle
from uuid import UUID

import pytest

from pgflow import errors
from pgflow.errors import (
    DecodingError,
    DefinitionError,
    EncodingError,
    FlowNotFound,
    LeaseLost,
    NonRetryable,
    PgflowError,
    RetryAfter,
    RunCancelled,
    RunFailed,
    RunNotFound,
    SchemaMismatch,
    TaskTimeout,
    UsageError,
    WaitTimeout,
    did_you_mean,
)

RUN = UUID("0198c9a4-0000-7000-8000-000000000001")
SAMPLES: list[PgflowError] = [
    DefinitionError(["it has no steps"], flow="orders"),
    EncodingError("nan", path="$.a[0]", flow="f", step="s", task=3),
    DecodingError("not JSON"),
    SchemaMismatch("the schema is older"),
    FlowNotFound("oders", ["orders"]),
    RunNotFound(RUN),
    RunFailed(RUN, "f", "s", 0, 3, "ValueError: boom"),
    RunCancelled(RUN, "f", "by hand"),
    WaitTimeout("not done within 3 s"),
    UsageError("no"),
    RetryAfter(2.5),
    NonRetryable("no such mailbox"),
    TaskTimeout("took longer than 60 s"),
    LeaseLost("granted again"),
]


def public_errors() -> list[type[PgflowError]]:
    return [
        kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, PgflowError) and not name.startswith("_")
    ]


def test_tree_is_drawn_in_the_docstring() -> None:
    for kind in public_errors():
        assert kind.__name__ in (errors.__doc__ or "")


def test_codes_are_distinct_and_drawn() -> None:
    leaves = [kind for kind in public_errors() if kind not in {PgflowError, errors.TaskSignal}]
    codes = [kind.default_code for kind in leaves]
    assert len(set(codes)) == len(codes)
    lines = {line.split()[1]: line for line in (errors.__doc__ or "").splitlines() if "PGF" in line}
    for kind in leaves:
        assert kind.default_code in next(
            line for line in lines.values() if kind.__name__ in line.split()
        )


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_cross_process_borders_whole(error: PgflowError) -> None:
    error.add_note("seen by worker 7")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
    assert copy.args == error.args


def test_text_has_code_message_and_hint() -> None:
    error = UsageError("no flow named", hint="Run: pgflow flows")
    assert str(error) == "PGF401: no flow named\n  Run: pgflow flows"
    assert str(UsageError("x", code="PGF499")) == "PGF499: x"


def test_definition_error_lists_all_problems() -> None:
    error = DefinitionError(["one", "two"], flow="orders")
    assert error.problems == ["one", "two"]
    assert str(error) == "PGF101: flow 'orders' has 2 problems:\n  - one\n  - two"


def test_value_errors_name_flow_step_task_and_path() -> None:
    error = EncodingError("$.a: nan", path="$.a", flow="f", step="s", task=0)
    assert (error.path, error.flow, error.step, error.task) == ("$.a", "f", "s", 0)
    assert str(error) == "PGF111: flow f, step s, task 0: $.a: nan"


def test_run_failed_names_the_task_that_decided_it() -> None:
    error = RunFailed(RUN, "f", "s", 0, 3, "ValueError: boom")
    assert f"run {RUN} of flow f failed at step s, task 0, attempt 3: ValueError: boom" in str(
        error
    )
    assert f"pgflow show {RUN}" in str(error)
    assert "no error text recorded" in str(RunFailed(RUN, "f"))


def test_what_a_handler_raises_is_recorded_as_written() -> None:
    assert str(NonRetryable("no such mailbox")) == "no such mailbox"
    assert str(RetryAfter(12.5, "rate limited")) == "rate limited"
    assert str(RetryAfter(12.5)) == "retry after 12.5 s"


@pytest.mark.parametrize("kind", [WaitTimeout, TaskTimeout])
def test_timeouts_are_timeout_errors(kind: type[PgflowError]) -> None:
    assert issubclass(kind, TimeoutError)


def test_did_you_mean() -> None:
    assert did_you_mean("fetsh", ["fetch", "send"]) == " - did you mean 'fetch'?"
    assert did_you_mean("FETCH", ["Fetch_All", "Fetch"]) == " - did you mean 'Fetch'?"
    assert did_you_mean("zzz", ["fetch"]) == ""
    assert did_you_mean("x", []) == ""
