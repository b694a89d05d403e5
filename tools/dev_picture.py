"""Draws docs/images/dev.svg from a session of `pgflow dev` that really runs: `python tools/dev_picture.py docs/images/dev.svg`.

It serves a flow, starts runs, changes the code, and keeps one moment of what the terminal shows.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.text import Text

from pgflow import Client, Database
from pgflow.cli.dev import conclude, greet, start_line
from pgflow.dev.board import Runs
from pgflow.dev.edition import WorkerOptions
from pgflow.dev.output import WorkerOutput
from pgflow.dev.screen import now
from pgflow.dev.session import Plan, Session
from pgflow.dev.terminal import Picture
from pgflow.embedded import resolve_dsn
from pgflow.schema import install

if TYPE_CHECKING:
    from pgflow.dev.board import Board, Ended
    from pgflow.live.tree import Snapshot

FLOW = """
import asyncio
import random

from pgflow import Flow, current_task

shop = Flow[dict[str, int]]("price_update", base_delay=0)

@shop.step()
def fetch_products(run_input: dict[str, int]) -> list[int]:
    return list(range(run_input["products"]))

@shop.map(over=fetch_products)
async def fetch_price(product: int) -> int:
    await asyncio.sleep(random.uniform(0.2, 1.2))
    if product % 9 == 0 and current_task().attempt == 1:
        raise ConnectionError("the shop is busy")
    return product * FACTOR

@shop.step(depends_on=(fetch_price,))
def report(prices: list[int]) -> dict[str, int]:
    return {"products": len(prices), "total": sum(prices)}
"""
WIDTH, LINES = 100, 12
FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Camera:
    """Keeps what was told, and the board of the moment that is wanted."""

    def __init__(self, change: Path) -> None:
        self._change = change
        self.told: list[Text] = []
        self.moment: Board | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Keep what happened."""
        if self.moment is None:
            line = Text(f"{now()}  ", style="dim")
            self.told.append(line.append(text, style="not dim red" if bad else "not dim"))

    def printed(self, line: str) -> None:
        """Keep what was printed."""
        if self.moment is None:
            # The address of a directory for this picture is nobody's business.
            self.told.append(
                Text(re.sub(r"host=[^&]*", "host=…%2F.pgflow%2Fpostgres%2Fdata", line))
            )

    def broken(self, problem: str) -> None:
        """Fail: the code of the picture works."""
        sys.exit(problem)

    def ended(self, end: Ended) -> None:
        """Change the code when the first run is over."""
        if self._change.exists() and "* 2" not in self._change.read_text():
            self._change.write_text(FLOW.replace("FACTOR", "2"))

    def show(self, board: Board) -> None:
        """Keep the moment at which a run is half done after a reload; then press Ctrl-C."""
        if self.moment is None and board.reloads and any(map(is_half_done, board.running)):
            self.moment = board
            os.kill(os.getpid(), signal.SIGINT)


def is_half_done(snapshot: Snapshot) -> bool:
    """Tell whether its map is well under way."""
    return bool(snapshot.run.total_tasks) and 0.4 < snapshot.run.progress / 100 < 0.7  # noqa: PLR2004 - half


async def session(project: Path, dsn: str) -> Camera:
    """Run a session in the project."""
    camera = Camera(project / "app.py")
    options = WorkerOptions(
        targets=["app.py"],
        dsn=dsn,
        processes=1,
        concurrency=12,
        drain_timeout=3,
        log_level="ERROR",
        value_codec=None,
    )
    plan = Plan(
        options=options,
        roots=[project],
        revive=None,
        input=lambda: {"products": 60},
        greet=lambda flows, serves: greet(camera, serves, start_line(["app.py"], flows, None), dsn),
    )
    async with Database.connect(dsn) as database, WorkerOutput(camera.printed) as output:
        work = Session(plan, database, Runs(database, conclude), camera, output.write_end)
        await work.run()
        for run in await database.runs():
            if not run.status.is_final:
                await Client(database).cancel(run.run_id)
    return camera


def main() -> None:
    """Write the picture."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="pgflow-picture-") as place:
        os.chdir(place)
        project = Path(place)
        (project / "pyproject.toml").write_text("")
        (project / "app.py").write_text(FLOW.replace("FACTOR", "1"))
        dsn = resolve_dsn()
        install(dsn)
        camera = asyncio.run(session(project, dsn))
        if camera.moment is None:
            sys.exit("the moment for the picture did not come")
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            console = Console(
                record=True, width=WIDTH, height=30, file=nowhere, force_terminal=True,
                color_system="truecolor", highlight=False,
            )  # fmt: skip
            console.print(Text("$ pgflow dev app.py --input '{\"products\": 60}'", style="bold"))
            console.print(*camera.told[-LINES:], Picture(camera.moment), "", sep="\n")
            svg = console.export_svg(title="pgflow dev")
        target.write_text(FONT_FACES.sub("", svg), encoding="utf-8")


if __name__ == "__main__":
    main()
