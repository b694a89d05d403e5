"""What turns a pure function into a handler under observation: it journals, takes its time, and fails now and then.

An output is `{"v": value, "n": nonce}`, a list of values a list of those. The nonce is new in each attempt, so an output
tells which attempt it is from; the checker computes the value again from the inputs.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from pgflow import NonRetryable, current_task
from tests.chaos import journal

PURE: Final[dict[str, Callable[..., Any]]] = {}
"""The pure function of each step, by its name in this module's flows."""

INSERT: Final = "insert into public.chaos_ledger (run_id, step, index, fence, nonce) values (%s, %s, %s, %s, %s)"
LEDGER: Final = """create table public.chaos_ledger (
  run_id uuid not null, step text not null, index integer not null, fence integer not null, nonce text not null
)"""

Pure = Callable[..., Any]


class Doomed(NonRetryable):
    """Raised for inputs that no attempt can do anything with."""


def observed(
    *, sleep: float = 0.03, flaky: int = 0, writes: bool = False
) -> Callable[[Pure], Pure]:
    """Make an async handler: `sleep` seconds on average, one attempt in `flaky` fails, `writes` into the ledger."""

    def wrap(pure: Pure) -> Pure:
        @functools.wraps(pure)
        async def handler(*arguments: Any) -> Any:
            begin(arguments)
            if writes:
                async with current_task().transaction() as connection:
                    nonce = _nonce()
                    await connection.execute(INSERT, entry(nonce))
                    await asyncio.sleep(_pause(sleep))
                    return end(pure, arguments, nonce)
            await asyncio.sleep(_pause(sleep))
            fail_sometimes(flaky)
            return end(pure, arguments)

        return _kept(pure, handler)

    return wrap


def observed_sync(
    *, sleep: float = 0.03, flaky: int = 0, writes: bool = False
) -> Callable[[Pure], Pure]:
    """Make the same as a handler for a thread or a process of its own."""

    def wrap(pure: Pure) -> Pure:
        @functools.wraps(pure)
        def handler(*arguments: Any) -> Any:
            begin(arguments)
            if writes:
                with current_task().transaction() as connection:
                    nonce = _nonce()
                    connection.execute(INSERT, entry(nonce))
                    time.sleep(_pause(sleep))
                    return end(pure, arguments, nonce)
            time.sleep(_pause(sleep))
            fail_sometimes(flaky)
            return end(pure, arguments)

        return _kept(pure, handler)

    return wrap


def _kept(pure: Pure, handler: Pure) -> Pure:
    assert pure.__name__ not in PURE, "steps of all flows have names of their own"
    PURE[pure.__name__] = pure
    return handler


# What handlers do on the way


def begin(arguments: tuple[Any, ...]) -> None:
    """Journal that an attempt has begun."""
    journal.write("begin", **_who(), input=journal.fingerprint(arguments))


def end(pure: Pure, arguments: tuple[Any, ...], nonce: str | None = None) -> Any:
    """Compute the output, journal it, and return it."""
    output = packed(pure(*map(values, arguments)), nonce or _nonce())
    journal.write("end", **_who(), output=journal.fingerprint(output))
    return output


def fail_sometimes(one_in: int) -> None:
    """Fail some attempts: the same ones whenever a run of that id is repeated."""
    task = current_task()
    seed = f"{task.run_id}/{task.step_slug}/{task.index}/{task.fence}"
    if one_in and crc32(seed.encode()) % one_in == 0:
        journal.write("raise", **_who())
        raise RuntimeError("flaky")


def entry(nonce: str) -> tuple[Any, ...]:
    """Return a row of the ledger."""
    task = current_task()
    return task.run_id, task.step_slug, task.index, task.fence, nonce


def doom(mark: str) -> None:
    """Fail for good, unless somebody has lifted the doom of that mark."""
    if not is_lifted(mark):
        raise Doomed(mark)


def is_lifted(mark: str) -> bool:
    """Tell whether `lift` was called for the mark; to the checker, which asks what a success gives, nothing is doomed."""
    directory = os.environ.get(journal.VARIABLE)
    return directory is None or Path(directory, f"lifted-{mark}").exists()


def lift(directory: Path, mark: str) -> None:
    """Have tasks that are doomed under a mark succeed from now on."""
    Path(directory, f"lifted-{mark}").touch()


# Values and outputs


def packed(value: Any, nonce: str) -> Any:
    """Put a value into the form of an output."""
    if isinstance(value, list):
        return [{"v": item, "n": nonce} for item in value]
    return {"v": value, "n": nonce}


def values(output: Any) -> Any:
    """Take the nonces out of an output."""
    if isinstance(output, list):
        return [values(item) for item in output]
    if isinstance(output, dict) and output.keys() == {"v", "n"}:
        return output["v"]
    return output


def _who() -> dict[str, Any]:
    task = current_task()
    return {
        "run": str(task.run_id),
        "flow": task.flow_slug,
        "step": task.step_slug,
        "index": task.index,
        "fence": task.fence,
        "attempt": task.attempt,
        "key": task.idempotency_key,
        "worker": str(task.worker_id),
    }


def _nonce() -> str:
    return os.urandom(6).hex()


def _pause(average: float) -> float:
    return random.expovariate(1 / average) if average else 0.0
