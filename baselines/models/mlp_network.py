"""The network of the multilayer perceptron and how it is trained: functions of rows, a seeded torch, and a device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from baselines.models.intake import Rows
from harness.errors import ConfigError
from harness.samples.interfaces import Floats

if TYPE_CHECKING:
    import torch

    from baselines.models.mlp import MLP

_CHUNK = 4096


@contextmanager
def isolated_torch(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seed torch and fix its threads inside; afterwards both are as they were."""
    import torch

    before = torch.get_num_threads()
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def pick_device(name: str) -> torch.device:
    """Return the device that ``cpu``, ``cuda`` or ``auto`` means here.

    Raises:
        ConfigError: For ``cuda`` without a GPU that torch can use.
    """
    import torch

    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError("There is no GPU that torch can use.", where="model.device", got=name, expected="cpu, auto")
    return torch.device("cuda", torch.cuda.current_device()) if found and name != "cpu" else torch.device("cpu")


def build_network(hidden_sizes: tuple[int, ...], activation: str, dropout: float, width: int) -> torch.nn.Sequential:
    """Return a fully connected network from `width` features to one score, initialised from torch's current state."""
    from torch import nn

    kind = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[activation]
    layers: list[nn.Module] = []
    for size in hidden_sizes:
        layers += [nn.Linear(width, size), kind(), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))


def train_network(model: MLP, train: Rows, valid: Rows | None, device: torch.device) -> torch.nn.Sequential:
    """Return the network of the epoch with the smallest validation loss, or of the last epoch without `valid`.

    Raises:
        ConfigError: When the loss overflows.
    """
    import torch

    width = train.features.shape[1]
    network = build_network(model.hidden_sizes, model.activation, model.dropout, width).to(device)
    optimizer = _optimizer(model, network)
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


def scores(network: torch.nn.Sequential, features: Floats) -> Floats:
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
    model: MLP,
    network: torch.nn.Sequential,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    order: npt.NDArray[np.int64],
) -> None:
    """Update the network once per batch, rows in the given order."""
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


def _mean_loss(model: MLP, network: torch.nn.Sequential, rows: Rows) -> float:
    import torch

    losses = _losses(model, torch.from_numpy(scores(network, rows.features)), torch.tensor(rows.label))
    return float(np.average(losses.numpy().astype(np.float64), weights=rows.weights))


def _losses(model: MLP, found: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    kinds: dict[str, Callable[..., torch.Tensor]] = {
        "mse": functional.mse_loss,
        "mae": functional.l1_loss,
        "huber": functional.huber_loss,
    }
    return kinds[model.loss](found, label, reduction="none")


def _optimizer(model: MLP, network: torch.nn.Sequential) -> torch.optim.Optimizer:
    from torch import optim

    kinds: dict[str, Callable[..., optim.Optimizer]] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}
    return kinds[model.optimizer](network.parameters(), lr=model.lr, weight_decay=model.weight_decay)
