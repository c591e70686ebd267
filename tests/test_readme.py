"""README and quick start are true: their tables are what the commands print, example files work as they stand.

`README_UPDATE=1 pytest tests/test_readme.py -m "nightly or not nightly"` writes the tables anew.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.snapshots.baseline import Baselines

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CSI300 = ROOT.parent / "shared" / "data" / "cn_csi300_2005"
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


def printed_table(capsys: pytest.CaptureFixture[str]) -> str:
    # A table stands in a margin of two blanks, its rule in one.
    lines = [line.removeprefix(" ").removeprefix(" ").rstrip() for line in capsys.readouterr().out.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("cost ", "snapshot "))]
    return "\n".join(kept)


def check_table(name: str, table: str) -> None:
    marker = f"<!-- table: {name} -->"
    page = next(p for p in (README, ROOT / "docs" / "index.md") if marker in p.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    block = f"{marker}\n```text\n{table}\n```"
    pattern = re.compile(re.escape(marker) + r"(?:\n```text\n.*?\n```)?", flags=re.DOTALL)
    if os.environ.get("README_UPDATE"):
        page.write_text(pattern.sub(lambda _: block, text), encoding="utf-8")
    assert block in page.read_text(encoding="utf-8"), f"the table of {page.name} is stale; the command prints:\n{table}"


def code_block(language: str, first_line: str) -> str:
    pattern = rf"```{language}\n({re.escape(first_line)}\n.*?)```"
    found = re.search(pattern, README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"the README lacks its {language} block that starts with {first_line}"
    return found[1]


def test_the_table_of_the_main_job_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 0
    check_table("synthetic", printed_table(capsys))


@pytest.mark.nightly
def test_the_table_of_make_bench_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = re.search(r"^bench: .*\n\t\$\(BIN\)/bench (.*)$", makefile, re.MULTILINE)
    assert command
    assert main(command[1].split()) == 0
    check_table("sweep", without_seconds(printed_table(capsys)))


def without_seconds(table: str) -> str:
    """Cut off the columns of a leaderboard that say how long it took: another number every time."""
    lines = [line for line in table.splitlines() if not line.startswith(("table ", "s / window", "at step 1"))]
    end = next(line.index("seconds") for line in lines if "seconds" in line)
    return "\n".join(
        (line[:end] if "─" in line or "0." in line or "seconds" in line else line).rstrip() for line in lines
    )


@pytest.mark.nightly
@pytest.mark.skipif(not CSI300.is_dir(), reason="the CSI 300 panel is not at ../shared/data")
def test_the_table_of_the_real_panel_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(CSI300.parent))
    assert main(["run", "data=cn_csi300", "model=linear", "windows.step=20", "label.horizon=20"]) == 0
    check_table("cn_csi300", printed_table(capsys))


def test_the_example_of_an_own_model_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_model.py").write_text(code_block("python", "# my_model.py"), encoding="utf-8")
    folder = tmp_path / "my_conf" / "model"
    folder.mkdir(parents=True)
    (folder / "covariance.yaml").write_text(code_block("yaml", "# my_conf/model/covariance.yaml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert main(["run", "--config-dir", "my_conf", "model=covariance", *SMALL]) == 0
    finally:
        sys.modules.pop("my_model", None)
    assert "rolling_retrain / covariance" in capsys.readouterr().out


def test_the_reproduced_rows_are_the_blessed_ones_beside_the_published_ones() -> None:
    """All four rows lie in their intervals on the page of published tables; their ICs are those of the sentence."""
    page = (ROOT / "results" / "paper" / "published.md").read_text(encoding="utf-8").replace("\\", "")
    verdicts = re.findall(r"\| qlib-\S+ \|.*\| (\S[^|]*) \|$", page, re.MULTILINE)
    assert verdicts.count("REPRODUCED") == 4
    ours, theirs = [], []
    for row, case in (("Linear", "qlib-linear"), ("LightGBM", "qlib-lightgbm")):
        for name, run in ((f"RR[{row}]", case), (f"DDG-DA[{row}]", f"{case}-ddgda")):
            ic = Baselines(ROOT / "results").baseline("paper", run).snapshot.metrics["overall"]["IC"]  # type: ignore[union-attr]
            ours.append(f"{ic:.4f}"[1:])
            (published,) = set(re.findall(rf"\| {re.escape(name)} \| published \| 0(\.\d{{4}})", page))
            theirs.append(published)
    said = " ".join(README.read_text(encoding="utf-8").split())
    for at in (0, 2):
        assert f"({ours[at]} and {ours[at + 1]}, published {theirs[at]} and {theirs[at + 1]})" in said
