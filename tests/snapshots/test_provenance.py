"""Who computed a result: own code keeps runs apart, and a look-up in the store takes nobody's place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors.extras import requirements
from harness.run.experiment import ExperimentResult, run_experiment
from harness.snapshots.provenance import Stopwatch, provenance
from harness.store import code_digest

SMALL = ["data.instruments=16", "data.days=300", "data.members=12", "label.horizon=2", "windows.step=60"]
MODEL = """\
from dataclasses import dataclass
from baselines.models.linear import FittedLinear, Linear
from harness.samples.interfaces import LearnSet
SIGN = {sign}
@dataclass(frozen=True)
class Signed(Linear):
    def fit(self, train: LearnSet, valid: LearnSet | None) -> "Fitted":
        return Fitted(super().fit(train, valid))
@dataclass(frozen=True)
class Fitted:
    inner: FittedLinear
    def predict(self, features):
        return SIGN * self.inner.predict(features)
    def save(self, folder):
        self.inner.save(folder)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a namespace package, on the search path."""
    folder = tmp_path / "project"
    (folder / "signed_models").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "signed_models"]:
        del sys.modules[name]
    for known in (code_digest._KNOWN, code_digest._REACHED):
        known.clear()
    code_digest._library.cache_clear()


def run(project: Path, sign: int) -> ExperimentResult:
    """Run the model as a new process would, after it was edited."""
    forget()
    (project / "signed_models" / "signed.py").write_text(MODEL.format(sign=sign), encoding="utf-8")
    (project / "signed_models" / "__pycache__" / f"signed.{sys.implementation.cache_tag}.pyc").unlink(missing_ok=True)
    where = [f"output.store={project}/store", f"output.runs={project}/runs"]
    return run_experiment([*SMALL, *where, "model._target_=signed_models.signed.Signed"])


@pytest.mark.nightly
def test_an_edited_model_of_a_namespace_package_is_computed_again_and_runs_keeps_both(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, flipped = run(project, 1), run(project, -1)
    assert flipped.metrics["IC"] == pytest.approx(-plain.metrics["IC"], abs=1e-6)
    assert (plain.reused, flipped.reused) == (False, False)
    assert plain.snapshot.identity == flipped.snapshot.identity, "check still compares them"
    assert {path.parent for path in (project / "runs").glob("*/snapshot.json")} == {plain.folder, flipped.folder}
    again = run(project, 1)
    assert (again.reused, again.folder) == (True, plain.folder)
    assert main(["log", "--runs", "--runs-folder", f"{project}/runs", plain.snapshot.case, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert [r["overall"]["IC"] for r in found["runs"]] in (
        [flipped.metrics["IC"], plain.metrics["IC"]],
        [plain.metrics["IC"], flipped.metrics["IC"]],
    )
    assert main(["log", "--runs", "--runs-folder", f"{project}/runs"]) == 0
    printed = capsys.readouterr().out
    assert all(result.snapshot.provenance["user_code"]["digest"][:8] in printed for result in (plain, flipped))


def test_provenance_names_the_users_own_modules_their_repository_and_commit(project: Path) -> None:
    (project / "signed_models" / "signed.py").write_text("SIGN = 1\n", encoding="utf-8")
    modules = ["baselines.models.linear", "signed_models.signed"]
    assert provenance(Stopwatch(), modules)["user_code"]["repositories"] == []  # type: ignore[index]
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], [*name, "commit", "-qm", "a model"]):
        subprocess.run(["git", "-C", str(project), *command], check=True)
    found = provenance(Stopwatch(), modules)["user_code"]
    assert list(found["modules"]) == ["signed_models.signed"]  # type: ignore[index]
    (repository,) = found["repositories"]  # type: ignore[index]
    assert (repository["name"], repository["dirty"], len(repository["commit"])) == ("project", False, 40)
    (project / "signed_models" / "signed.py").write_text("SIGN = -1\n", encoding="utf-8")
    assert provenance(Stopwatch(), modules)["user_code"]["repositories"][0]["dirty"] is True  # type: ignore[index]


def test_provenance_of_a_run_without_own_code_names_none(tmp_path: Path) -> None:
    assert provenance(Stopwatch(), ["baselines.models.linear"])["user_code"] is None


def test_a_run_that_finds_everything_keeps_the_provenance_of_the_run_that_computed_it(tmp_path: Path) -> None:
    where = [f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
    first = run_experiment([*SMALL, *where])
    second = run_experiment([*SMALL, *where])
    assert (first.reused, second.reused) == (False, True)
    assert second.snapshot.provenance == first.snapshot.provenance
    assert sum(first.snapshot.provenance["seconds"].values()) > 0


def test_code_that_was_never_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    made = provenance(Stopwatch())
    assert made["code"]["version"] == "source"  # type: ignore[index]
    assert made["packages"] == {}
    assert not list(requirements())
