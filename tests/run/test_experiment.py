"""One configuration, one result: the same bits from any folder, fresh or resumed, without a look at the future."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.config import compose_config
from harness.run.experiment import ExperimentResult, run_experiment
from harness.snapshots.snapshot import read_snapshot

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


def run_in(folder: Path, *overrides: str) -> ExperimentResult:
    return run_experiment([*SMALL, f"output.store={folder}/store", f"output.runs={folder}/runs", *overrides])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    return run_in(tmp_path_factory.mktemp("undisturbed"))


def without_provenance(result: ExperimentResult) -> dict[str, object]:
    record = json.loads((result.folder / "snapshot.json").read_text(encoding="utf-8"))
    assert record.pop("provenance")
    record.pop("seal", None)
    return record


def test_the_same_configuration_gives_the_same_snapshot_from_another_folder(
    undisturbed: ExperimentResult, tmp_path: Path
) -> None:
    again = run_in(tmp_path)
    assert not again.reused
    assert without_provenance(again) == without_provenance(undisturbed)
    for name in ("predictions.parquet", "series.parquet", "metrics.json", "reads.json"):
        assert (again.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name


def test_running_again_reuses_everything_and_changes_nothing(tmp_path: Path) -> None:
    first, second = run_in(tmp_path), run_in(tmp_path)
    assert (first.reused, second.reused) == (False, True)
    assert without_provenance(first) == without_provenance(second)


@pytest.mark.parametrize("lost", ["result", "window", "features", "panel"])
def test_a_lost_or_damaged_stage_is_computed_again_with_the_same_bits(
    undisturbed: ExperimentResult, tmp_path: Path, lost: str
) -> None:
    run_in(tmp_path)
    shutil.rmtree(tmp_path / "store" / "result")
    if lost != "result":
        for path in sorted((tmp_path / "store" / lost).rglob("*.npy"))[:3]:
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
    assert without_provenance(run_in(tmp_path)) == without_provenance(undisturbed)


@pytest.mark.parametrize(
    "override", ["model.alpha=1", "windows.step=50", "label.horizon=5", "data.seed=1", "preprocess.refit=per_window"]
)
def test_any_setting_that_can_change_a_number_is_another_identity(
    undisturbed: ExperimentResult, tmp_path: Path, override: str
) -> None:
    other = run_in(tmp_path, override)
    assert other.snapshot.identity != undisturbed.snapshot.identity
    assert other.snapshot.metrics["predictions"] != undisturbed.snapshot.metrics["predictions"]


def test_editing_a_users_own_processor_never_reuses_what_the_old_one_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from dataclasses import dataclass\n"
        "from harness.samples.preprocess import Processor\n"
        "@dataclass(frozen=True)\n"
        "class Shrink(Processor):\n"
        "    def transform(self, values, offsets, state):\n"
        "        values *= {factor}\n"
        "        values[:, 0] += {factor} - 1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    conf = tmp_path / "conf" / "preprocess"
    conf.mkdir(parents=True)
    (conf / "shrunk.yaml").write_text(
        "# The linear model's processors and one of a user's own.\n"
        "_target_: harness.preprocess.Pipeline\nrefit: once\nfeatures:\n"
        "  - {_target_: harness.preprocess.Fillna, fill_value: 0.0}\n"
        "  - {_target_: my_processor.Shrink}\n"
        "label:\n  - {_target_: harness.preprocess.CSRankNorm}\n",
        encoding="utf-8",
    )
    digests = []
    for factor in ("1.0", "0.5"):
        (tmp_path / "my_processor.py").write_text(source.format(factor=factor), encoding="utf-8")
        sys.modules.pop("my_processor", None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        arguments = [*SMALL, "preprocess=shrunk", f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
        result = run_experiment(arguments, search_path=[tmp_path / "conf"])
        assert not result.reused
        digests.append(result.snapshot.metrics["predictions"])
    sys.modules.pop("my_processor", None)
    assert digests[0] != digests[1]


def test_the_snapshot_says_everything_that_identifies_the_result(undisturbed: ExperimentResult) -> None:
    identity = undisturbed.snapshot.identity
    assert identity["look_ahead"] == 21
    assert len(identity["data"]["fingerprint"]) == 64
    assert len(identity["features"]["features"]) == 158
    assert identity["config"]["model"]["alpha"] == 0.05
    assert identity["windows"][0]["test"]
    assert {"overall", "per_window", "per_year", "oracle", "predictions"} <= set(undisturbed.snapshot.metrics)
    assert len(undisturbed.snapshot.metrics["per_window"]) == len(undisturbed.windows)
    assert {"code", "packages", "platform", "seconds", "peak_memory_mb"} <= set(undisturbed.snapshot.provenance)
    assert str(Path.home()) not in (undisturbed.folder / "snapshot.json").read_text(encoding="utf-8")


def test_what_was_fitted_read_nothing_beyond_its_decision(undisturbed: ExperimentResult) -> None:
    reads = json.loads((undisturbed.folder / "reads.json").read_text(encoding="utf-8"))
    assert len(reads) == len(undisturbed.windows)
    for window in reads:
        for part in (window["preprocess"], window["model"]):
            assert 0 <= part["feature"] <= window["decision"]
            assert part["label_known"] <= window["decision"]


def test_the_oracle_is_the_best_that_can_be_reached(undisturbed: ExperimentResult) -> None:
    assert undisturbed.oracle is not None
    assert undisturbed.oracle["rank_IC"] > undisturbed.metrics["rank_IC"]


def test_poisoning_the_future_of_the_prices_moves_no_earlier_prediction(tmp_path: Path) -> None:
    """The pipeline as a black box: raw prices after the cut are others, predictions up to it are the same bits."""
    source = compose_config(SMALL).data
    panel = source.load()
    cut = 340
    rng = np.random.default_rng(7)
    scores = []
    for poisoned in (False, True):
        fields = {name: np.array(values) for name, values in panel.fields.items()}
        membership = np.array(panel.membership)
        if poisoned:
            shape = membership[cut + 1 :].shape
            moved = np.exp(rng.normal(0, 0.3, size=shape)).astype(np.float32)
            moved[rng.random(shape) < 0.1] = np.nan
            for values in fields.values():
                values[cut + 1 :] *= moved
            membership[cut + 1 :] = rng.random(shape) < 0.7
        scores.append(_predictions(tmp_path / str(poisoned), panel, fields, membership))
    clean, dirty = scores
    known = clean["datetime"] <= panel.calendar.times[cut]
    assert known.sum() > 100
    also_known = dirty["datetime"] <= panel.calendar.times[cut]
    np.testing.assert_array_equal(clean["score"][known].to_numpy(), dirty["score"][also_known].to_numpy())
    assert not np.array_equal(clean["score"].to_numpy(), dirty["score"].to_numpy())


def _predictions(folder: Path, panel, fields, membership):
    from dataclasses import replace

    from harness.data.convert import convert

    folder.mkdir()
    changed = replace(panel, fields=fields, membership=membership, truth=None)
    convert(changed, folder / "panel", "long", universe="u")
    result = run_experiment(
        [
            *("data=tabular", f"data.path={folder}/panel/panel.parquet", f"data.membership={folder}/panel/u.txt"),
            *(f"data.calendar={folder}/panel/calendar.txt", "windows.step=40", "~data.columns.factor"),
            *(f"output.store={folder}/store", f"output.runs={folder}/runs"),
        ]
    )
    return result.predictions().to_frame()


def test_a_killed_run_leaves_no_half_written_file_and_resumes_to_the_same_snapshot(
    undisturbed: ExperimentResult, tmp_path: Path
) -> None:
    arguments = [*SMALL, f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
    command = [sys.executable, "-c", "from harness.cli import command; command()", "run"]
    windows = tmp_path / "store" / "window"
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (windows.is_dir() and any(windows.iterdir())):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    for path in (tmp_path / "runs").rglob("snapshot.json") if (tmp_path / "runs").is_dir() else ():
        read_snapshot(path)
    resumed = run_in(tmp_path)
    assert without_provenance(resumed) == without_provenance(undisturbed)
