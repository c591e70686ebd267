"""How networks of torch are trained, predict and are kept; needs the extra ``driftbench[torch]``."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from baselines.models.intake import Rows, StopsEarly, check_same_features, check_width, import_extra, refuse_undefined
from harness.errors import ConfigError
from harness.errors.limits import Count, NonNegative, Positive, Seed, Threads
from harness.samples.interfaces import FittedModel, Floats, LearnSet
from harness.store import codec
from harness.store.artifacts import canonical_json

if TYPE_CHECKING:
    import torch

# What torch calls them.
_LOSSES = {"mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss"}
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
_WEIGHTS = "model.safetensors"
_CHUNK = 4096  # rows that are predicted at once


@dataclass(frozen=True, kw_only=True)
class Network(StopsEarly):
    """A network trained on shuffled batches until the validation loss stops falling; a subclass says of which shape.

    The loss of a batch is Σ wᵢ ℓ(pᵢ, yᵢ) / (batch size · mean weight of all rows), so that a batch of light rows moves
    the network less than one of heavy rows, and doubling all weights changes nothing. Weights count in the validation
    loss too.

    Two fits on the same rows with the same seed, threads and kind of device give the same bits. No random state is
    shared: shuffling has its own generator, initialisation and dropout a forked one.

    Attributes:
        loss: What is minimised, and what early stopping watches.
        optimizer: ``adam`` penalises through the gradient, ``adamw`` decays the parameters, ``sgd`` has no momentum.
        lr: Learning rate.
        weight_decay: Strength of the penalty on the parameters.
        batch_size: Rows per update.
        max_epochs: Most passes over the rows.
        early_stopping_rounds: Stop when the validation loss has not fallen for that many epochs, and keep the best
            epoch's parameters. None trains all epochs and needs no validation segment.
        seed: For initialisation, dropout and the order of rows.
        device: Where it is trained. ``auto`` takes a GPU when there is one; results differ between devices: rounding,
            and what dropout draws.
        threads: A fixed number on the CPU, so that results do not depend on the machine; restored after each call.
    """

    # Fields that say which parameters there are: kept with these, so that a network is read back as it was trained.
    shape: ClassVar[tuple[str, ...]]

    loss: Literal["mse", "mae", "huber"]
    optimizer: Literal["adam", "adamw", "sgd"]
    lr: Positive
    weight_decay: NonNegative
    batch_size: Annotated[int, Ge(1), Le(100_000_000)]
    max_epochs: Count
    seed: Seed
    device: Literal["cpu", "cuda", "auto"]
    threads: Threads

    @abstractmethod
    def build(self, feature_names: tuple[str, ...]) -> torch.nn.Module:
        """Return a network from (m, F) features to (m, 1) scores, initialised from torch's current state."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedNetwork:
        return self.fit_from(None, train, valid)

    def fit_from(self, start: FittedModel | None, train: LearnSet, valid: LearnSet | None) -> FittedNetwork:
        """Train from the parameters of `start`, with a new optimiser, or from random ones when it is None."""
        import_extra("torch")
        train_rows, valid_rows = self.learning_rows(train, valid)
        for rows in (train_rows, valid_rows):
            if rows is not None:
                _check_defined(rows.features, train.feature_names)
        device = pick_device(self.device)
        with isolated_torch(self.seed, self.threads, device):
            network = self.build(train.feature_names).to(device)
            if start is not None:
                assert isinstance(start, FittedNetwork)
                check_same_features(start.feature_names, train.feature_names)
                network.load_state_dict(start.network.state_dict())
            network = train_network(self, network, train_rows, valid_rows)
        return FittedNetwork(self, network, train.feature_names)

    def load(self, folder: Path) -> FittedNetwork:
        import_extra("torch")
        from safetensors.torch import load_file

        names, text = codec.load(folder, tuple[tuple[str, ...], str])
        shape: dict[str, Any] = json.loads(text)
        shape = {key: tuple(value) if isinstance(value, list) else value for key, value in shape.items()}
        with isolated_torch(self.seed, self.threads, pick_device("cpu")):
            network = replace(self, **shape).build(names)
        network.load_state_dict(load_file(folder / _WEIGHTS))
        return FittedNetwork(self, network, names)


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A trained network. It predicts on the CPU, wherever it was trained, so that a reloaded one gives the same bits.

    Attributes:
        network: The trained parameters, on the CPU.
    """

    model: Network
    network: torch.nn.Module
    feature_names: tuple[str, ...]

    def predict(self, features: Floats) -> Floats:
        check_width(features, self.feature_names)
        _check_defined(features, self.feature_names)
        with isolated_torch(self.model.seed, self.model.threads, pick_device("cpu")):
            return scores(self.network, features)

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.network.state_dict(), folder / _WEIGHTS)
        shape = {key: getattr(self.model, key) for key in self.model.shape}
        codec.save(folder, (self.feature_names, canonical_json(shape)))


def _check_defined(features: Floats, feature_names: tuple[str, ...]) -> None:
    with np.errstate(invalid="ignore"):
        sums = features.sum(axis=0, dtype=np.float64)
    hint = "end the preprocess with a processor that fills them"
    refuse_undefined(sums, feature_names, "neural network", where="features", hint=hint)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Fix the threads of torch inside; sums depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def isolated_torch(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seed torch and fix its threads inside; afterwards both are as they were."""
    import torch

    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []), torch_threads(threads):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


