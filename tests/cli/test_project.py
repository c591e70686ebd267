"""A project that works at once, what a machine lacks, a window's data, and the list of commands."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness.cli import main
from harness.cli.application import parsers
from harness.cli.commands import COMMANDS, PURPOSES
from harness.errors.extras import install_command
from harness.integrations import health

TOOL = (sys.executable, "-P", "-c", "from harness.cli import command; command()")
TINY_BASE = """
  - override /features: expressions
data: {instruments: 24, members: 16, days: 420}
windows: {step: 40}
evaluation: {significance: null}
"""
TINY = ["data.instruments=24", "data.members=16", "data.days=420", "windows.step=40", "evaluation.significance=null"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def test_every_command_stands_under_one_purpose_and_the_list_fits_on_a_screen() -> None:
    listed = [name for commands in PURPOSES.values() for name in commands]
    assert sorted(listed) == sorted({command.name.split()[0] for command in COMMANDS})
    lines = parsers("")[""].format_help().splitlines()
    assert 24 <= len(lines) <= 40
    assert max(map(len, lines)) <= 108


def done(*command: str) -> str:
    """Run what stands in a folder as a newcomer does: another process, without PYTHONPATH and options."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def new_project(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, list[str]]:
    """Write a project, go there, make its experiment small; return the commands that were printed, by their words."""
    assert main(["init", "study", "--model", name]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert all(Path(path).is_file() for key, path in lines if key == "written")
    monkeypatch.chdir("study")
    base = Path("my_conf/experiment/base.yaml")
    base.write_text(base.read_text(encoding="utf-8").split("\ndata:")[0] + TINY_BASE, encoding="utf-8")
    assert name in Path(".github/workflows/check.yml").read_text(encoding="utf-8")
    assert {"runs/", ".bench/"} <= set(Path(".gitignore").read_text(encoding="utf-8").split())
    return {key: shlex.split(text)[1:] for key, text in lines}


def test_what_a_new_project_prints_works_in_its_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = new_project(capsys, monkeypatch, "model_of_study")
    for command in ("run", "bless", "check"):
        assert main(said[command]) == 0
        assert "project   bench.toml: conf my_conf, modules ." in capsys.readouterr().err
    # What is added runs as it says too.
    assert main(["new", "strategy", "strategy_of_study"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split() == ["run", "bench", "run", "evaluation=strategy_of_study"]
    assert main([*line.split()[2:], "--cfg", "job"]) == 0


@pytest.mark.nightly  # six processes that each load everything: half a minute
def test_a_newcomer_types_what_is_printed_and_gives_workers_and_pytest_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = new_project(capsys, monkeypatch, "model_of_newcomer")
    done(*TOOL, *said["run"], "executor=local")
    assert "3 passed" in done(sys.executable, *said["test"])
    done(*TOOL, *said["bless"])
    assert "same" in done(*TOOL, *said["check"])
    assert "1 passed" in done(sys.executable, "-P", "-m", "pytest", "-q", "--bench-suite", "mine")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('conf = ["gone"]', "gone"),
        ('conf = "my_conf"', "a list of folders"),
        ('module = ["."]', "conf and modules"),
        ("conf", "no TOML"),
    ],
)
def test_a_project_file_that_is_wrong_is_a_mistake(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bench.toml").write_text(text, encoding="utf-8")
    assert main(["explain"]) == 2
    assert told in capsys.readouterr().err


def test_a_project_is_that_of_its_own_folder_only_and_never_somebody_elses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("conf_of_mine/model").mkdir(parents=True)
    Path("conf_of_mine/model/mine.yaml").write_text("_target_: baselines.Linear\n", encoding="utf-8")
    Path("bench.toml").write_text('conf = ["conf_of_mine"]\n', encoding="utf-8")
    path, variable = list(sys.path), os.environ.get("PYTHONPATH")
    assert main(["config", "model=mine"]) == 0
    assert main(["config", "model=mine", "--config-dir", "conf_of_mine"]) == 0
    assert (sys.path, os.environ.get("PYTHONPATH")) == (path, variable)
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert main(["config", "model=mine"]) == 2
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 123456)
    assert main(["config", "model=mine"]) == 2
    assert "somebody else" in capsys.readouterr().err


def test_a_project_overwrites_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine", encoding="utf-8")
    assert main(["init"]) == 2
    assert ".gitignore" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


def doctor(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["doctor", "--json"]) == code
    return {one["what"]: one for one in json.loads(capsys.readouterr().out)}


def test_a_sound_machine_has_nothing_in_the_way_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = doctor(capsys, 0)
    assert {"python", "libraries", "kernels", "threads", "store", "disk", "extra torch"} <= set(found)
    assert all(one["state"] != "bad" for one in found.values())
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named_with_what_installs_it_and_a_missing_library_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = health._version
    monkeypatch.setattr(health, "_version", lambda name: None if name == "optuna" else there(name))
    found = doctor(capsys, 0)["extra optuna"]
    assert found["state"] == "missing"
    assert "driftbench" in found["advice"]
    assert "optuna" in found["advice"]
    monkeypatch.setattr(health, "_version", lambda name: None if name == "pandas" else there(name))
    assert "pandas" in doctor(capsys, 1)["libraries"]["found"]


def test_a_store_without_locks_or_space_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(health, "_LEAST_FREE", 1e9)
    monkeypatch.setattr(health, "_LITTLE_FREE", 1e9)
    assert "gc" in doctor(capsys, 1)["disk"]["advice"]
    monkeypatch.setattr(health, "_LEAST_FREE", 0.0)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "No locks available" in doctor(capsys, 1)["store"]["found"]


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.local/pipx/venvs/driftbench", "pipx inject driftbench 'safetensors>=0.5' torch==2.13.0"),
        ("/home/me/.local/share/uv/tools/driftbench", "uv tool install 'driftbench[torch]'"),
        (sys.prefix, "pip install 'driftbench[torch]'"),
    ],
)
def test_an_extra_is_installed_by_what_made_the_environment(prefix: str, command: str) -> None:
    assert install_command("torch", prefix) == command


