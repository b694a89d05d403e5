"""`python -m examples.agent_team`: decides on two suppliers, kills one researcher on the way, and checks who did what."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pgflow import Client, Database
from pgflow.embedded import resolve_dsn
from pgflow.schema import install

from .checks import Case, Evidence, check, gather
from .flow import decide, team
from .loopback import serving
from .messages import Assignment, Criterion, Dossier
from .summary import WIDTH, render, save
from .suppliers import FLATTERING, HONEST, set_up
from .workers import Victim, kill_one, working

if TYPE_CHECKING:
    from pgflow import Run

TIMEOUT = 300
QUESTION = (
    "Should we renew the contract with {} for 2027? Parts must arrive on time and not be defective, the price may"
    " rise little; mind what the buyers noted and whether the quality certificates last."
)
CRITERIA = [
    Criterion(metric="on_time_share", bound="at least", limit=0.95),
    Criterion(metric="defect_share", bound="at most", limit=0.02),
    Criterion(metric="price_rise", bound="at most", limit=0.05),
]


def main() -> int:
    """Run the example; return 0 if every check holds."""
    options = _options()
    dsn = resolve_dsn()
    install(dsn)
    set_up(dsn)
    with ExitStack() as components:
        stand_in = None
        if "OPENAI_BASE_URL" not in os.environ:
            stand_in = components.enter_context(serving("model_server", "--think", "1"))
            os.environ |= {"OPENAI_BASE_URL": f"{stand_in}/v1", "PGFLOW_MODEL": "stand-in"}
        os.environ.setdefault("OPENAI_API_KEY", "none")
        cases, victim = asyncio.run(_decide_on_all(dsn, stand_in, live=not options.json))
        evidence = gather(dsn, [case.run_id for case in cases], stand_in)
    claims = check(cases, evidence, victim)
    drawn = render(cases, evidence, claims)
    options.out.mkdir(parents=True, exist_ok=True)
    save(options.out / "picture.svg", drawn)
    document = _document(cases, evidence, claims)
    (options.out / "decisions.json").write_text(document)
    if options.json:
        print(document)
    else:
        Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(drawn)
    return 0 if all(claims.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/agent_team"), help="where the picture goes"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, nothing live")
    options = parser.parse_args()
    if "OPENAI_BASE_URL" in os.environ and "PGFLOW_MODEL" not in os.environ:
        parser.error("PGFLOW_MODEL must name the model of OPENAI_BASE_URL, for example qwen3:8b")
    return options


async def _decide_on_all(
    dsn: str, stand_in: str | None, *, live: bool
) -> tuple[list[Case], Victim]:
    """Have the team decide on both suppliers; kill a researcher during the first."""
    honest, flattering = [
        Assignment(supplier=supplier, question=QUESTION.format(supplier), criteria=CRITERIA)
        for supplier in (HONEST, FLATTERING)
    ]
    async with Database.connect(dsn) as database, working(dsn):
        client = Client(database)
        first = await client.start(team, honest)
        async with asyncio.TaskGroup() as together:
            killing = together.create_task(kill_one(dsn, first.id, "research", stand_in))
            await _end(first, live=live)
        second = await client.start(team, flattering)
        await _end(second, live=live)
        cases = [
            await _case(database, honest, first),
            await _case(database, flattering, second),
        ]
    return cases, killing.result()


async def _end(run: Run, *, live: bool) -> None:
    await (run.watch(TIMEOUT) if live else run.wait(TIMEOUT))


async def _case(database: Database, assignment: Assignment, run: Run) -> Case:
    """Read what a run left: the last step's output, and the dossier that it was made from."""
    (dossier,) = await database.step_output(run.id, "consolidate")
    assert dossier.output is not None
    return Case(
        assignment,
        run.id,
        Dossier.model_validate(dossier.output.parse()),
        (await run.result())[decide],
    )


def _document(cases: list[Case], evidence: Evidence, claims: dict[str, bool]) -> str:
    document = {
        "cases": [
            {
                "run_id": case.run_id,
                "dossier": case.dossier.model_dump(mode="json"),
                "decision": case.decision.model_dump(mode="json"),
            }
            for case in cases
        ],
        "attempts": evidence.attempts,
        "tokens": sum(
            (row["prompt_tokens"] or 0) + (row["completion_tokens"] or 0) for row in evidence.calls
        ),
        "checks": claims,
    }
    return json.dumps(document, indent=2, default=str, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
