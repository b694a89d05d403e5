"""The system user that an embedded server of root's runs as: made once, whoever else starts a server."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ASK = """
import pgflow._cluster as cluster

cluster.SYSTEM_USER = "nobody_has_this_name"
with cluster._one_at_a_time():
    print(cluster._system_user())
"""
USERADD = """#!/bin/sh
mkdir "$0.under-way" || { echo "two at once" >&2; exit 9; }
sleep 0.2
rmdir "$0.under-way"
echo "$@" >> "$0.calls"
"""


def test_processes_that_start_at_once_make_the_user_one_after_the_other(tmp_path: Path) -> None:
    """On some systems two calls of useradd both succeed, and the first one's number is nobody's afterwards."""
    useradd = tmp_path / "useradd"
    useradd.write_text(USERADD)
    useradd.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASK],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    told = [process.communicate(timeout=60) for process in asking]
    assert [process.returncode for process in asking] == [0] * 4, told
    assert {out for out, _ in told} == {"nobody_has_this_name\n"}
    calls = (tmp_path / "useradd.calls").read_text().splitlines()
    assert len(calls) == 4
    assert all(call.endswith("nobody_has_this_name") for call in calls)
