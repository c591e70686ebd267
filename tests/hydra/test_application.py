"""A job, a sweep and their files, as Hydra documents them: folders, callbacks, launchers, sweepers, plugins."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback

from harness.cli import main
from harness.store.artifacts import ArtifactStore, Key
from harness.store.locks import claimed, is_claimed
from tests.docs.blocks import ROOT
from tests.hydra.conftest import SMALL, Bench, Shown

HEARD: list[str] = []
RETURNED: list[JobReturn] = []
SWEEP = ["-m", "model.alpha=0.1,1"]
BYTES = ("predictions.parquet", "series.parquet", "metrics.json", "reads.json", "artefacts.json")


class Listens(Callback):
    """Writes down what it hears."""

    def on_run_start(self, config: Any, **_: Any) -> None:
        HEARD.append("run starts")

    def on_run_end(self, config: Any, **_: Any) -> None:
        HEARD.append("run ends")

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        HEARD.append("multirun starts")

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        HEARD.append("multirun ends")

    def on_job_start(self, config: Any, **_: Any) -> None:
        HEARD.append(f"job starts in {Path(config.hydra.runtime.output_dir).name}")

    def on_job_end(self, config: Any, job_return: JobReturn, **_: Any) -> None:
        HEARD.append(job_return.status.name)
        RETURNED.append(job_return)


LISTENS = "+hydra.callbacks.listens._target_=tests.hydra.test_application.Listens"


@pytest.fixture(autouse=True)
def _silence() -> None:
    HEARD.clear()
    RETURNED.clear()


def folder_of(shown: Shown) -> Path:
    assert shown.code == 0, shown.err
    return Path(json.loads(shown.out)["folder"])


def results(runs: Path) -> dict[str, bytes]:
    """Return the files of all results under a folder, without provenance."""
    files = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in runs.glob("*/*") if p.name in BYTES}
    for path in runs.glob("*/snapshot.json"):
        snapshot = json.loads(path.read_text(encoding="utf-8"))
        del snapshot["provenance"], snapshot["seal"]
        files[f"{path.parent.name}/snapshot.json"] = json.dumps(snapshot).encode()
    return files


def test_a_result_has_hydras_files_beside_it(small: Bench) -> None:
    folder = folder_of(small("--json", "model.alpha=1"))
    assert sorted(p.name for p in (folder / ".hydra").iterdir()) == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    assert "model.alpha=1" in yaml.safe_load((folder / ".hydra/overrides.yaml").read_text(encoding="utf-8"))
    assert [p.name for p in Path("runs").iterdir()] == [folder.name]


def test_a_run_goes_to_the_folder_that_is_given(small: Bench) -> None:
    folder = folder_of(small("--json", "model.alpha=1", "hydra.run.dir=out/${seed}", "hydra.job.name=mine"))
    assert folder == Path("out/43").resolve()
    assert {"snapshot.json", "predictions.parquet", ".hydra"} <= {p.name for p in folder.iterdir()}
    assert not Path("runs").exists()


def test_no_files_of_hydras_where_none_are_wanted(small: Bench) -> None:
    assert not (folder_of(small("--json", "model.alpha=1", "hydra.output_subdir=null")) / ".hydra").exists()


def test_a_job_logs_to_a_file_beside_the_result(small: Bench) -> None:
    logged = folder_of(small("--json", "model.alpha=1", "hydra/job_logging=default", "hydra.job.name=mine"))
    assert (logged / "mine.log").is_file()
    quiet = folder_of(small("--json", "model.alpha=1", "hydra.run.dir=quiet"))  # nothing to say
    assert not (quiet / "bench.log").exists()


def test_a_job_has_the_environment_that_it_is_given(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIVEN", raising=False)
    given = ["+hydra.job.env_set.GIVEN=here", "case=${oc.env:GIVEN}"]
    assert folder_of(small("--json", "model.alpha=1", *given)).name.startswith("here-")
    assert "GIVEN" not in os.environ


def test_a_command_leaves_hydra_and_logging_as_they_were(small: Bench) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    small("model.alpha=1", "hydra.verbose=true")
    assert (list(root.handlers), root.level) == before
    assert not GlobalHydra.instance().is_initialized()


def test_callbacks_hear_of_a_run_and_of_its_result(small: Bench) -> None:
    folder = folder_of(small("--json", "model.alpha=1", LISTENS))
    assert [HEARD[0], *HEARD[2:]] == ["run starts", "COMPLETED", "run ends"]
    (returned,) = RETURNED
    assert Path(returned.return_value["folder"]) == folder
    assert returned.return_value["metrics"]["rows"] > 0


def test_callbacks_hear_of_a_sweep_and_of_a_job_that_fails(small: Bench) -> None:
    shown = small("-m", "model.alpha=1", "label.horizon=20,200", LISTENS)
    assert HEARD == ["multirun starts", *["job starts in 0", "COMPLETED", "job starts in 1", "FAILED"], "multirun ends"]
    assert "refused" in shown.out
    assert shown.code == 0


def test_a_sweep_leaves_one_leaderboard_its_configuration_and_hydras_files_of_each_cell(small: Bench) -> None:
    assert small(*SWEEP).code == 0
    (sweep,) = Path("runs").glob("sweep-*")
    assert sorted(p.name for p in sweep.iterdir()) == [
        *(f"leaderboard.{ending}" for ending in ("csv", "json", "md")),
        "multirun.yaml",
    ]
    assert yaml.safe_load((sweep / "multirun.yaml").read_text(encoding="utf-8"))["hydra"]["mode"] == "MULTIRUN"
    numbers = [
        yaml.safe_load((folder / ".hydra/hydra.yaml").read_text(encoding="utf-8"))["hydra"]["job"]["num"]
        for folder in Path("runs").glob("synthetic*")
    ]
    assert sorted(numbers) == [0, 1]
    assert not [p for p in Path("runs").iterdir() if p.name.startswith(".")]


def test_a_sweep_goes_to_the_folders_that_are_given(small: Bench) -> None:
    where = ["hydra.sweep.dir=swept", "hydra.sweep.subdir=${hydra.job.override_dirname}"]
    fixed = ",".join([*(text.partition("=")[0] for text in SMALL), "output.store"])
    exclude = f"hydra.job.config.override_dirname.exclude_keys=[{fixed}]"
    assert small(*SWEEP, *where, exclude).code == 0
    assert sorted(p.name for p in Path("swept").iterdir() if p.is_dir()) == ["model.alpha=0.1", "model.alpha=1"]
    assert (Path("swept") / "model.alpha=1/snapshot.json").is_file()
    assert {"multirun.yaml", "leaderboard.csv"} <= {p.name for p in Path("swept").iterdir()}
    assert not Path("runs").exists()


def test_hydras_own_launcher_leaves_the_bytes_of_any_other(small: Bench, store: Path) -> None:
    assert small(*SWEEP, "hydra/launcher=basic").code == 0
    assert results(Path("runs")) == results(store.parent / "runs") != {}


def test_cells_are_launched_in_batches(small: Bench) -> None:
    assert small("-m", "model.alpha=0.1,1", "hydra.sweeper.max_batch_size=1", LISTENS).code == 0
    assert [text for text in HEARD if text.startswith("job")] == ["job starts in 0", "job starts in 1"]


def test_hydras_own_sweeper_runs_the_jobs_and_ranks_nothing(small: Bench) -> None:
    shown = small(*SWEEP, "hydra/sweeper=basic", "--json")
    assert shown.code == 0, shown.err
    assert len(json.loads(shown.out)) == 2
    found = list(Path("runs").iterdir())
    assert len(found) == 2
    assert all((folder / ".hydra" / "overrides.yaml").is_file() for folder in found)


# A job that was killed: its folder is there, and its claim.
KILLED = """
import os, pathlib
from harness.store.locks import claimed
folder = pathlib.Path("runs/.job-20260101-000000-000001")
folder.parent.mkdir()
with claimed(folder):
    (folder / ".hydra").mkdir(parents=True)
    os.kill(os.getpid(), 9)
