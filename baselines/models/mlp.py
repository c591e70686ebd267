"""A multilayer perceptron on torch; needs the extra ``driftbench[torch]``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from baselines.models.intake import check_stopping, check_width, import_extra, learning_rows
from baselines.models.mlp_network import build_network, isolated_torch, pick_device, scores, train_network
from harness.errors import DataError
from harness.errors.limits import Count, Fraction, NonNegative, Positive, Seed, Threads, check_limits
from harness.samples.interfaces import Floats, LearnSet
from harness.store.artifacts import canonical_json

if TYPE_CHECKING:
    import torch

_WEIGHTS, _RECORD = "model.safetensors", "model.json"


@dataclass(frozen=True, kw_only=True)
class MLP:
    """A fully connected network, trained on shuffled batches until the validation loss stops falling.

    The loss of a batch is Σ wᵢ ℓ(pᵢ, yᵢ) / (batch size · mean weight of all rows), so that a batch of light rows moves
    the network less than one of heavy rows, and doubling all weights changes nothing. Weights count in the validation
    loss too.

    Two fits on the same rows with the same seed, threads and kind of device give the same bits. No random state is
    shared: shuffling has its own generator, initialisation and dropout a forked one.

    qlib's ``DNNModelPytorch`` differs: it draws batches with replacement, normalises within each (so that a row of
    weight 0 still counts), does not divide by the mean weight, and lowers the learning rate on a plateau.

    Attributes:
        hidden_sizes: Width of each hidden layer; empty makes a linear model.
        activation: Between the layers.
        dropout: Share of the hidden units left out in training, in [0, 1].
        loss: What is minimised, and what early stopping watches.
        optimizer: ``adam`` penalises through the gradient, ``adamw`` decays the parameters, ``sgd`` has no momentum.
        lr: Learning rate.
        weight_decay: Strength of the penalty on the parameters.
        batch_size: Rows per update.
        max_epochs: Most passes over the rows.
        early_stopping_rounds: Stop when the validation loss has not fallen for that many epochs, and keep the best
            epoch's parameters. None trains all epochs and needs no validation segment.
        seed: For initialisation, dropout and the order of rows.
        device: Where it is trained. ``auto`` takes a GPU when there is one; results of different devices differ by
            rounding.
        threads: A fixed number on the CPU, so that results do not depend on the machine; restored after each call.
        include_valid: Train on the validation segment too; only without early stopping.

    Raises:
        ConfigError: For an impossible value.
    """

    supports_weights: ClassVar[bool] = True

    hidden_sizes: tuple[Annotated[int, Ge(1), Le(65_536)], ...]
    activation: Literal["relu", "leaky_relu", "gelu", "tanh"]
    dropout: Fraction
    loss: Literal["mse", "mae", "huber"]
    optimizer: Literal["adam", "adamw", "sgd"]
    lr: Positive
    weight_decay: NonNegative
    batch_size: Annotated[int, Ge(1), Le(100_000_000)]
    max_epochs: Count
    early_stopping_rounds: Count | None
    seed: Seed
    device: Literal["cpu", "cuda", "auto"]
    threads: Threads
    include_valid: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_limits(self, "model")
        check_stopping(self.include_valid, self.early_stopping_rounds)

    @property
    def needs_valid(self) -> bool:
        """Whether it stops early."""
        return self.early_stopping_rounds is not None

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedMLP:
        """Train on `train`, stop on `valid`.

        Raises:
            ConfigError: When it stops early and there is no `valid`, the loss overflows, or torch or the device is
                missing.
            DataError: When a period has no usable row, or a feature is missing or infinite; names the features.
        """
        import_extra("torch", "torch")
        train_rows, valid_rows = learning_rows(self, train, valid)
        for rows in (train_rows, valid_rows):
            if rows is not None:
                _refuse_undefined(rows.features, train.feature_names)
        device = pick_device(self.device)
        with isolated_torch(self.seed, self.threads, device):
            network = train_network(self, train_rows, valid_rows, device)
        return FittedMLP(self, network, train.feature_names)

    def load(self, folder: Path) -> FittedMLP:
        """Read what `FittedMLP.save` wrote; its predictions are the same bits."""
        import_extra("torch", "torch")
        from safetensors.torch import load_file

        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        names = tuple(record["feature_names"])
        sizes, activation = tuple(record["hidden_sizes"]), record["activation"]
        with isolated_torch(self.seed, self.threads, pick_device("cpu")):
            network = build_network(sizes, activation, self.dropout, len(names))
        network.load_state_dict(load_file(folder / _WEIGHTS))
        return FittedMLP(self, network, names)


class FittedMLP:
    """A trained network. It predicts on the CPU, wherever it was trained, so that a reloaded one gives the same bits.

    Args:
        model: What it was trained by.
        network: The trained parameters, on the CPU.
        feature_names: The F features, in column order.
    """

    def __init__(self, model: MLP, network: torch.nn.Sequential, feature_names: tuple[str, ...]) -> None:
        self.feature_names = feature_names
        self._model = model
        self._network = network

    def predict(self, features: Floats) -> Floats:
        """Return (m,) float32 predictions for (m, F) float32 features; a row's does not depend on later rows.

        Raises:
            DataError: When a feature is missing or infinite; names the features.
        """
        check_width(features, self.feature_names)
        _refuse_undefined(features, self.feature_names)
        with isolated_torch(self._model.seed, self._model.threads, pick_device("cpu")):
            return scores(self._network, features)

    def save(self, folder: Path) -> None:
        """Write the parameters, and what they belong to beside them."""
        from safetensors.torch import save_file

        save_file(self._network.state_dict(), folder / _WEIGHTS)
        record = {
            "schema_version": 1,
            "feature_names": list(self.feature_names),
            "hidden_sizes": list(self._model.hidden_sizes),
            "activation": self._model.activation,
        }
        (folder / _RECORD).write_text(canonical_json(record, indent=1), encoding="utf-8", newline="\n")


def _refuse_undefined(features: Floats, feature_names: tuple[str, ...]) -> None:
    with np.errstate(invalid="ignore"):
        sums = features.sum(axis=0, dtype=np.float64)
    undefined = ~np.isfinite(sums)
    if undefined.any():
        names = np.array(feature_names)[undefined]
        raise DataError(
            f"A neural network cannot use missing or infinite values, and {len(names)} feature(s) hold some.",
            where="features",
            got=", ".join(names[:8]) + (" …" if len(names) > 8 else ""),
            hint="end the preprocess with a processor that fills them",
        )
