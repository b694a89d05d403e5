"""Asks pip-audit about the locked packages, and says plainly if nobody could tell: exit code 0 clean, 1 found, 3 unknown.

pip-audit itself ends with 0 when the service knows none of the packages, as a plain mirror of an index does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

UNKNOWN = 3


def ask(lock: str) -> tuple[list[dict[str, Any]], str]:
    """Return what pip-audit says of each package, and why if it says nothing."""
    command = [
        Path(sys.executable).with_name("pip-audit"),
        "--requirement",
        lock,
        "--disable-pip",
        "--no-deps",
    ]
    done = subprocess.run(
        [*map(str, command), "--format", "json", "--progress-spinner", "off", "--timeout", "15"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    return found, ""


def judge(packages: list[dict[str, Any]], reason: str) -> tuple[int, str]:
    """Return the exit code and what to print."""
    audited = [package for package in packages if "skip_reason" not in package]
    skipped = [package for package in packages if "skip_reason" in package]
    bad = [package for package in audited if package.get("vulns")]
    if bad:
        lines = [
            f"{package['name']} {package['version']}: {', '.join(vuln['id'] for vuln in package['vulns'])}"
            for package in bad
        ]
        return 1, "\n".join(["known vulnerabilities:", *lines])
    if not audited:
        why = reason or f"it knows none of the {len(skipped)} packages"
        return UNKNOWN, f"nothing was audited: the vulnerability service could not tell ({why})"
    if skipped:
        names = ", ".join(package["name"] for package in skipped)
        return UNKNOWN, f"{len(audited)} packages have no known vulnerability; not audited: {names}"
    return 0, f"{len(audited)} packages have no known vulnerability"


def main() -> None:
    """Audit the lock file given."""
    code, text = judge(*ask(sys.argv[1]))
    sys.stdout.write(f"{text}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
