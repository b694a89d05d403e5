"""`pgflow flows`."""

from typing import Annotated

import typer

from pgflow.cli.common import AsJson, Dsn, complete, one_flow, open_database
from pgflow.cli.output import emit_json, table
from pgflow.errors import FlowNotFound
from pgflow.live.text import say
from pgflow.records import FlowRecord, StepRecord


def flows(
    flow: Annotated[
        str | None,
        typer.Argument(
            metavar="[FLOW]", help="A slug; or module:flow, drawn as it is in the code."
        ),
    ] = None,
    *,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Draw module:flow as a Mermaid diagram.")
    ] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List the flows that the database knows, or show one."""
    if flow is not None and ":" in flow:
        drawn = one_flow(flow)
        if as_json:
            emit_json(drawn.definition())
        else:
            say(drawn.mermaid() if mermaid else drawn.tree())
        return
    complete(_flows(dsn, flow, as_json=as_json))


async def _flows(dsn: str | None, slug: str | None, *, as_json: bool) -> None:
    async with open_database(dsn) as database:
        known = await database.flows()
        if slug is None:
            _list(known, as_json=as_json)
            return
        chosen = next((flow for flow in known if flow.flow_slug == slug), None)
        if chosen is None:
            raise FlowNotFound(slug, [flow.flow_slug for flow in known])
        _show(chosen, await database.flow_steps(slug), as_json=as_json)


def _list(known: list[FlowRecord], *, as_json: bool) -> None:
    if as_json:
        emit_json(known)
    elif not known:
        say("No flows. The first run of one, or a worker for it, makes it known.")
    else:
        table(
            ("FLOW", "VERSION", "ATTEMPTS", "BASE DELAY", "TIMEOUT", "QUEUE"),
            (
                (
                    flow.flow_slug,
                    flow.version,
                    flow.opt_max_attempts,
                    f"{flow.opt_base_delay} s",
                    f"{flow.opt_timeout} s",
                    flow.queue_name or flow.flow_slug,
                )
                for flow in known
            ),
        )


def _show(flow: FlowRecord, steps: list[StepRecord], *, as_json: bool) -> None:
    if as_json:
        emit_json({"flow": flow, "steps": steps})
        return
    say(f"{flow.flow_slug}, version {flow.version}")
    table(
        ("STEP", "TYPE", "AFTER", "ATTEMPTS", "TIMEOUT"),
        (
            (
                step.step_slug,
                step.step_type,
                ", ".join(step.deps) or None,
                step.opt_max_attempts or flow.opt_max_attempts,
                f"{step.opt_timeout or flow.opt_timeout} s",
            )
            for step in steps
        ),
    )
