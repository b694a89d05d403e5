"""A flow that is data: built step by step, as an agent would plan it, and run with registered functions.

Run it: `python examples/dynamic_flow.py`. Without PGFLOW_DSN it starts a PostgreSQL of its own.
"""

import asyncio
from typing import Any

from pgflow import Database, FlowBuilder, execute_dynamic
from pgflow.embedded import resolve_dsn
from pgflow.schema import install

PLAN: list[tuple[str, list[str], dict[str, Any]]] = [
    ("fetch_data", [], {}),
    ("analyze", ["fetch_data"], {"step_type": "map", "timeout": 30}),
    ("summarize", ["analyze"], {}),
]


def fetch_data(run_input: dict[str, Any]) -> list[int]:
    """Receive the run's input."""
    return list(range(run_input["size"]))


def analyze(item: dict[str, Any]) -> int:
    """Receive one element of the map as `item`."""
    return int(item["item"]) ** 2


def summarize(outputs: dict[str, Any]) -> dict[str, int]:
    """Receive the outputs of the dependencies by their names."""
    return {"total": sum(outputs["analyze"])}


async def main() -> None:
    """Build the flow from the plan, and run it."""
    dsn = resolve_dsn()
    install(dsn)
    async with Database.connect(dsn) as db:
        builder = FlowBuilder(db)
        if "ai_analysis" not in await db.flow_slugs():
            await builder.create_flow("ai_analysis", timeout=120)
            for slug, depends_on, options in PLAN:
                await builder.add_step("ai_analysis", slug, depends_on, **options)
        functions = {"fetch_data": fetch_data, "analyze": analyze, "summarize": summarize}
        result = await execute_dynamic("ai_analysis", {"size": 10}, functions, db)
        print(result["summarize"])


if __name__ == "__main__":
    asyncio.run(main())