"""


class Looks(Callback):
    """Writes down what lies in the folder of runs while a job runs."""

    def on_job_start(self, config: Any, **_: Any) -> None:
        HEARD.extend(sorted(f"{path.name[:5]} {is_claimed(path)}" for path in Path("runs").glob(".*") if path.is_dir()))


def test_what_a_killed_job_has_left_goes_with_the_next_one_and_what_lives_stays(small: Bench) -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert sorted(path.suffix for path in Path("runs").iterdir()) == ["", ".claim"]
    with claimed(Path("runs/.sweep-live")):
        Path("runs/.sweep-live").mkdir()
        folder = folder_of(
            small("--json", "model.alpha=1", "+hydra.callbacks.l._target_=tests.hydra.test_application.Looks")
        )
        assert HEARD == [".job- True", ".swee True"]
        assert {path.name for path in Path("runs").iterdir()} == {folder.name, ".sweep-live", ".sweep-live.claim"}
    assert main(["cache", "gc", "--yes"]) == 0
    assert [path.name for path in Path("runs").iterdir()] == [folder.name]


class Reversed(BasicLauncher):
    """Somebody's own launcher, as a plugin holds one: the last job first."""

    def __init__(self, loud: bool = False) -> None:
        super().__init__()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        found = {}
        for at in range(len(job_overrides))[::-1]:
            found[at] = super().launch([job_overrides[at]], initial_job_idx + at)[0]
        return [found[at] for at in sorted(found)]


