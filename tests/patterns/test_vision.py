"""The vision pattern: 100 images through a model that each worker process loads once, one of them corrupt."""

from __future__ import annotations

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import psycopg
import pytest
from PIL import Image, ImageDraw

from examples.vision import flow, imaging, model
from examples.vision.scenario import TABLES, make_room
from pgflow import Client, Database, Worker
from pgflow.errors import UsageError
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORRUPT, WHOLE = "image-058.png", "image-001.png"


@pytest.fixture
def _fresh_model(database_url: str) -> Iterator[None]:
    """Have this process load no model that another test has left."""
    with psycopg.connect(database_url) as connection:
        connection.execute(TABLES)
    model._load.cache_clear()
    yield
    model._load.cache_clear()


def tiny_model(target: Path) -> None:
    """Write a model without training: the probability of a digit grows with the first row's pixels."""
    weights = np.eye(64, 10, dtype=np.float32)
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["X", "weights"], ["sums"]),
            helper.make_node("Softmax", ["sums"], ["probabilities"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, 64])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [None, 10])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", 17)
    target.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    )


@pytest.mark.slow
def test_all_but_the_corrupt_image_are_classified(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = run_pattern("vision", database_url, tmp_path)
    assert all(facts["checks"].values()), facts["checks"]
    assert (facts["images"], facts["stored"]) == (100, 99)
    assert [failure["image"] for failure in facts["failed"]] == [CORRUPT]

    assert_the_database_says_so(database_url, facts)
    assert_predictions_are_those_of_the_model(database_url, tmp_path)
    assert_the_products_are_there(tmp_path)
    # The handlers use the worker's database, whatever the environment says.
    monkeypatch.setenv("PGFLOW_DSN", "host=/nowhere")
    asyncio.run(retry_with_another_file(database_url, facts["run_id"], tmp_path / "images"))
    assert_the_image_is_classified_now(database_url)


async def retry_with_another_file(dsn: str, run_id: str, images: Path) -> None:
    shutil.copy(images / WHOLE, images / CORRUPT)
    async with Database.connect(dsn) as database:
        run = await Client(database).get(run_id, flow=flow.vision)
        await run.retry()
        await Worker(database, [flow.vision]).run_until(run.id)
        assert (await run.result())[flow.store].failed == []


def assert_the_image_is_classified_now(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select image, label, confidence from vision_example.predictions")
        stored = {image: found for image, *found in rows.fetchall()}
        decoded = connection.execute(
            "select count(*) from pgflow.task_attempts where step_slug = 'preprocess'"
        ).fetchone()
    assert len(stored) == 100
    assert stored[CORRUPT] == stored[WHOLE]
    assert decoded == (101,), "no other image was decoded again"


def assert_the_database_says_so(dsn: str, facts: dict[str, Any]) -> None:
    run = (facts["run_id"],)
    with psycopg.connect(dsn) as connection:
        steps = connection.execute(
            "select step_slug, status, total_tasks, failed_tasks from pgflow.step_summary"
            " where run_id = %s order by step_index",
            run,
        ).fetchall()
        failed = connection.execute(
            "select step_slug, error_message from pgflow.failed_tasks where run_id = %s", run
        ).fetchall()
        retried = connection.execute(
            "select count(*) from pgflow.task_attempts where run_id = %s and attempt > 1", run
        ).fetchone()
        loads = connection.execute(
            "select pid, count(*) from vision_example.model_loads group by pid order by pid"
        ).fetchall()
        workers = connection.execute(
            "select pid from pgflow.worker_summary order by pid"
        ).fetchall()
        sizes = connection.execute("select image, size from vision_example.images").fetchall()
    assert steps == [
        ("upload", "completed", 1, 0),
        ("preprocess", "completed", 100, 1),
        ("infer", "completed", 100, 0),
        ("postprocess", "completed", 100, 0),
        ("store", "completed", 1, 0),
    ]
    ((step, reason),) = failed
    assert step == "preprocess"
    assert reason.startswith("CorruptImage: image file is truncated")
    assert retried == (0,)
    assert loads == [(pid, 1) for (pid,) in workers], "each of the two processes, once"
    assert len(loads) == 2
    assert len(sizes) == 100
    assert all(passed < facts["bytes_as_base64"] / 10 for passed in facts["bytes_passed"].values())


def assert_predictions_are_those_of_the_model(dsn: str, out: Path) -> None:
    labels = json.loads((out / "labels.json").read_text())
    session = model.open_model(str(out / "digits.onnx"))
    with psycopg.connect(dsn) as connection:
        stored = connection.execute(
            "select image, label, confidence from vision_example.predictions"
        )
        rows = stored.fetchall()
    assert len(rows) == 99
    right = 0
    for image, label, confidence in rows:
        _, pixels = imaging.find_digit(imaging.decode((out / "images" / image).read_bytes()))
        answer = model.ask(session, model.scaled([pixels]))[0]
        assert label == int(answer.argmax()), image
        assert confidence == pytest.approx(answer.max(), abs=1e-6)
        right += label == labels[image]
    assert right / len(rows) >= 0.9
    # Ten of each digit: a model that always says the same would be right once in ten times.
    assert sorted(labels.values()) == [digit for digit in range(10) for _ in range(10)]


def assert_the_products_are_there(out: Path) -> None:
    with Image.open(out / "images" / CORRUPT) as corrupt, pytest.raises(OSError, match="truncated"):
        corrupt.load()
    assert len(list((out / "annotated").glob("*.png"))) == 99
    assert not (out / "annotated" / CORRUPT).exists()
    with Image.open(out / "picture.png") as sheet:
        sheet.load()
        assert min(sheet.size) > 700
    assert (out / "picture.png").stat().st_size < 300_000


@pytest.mark.usefixtures("_fresh_model")
def test_threads_of_one_process_load_the_model_once(database_url: str, tmp_path: Path) -> None:
    path = str(tmp_path / "tiny.onnx")
    with pytest.raises(Exception, match="tiny"):
        model.probabilities(path, [0] * 64, database_url)
    tiny_model(tmp_path / "tiny.onnx")
    pixels = [255 if place == 3 else 0 for place in range(64)]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(model.probabilities, path, pixels, database_url) for _ in range(32)]
        answers = [each.result() for each in asked]
    assert {answer.index(max(answer)) for answer in answers} == {3}
    with psycopg.connect(database_url) as connection:
        loads = connection.execute("select count(*) from vision_example.model_loads").fetchone()
    assert loads == (1,), "the file that was not there is no load"


def test_a_digit_is_found_where_it_is() -> None:
    image = Image.new("RGB", (80, 60), (30, 60, 90))
    ImageDraw.Draw(image).rectangle((50, 10, 59, 39), fill=(240, 240, 240))
    box, pixels = imaging.find_digit(image)
    assert np.allclose(box, (50, 10, 60, 40), atol=2)
    rows = np.asarray(pixels).reshape(8, 8)
    assert rows.max() == 255
    # A bar that is three times as high as wide, in the middle of the square.
    assert rows[:, 3:5].min() > 200
    assert rows[:, [0, 1, 6, 7]].max() < 50


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused_with_a_reason(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(data)
    with pytest.raises(imaging.CorruptImage, match="identify"):
        flow.preprocess(str(tmp_path / "image.png"))


def test_an_image_that_shows_nothing_is_refused_with_a_reason(tmp_path: Path) -> None:
    Image.new("RGB", (72, 72), (30, 60, 90)).save(tmp_path / "image.png")
    with pytest.raises(imaging.CorruptImage, match="nothing stands out"):
        flow.preprocess(str(tmp_path / "image.png"))


def test_images_of_others_are_left_alone(tmp_path: Path) -> None:
    """Neither in a directory of theirs, nor beside those of the example."""
    theirs = tmp_path / "images" / "image-001.png"
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(UsageError, match="has not written"):
        make_room(tmp_path)
    assert theirs.exists()

    images, annotated = make_room(tmp_path / "out")
    for folder in (images, annotated):
        (folder / "image-001.png").touch()
        (folder / "holiday.png").touch()
    assert make_room(tmp_path / "out") == (images, annotated)
    assert [path.name for path in (*images.iterdir(), *annotated.iterdir())] == ["holiday.png"] * 2


def test_a_failed_image_passes_the_later_steps() -> None:
    assert flow.infer(None) is None
    assert flow.postprocess(None) is None


def test_the_page_shows_the_flow_as_it_is() -> None:
    page = (ROOT / "docs" / "patterns" / "vision.md").read_text()
    assert f"```mermaid\n{flow.vision.mermaid().strip()}\n```" in page
