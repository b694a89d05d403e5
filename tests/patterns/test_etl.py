"""The ETL pattern: every row is loaded or accounted for, whatever dies, and nothing is loaded twice."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import psycopg
import pytest

from examples.etl import store
from examples.etl.flow import Source, etl, extract, load
from examples.etl.generate import FAULTS, generate
from examples.etl.mend import mend
from examples.etl.reference import COUNTRIES, RATES
from examples.etl.rows import Row
from pgflow import NonRetryable, RunFailed, execute
from tests.support.patterns import GOOD_ORDER, ROOT, run_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def query(dsn: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text.encode()).fetchall()


def records(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as source:
        return list(csv.DictReader(source))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_row_is_loaded_once_or_in_quarantine(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("etl", database_url, tmp_path, timeout=200)
    assert facts["checks"]
    assert all(facts["checks"].values()), facts
    source = records(tmp_path / "orders.csv")
    quarantined = records(tmp_path / "quarantine.csv")
    mended = {int(row["row"]): row for row in records(tmp_path / "mended.csv")}
    assert (len(source), len(quarantined), len(mended)) == (10_000, 100, 100)
    assert [run["inserted"] for run in facts["runs"]] == [9_900, 0, 100]
    assert [run["resolved"] for run in facts["runs"]] == [0, 0, 100]

    # The table is what the two files say, worked out here.
    expected = set()
    for number, row in enumerate(source, start=1):
        fields = mended.get(number, row)
        rate = RATES[fields["currency"].strip().upper()]
        amount = Decimal(fields["quantity"]) * Decimal(fields["unit_price"]) / rate
        country = COUNTRIES[fields["country"].strip().casefold()]
        expected.add((fields["order_id"], country, amount.quantize(Decimal("0.01"))))
    loaded = query(database_url, "select order_id, country, amount_eur from etl_example.orders")
    assert len(loaded) == 10_000
    assert set(loaded) == expected

    # The quarantine holds the rows as they stood in the file, all mended by the third run.
    first, again, third = (run["run_id"] for run in facts["runs"])
    kept = query(
        database_url,
        "select row_number, raw, found_by::text, resolved_by::text from etl_example.quarantine",
    )
    assert len(kept) == 100
    for number, raw, found_by, resolved_by in kept:
        assert raw == source[number - 1]
        assert (found_by, resolved_by) == (first, third)
    changed = (tmp_path / "changes.txt").read_text().splitlines()
    assert len(changed) == 100

    # pgflow's own books: one lost attempt of the load, one line for each load, the failed items.
    attempts = query(
        database_url,
        "select run_id::text, outcome::text from pgflow.task_attempts where step_slug = 'load'",
    )
    assert Counter(attempts) == {
        (first, "lost"): 1, (first, "completed"): 1, (again, "completed"): 1, (third, "completed"): 1,
    }  # fmt: skip
    loads = query(database_url, "select run_id::text from etl_example.loads order by loaded_at")
    assert loads == [(first,), (again,), (third,)]
    failed = query(
        database_url, "select run_id::text, count(*) from pgflow.failed_tasks group by 1"
    )
    assert dict(failed) == {first: 100, again: 100}

    picture = ET.parse(tmp_path / "picture.svg").getroot()
    assert picture.tag.endswith("svg")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}path"))) > 20

    # It can be run again on the same database, and from a copy of the folder.
    shutil.copytree(ROOT / "examples" / "etl", tmp_path / "home" / "etl")
    home = tmp_path / "home"
    facts = run_pattern("etl", database_url, tmp_path, "--rows", "1000", timeout=90, home=home)
    assert facts["bad_rows"] == 10
    assert all(facts["checks"].values()), facts
    assert query(database_url, "select count(*) from etl_example.orders") == [(1_000,)]


def run(dsn: str, path: Path, *, mends: Source | None = None) -> store.Load:
    return execute(etl, Source.of(path, mends=mends), dsn=dsn, timeout=60)[load]


def test_a_file_with_too_many_bad_rows_is_refused_as_a_whole(
    database_url: str, tmp_path: Path
) -> None:
    store.create(database_url)
    generate(tmp_path / "orders.csv", 200, seed=1, bad_share=0.1)
    with pytest.raises(RunFailed):
        run(database_url, tmp_path / "orders.csv")
    assert query(database_url, "select from etl_example.orders") == []
    assert query(database_url, "select from etl_example.loads") == []


def test_the_limit_is_one_of_all_maps_together(database_url: str, tmp_path: Path) -> None:
    """4 % in each of two maps are 8 % of the file."""
    store.create(database_url)
    rows = [GOOD_ORDER | {"order_id": f"A-{number}"} for number in range(50)]
    rows[7]["quantity"] = rows[17]["quantity"] = "many"
    rows[27]["country"] = rows[37]["country"] = "Atlantis"
    write(tmp_path / "orders.csv", rows)
    with pytest.raises(RunFailed, match="4 of 50 rows are bad, more than 5 %"):
        run(database_url, tmp_path / "orders.csv")
    assert query(database_url, "select from etl_example.loads") == []


def test_files_of_one_name_have_rows_of_their_own(database_url: str, tmp_path: Path) -> None:
    store.create(database_url)
    monday, mended, tuesday = (tmp_path / day / "orders.csv" for day in ("mon", "mended", "tue"))
    for file, prefix, bad_row in ((monday, "A-1", 3), (tuesday, "A-2", 4)):
        rows = [GOOD_ORDER | {"order_id": f"{prefix}{number:02}"} for number in range(20)]
        rows[bad_row - 1]["quantity"] = "many"
        file.parent.mkdir()
        write(file, rows)
    mended.parent.mkdir()
    write(mended, [{"row": "3", **GOOD_ORDER, "order_id": "A-102"}])

    assert run(database_url, monday).quarantined == 1
    # Tuesday's row 3 is good, and no reason to think that Monday's is.
    assert run(database_url, tuesday).resolved == 0
    assert run(database_url, mended, mends=Source.of(monday)).resolved == 1
    rows = [GOOD_ORDER | {"order_id": f"A-3{number:02}"} for number in range(20)]
    rows[2]["quantity"] = "few"
    write(tuesday, rows)
    # Nor does Monday's row 3, resolved, stand for this one.
    assert run(database_url, tuesday).quarantined == 1
    waiting = query(
        database_url,
        "select row_number, raw ->> 'quantity' from etl_example.quarantine where resolved_by is null order by 1",
    )
    assert waiting == [(3, "few"), (4, "many")]


def test_a_file_that_has_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "orders.csv", [GOOD_ORDER])
    source = Source.of(tmp_path / "orders.csv")
    assert extract(source) == [Row(1, GOOD_ORDER)]
    write(tmp_path / "orders.csv", [GOOD_ORDER, GOOD_ORDER])
    with pytest.raises(NonRetryable, match="is another file"):
        extract(source)


def test_a_row_that_is_not_mended_well_stays_in_quarantine(
    database_url: str, tmp_path: Path
) -> None:
    store.create(database_url)
    truth = generate(tmp_path / "orders.csv", 400, seed=1)
    assert run(database_url, tmp_path / "orders.csv").quarantined == len(truth.bad) == 4
    with psycopg.connect(database_url) as connection:
        source = Source.of(tmp_path / "orders.csv")
        rows = store.unresolved(connection, source.name)
    write(tmp_path / "quarantine.csv", rows)
    mend(tmp_path / "quarantine.csv", tmp_path / "mended.csv")
    mended = records(tmp_path / "mended.csv")
    mended[1]["quantity"] = "many"
    # 1 of 4 is more than 5 % of a map, so the good rows of the file go along.
    good = [
        {"row": str(number), **row}
        for number, row in enumerate(records(tmp_path / "orders.csv"), start=1)
        if number not in truth.bad
    ]
    write(tmp_path / "mended.csv", [*good, *mended])
    done = run(database_url, tmp_path / "mended.csv", mends=source)
    assert (done.inserted, done.unchanged, done.quarantined, done.resolved) == (3, 396, 1, 3)
    left = query(
        database_url,
        "select row_number, reason from etl_example.quarantine where resolved_by is null",
    )
    assert left == [(int(mended[1]["row"]), "unparsable number")]

    # The first file once more brings nothing back into quarantine that is resolved.
    run(database_url, tmp_path / "orders.csv")
    open_rows = "select count(*) from etl_example.quarantine where resolved_by is null"
    assert query(database_url, open_rows) == [(1,)]


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_what_is_no_text_is_refused_and_harms_no_other_row(tmp_path: Path) -> None:
    write(
        tmp_path / "orders.csv",
        [GOOD_ORDER, GOOD_ORDER | {"customer": "A\0da"}, GOOD_ORDER | {"customer": "ÅÅÅ"}],
    )
    text = (tmp_path / "orders.csv").read_bytes().replace("ÅÅÅ".encode(), "ÅÅÅ".encode("latin-1"))
    (tmp_path / "orders.csv").write_bytes(text)
    good, nul, latin = extract(Source.of(tmp_path / "orders.csv"))
    assert (good.fields, nul.fields["customer"]) == (GOOD_ORDER, "A\ufffdda")
    assert latin.fields["customer"] == "\ufffd" * 3


def test_what_nobody_can_mend_is_left(tmp_path: Path) -> None:
    refused = [
        {"row": 1, "reason": "unknown currency", **GOOD_ORDER, "currency": "XXX"},
        {"row": 2, "reason": "unknown country", **GOOD_ORDER, "country": "Xyz"},
        {"row": 3, "reason": "missing field", **GOOD_ORDER, "country": ""},
        {"row": 4, "reason": "missing field", **GOOD_ORDER, "customer": ""},
        {"row": 5, "reason": "impossible date", **GOOD_ORDER, "ordered_on": "soon"},
        {"row": 6, "reason": "greater than", **GOOD_ORDER, "quantity": "-1"},
    ]
    write(tmp_path / "quarantine.csv", refused)
    changes, left = mend(tmp_path / "quarantine.csv", tmp_path / "mended.csv")
    assert [str(change) for change in changes] == ["row 4, missing field: customer '' -> 'Guest'"]
    assert left == [1, 2, 3, 5, 6]
    assert [row["row"] for row in records(tmp_path / "mended.csv")] == ["4"]


def test_the_generator_makes_each_kind_of_fault(tmp_path: Path) -> None:
    truth = generate(tmp_path / "one.csv", 10_000, seed=3)
    assert Counter(truth.bad.values()) == {name: weight for name, _, weight in FAULTS}
    generate(tmp_path / "two.csv", 10_000, seed=3)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_the_page_shows_the_flow() -> None:
    page = (ROOT / "docs" / "patterns" / "etl.md").read_text()
    assert f"```mermaid\n{etl.mermaid()}```" in page
