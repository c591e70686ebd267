"""DDG-DA on the simulated market, on which nothing was tuned: whole runs, as long as the CSI 300 panel from 2005.

Measured, mean IC over six markets of RR | DDG-DA, and t of their paired difference over the markets:

gradual    .0343 | .0517    4.2
none       .1437 | .1437    0.1
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from harness import run_experiment

MARKET = ["data=synthetic", "data.days=3700", "model=linear", "evaluation=signal", "evaluation.significance=null"]


def gains(drift: str, folder: Path, seeds: range = range(6)) -> npt.NDArray[np.float64]:
    """Return (seeds,) mean IC of DDG-DA less that of rolling retrain, one market a seed."""
    where = [f"output.runs={folder / 'runs'}", f"output.store={folder / 'store'}"]

    def ic(seed: int, adaptation: str) -> float:
        swept = [f"data.drift={drift}", f"data.seed={seed}", f"adaptation={adaptation}"]
        return float(run_experiment([*MARKET, *where, *swept]).snapshot.overall["IC"])

    return np.array([ic(seed, "ddgda") - ic(seed, "rolling_retrain") for seed in seeds])


def t_value(found: npt.NDArray[np.float64]) -> float:
    return float(found.mean() / found.std(ddof=1) * np.sqrt(found.size))


@pytest.mark.nightly
def test_where_premia_wander_predictably_ddgda_wins(tmp_path: Path) -> None:
    found = gains("gradual", tmp_path)
    assert (found > 0).all()
    assert t_value(found) > 2.6


@pytest.mark.nightly
def test_where_nothing_drifts_there_is_nothing_to_win(tmp_path: Path) -> None:
    assert abs(t_value(gains("none", tmp_path))) < 2.6