@pytest.mark.parametrize("refit", ["once", "per_window"])
def test_the_data_of_a_window_are_what_its_model_learns_from_and_nothing_later(
    capsys: pytest.CaptureFixture[str], refit: str
) -> None:
    small = [*TINY[:4], "label.horizon=5", f"preprocess.refit={refit}"]
    assert main(["explain", *small, "--json"]) == 0
    window = json.loads(capsys.readouterr().out)["windows"][1]
    assert main(["data", "window", "1", *small, "--out", "one", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["rows"]
    train, test = (pq.read_table(f"one/{name}.parquet").to_pandas() for name in ("train", "test"))
    assert counts == {"train.parquet": len(train), "test.parquet": len(test)}
    assert train["label"].notna().all()
    assert str(train["datetime"].max())[:10] < window["test"][0]
    assert [str(test["datetime"].min())[:10], str(test["datetime"].max())[:10]] == window["test"]
    assert list(train.columns) == list(test.columns)
    assert train.columns[[0, 1, -1]].tolist() == ["datetime", "instrument", "label"]
    # The processors of a linear model leave no gap in features; the label is learned as a rank, and judged raw.
    assert train.notna().all(axis=None)
    assert train["label"].std() > 0.5
    assert test["label"].abs().max() < 1.0


def test_a_window_that_is_not_there_and_a_folder_that_is_are_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "window", "99", *TINY, "--out", "one"]) == 2
    assert "0 … " in capsys.readouterr().err
    Path("one").mkdir()
    assert main(["data", "window", "0", *TINY, "--out", "one"]) == 2
    assert not list(Path("one").iterdir())


def test_results_show_themselves_in_a_notebook() -> None:
    from harness import run_experiment

    result = run_experiment([*TINY[:4]])
    shown = result._repr_html_()
    assert shown.count("<tr>") == 4
    assert "oracle" in shown
    assert "rank IC" in shown
    assert "<table" in result.predictions()._repr_html_()
