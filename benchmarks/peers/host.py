"""Runs one engine for the harness: `python -m benchmarks.peers.host <engine> <url>`, JSON lines on stdin and stdout.

Commands: prepare, workers (count), fan (size), diamonds (runs), chain, stop. An answer is {"ok": …} or {"error": …}.
`--worker` makes the process a worker instead.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import time
import traceback
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.peers.engine import Engine

START_TIMEOUT = 60.0


def main() -> None:
    """Be a host, or a worker."""
    name, url, *flags = sys.argv[1:]
    module = importlib.import_module(f"benchmarks.peers.{name}")
    engine: Engine = module.ENGINE(url)
    if "--worker" in flags:
        run = getattr(module, "run", asyncio.run)
        run(engine.work(lambda: print("ready", flush=True)))
    else:
        # Whatever a library prints must not get between the answers.
        answers, sys.stdout = sys.stdout, sys.stderr
        asyncio.run(_serve(engine, answers))


async def _serve(engine: Engine, answers: Any) -> None:
    host = Host(engine)
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            try:
                answer = {"ok": await host.obey(command)}
            except Exception as error:  # noqa: BLE001 - the harness reports it
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        host.stop()


class Host:
    """An engine, its client in this process, and its worker processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._workers: list[subprocess.Popen[str]] = []

    async def obey(self, command: dict[str, Any]) -> Any:
        """Carry out a command of the harness."""
        engine = self._engine
        match command["do"]:
            case "prepare":
                await engine.prepare()
                return {"version": version(engine.package), "notes": engine.notes}
            case "workers":
                return await asyncio.to_thread(self._start_workers, command["count"])
            case "fan":
                begin = time.monotonic_ns()
                gathered = await engine.fan(command["size"])
                return {**gathered, "seconds": (gathered["ended_ns"] - begin) / 1e9}
            case "diamonds":
                begin = time.monotonic_ns()
                outputs = await engine.diamonds(range(command["runs"]))
                ended = max(output[2] for output in outputs)
                return {"outputs": [o[:2] for o in outputs], "seconds": (ended - begin) / 1e9}
            case "chain":
                begin = time.monotonic_ns()
                return {"begin_ns": begin, "links": await engine.chain()}
            case "stop":
                self.stop()
                return None
            case unknown:
                raise ValueError(f"unknown command {unknown!r}")

    def _start_workers(self, count: int) -> list[int]:
        for command in self._engine.worker_command(count):
            worker = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            self._workers.append(worker)
        for worker in self._workers:
            assert worker.stdout is not None
            if not any(line.strip() == "ready" for line in iter(worker.stdout.readline, "")):
                raise RuntimeError(f"a worker ended with {worker.wait()} before it was ready")
        return [worker.pid for worker in self._workers]

    def stop(self) -> None:
        """End the workers; their database goes, so they need no drain."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(3)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._workers.clear()


if __name__ == "__main__":
    main()