def test_a_launcher_of_a_plugin_runs_the_cells(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    name, module = "hydra_plugins.somebody.Reversed", types.ModuleType("hydra_plugins.somebody")
    monkeypatch.setattr(module, "Reversed", Reversed, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(Plugins.instance().class_name_to_class, name, Reversed)
    small(*SWEEP, "+hydra.launcher.loud=true", f"hydra.launcher._target_={name}", LISTENS)
    assert [text for text in HEARD if text.startswith("job")] == ["job starts in 1", "job starts in 0"]
    assert list(Path("runs").glob("sweep-*/leaderboard.csv"))


@pytest.mark.nightly
def test_a_search_has_the_words_of_hydras_optuna_sweeper(small: Bench) -> None:
    settings = ["hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=7", "hydra.sweeper.storage=sqlite:///s.db"]
    space = ["windows.split=[0.4,0.4,0.2]", "model.alpha=interval(0.1,1)"]
    swept = small("-m", "hydra/sweeper=optuna", *settings, *space, "--json")
    assert swept.code == 0, swept.err
    trials = json.loads(swept.out)["trials"]
    assert len(trials) == 2
    assert Path("s.db").is_file()


def test_the_package_is_a_program() -> None:
    command = [sys.executable, "-m", "harness", "--cfg", "job", "--package", "windows.step", "windows.step=7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"


class Ledger(Callback):
    """Writes down what a job makes for the store, in the process that it runs in."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_job_start(self, config: Any, **_: Any) -> None:
        self._before = get_or_make = ArtifactStore.get_or_make

        def counted(store: ArtifactStore, key: Key, make: Callable[[Path], None]) -> Path:
            def noted(folder: Path) -> None:
                with open(self.path, "a", encoding="utf-8") as ledger:  # appends whole lines, of any process
                    ledger.write(f"{key.stage}/{key.digest}\n")
                make(folder)

            return get_or_make(store, key, noted)

        setattr(ArtifactStore, "get_or_make", counted)  # noqa: B010

    def on_job_end(self, config: Any, job_return: JobReturn, **_: Any) -> None:
        setattr(ArtifactStore, "get_or_make", self._before)  # noqa: B010


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [
        ("joblib", ["hydra.launcher.n_jobs=2"]),
        pytest.param("submitit_local", [], marks=pytest.mark.nightly),
        pytest.param("bench_local", ["hydra.launcher.workers=2"], marks=pytest.mark.nightly),
        pytest.param("bench_dask", ["hydra.launcher.workers=2"], marks=pytest.mark.nightly),
    ],
)
@pytest.mark.filterwarnings("default")
def test_cells_in_other_processes_make_each_stage_once_and_leave_the_bytes_of_a_serial_sweep(
    bench: Bench, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, settings: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where another process finds the ledger
    runs, own, ledger = tmp_path / "runs", tmp_path / "own", "+hydra.callbacks.ledger"
    listens = [f"{ledger}._target_={Ledger.__module__}.Ledger", f"{ledger}.path={tmp_path}/made"]
    where = [f"output.runs={runs}", f"output.store={own}"]  # a worker of an earlier sweep is in another folder
    shown = bench(*SWEEP, *SMALL, *where, f"hydra/launcher={launcher}", *settings, *listens)
    assert shown.code == 0, shown.err
    assert results(runs) == results(store.parent / "runs") != {}
    made = Counter((tmp_path / "made").read_text(encoding="utf-8").split() if (tmp_path / "made").exists() else [])
    stored = {f"{p.parent.name}/{p.name}" for p in own.glob("*/*/")}
    if launcher.startswith("bench"):  # workers that are no jobs make the rest
        assert " on 2 workers" in shown.out
        assert set(made) <= stored
    else:
        assert set(made) == stored
        assert {"panel", "features", "label", "window"} <= {name.partition("/")[0] for name in made}
    assert set(made.values()) <= {1}


@pytest.mark.nightly
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_mistake_in_a_cell_that_runs_elsewhere_has_its_message_and_no_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    shown = bench("-m", f"hydra/launcher={launcher}", "data=tabular", "data.path=nowhere.parquet", "seed=1,2")
    assert shown.code == 2
    assert shown.out.count("There is no such file.") == 2
    assert "Traceback" not in shown.out + shown.err
    assert not list(Path("runs").rglob("failure-*"))


@pytest.mark.nightly
def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    sweep = ["-m", "model.alpha=0.1,1,2,3", *SMALL, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
    command = [sys.executable, "-m", "harness", *sweep]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".bench/store/result/*/")):
        assert running.poll() is None
    running.kill()
    running.wait()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob(".bench/store/*/*") if p.name[0] != "."}
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(list(tmp_path.glob("runs/sweep-*/leaderboard.csv"))) == 1
