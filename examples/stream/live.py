"""How far publisher, bridge and workers are, live: bars in a terminal, a line a second in a pipe."""

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@dataclass(frozen=True)
class Counts:
    """Events at one moment."""

    published: int
    """Confirmed by the broker, says the publisher's ledger."""
    taken: int
    """In a run."""
    written: int
    """In the totals."""


class Live:
    """Shows counts as they come, and remarks; a context manager."""

    def __init__(self, events: int, *, quiet: bool) -> None:
        self.console = Console(highlight=False, quiet=quiet)
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=50),
            MofNCompleteColumn(),
            console=self.console,
            disable=not sys.stdout.isatty() or quiet,
        )
        self._tasks = {
            name: self._bars.add_task(name, total=events)
            for name in ("published", "taken", "written")
        }
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Begin."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bars as they are."""
        self._bars.stop()

    def show(self, counts: Counts) -> None:
        """Show the latest counts."""
        for name, task in self._tasks.items():
            self._bars.update(task, completed=getattr(counts, name))
        if self._bars.disable and time.monotonic() - self._said >= 1:
            self._said = time.monotonic()
            self.note(
                f"published {counts.published:,}, in runs {counts.taken:,}, written {counts.written:,}"
            )

    def note(self, text: str) -> None:
        """Print a remark, with the time."""
        elapsed = time.monotonic() - self._began
        self.console.print(f"{elapsed:5.1f} s  {text}", markup=False, soft_wrap=True)
