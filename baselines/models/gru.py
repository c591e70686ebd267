"""A recurrent network on torch that reads a row as a sequence; needs the extra ``driftbench[torch]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from baselines.models.network import Network
from harness.errors import ConfigError
from harness.errors.limits import Fraction

if TYPE_CHECKING:
    import torch

_LAGGED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True, kw_only=True)
class GRU(Network):
    """Gated recurrent units (Cho et al., EMNLP 2014) over each row's own past, trained as `Network` says.

    The sequence lies in the row: features are named by a channel and how many periods ago, as ``CLOSE59 … CLOSE0`` of
    Alpha360. So a row's score depends on nothing but the row, whatever other rows stand beside it. The last hidden
    state is mapped to the score.

    Attributes:
        hidden_size: Width of the hidden state of each layer.
        num_layers: Layers, each of which reads the states of the one before.
        dropout: Share of the units between layers left out in training, in [0, 1]; without effect on a single layer,
            and so refused there.

    Raises:
        ConfigError: When `dropout` could have no effect.
    """

    shape: ClassVar = ("hidden_size", "num_layers")

    hidden_size: Annotated[int, Ge(1), Le(4096)]
    num_layers: Annotated[int, Ge(1), Le(16)]
    dropout: Fraction

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout > 0 and self.num_layers == 1:
            what, expected = "Dropout stands between layers, and there is one.", "0, or model.num_layers ≥ 2"
            raise ConfigError(what, where="model.dropout", got=self.dropout, expected=expected)

    def build(self, feature_names: tuple[str, ...]) -> torch.nn.Module:
        """Return the network; raises `ConfigError` when the feature names make no sequence."""
        return _network(sequence_of(feature_names), self.hidden_size, self.num_layers, self.dropout)


def sequence_of(feature_names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return (S, C) columns of S periods, the oldest first, and C channels in the order of their first column.

    Raises:
        ConfigError: When a name does not end in a number of periods, or channels do not have the same periods.
    """
    channels: dict[str, dict[int, int]] = {}
    for column, name in enumerate(feature_names):
        found = _LAGGED.fullmatch(name)
        if found is None:
            raise _no_sequence(name)
        channels.setdefault(found[1], {})[int(found[2])] = column
    lags = sorted(next(iter(channels.values())), reverse=True)
    for channel, columns in channels.items():
        if lags != list(range(len(lags)))[::-1] or set(columns) != set(lags):
            raise _no_sequence(f"{channel} of {', '.join(map(str, sorted(columns)[:8]))} periods ago")
    return np.array([[columns[lag] for columns in channels.values()] for lag in lags], dtype=np.int64)


def _no_sequence(got: str) -> ConfigError:
    what, hint = "The features make no sequence for a recurrent network.", "features=alpha360 makes one"
    expected = "names of a channel and how many periods ago, 0 … S − 1 in each, such as CLOSE59 … CLOSE0"
    return ConfigError(what, where="features", got=got, expected=expected, hint=hint)


def _network(columns: npt.NDArray[np.int64], hidden_size: int, num_layers: int, dropout: float) -> torch.nn.Module:
    from torch import nn

    class Recurrent(nn.Module):
        """(m, F) features → (m, 1) scores."""

        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(columns.shape[1], hidden_size, num_layers, batch_first=True, dropout=dropout)
            self.out = nn.Linear(hidden_size, 1)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.gru(features[:, columns])[0]
            scores: torch.Tensor = self.out(states[:, -1])
            return scores

    return Recurrent()
