"""What the team can look up: sources for research, and measurements that are validation's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row
from pydantic_core import to_jsonable_python

from pgflow import NonRetryable, current_task

from .messages import Metric, Source

if TYPE_CHECKING:
    from typing import LiteralString

    from pydantic import JsonValue

SOURCES = [
    Source(
        name="scorecards", about="quarterly figures on time and on defective parts, as reported"
    ),
    Source(name="prices", about="the contract's prices, year by year"),
    Source(name="notes", about="what buyers noted on visits"),
    Source(name="certificates", about="certificates for quality and environment"),
]

RESEARCH: dict[str, LiteralString] = {
    "scorecards": """
        select quarter, on_time_share, defect_share from agent_team_example.scorecards
        where supplier = %s order by quarter
        """,
    "prices": """
        select year, unit_price::float8, (unit_price / lag(unit_price) over (order by year) - 1)::float8 as price_rise
        from agent_team_example.prices where supplier = %s order by year
        """,
    "notes": "select written_on, note from agent_team_example.notes where supplier = %s order by written_on",
    "certificates": """
        select certificate, valid_until from agent_team_example.certificates where supplier = %s order by certificate
        """,
}

CLAIMS = """
    select
      avg(on_time_share) as on_time_share,
      avg(defect_share) as defect_share,
      (
        select (max(unit_price) / min(unit_price) - 1)::float8 from agent_team_example.prices
        where supplier = %(supplier)s
      ) as price_rise
    from agent_team_example.scorecards where supplier = %(supplier)s
"""

MEASURES: dict[Metric, LiteralString] = {
    "on_time_share": """
        select avg((delivered_on <= promised_on)::int)::float8 as measured
        from agent_team_example.deliveries where supplier = %s
        """,
    "defect_share": """
        select sum(defective)::float8 / sum(pieces) as measured
        from agent_team_example.deliveries where supplier = %s
        """,
    "price_rise": """
        select (max(unit_price) / min(unit_price) - 1)::float8 as measured
        from agent_team_example.deliveries where supplier = %s
        """,
}


async def claims(supplier: str) -> dict[Metric, float]:
    """Return what a supplier says of itself, averaged over its quarters."""
    (row,) = await _rows(CLAIMS, {"supplier": supplier})
    if row["on_time_share"] is None:
        raise NonRetryable(f"there is no supplier {supplier}")
    return {metric: round(row[metric], 4) for metric in MEASURES}


async def consult(source: str, supplier: str) -> JsonValue:
    """Return what a source has on a supplier."""
    facts: JsonValue = to_jsonable_python(await _rows(RESEARCH[source], (supplier,)))
    return facts


async def measure(metric: Metric, supplier: str) -> float:
    """Work a metric out from the deliveries themselves."""
    (row,) = await _rows(MEASURES[metric], (supplier,))
    return round(float(row["measured"]), 4)


async def _rows(
    query: LiteralString, parameters: tuple[str, ...] | dict[str, str]
) -> list[dict[str, Any]]:
    async with (
        current_task().database.connection() as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
