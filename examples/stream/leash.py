"""Ends a process with the one that started it, however that one ended: standard input is a pipe from it, and ends with it.

`python -m PACKAGE.leash PROGRAM ARGUMENT …` does so for a program that takes no notice: it is killed (SIGKILL) when standard
input ends; when a byte comes it is asked to end first (SIGTERM).
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 5.0
"""Seconds for a program that was asked to end."""


def end_with_parent() -> None:
    """End this process when its standard input ends."""
    threading.Thread(target=_end, daemon=True).start()


def main() -> int:
    """Run a program on the leash."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603 - a list, no shell

    def watch() -> None:
        if _read():
            program.terminate()
            time.sleep(GRACE)
        program.kill()

    threading.Thread(target=watch, daemon=True).start()
    return abs(program.wait())


def _end() -> None:
    _wait_for_the_end()
    os._exit(1)  # all that counts is committed already


def _wait_for_the_end() -> None:
    while _read():
        pass


def _read() -> bytes:
    # Not buffered: the interpreter would miss that lock when it ends by itself.
    return os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    sys.exit(main())
