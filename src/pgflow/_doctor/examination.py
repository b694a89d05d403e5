"""The whole examination, section by section; what could not be looked at is a finding, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from pgflow._doctor import probes, server, work
from pgflow._doctor.findings import Finding, Severity, warning
from pgflow._doctor.readings import Reader
from pgflow.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Section = Callable[[Reader], Iterable[Finding]]

BEFORE_SCHEMA: Final[dict[str, Section]] = {
    "server": server.check_server,
    "pooler": probes.check_pooler,
    "listener": probes.check_listener,
    "clock": server.check_clock,
    "transactions": server.check_transactions,
    "schema": work.check_schema,
}
WITH_SCHEMA: Final[dict[str, Section]] = {
    "tables": server.check_tables,
    "handlers": work.check_handlers,
    "queues": work.check_queues,
    "workers": work.check_workers,
    "invariants": work.check_invariants,
}


@dataclass(frozen=True, slots=True)
class Examination:
    """What an examination has found, and mended."""

    server_version: str
    findings: Sequence[Finding]
    """The worst first."""
    mended: Sequence[Finding]

    @property
    def is_healthy(self) -> bool:
        """Tell whether nothing is wrong that loses or stops work."""
        return all(finding.severity != Severity.ERROR for finding in self.findings)


def examine(dsn: str, *, fix: bool = False) -> Examination:
    """Examine a database; with `fix`, mend first what can be mended without a decision.

    Raises ConnectionFailed and UsageError. Writes nothing without `fix`, and takes no locks that others wait for.
    """
    with Reader.open(dsn) as reader:
        mended: list[Finding] = []
        findings = [
            finding
            for name, check in BEFORE_SCHEMA.items()
            for finding in _looked(name, check, reader)
        ]
        if not any(finding.check == "schema" for finding in findings):
            if fix:
                mended = [*_looked("fix", _mend, reader)]
            for name, check in WITH_SCHEMA.items():
                findings += _looked(name, check, reader)
        order = list(Severity)
        findings.sort(key=lambda finding: order.index(finding.severity))
        return Examination(reader.server()["version"], findings, mended)


def _mend(reader: Reader) -> Iterable[Finding]:
    return work.judge_invariants(reader.mend())


def _looked(name: str, check: Section, reader: Reader) -> list[Finding]:
    try:
        return list(check(reader))
    except psycopg.errors.QueryCanceled:
        what = "took too long and was given up"
    except psycopg.errors.InsufficientPrivilege as refusal:
        what = f"the role may not look at it: {refusal.diag.message_primary}"
    except (psycopg.Error, PgflowError) as failure:
        if reader.connection.closed:
            raise
        what = str(failure).strip().partition("\n")[0]
    return [warning("not_examined", what, name)]
