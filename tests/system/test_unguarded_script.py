"""A script whose main part is not guarded: the process of its isolated handler must not start runs of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import asyncio, json, sys
from pgflow import Flow, PgflowError
from pgflow.execute import execute, execute_async, execute_dynamic, execute_dynamic_sync

flow = Flow("guarded", max_attempts=1)
refusals = []

@flow.step(isolation="process")
def report(_):
    return refusals

if __name__ == "__main__":
    print(json.dumps(execute(flow, None, dsn=sys.argv[1], timeout=60)[report]))
else:
    for call in (
        lambda: execute(flow, None, dsn="host=/nowhere"),
        lambda: asyncio.run(execute_async(flow, None, dsn="host=/nowhere")),
        lambda: execute_dynamic_sync("f", None, {}, dsn="host=/nowhere"),
        lambda: asyncio.run(execute_dynamic("f", None, {}, "host=/nowhere")),
    ):
        try:
            call()
        except PgflowError as error:
            refusals.append(str(error))
"""


async def test_execute_refuses_in_the_process_of_an_isolated_handler(
    database_url: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(script), database_url],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refusals = json.loads(done.stdout)
    assert len(refusals) == 4
    for refusal in refusals:
        assert "was called while the process of an isolated handler imported the script" in refusal
        assert "under `if __name__ == '__main__':`" in refusal
