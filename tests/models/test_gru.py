"""The recurrent network: the contract, the sequence that a row holds, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.models.gru import GRU, sequence_of
from harness.errors import ConfigError
from harness.features.feature_set import ALPHA360
from harness.samples.table import SampleTable
from tests.models import contract
from tests.models.contract import ModelContract, final_rows, fit, from_yaml, make_table

pytest.importorskip("torch", reason="the extra driftbench[torch] is not installed")

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_layers": 1,
    "dropout": 0.0,
    "loss": "mse",
    "optimizer": "adam",
    "lr": 0.02,
    "weight_decay": 0.0,
    "batch_size": 320,
    "max_epochs": 40,
    "early_stopping_rounds": 10,
    "seed": 7,
    "device": "cpu",
    "threads": 1,
}


def lagged(*arguments: Any, **named: Any) -> SampleTable:
    """The table of the contract with columns that are a sequence of one channel."""
    table = make_table(*arguments, **named)
    names = tuple(f"close{lag}" for lag in reversed(range(table.features.shape[1])))
    return table.with_columns(np.array(table.features), names, table.label)


class TestContract(ModelContract):
    model = GRU(**SMALL)
    # All rows in one batch, so that leaving rows out does not change which rows meet.
    steady = GRU(**{**SMALL, "early_stopping_rounds": None, "batch_size": 10_000, "max_epochs": 8})
    tolerance = 1e-4

    @pytest.fixture(autouse=True)
    def _sequences(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contract, "make_table", lagged)


def test_the_sequence_of_alpha360_is_sixty_periods_of_six_channels_oldest_first() -> None:
    names = tuple(ALPHA360)
    columns = sequence_of(names)
    assert columns.shape == (60, 6)
    assert [names[at] for at in columns[0]] == ["CLOSE59", "OPEN59", "HIGH59", "LOW59", "VWAP59", "VOLUME59"]
    assert [names[at] for at in columns[-1]] == ["CLOSE0", "OPEN0", "HIGH0", "LOW0", "VWAP0", "VOLUME0"]


def test_the_order_of_the_columns_does_not_matter() -> None:
    names = ("b0", "a1", "b1", "a0")
    assert sequence_of(names).tolist() == [[2, 1], [0, 3]]


@pytest.mark.parametrize(
    "names", [("KMID",), ("ROC5", "ROC10"), ("a0", "a1", "b0"), ("a1", "a2"), ("a0", "a1", "turnover")]
)
def test_features_that_make_no_sequence_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="no sequence") as caught:
        sequence_of(names)
    assert caught.value.hint == "features=alpha360 makes one"


def test_time_runs_from_the_oldest_to_the_newest_period() -> None:
    """A network that has learned from the newest period answers to it more than to the oldest."""
    rng = np.random.default_rng(3)
    table = lagged()
    features = rng.normal(size=table.features.shape).astype(np.float32)
    table = table.with_columns(features, table.feature_names, features[:, -1].copy())
    fitted = fit(GRU(**SMALL), table)
    rows, moved = np.array(final_rows(table)), []
    for column in (0, -1):
        other = rows.copy()
        other[:, column] += 1.0
        moved.append(float(np.abs(fitted.predict(other) - fitted.predict(rows)).mean()))
    assert moved[1] > 3 * moved[0]


def test_dropout_that_could_do_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="between layers"):
        GRU(**{**SMALL, "dropout": 0.1})
    assert GRU(**{**SMALL, "dropout": 0.1, "num_layers": 2}).dropout == 0.1


def test_the_yaml_composes() -> None:
    model = from_yaml("gru")
    assert isinstance(model, GRU)
    assert (model.hidden_size, model.num_layers, model.lr, model.batch_size) == (64, 2, 0.001, 800)
