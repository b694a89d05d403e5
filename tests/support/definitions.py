"""Definitions for pgflow.define_flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from tests.support.sql import rows, value

if TYPE_CHECKING:
    from tests.support.sql import Connection


def define_flow(
    connection: Connection, flow: str, *steps: dict[str, Any], **options: object
) -> int:
    """Define a flow and return its version."""
    definition = Jsonb({"options": options, "steps": steps})
    return int(
        value(
            connection,
            "select pgflow.define_flow(flow_slug => %s, definition => %s)",
            flow,
            definition,
        )
    )


def step(slug: str, *depends_on: str, **options: object) -> dict[str, Any]:
    """Describe a step."""
    return {"slug": slug, "depends_on": list(depends_on), **options}


def stored_steps(connection: Connection, flow: str) -> dict[str, dict[str, Any]]:
    """Return the steps of the version that new runs get, by slug and in order."""
    found = rows(
        connection, "select * from pgflow.steps where flow_slug = %s order by step_index", flow
    )
    return {one["step_slug"]: one for one in found}
