"""Runs a pattern of examples/ as its user would, and returns what it says of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT = Path(__file__).parents[2]
FOREIGN_MODEL = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "PGFLOW_MODEL"}
"""Variables of who runs the tests that would have the examples ask a model of theirs, and pay for it."""

GOOD_ORDER = {
    "order_id": "A-000001",
    "ordered_on": "2026-02-28",
    "customer": " ada  LOVELACE ",
    "country": "deutschland ",
    "quantity": "3",
    "unit_price": "10.50",
    "currency": "usd",
}
"""A row of the ETL's file, not yet cleaned."""


def run_pattern(
    name: str,
    dsn: str,
    out: Path,
    *arguments: str,
    timeout: float = 110,
    code: int = 0,
    home: Path | None = None,
) -> dict[str, Any]:
    """Run `python -m examples.NAME --json --out DIRECTORY`; return the JSON document that it prints.

    With a `home`, run a copy of the folder that is there: `python -m NAME`.
    """
    module = name if home else f"examples.{name}"
    done = subprocess.run(
        [sys.executable, "-m", module, "--json", "--out", str(out), *arguments],
        cwd=home or ROOT,
        env=environment() | {"PGFLOW_DSN": dsn},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr, done.stderr[-4000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def environment() -> dict[str, str]:
    """Return the environment without a model of the developer's own."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN_MODEL}


@contextmanager
def endpoint(
    monkeypatch: pytest.MonkeyPatch, status: int, document: dict[str, Any] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Have the model's endpoint give one answer to everything; yield what it was asked."""
    asked: list[dict[str, Any]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document or {}).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("PGFLOW_MODEL", "any")
        try:
            yield asked
        finally:
            server.shutdown()
            serving.join()
