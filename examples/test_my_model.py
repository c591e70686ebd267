"""The model learns a signal, can be saved, and uses the weights that it is given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from my_model import MyModel

from harness import run_experiment

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40", "data.signal=0.3"]


def learn_set(weights: np.ndarray | None = None) -> SimpleNamespace:
    features = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    return SimpleNamespace(features=features, label=features @ np.array([1.0, 0.0, -1.0]), weights=weights)


def test_it_finds_the_signal_of_a_simulated_market(tmp_path: Path) -> None:
    output = [f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"]
    folder = Path(__file__).resolve().parent / "my_conf"
    result = run_experiment([*SMALL, *output, "model=my_model"], search_path=[folder])
    assert result.metrics["rank_IC"] > 0


def test_it_predicts_the_same_after_it_was_saved(tmp_path: Path) -> None:
    fitted = MyModel().fit(learn_set(), None)
    fitted.save(tmp_path)
    features = learn_set().features
    np.testing.assert_array_equal(MyModel().load(tmp_path).predict(features), fitted.predict(features))


def test_a_weight_of_zero_is_a_row_left_out() -> None:
    weights = np.repeat([1.0, 0.0], 100)
    weighted = MyModel().fit(learn_set(weights), None)
    half = learn_set()
    half.features, half.label = half.features[:100], half.label[:100]
    np.testing.assert_allclose(weighted.covariance, MyModel().fit(half, None).covariance, rtol=1e-5)
