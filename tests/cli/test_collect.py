"""`bench collect`: what it lists, makes and refuses, and that other commands take what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.run.finished import FinishedRun

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40", "label.horizon=5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs."""
    found = tmp_path_factory.mktemp("collect")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        for alpha in (1, 1000):
            assert main(["run", *SMALL, f"model.alpha={alpha}", "evaluation.significance=null"]) == 0
    return found


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")


def said(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(command)) == code
    shown = capsys.readouterr()
    return shown.err if code else shown.out


def test_runs_are_listed_with_what_tells_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "collect")
    assert "2 runs" in shown
    assert "model.alpha" in shown
    (found,) = json.loads(said(capsys, "collect", "--where", "model.alpha=1000", "--json"))
    assert found["config"]["model"]["alpha"] == 1000.0
    assert FinishedRun.read(Path(found["folder"])).overall == found["overall"]


def test_an_ensemble_is_a_run_for_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "collect", "--where", "model=linear", "--average", "rank", "--case", "ours")
    assert "ours" in shown
    assert "3 cells" in shown
    (made,) = map(str, Path("runs").glob("ours-*"))
    assert "ours" in said(capsys, "leaderboard", made)
    assert "bench collect --where=model=linear --average=rank --case=ours" in report(capsys, made)
    command = ["bless", made, "--as", "mine/ours", "--reason", "a test"]
    assert "mine/ours v1" in said(capsys, *command)
    assert "same" in said(capsys, "check", made, "--as", "mine/ours")
    assert "same" in said(capsys, "diff", "mine/ours", made)
    assert "adhoc/ours" in said(capsys, "log", "--runs")


def report(capsys: pytest.CaptureFixture[str], made: str) -> str:
    said(capsys, "report", made, "--out", "report.html")
    return Path("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["--where", "model.alpha=7"], "1000.0"),
        (["--where", "model.alpha=1", "--average", "score"], "at least two"),
        (["--where", "model.alpha=1,1000", "--merge"], "config.model.alpha"),
        (["--case", "mine"], "--average"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_made_is_a_mistake_with_its_reason(
    capsys: pytest.CaptureFixture[str], command: list[str], words: str
) -> None:
    assert words in said(capsys, "collect", *command, code=2)
