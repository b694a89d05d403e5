"""Every script of examples/ runs as its user would run it, and prints what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

EXPECTED = {
    "hello_map.py": "Hello Ada!\nHello Grace!\nHello Edsger!\n",
    "conditions.py": "courier for order 1, coupon SPRING\npost for order 2\n",
    "dynamic_flow.py": "{'total': 285}\n",
    "transactional_step.py": "attempts: 3, rows: [('DE02', 100)]\n",
}


def test_every_example_is_expected_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example_prints_what_it_says(name: str, database_url: str) -> None:
    for _ in range(2):  # again on the same database: what exists already is no obstacle
        done = subprocess.run(
            [sys.executable, EXAMPLES / name],
            env={**os.environ, "PGFLOW_DSN": database_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, EXPECTED[name]), done.stderr
        assert "Traceback" not in done.stderr
