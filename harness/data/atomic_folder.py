"""Folders that are either complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DataError
from harness.store.files import flush, scratch_folder


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its name when the block ends well, and vanishes otherwise.

    A killed process leaves a hidden folder that no reader takes for `target`.

    Raises
    ------
    DataError
        When `target` exists, or appears meanwhile.
    """
    _refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = scratch_folder(target.parent, f".{target.name}.", ".partial")
    try:
        yield staging
        os.sync()  # thousands of small files: one by one would take longer than writing them
        _refuse_existing(target)
        staging.rename(target)
        flush(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise DataError(
            "The folder exists already; nothing was overwritten.",
            where=str(target),
            expected="a path that does not exist yet",
            hint="remove the folder, or choose another one",
        )
