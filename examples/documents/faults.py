"""The failure that the example injects: Tesseract is killed while it reads a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytesseract

KILLER = """#!/bin/sh
"{tesseract}" "$@" &
sleep 0.1
kill -9 $!
wait $!
"""


@contextmanager
def tesseract_killed(*, when: bool) -> Iterator[None]:
    """Within the block, send each Tesseract SIGKILL a tenth of a second after its start."""
    if not when:
        yield
        return
    settings = pytesseract.pytesseract
    command = settings.tesseract_cmd
    with TemporaryDirectory(prefix="pgflow-documents-") as folder:
        killer = Path(folder) / "tesseract"
        killer.write_text(KILLER.format(tesseract=shutil.which(command) or command))
        killer.chmod(0o700)
        settings.tesseract_cmd = str(killer)
        try:
            yield
        finally:
            settings.tesseract_cmd = command
