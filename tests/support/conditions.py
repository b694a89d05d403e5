"""Conditional steps for `tests.support.sql.define`."""

from __future__ import annotations

from typing import Any

NEVER: dict[str, Any] = {"never": True}
"""A pattern that no input or output of these tests contains."""


def required(pattern: dict[str, Any], *deps: str, **options: Any) -> dict[str, Any]:
    """Describe a step that runs only if its subject contains the pattern."""
    return {"deps": deps, "required_input_pattern": pattern, **options}


def forbidden(pattern: dict[str, Any], *deps: str, **options: Any) -> dict[str, Any]:
    """Describe a step that runs only if its subject does not contain the pattern."""
    return {"deps": deps, "forbidden_input_pattern": pattern, **options}
