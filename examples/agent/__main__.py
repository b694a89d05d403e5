"""`python -m examples.agent`: asks two questions, hangs one tool once, and checks answers, attempts and tokens."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg
from rich.console import Console

from pgflow.embedded import resolve_dsn
from pgflow.execute import execute_async
from pgflow.schema import install

from .checks import Evidence, Exchange, check, gather
from .facts import ONE_ROUND, TWO_ROUNDS
from .flow import agent, respond
from .loopback import serving
from .messages import Question
from .shop import reading_role, set_up
from .summary import render, save

TIMEOUT = 300


def main() -> int:
    """Run the example; return 0 if every check holds."""
    options = _options()
    dsn = resolve_dsn()
    install(dsn)
    try:
        set_up(dsn)
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
        sys.stderr.write("This server has no pgvector: apt-get install postgresql-18-pgvector\n")
        return 2
    with ExitStack() as components:
        stand_in = None
        if "OPENAI_BASE_URL" not in os.environ:
            stand_in = components.enter_context(
                serving("model_server", "--slip", str(options.slip))
            )
            os.environ |= {"OPENAI_BASE_URL": f"{stand_in}/v1", "PGFLOW_MODEL": "stand-in"}
        os.environ.setdefault("OPENAI_API_KEY", "none")
        services = components.enter_context(serving("services_server", "--hang", "1"))
        os.environ |= {
            "AGENT_READER_DSN": components.enter_context(reading_role(dsn)),
            "AGENT_SERVICES_URL": services,
        }
        questions = options.question or [TWO_ROUNDS, ONE_ROUND]
        exchanges = asyncio.run(_ask_all(questions, dsn, live=not options.json))
        evidence = gather(dsn, [exchange.run_id for exchange in exchanges], services, stand_in)
    claims = check(exchanges, evidence)
    drawn = render(exchanges, evidence, claims)
    options.out.mkdir(parents=True, exist_ok=True)
    save(options.out / "picture.svg", drawn)
    document = _document(exchanges, evidence, claims)
    (options.out / "answers.json").write_text(document)
    if options.json:
        print(document)
    else:
        Console(highlight=False, width=None if sys.stdout.isatty() else 118).print(drawn)
    return 0 if all(claims.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/agent"), help="where the picture goes"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, nothing live")
    parser.add_argument("--question", action="append", help="ask this instead; may be repeated")
    parser.add_argument(
        "--slip", type=int, default=0, help="answers in which the stand-in gets a digit wrong"
    )
    options = parser.parse_args()
    if "OPENAI_BASE_URL" in os.environ and "PGFLOW_MODEL" not in os.environ:
        parser.error("PGFLOW_MODEL must name the model of OPENAI_BASE_URL, for example qwen3:8b")
    return options


async def _ask_all(questions: list[str], dsn: str, *, live: bool) -> list[Exchange]:
    exchanges = []
    for question in questions:
        result = await execute_async(
            agent, Question(text=question), dsn=dsn, live=live, timeout=TIMEOUT
        )
        exchanges.append(Exchange(question, result.run_id, result[respond]))
    return exchanges


def _document(exchanges: list[Exchange], evidence: Evidence, claims: dict[str, bool]) -> str:
    document = {
        "answers": [
            {
                "question": exchange.question,
                "run_id": exchange.run_id,
                **exchange.answer.model_dump(mode="json"),
            }
            for exchange in exchanges
        ],
        "attempts": evidence.attempts,
        "token_account": evidence.account,
        "services_asked": evidence.requests,
        "checks": claims,
    }
    return json.dumps(document, indent=2, default=str, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
