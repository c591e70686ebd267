"""The multilayer perceptron: the contract, weighting, early stopping, isolation, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.models import network
from baselines.models.mlp import MLP
from baselines.models.network import FittedNetwork
from harness.errors import ConfigError, DataError
from tests.models.contract import (
    TRAIN,
    VALID,
    ModelContract,
    final_rows,
    fit,
    from_yaml,
    learn,
    make_table,
    saved_files,
    two_blocks,
)

torch = pytest.importorskip("torch", reason="the extra driftbench[torch] is not installed")

SMALL: dict[str, Any] = {
    "hidden_sizes": (16,),
    "activation": "leaky_relu",
    "dropout": 0.05,
    "loss": "mse",
    "optimizer": "adam",
    "lr": 0.01,
    "weight_decay": 0.0002,
    "batch_size": 160,
    "max_epochs": 15,
    "early_stopping_rounds": 3,
    "seed": 7,
    "device": "cpu",
    "threads": 1,
}


class TestContract(ModelContract):
    model = MLP(**{**SMALL, "threads": 2})
    # All rows in one batch, so that leaving rows out does not change which rows meet; no units are left out at random.
    steady = MLP(**{**SMALL, "early_stopping_rounds": None, "batch_size": 10_000, "dropout": 0.0, "lr": 0.02})
    tolerance = 1e-4


def trained(**changes: Any) -> FittedNetwork:
    fitted = fit(MLP(**{**SMALL, **changes}), make_table())
    assert isinstance(fitted, FittedNetwork)
    return fitted


def score(**changes: Any) -> np.ndarray:
    return trained(**changes).predict(final_rows(make_table()))


def test_only_the_proportions_of_weights_count() -> None:
    table = make_table()
    model = MLP(**{**SMALL, "threads": 2})
    once, twice = (fit(model, table, two_blocks(0.5 * k, 2.0 * k)).predict(final_rows(table)) for k in (1, 4))
    assert once.tobytes() == twice.tobytes()


def test_a_linear_network_reaches_weighted_least_squares() -> None:
    table = make_table()
    weights = two_blocks(0.2, 2)
    model = MLP(
        **{
            **SMALL,
            "hidden_sizes": (),
            "batch_size": 10_000,
            "weight_decay": 0.0,
            "early_stopping_rounds": None,
            "max_epochs": 600,
            "lr": 0.05,
        }
    )
    train = learn(table, TRAIN, weights)
    assert train.weights is not None
    design = np.column_stack([train.features, np.ones(len(train.label))]) * np.sqrt(train.weights)[:, None]
    solution = np.linalg.lstsq(design, train.label * np.sqrt(train.weights), rcond=None)[0]
    rows = final_rows(table)
    expected = rows @ solution[:-1] + solution[-1]
    np.testing.assert_allclose(model.fit(train, None).predict(rows), expected, atol=1e-3)


def test_the_best_epoch_is_kept_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    original = network._mean_loss

    def record(*arguments: Any) -> float:
        losses.append(original(*arguments))
        return losses[-1]

    monkeypatch.setattr(network, "_mean_loss", record)
    # Far too many parameters for these few rows: the validation loss soon rises again.
    fitted = trained(lr=0.03, hidden_sizes=(64, 64), dropout=0.0, max_epochs=40, early_stopping_rounds=40)
    valid = learn(make_table(), VALID)
    kept = float(np.mean((fitted.predict(valid.features) - valid.label).astype(np.float64) ** 2))
    assert kept == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > 1.05 * min(losses)


def test_it_stops_when_the_validation_loss_no_longer_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    original = network._epoch

    def count(*arguments: Any) -> None:
        epochs.append(1)
        original(*arguments)

    losses = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    monkeypatch.setattr(network, "_epoch", count)
    monkeypatch.setattr(network, "_mean_loss", lambda *_: next(losses))
    trained()
    assert len(epochs) == 5  # the second is the best, and three more do not beat it


def test_the_seed_decides_initialisation_and_order() -> None:
    assert score(seed=1).tobytes() != score(seed=2).tobytes()


def test_the_state_of_torch_is_left_alone() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    score(threads=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_the_state_of_torch_does_not_matter() -> None:
    torch.manual_seed(1)
    first = score()
    torch.manual_seed(2)
    assert score().tobytes() == first.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_undefined_features_are_refused_by_name(value: float) -> None:
    table = make_table()
    features = table.features.copy()
    features[[3, 9], 1] = value
    features[5, 4] = value
    with pytest.raises(DataError, match=r"2 feature\(s\) hold missing") as caught:
        fit(MLP(**SMALL), table.with_columns(features, table.feature_names, table.label))
    assert caught.value.got == f"{table.feature_names[1]}, {table.feature_names[4]}"
    with pytest.raises(DataError, match="a neural network cannot use"):
        trained().predict(features[:20])


def test_a_diverging_training_is_refused() -> None:
    with pytest.raises(ConfigError, match="diverged"):
        score(optimizer="sgd", lr=1e6)


def test_the_architecture_comes_from_the_file(tmp_path: Path) -> None:
    fitted = trained(hidden_sizes=(8, 4), activation="tanh")
    saved_files(fitted, tmp_path / "model")
    rows = final_rows(make_table())
    assert MLP(**SMALL).load(tmp_path / "model").predict(rows).tobytes() == fitted.predict(rows).tobytes()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_every_loss_and_optimizer_learns(loss: str, optimizer: str) -> None:
    table = make_table()
    label = table.label[table.index.rows(58, 70)]
    found = score(loss=loss, optimizer=optimizer, lr=0.1 if optimizer == "sgd" else 0.01)
    assert np.corrcoef(found, label)[0, 1] > 0.6


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error_only_when_demanded() -> None:
    assert score(device="auto").tobytes() == score(device="cpu").tobytes()
    with pytest.raises(ConfigError, match="no GPU"):
        score(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_trains_the_same_bits_twice_and_nearly_those_of_the_cpu() -> None:
    steady = {"early_stopping_rounds": None, "dropout": 0.0}
    first = score(device="cuda", **steady)
    assert score(device="cuda", **steady).tobytes() == first.tobytes()
    np.testing.assert_allclose(first, score(**steady), atol=1e-2)


def test_the_yaml_composes() -> None:
    model = from_yaml("mlp")
    assert isinstance(model, MLP)
    assert (model.hidden_sizes, model.lr, model.batch_size, model.weight_decay) == ((256,), 0.002, 8192, 0.0002)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0.0), ("dropout", 1.5), ("hidden_sizes", (0,)), ("batch_size", 0), ("max_epochs", 0), ("threads", 0)],
)
def test_an_impossible_value_names_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        MLP(**{**SMALL, key: value})


def test_validation_cannot_be_trained_on_and_stop_the_training() -> None:
    with pytest.raises(ConfigError, match="cannot be trained on"):
        MLP(**SMALL, include_valid=True)


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, baselines.models.mlp; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
