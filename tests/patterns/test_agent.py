"""The agent: it is run as a user runs it, and what it says is compared with the database and with the servers."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from examples.agent import flow, reader, shop, tools
from examples.agent.checks import ACCOUNT
from examples.agent.embedding import embed
from examples.agent.facts import ONE_ROUND, TWO_ROUNDS
from examples.agent.loopback import serving
from examples.agent.messages import Question, ToolCall
from examples.agent.model_rules import Wish, reply
from pgflow.execute import execute_async
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Databases

Row = tuple[Any, ...]


def rows(dsn: str, query: str, *values: Any) -> list[Row]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode(), values).fetchall()


@pytest.fixture(scope="module")
def shared_shop(databases: Databases) -> Iterator[tuple[str, str]]:
    """Give a database with the shop, for all tests that leave its rows alone, and the reader's address."""
    with databases.installed() as dsn:
        shop.set_up(dsn)
        with shop.reading_role(dsn) as reader_dsn:
            yield dsn, reader_dsn


@pytest.fixture
def shop_url(shared_shop: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the shop's database, and the environment that the tools' handlers read."""
    dsn, reader_dsn = shared_shop
    monkeypatch.setenv("AGENT_READER_DSN", reader_dsn)
    # The ledger is in the worker's database, whatever the environment says.
    monkeypatch.setenv("PGFLOW_DSN", "host=/nowhere")
    return dsn


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serving("model_server") as url:
        use_model(monkeypatch, url)
        yield


def use_model(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("PGFLOW_MODEL", "stand-in")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_it_answers_with_figures_that_stand_in_the_cited_outputs(
    database_url: str, tmp_path: Path
) -> None:
    document = run_pattern("agent", database_url, tmp_path, timeout=200)

    assert set(document["checks"].values()) == {True}
    first, second = document["answers"]
    assert [first["question"], second["question"]] == [TWO_ROUNDS, ONE_ROUND]

    # What the table itself says, and what the services' files say.
    ((product, revenue),) = rows(
        database_url,
        """
        select product, sum(bags * unit_price) as revenue from agent_example.orders
        where country = 'Norway' and ordered_on between '2025-01-01' and '2025-12-31'
        group by product order by revenue desc limit 1
        """,
    )
    data = ROOT / "examples" / "agent" / "data"
    rate = Decimal(str(json.loads((data / "rates.json").read_text())["NOK"]))
    stock = json.loads((data / "stock.json").read_text())["Sidamo"]
    assert f"{product}: revenue {revenue:,} NOK [call_1]" in first["text"]
    assert f"{stock} [call_2]" in first["text"]
    assert "within 30 days" in first["text"]
    assert first["text"].endswith(f"{rate} [call_4] = {round(revenue * rate, 2):,} EUR.")
    ((bags,),) = rows(
        database_url,
        "select sum(bags) from agent_example.orders where product = 'Yirgacheffe' and country = 'Japan'"
        " and extract(year from ordered_on) = 2024",
    )
    assert f"bags {bags} [call_1]" in second["text"]
    assert "for 180 days" in second["text"]

    # Each figure before a citation stands, as it is, in the output of that call.
    for answer in (first, second):
        outputs = {r["call"]["source"]: json.dumps(r["output"]) for r in answer["results"]}
        cited = re.findall(r"(\d[\d,.]*)\D*?\[(call_\d)\]", answer["text"])
        assert len(cited) >= 2
        for figure, source in cited:
            assert figure.replace(",", "") in outputs[source]
    assert (tmp_path / "picture.svg").stat().st_size > 10_000

    # Only the call that hung was made again; the second round ran for the first question only.
    tried = rows(
        database_url,
        "select run_id::text, step_slug, task_index, array_agg(outcome::text order by attempt)"
        " from pgflow.task_attempts group by 1, 2, 3 having count(*) > 1",
    )
    assert tried == [(first["run_id"], "call_tool", 1, ["failed", "completed"])]
    again = (
        "select distinct run_id::text from pgflow.task_attempts where step_slug = 'call_tool_again'"
    )
    assert rows(database_url, again) == [(first["run_id"],)]

    # Every attempt that asked the model is in the ledger, with what it cost.
    ledger = rows(
        database_url,
        "select run_id::text, step_slug, attempt from agent_example.model_calls"
        " where prompt_tokens > 0 and completion_tokens > 0 order by recorded_at",
    )
    assert ledger == [
        (first["run_id"], "analyze", 1),
        (first["run_id"], "reflect", 1),
        (first["run_id"], "respond", 1),
        (second["run_id"], "analyze", 1),
        (second["run_id"], "reflect", 1),
    ]


@pytest.mark.slow
async def test_the_tokens_of_a_failed_attempt_are_recorded(
    shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model gets a digit wrong: the answer is refused, asked for anew, and both are on the bill."""
    with serving("model_server", "--slip", "1") as model:
        use_model(monkeypatch, model)
        question = Question(text=ONE_ROUND)
        result = await execute_async(flow.agent, question, dsn=shop_url, timeout=100)
        async with httpx.AsyncClient() as http:
            billed = (await http.get(f"{model}/account")).json()

    assert result[flow.respond].doubts == []
    found = rows(
        shop_url,
        """
        select attempt.outcome, call.prompt_tokens, call.completion_tokens, call.answer_id, attempt.error
        from agent_example.model_calls as call
        join pgflow.task_attempts as attempt using (run_id, step_slug, task_index, attempt)
        where run_id = %s and step_slug = 'reflect' order by attempt
        """,
        result.run_id,
    )
    assert [row[0] for row in found] == ["failed", "completed"]
    assert [row[3] for row in found] == [answer["id"] for answer in billed[1:]]
    assert [row[1] for row in found] == [answer["prompt_tokens"] for answer in billed[1:]]
    assert "does not stand in call_1" in found[0][4]
    with psycopg.connect(shop_url) as connection:
        account = connection.execute(ACCOUNT.read_bytes(), {"runs": [result.run_id]}).fetchall()
    wasted = {row[1]: (row[2], row[5]) for row in account}
    assert wasted == {"analyze": (1, 0), "reflect": (2, found[0][1] + found[0][2])}


@pytest.mark.slow
async def test_other_data_gives_another_answer(
    database_url: str, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.set_up(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update agent_example.orders set bags = bags + 1 where product = 'Yirgacheffe' and country = 'Japan'"
            " and extract(year from ordered_on) = 2024"
        )
        connection.execute("update agent_example.passages set body = replace(body, '180', '90')")
    ((bags,),) = rows(
        database_url,
        "select sum(bags) from agent_example.orders where product = 'Yirgacheffe' and country = 'Japan'"
        " and extract(year from ordered_on) = 2024",
    )

    with shop.reading_role(database_url) as reader_dsn:
        monkeypatch.setenv("AGENT_READER_DSN", reader_dsn)
        question = Question(text=ONE_ROUND)
        result = await execute_async(flow.agent, question, dsn=database_url, timeout=100)

    answer = result[flow.respond]
    assert f"bags {bags} [call_1]" in answer.text
    assert "for 90 days" in answer.text
    assert answer.doubts == []


@pytest.mark.slow
async def test_a_tool_that_never_answers_is_told_to_the_model(
    shop_url: str, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempts used up, the run goes on, and the answer says what is missing."""
    monkeypatch.setattr(tools.GetStock, "patience", 0.2)
    with serving("services_server", "--hang", "99") as services:
        monkeypatch.setenv("AGENT_SERVICES_URL", services)
        question = Question(text="How many bags of Sidamo are in the warehouse?")
        result = await execute_async(flow.agent, question, dsn=shop_url, timeout=100)

    assert result[flow.respond].text == "get_stock gave no answer [call_1]."
    tried = "select count(*) from pgflow.task_attempts where run_id = %s and step_slug = 'call_tool' and outcome = 'failed'"
    assert rows(shop_url, tried, result.run_id) == [(3,)]


MORE_THAN_READING = (
    "delete from agent_example.orders",
    "insert into agent_example.passages values ('x', 'y', null)",
    "select 1; delete from agent_example.orders",
    "select 1) as a; delete from agent_example.orders; select * from (select 1",
    "with gone as (delete from agent_example.orders returning 1) select * from gone",
    "create table agent_example.mine (id int)",
    "select * from pgflow.runs",
    "select * from agent_example.model_calls",
    "select set_config('role', 'postgres', true)",
    "select pg_sleep(10)",
    "selec 1",
)


def run_sql(statement: str) -> ToolCall:
    arguments = json.dumps({"sql": statement})
    return ToolCall(source="call_1", id="1", name="run_sql", arguments=arguments)


async def test_sql_that_does_more_than_read_is_refused(
    shop_url: str, shared_shop: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await reader.select("select current_setting('statement_timeout') as most") == [
        {"most": "2s"}
    ]
    impatient = make_conninfo(shared_shop[1], options="-c statement_timeout=200ms")
    monkeypatch.setenv("AGENT_READER_DSN", impatient)
    for statement in MORE_THAN_READING:
        result = await tools.make_call(run_sql(statement))

        assert (bool(result.error), result.output) == (True, None), statement
    assert rows(shop_url, "select count(*) from agent_example.orders") == [(shop.ORDERS,)]


async def test_the_server_bounds_what_a_statement_returns(
    shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "current_task", lambda: SimpleNamespace(attempt=1))
    found = await tools.make_call(run_sql("select * from generate_series(1, 100000) as n;"))
    assert found.output == [{"n": number} for number in range(1, reader.MOST_ROWS + 1)]
    large = await tools.make_call(run_sql("select repeat('x', 3000) as x -- and a comment"))
    assert large.error == "a row has more than 2,000 letters; select less of it"


async def test_decimals_stay_what_they_are(shop_url: str) -> None:
    exact = "select 1200.50 as sum, 12345678901234567890.12 as more, 3 as bags, date '2025-01-02' as day"
    assert await reader.select(exact) == [
        {"sum": "1200.50", "more": "12345678901234567890.12", "bags": 3, "day": "2025-01-02"}
    ]


async def test_passages_are_found_by_what_they_mean(shop_url: str) -> None:
    """The query shares no word with the passage but "the"."""
    (vector,) = embed(["the parking garage is burning, how do I extinguish flames?"])

    found = await reader.nearest_passages(vector, most=1)

    assert isinstance(found, list)
    assert found[0] == {"title": "Fire", "body": dict(shop.passages())["Fire"]}


async def test_the_stand_in_answers_from_what_it_was_sent(shop_url: str) -> None:
    """Other tool schemas give other calls, other outputs another answer."""
    offered: list[Any] = list(await tools.offer())
    user = {"role": "user", "content": "How many bags of Sidamo are in the warehouse?"}
    assert reply([user], offered) == [Wish("get_stock", {"product": "Sidamo"})]

    without = [tool for tool in offered if tool["function"]["name"] != "get_stock"]
    sql = {
        "sql": "select product, sum(bags) as bags from agent_example.orders where product = 'Sidamo' group by product order by bags desc"
    }
    assert reply([user], without) == [Wish("run_sql", sql)]

    call = {"id": "a", "function": {"name": "get_stock", "arguments": '{"product": "Sidamo"}'}}
    asked = {"role": "assistant", "tool_calls": [call]}
    for bags in (17, 18):
        content = json.dumps({"source": "call_1", "output": {"product": "Sidamo", "bags": bags}})
        told = {"role": "tool", "tool_call_id": "a", "content": content}
        assert reply([user, asked, told], offered) == f"Sidamo: bags {bags} [call_1]."
