"""`bench new` writes what works as it stands; the examples are what it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import ConfigError
from harness.integrations.skeletons import KINDS, PLANS, write_skeleton

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_is_what_is_written(kind: str, tmp_path: Path) -> None:
    for path in write_skeleton(kind, f"my_{kind}", tmp_path)[0]:
        example = EXAMPLES / path.relative_to(tmp_path)
        written = path.read_text(encoding="utf-8")
        assert example.read_text(encoding="utf-8") == written, f"bench new {kind} my_{kind} --folder examples"


def test_the_tests_that_are_written_pass(tmp_path: Path) -> None:
    for kind in KINDS:
        write_skeleton(kind, f"another_{kind}", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 passed" in done.stdout


def test_all_four_together_from_outside_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("model", "adaptation", "metric"):
        assert main(["new", kind, f"mine_{kind}", "--folder", str(tmp_path / "research")]) == 0
    assert "written" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "research"))
    mine = ["model=mine_model", "adaptation=mine_adaptation", "evaluation=mine_metric"]
    assert main(["run", "--config-dir", "research/my_conf", *mine, *SMALL]) == 0
    out = capsys.readouterr().out
    assert "mine_adaptation / mine_model" in out
    assert "hit_rate" in out


@pytest.mark.parametrize("name", ["My-Model", "class", "2nd", "MyModel", "numpy", "json", "größe", ""])
def test_a_name_that_cannot_be_a_module_or_hides_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_skeleton("model", name, tmp_path)
    assert caught.value.where == "NAME"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (source, *_, test), _ = write_skeleton("model", "my_model", tmp_path)
    source.write_text("mine", encoding="utf-8")
    test.unlink()
    with pytest.raises(ConfigError, match="there already"):
        write_skeleton("model", "my_model", tmp_path)
    assert source.read_text(encoding="utf-8") == "mine"
    assert not test.exists()


@pytest.mark.parametrize("plan", PLANS)
def test_an_adaptation_that_plans_is_written_by_its_kind_and_runs(
    plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["new", "adaptation", f"own_{plan}", "--kind", plan, "--folder", str(tmp_path)]) == 0
    assert len((tmp_path / f"own_{plan}.py").read_text(encoding="utf-8").splitlines()) <= 40
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    few = [*SMALL, "features=expressions", "evaluation.significance=null"]
    assert main(["run", "--config-dir", "my_conf", f"adaptation=own_{plan}", *few]) == 0


def test_only_an_adaptation_has_a_kind(tmp_path: Path) -> None:
    assert main(["new", "model", "own_model", "--kind", "state", "--folder", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
