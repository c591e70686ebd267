"""Every mistake gives one clear message with what, where, expected and next step, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from harness.cli import main
from tests.errors.catalogue import CATALOGUE, Mistake


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("their_model", None)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file but the finished results of the store, which the next run may use."""
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    kept = {name: path for name, path in found.items() if not name.startswith(f".bench{os.sep}store{os.sep}")}
    scratch = {str(p.relative_to(folder)): b"" for p in folder.rglob(".making-*")}
    return {name: path.read_bytes() for name, path in kept.items()} | scratch


@pytest.mark.parametrize("mistake", CATALOGUE, ids=[m.name for m in CATALOGUE])
def test_a_mistake_is_told_clearly_and_leaves_nothing_behind(
    mistake: Mistake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake.prepare(tmp_path)
    before = files(tmp_path)
    try:
        code: str | int | None = main(list(mistake.command))
    except SystemExit as stopped:  # argparse leaves this way
        code = stopped.code
    shown = capsys.readouterr()
    assert code == mistake.exit_code, shown.err
    assert "Traceback" not in shown.err + shown.out
    for piece in mistake.says:
        assert piece in shown.err, shown.err
    if "usage: " not in shown.err:
        # Notes and, on a slow machine, the progress come before it.
        first, *lines = [line for line in shown.err.splitlines() if not re.match(r"note: |\d:\d\d:\d\d  ", line)]
        assert first.startswith("bench: ")
        assert first.rstrip().endswith((".", "…")), "the first line is one sentence"
        assert [line for line in lines if line.startswith("bench: ")] == [], "one message"
        for name in ("where:", "expected:", "hint:"):
            assert any(line.strip().startswith(name) for line in lines), f"without {name}\n{shown.err}"
    assert files(tmp_path) == before
    assert not shown.out


def test_the_catalogue_is_long_and_names_no_mistake_twice() -> None:
    assert len({mistake.name for mistake in CATALOGUE}) == len(CATALOGUE) >= 60


def test_what_the_system_refuses_for_no_fault_of_the_user_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise FileNotFoundError("a file that we should have written")

    monkeypatch.setattr("harness.cli.explain.config_of", lost)
    with pytest.raises(FileNotFoundError):
        main(["explain"])


def test_a_current_folder_that_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["explain"]) == 2
    assert "has been removed" in capsys.readouterr().err


def test_overrides_may_follow_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "windows.step=7", "--cfg", "model.alpha=3"]) == 0
    out = capsys.readouterr().out
    assert "step: 7" in out
    assert "alpha: 3" in out
