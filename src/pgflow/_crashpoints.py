"""Named points at which a fault test makes this process kill itself; inert unless PGFLOW_CRASH_AT is set."""

import itertools
import os
import signal

_NAME, _, _COUNT = os.environ.get("PGFLOW_CRASH_AT", "").partition(":")
_PASSING = int(_COUNT or 1)
_passings = itertools.count(1)


def crash_point(name: str) -> None:
    """Kill this process with SIGKILL at its n-th passing of the point that PGFLOW_CRASH_AT names as `point` or `point:n`."""
    if name == _NAME and next(_passings) == _PASSING:
        os.kill(os.getpid(), signal.SIGKILL)
