"""The offline checker: what must hold when all is over, whatever has happened.

It knows the journal and the tables, and computes every output again from the run's input. What the tables alone can tell
(counters, messages, times) is `pgflow.check_invariants`, which users have as well; see `of_database`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from tests.chaos import checks_of_runs, checks_of_tasks
from tests.chaos.facts import Journal, Tables, Violation

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

Check = Callable[[Journal, Tables], Iterator[Violation]]

CHECKS: Final[tuple[Check, ...]] = (
    checks_of_tasks.completed_tasks_have_effects,
    checks_of_tasks.one_completion_is_accepted,
    checks_of_tasks.grants_are_fenced,
    checks_of_tasks.nothing_is_granted_after_the_end,
    checks_of_tasks.steps_follow_their_dependencies,
    checks_of_tasks.transactions_happen_once,
    checks_of_tasks.keys_are_stable,
    checks_of_runs.outputs_are_right,
    checks_of_runs.starts_are_kept,
    checks_of_runs.runs_end_as_they_may,
    checks_of_runs.transitions_are_legal,
)
"""Each is a function of its own, and has its planted violations in `tests/unit/test_chaos_checker.py`."""


def check(journal: Journal, tables: Tables) -> list[Violation]:
    """Return all violations of what journal and tables tell together."""
    return [violation for one in CHECKS for violation in one(journal, tables)]


# What the server tells


def of_database(connection: psycopg.Connection[Any]) -> list[Violation]:
    """Return what `pgflow doctor` would find, warnings apart from errors by their names; of all runs."""
    query = """select invariant, run_id, step_slug, task_index, queue_name, msg_id, detail
      from pgflow.check_invariants(array(select run_id from pgflow.runs))
      union select invariant, run_id, step_slug, task_index, queue_name, msg_id, detail from pgflow.invariant_violations"""
    return [Violation(name, f"{rest}") for name, *rest in connection.execute(query)]


_BAD_LOG: Final = re.compile(
    r"deadlock detected|violates|PANIC|XX\d\d\d|invalid memory|corrupt|could not serialize"
)


def of_log(path: Path) -> list[Violation]:
    """Return what the server should never have had to log; an embedded server puts a long log aside when it starts."""
    logs = [log for log in (path.with_suffix(".old"), path) if log.exists()]
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return [
        Violation("server log", " | ".join(lines[number : number + 4]))
        for number, line in enumerate(lines)
        # A hint says what an interrupted recovery "probably means"; here it means another immediate stop.
        if _BAD_LOG.search(line)
        and " HINT: " not in line
        and not line.lstrip().startswith(("STATEMENT", "DETAIL"))
    ]
