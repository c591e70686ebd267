"""`bench new` writes what works as it stands; the examples are what it writes."""

from __future__ import annotations

import shlex
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


@pytest.mark.nightly
def test_the_tests_that_are_written_pass(tmp_path: Path) -> None:
    for kind in KINDS:
        write_skeleton(kind, f"another_{kind}", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 passed" in done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"output.store={tmp_path_factory.mktemp('store')}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_is_printed_runs(
    kind: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["adaptation", f"own_{kind}", "--kind", kind] if kind in PLANS else [kind, f"own_{kind}"]
    assert main(["new", *asked, "--folder", "research"]) == 0
    (printed,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("run "))
    assert kind not in PLANS or len(Path(f"research/own_{kind}.py").read_text(encoding="utf-8").splitlines()) <= 40
    _, path, bench, *command = shlex.split(printed)
    assert (path, bench) == ("PYTHONPATH=research", "bench")
    monkeypatch.syspath_prepend("research")
    few = [] if kind == "data" else [*SMALL, *["features=expressions"] * (kind != "strategy")]
    assert main([*command, *few, store, "evaluation.significance=null"]) == 0
    assert "hit_rate" in capsys.readouterr().out or kind != "metric"


def test_the_closes_that_lie_there_already_stay(tmp_path: Path) -> None:
    (tmp_path / "closes.csv").write_text("mine", encoding="utf-8")
    assert tmp_path / "closes.csv" not in write_skeleton("data", "my_data", tmp_path)[0]
    assert (tmp_path / "closes.csv").read_text(encoding="utf-8") == "mine"


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


def test_only_an_adaptation_has_a_kind(tmp_path: Path) -> None:
    assert main(["new", "model", "own_model", "--kind", "state", "--folder", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
