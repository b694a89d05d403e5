"""The whole scenario: set up, run with two worker processes, check what came out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from pgflow import Client, Database
from pgflow.errors import UsageError
from pgflow.supervisor import Supervisor

from . import data, model
from .audit import audit
from .flow import Batch, store, vision
from .sheet import draw

MARK = ".vision-example"
"""The name of a file that tells a directory of this example's from one that others have put images in."""
CORRUPT = 58
"""The number of the image that is cut off in the middle: the injected failure."""
PROCESSES = 2
CONCURRENCY = 2
"""Tasks that a worker process performs side by side; few, so that both get their share."""

TABLES = """
create schema if not exists vision_example;
drop table if exists vision_example.images, vision_example.predictions, vision_example.model_loads;
create table vision_example.images (
  run_id uuid, image text, size int not null, sha256 bytea not null, primary key (run_id, image)
);
create table vision_example.predictions (
  run_id uuid, image text, label int not null check (label between 0 and 9),
  confidence float not null, needs_review bool not null, primary key (run_id, image)
);
create table vision_example.model_loads (pid int not null, loaded_at timestamptz not null default now());
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the set-up made."""

    batch: Batch
    labels: dict[str, int]
    """The right label of each image; the flow never sees them."""
    trained_on: int
    shared: int
    """Images of the data set that are in both parts, by their pixels."""
    same_as_scikit_learn: float
    """The share of the training images for which the ONNX file answers as scikit-learn does."""


def prepare(out: Path, seed: int) -> Prepared:
    """Train and export the model, and write the images."""
    out = out.resolve()  # workers are told whole paths
    images, annotated = make_room(out)
    parts = data.split(seed)
    training, path = data.training_images(parts, seed), out / "digits.onnx"
    same = model.train(training, parts.training_labels, path)
    labels = data.write_images(parts, seed, images, CORRUPT)
    (out / "labels.json").write_text(json.dumps(labels, indent=1))
    known = {digit.tobytes() for digit in parts.training}
    shared = sum(digit.tobytes() in known for digit in parts.unseen)
    return Prepared(
        Batch(str(images), str(path), str(annotated)), labels, len(training), shared, same
    )


def make_room(out: Path) -> tuple[Path, Path]:
    """Make or empty the folders for images; raise UsageError rather than touch images that others have put there."""
    images, annotated = folders = out / "images", out / "annotated"
    if not (out / MARK).exists():
        for folder in folders:
            if folder.exists() and any(folder.iterdir()):
                raise UsageError(
                    f"{folder} has files that this example has not written",
                    hint="Name another directory with --out.",
                )
        out.mkdir(parents=True, exist_ok=True)
        (out / MARK).touch()
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for old in folder.glob("image-[0-9][0-9][0-9].png"):
            old.unlink()
    return images, annotated


async def run(dsn: str, out: Path, *, seed: int, live: bool) -> dict[str, Any]:
    """Do all of it; return the facts, `checks` among them."""
    if live:
        print("Training the model, and drawing 100 images.", flush=True)
    prepared = prepare(out, seed)
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLES)
    async with Database.connect(dsn) as database:
        targets = f"{__package__}.flow:vision"
        supervisor = Supervisor(
            targets, processes=PROCESSES, dsn=dsn, concurrency=CONCURRENCY, log_level="CRITICAL"
        )
        async with supervisor:
            await supervisor.ready()
            started = await Client(database).start(vision, prepared.batch)
            await (started.watch() if live else started.wait())
        summary = (await started.result())[store]
    facts = audit(dsn, started.id, prepared, summary)
    facts["picture"] = str(draw(out, predictions(dsn, started.id), prepared.labels))
    return facts


def predictions(dsn: str, run_id: UUID) -> dict[str, tuple[int, float]]:
    """Read the label and the confidence of each image."""
    query = "select image, label, confidence from vision_example.predictions where run_id = %s"
    with psycopg.connect(dsn) as connection:
        return {image: (label, sure) for image, label, sure in connection.execute(query, (run_id,))}
