"""Files that code reaches for are named; its own are not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.audit.replay import Outside, Watched


class Reader:
    def __init__(self, path: Path, writes: bool) -> None:
        self.path, self.writes = path, writes

    def fit(self, data: Any) -> Reader:
        if self.writes:
            np.save(self.path, np.asarray(data))
        np.load(self.path)
        return self


def seen(path: Path, writes: bool) -> list[str]:
    outside = Outside()
    outside.watch()
    Watched(Reader(path, writes), outside).fit([1.0])
    return list(outside.seen)


def test_a_file_that_was_there_before_is_named_and_one_of_its_own_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / "answers.npy", np.ones(3))
    time.sleep(0.1)  # so that the file is older than the watch
    assert seen(tmp_path / "answers.npy", writes=False) == ["the file answers.npy"]
    assert seen(tmp_path / "scratch.npy", writes=True) == []


def test_nothing_is_heard_of_code_that_is_not_under_audit(tmp_path: Path) -> None:
    np.save(tmp_path / "prices.npy", np.ones(3))
    time.sleep(0.1)
    outside = Outside()
    outside.watch()
    np.load(tmp_path / "prices.npy")
    assert not outside.seen
