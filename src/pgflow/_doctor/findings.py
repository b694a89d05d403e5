"""A finding: what is wrong where, how bad that is, and what mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Work is lost or stands still, or will."""
    WARNING = "warning"
    """Slower or riskier than need be."""
    INFO = "info"
    """Good to know; nothing to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    check: str
    """Slug of the check."""
    severity: Severity
    what: str
    where: str = ""
    """The setting, function, table, queue, run or process."""
    mend: str = ""
    """A command, a statement or a sentence."""
    safe: bool = False
    """Whether `pgflow doctor --fix` mends it."""

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows."""
        return {**asdict(self), "severity": str(self.severity)}


def error(check: str, what: str, where: str = "", mend: str = "", *, safe: bool = False) -> Finding:
    return Finding(check, Severity.ERROR, what, where, mend, safe)


def warning(check: str, what: str, where: str = "", mend: str = "") -> Finding:
    return Finding(check, Severity.WARNING, what, where, mend)


def info(check: str, what: str, where: str = "", mend: str = "") -> Finding:
    return Finding(check, Severity.INFO, what, where, mend)