def pick_device(name: str) -> torch.device:
    """Return the device that ``cpu``, ``cuda`` or ``auto`` means here."""
    import torch

    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError("There is no GPU that torch can use.", where="model.device", got=name, expected="cpu, auto")
    return torch.device("cuda", torch.cuda.current_device()) if found and name != "cpu" else torch.device("cpu")


def train_network(model: Network, network: torch.nn.Module, train: Rows, valid: Rows | None) -> torch.nn.Module:
    """Train the network and return it with the parameters of the epoch with the smallest validation loss.

    Of the last epoch without `valid`. It trains where it lies and is returned on the CPU.
    """
    import torch

    kind = getattr(torch.optim, _OPTIMIZERS[model.optimizer])
    optimizer = kind(network.parameters(), lr=model.lr, weight_decay=model.weight_decay)
    order = torch.Generator().manual_seed(model.seed)
    best, best_loss, best_epoch = network.state_dict(), np.inf, -1
    for epoch in range(model.max_epochs):
        _epoch(model, network, optimizer, train, torch.randperm(len(train.label), generator=order).numpy())
        if valid is None or model.early_stopping_rounds is None:
            best, best_epoch = network.state_dict(), epoch
            continue
        loss = _mean_loss(model, network, valid)
        if loss < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), loss, epoch
        elif epoch - best_epoch >= model.early_stopping_rounds:
            break
    if best_epoch < 0 or not all(bool(p.isfinite().all()) for p in best.values()):
        raise ConfigError("The training diverged.", where="model.lr", got=model.lr, expected="a smaller learning rate")
    network.load_state_dict(best)
    return network.eval().cpu()


def scores(network: torch.nn.Module, features: Floats) -> Floats:
    """Return (m,) float32 scores of (m, F) features.

    Rows are computed in chunks of one fixed size, the last one filled up: a matrix product rounds differently for other
    numbers of rows, and a row's bits must not depend on how many follow it.
    """
    import torch

    device = next(network.parameters()).device
    network.eval()
    found = np.empty(len(features), dtype=np.float32)
    chunk = np.zeros((_CHUNK, features.shape[1]), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(features), _CHUNK):
            rows = features[start : start + _CHUNK]
            chunk[: len(rows)] = rows
            chunk[len(rows) :] = 0
            found[start : start + len(rows)] = network(torch.from_numpy(chunk).to(device))[: len(rows), 0].cpu().numpy()
    return found


def _epoch(
    model: Network, network: torch.nn.Module, optimizer: torch.optim.Optimizer, rows: Rows, order: npt.NDArray[np.int64]
) -> None:
    import torch

    device = next(network.parameters()).device
    scale = 1.0 if rows.weights is None else 1.0 / float(rows.weights.mean())
    network.train()
    for start in range(0, len(order), model.batch_size):
        batch = order[start : start + model.batch_size]
        # Only a batch is ever copied: the table's own memory may be larger than what is left.
        features = torch.from_numpy(rows.features[batch]).to(device)
        label = torch.from_numpy(rows.label[batch]).to(device)
        losses = _losses(model, network(features).squeeze(1), label)
        if rows.weights is not None:
            losses = losses * torch.from_numpy((rows.weights[batch] * scale).astype(np.float32)).to(device)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.mean())
        optimizer.step()


def _mean_loss(model: Network, network: torch.nn.Module, rows: Rows) -> float:
    import torch

    losses = _losses(model, torch.from_numpy(scores(network, rows.features)), torch.tensor(rows.label))
    return float(np.average(losses.numpy().astype(np.float64), weights=rows.weights))


def _losses(model: Network, found: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    losses: torch.Tensor = getattr(functional, _LOSSES[model.loss])(found, label, reduction="none")
    return losses
