"""Stages that experiments share are made once, and sharing changes no bit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.config import compose_config
from harness.data.source import Source
from harness.execution.progress import Silent
from harness.run.experiment import ExperimentResult, run
from harness.run.pipeline import panel_key_of
from harness.run.stages import Cache
from harness.store.artifacts import Key, MemoryCache

SMALL = ["data.instruments=24", "data.days=480", "data.members=16", "windows.step=40", "label.horizon=5"]
DDGDA = [
    *["adaptation=ddgda", "adaptation.hist_step_n=4", "adaptation.max_epoch=2", "adaptation.fea_imp_n=5"],
    *["adaptation.choice_gbdt.rounds=3", "adaptation.loss_skip_thresh=5"],
]


def run_in(folder: Path, *overrides: str, memory: MemoryCache | None = None, **how: bool) -> ExperimentResult:
    config = compose_config([*SMALL, f"output.store={folder}/store", f"output.runs={folder}/runs", *overrides])
    return run(config, Silent(), Cache.of(config, memory, **how))


@pytest.fixture(scope="module")
def ddgda(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExperimentResult]:
    """Return the folder of an experiment with DDG-DA, and its result."""
    folder = tmp_path_factory.mktemp("ddgda")
    return folder, run_in(folder, *DDGDA)


def results_of(folder: Path) -> Counter[str]:
    return Counter(path.parent.parent.name for path in (folder / "store").glob("*/*/manifest.json"))


@pytest.mark.parametrize("overrides", [[], ["adaptation=gf_exp", "model.include_valid=false"], DDGDA])
def test_stages_shared_through_the_store_give_the_same_bits(tmp_path: Path, overrides: list[str]) -> None:
    alone = run_in(tmp_path / "alone", *overrides, lone=True)
    shared = run_in(tmp_path / "shared", *overrides, shared=True)
    found = results_of(tmp_path / "shared")
    assert (found["processed"], found["sums"]) == (1, 1)
    assert alone.snapshot.digest == shared.snapshot.digest
    assert (alone.folder / "reads.json").read_bytes() == (shared.folder / "reads.json").read_bytes()


def test_experiments_with_one_memory_look_at_their_source_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def counted(source: Source) -> Key:
        looked.append(source)
        return panel_key_of(source)

    monkeypatch.setattr("harness.run.pipeline.panel_key_of", counted)
    memory = MemoryCache()
    run_in(tmp_path, memory=memory)
    assert len(looked) == 2  # before the panel is read, and after
    run_in(tmp_path, "model.alpha=1", memory=memory)
    assert len(looked) == 2
    run_in(tmp_path, "data.seed=7", memory=memory)
    assert len(looked) == 4


def test_features_that_no_processor_touches_are_not_stored_twice(tmp_path: Path) -> None:
    run_in(tmp_path, "model=lightgbm", "model.num_boost_round=2", "model.early_stopping_rounds=2", shared=True)
    (processed,) = (tmp_path / "store" / "processed").iterdir()
    chunks = (tmp_path / "store" / "chunk").glob("*/*.npy")
    largest = sum(path.stat().st_size for path in chunks)
    assert sum(path.stat().st_size for path in processed.iterdir()) < largest / 2


def test_a_memory_cache_carries_processed_tables_from_one_experiment_to_the_next(tmp_path: Path) -> None:
    memory = MemoryCache()
    first = run_in(tmp_path, memory=memory)
    kept = {stage: list(entries) for stage, entries in vars(memory)["_kept"].items()}
    assert {"table", "processed", "gram"} <= kept.keys()
    second = run_in(tmp_path, "model.alpha=1", memory=memory)
    assert {stage: list(entries) for stage, entries in vars(memory)["_kept"].items()} == kept
    assert first.snapshot.digest != second.snapshot.digest
    assert second.snapshot.digest == run_in(tmp_path / "fresh", "model.alpha=1").snapshot.digest


def test_ddgda_is_fitted_once_for_every_model_and_its_proxy_data_once_for_every_alpha(
    ddgda: tuple[Path, ExperimentResult], tmp_path: Path
) -> None:
    folder, _ = ddgda
    assert (results_of(folder)["adaptation"], results_of(folder)["proxy"]) == (1, 1)
    run_in(folder, *DDGDA, "model.alpha=1")
    assert (results_of(folder)["adaptation"], results_of(folder)["proxy"]) == (1, 1)
    again = run_in(folder, *DDGDA, "adaptation.alpha=1")
    assert (results_of(folder)["adaptation"], results_of(folder)["proxy"]) == (2, 1)
    assert again.snapshot.digest == run_in(tmp_path, *DDGDA, "adaptation.alpha=1").snapshot.digest


def test_what_an_adaptation_has_learned_stands_beside_the_snapshot(
    ddgda: tuple[Path, ExperimentResult], tmp_path: Path
) -> None:
    _, result = ddgda
    names = {path.name for path in (result.folder / "adaptation").iterdir()}
    assert {"weights.parquet", "weight_model.json", "similarity_0.npy", "meta_training.parquet"} <= names
    assert len(json.loads((result.folder / "adaptation" / "weight_model.json").read_text())["coefficients"]) == 4
    assert not (run_in(tmp_path).folder / "adaptation").exists()


def test_a_memory_cache_forgets_what_was_used_longest_ago() -> None:
    memory, made = MemoryCache(most=2), []

    def get(digest: str) -> str:
        return memory.get("stage", digest, lambda: made.append(digest) or digest)  # type: ignore[func-returns-value]

    for digest in ("a", "b", "a", "c", "a", "b"):
        assert get(digest) == digest
    assert made == ["a", "b", "c", "b"]
