"""tools/audit.py: says that it is clean only when every package was looked up."""

from __future__ import annotations

from typing import Any

import pytest

from tools.audit import UNKNOWN, judge

CLEAN: dict[str, Any] = {"name": "orjson", "version": "3", "vulns": []}
BAD: dict[str, Any] = {"name": "jar", "version": "1", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}
SKIPPED: dict[str, Any] = {"name": "rich", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "reason", "code", "text"),
    [
        ([CLEAN], "", 0, "1 packages have no known vulnerability"),
        ([CLEAN, BAD, SKIPPED], "", 1, "known vulnerabilities:\njar 1: PYSEC-1, CVE-2"),
        ([SKIPPED], "", UNKNOWN, "nothing was audited: the vulnerability service could not tell (it knows none of the 1 packages)"),
        ([], "no route to host", UNKNOWN, "nothing was audited: the vulnerability service could not tell (no route to host)"),
        ([CLEAN, SKIPPED], "", UNKNOWN, "1 packages have no known vulnerability; not audited: rich"),
    ],
)  # fmt: skip
def test_what_is_said(packages: list[dict[str, Any]], reason: str, code: int, text: str) -> None:
    assert judge(packages, reason) == (code, text)
