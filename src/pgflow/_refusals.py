"""What the database says when it refuses a definition, in the words of whoever wrote it."""

from __future__ import annotations

import psycopg
from psycopg import errors as server

_SLUG = "letters, digits and _, not starting with a digit, at most 128 characters, and not 'run'"
_MODES = "must be fail, skip or skip-cascade"
_PROBLEMS = {
    "slug_is_valid": f"its slug must be {_SLUG}",
    "steps_step_slug_check": f"the slug must be {_SLUG}",
    "steps_step_type_check": "step_type must be single or map",
    "deps_check": "it depends on itself",
    "when_unmet_is_valid": f"when_unmet {_MODES}",
    "when_exhausted_is_valid": f"when_exhausted {_MODES}",
    "required_input_pattern_is_object": "if_ must be an object",
    "forbidden_input_pattern_is_object": "if_not must be an object",
    "opt_max_attempts_is_nonnegative": "max_attempts must not be negative",
    "opt_base_delay_is_nonnegative": "base_delay must not be negative",
    "opt_timeout_is_positive": "timeout must be positive",
    "opt_start_delay_is_nonnegative": "start_delay must not be negative",
    "opt_max_delay_is_nonnegative": "max_delay must not be negative",
    "opt_jitter_is_fraction": "jitter must be between 0 and 1",
    "opt_max_items_is_positive": "max_items must be positive",
    "opt_queue_is_valid": f"queue must be {_SLUG.replace('128', '47')}",
    "opt_initial_tasks_is_positive": "initial_tasks must be positive",
    "opt_batch_size_is_in_range": "batch_size must be from 1 to 10000",
    "opt_batch_size_needs_an_array": "batch_size is for maps over the items of an array",
    "opt_max_failed_tasks_is_nonnegative": "max_failed_tasks must not be negative",
    "opt_max_failed_percent_is_percent": "max_failed_percent must be between 0 and 100",
}
"""What a violated constraint of flows, steps or deps means to the caller."""

REFUSALS = (
    psycopg.IntegrityError,
    psycopg.DataError,
    server.RaiseException,
    server.DuplicateObject,
)
"""Errors that mean a mistake in the definition."""


def problem_of(error: psycopg.Error) -> str:
    """Say what is wrong with the definition."""
    constraint = error.diag.constraint_name or ""
    return _PROBLEMS.get(constraint, error.diag.message_primary or str(error).strip())
