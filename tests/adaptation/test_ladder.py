"""The order of the drift ladder where theory gives one, on simulated markets that nothing was tuned on, five each.

Without drift nobody beats rolling retrain; after breaks a short memory does. That DDG-DA wins where drift can be
predicted is held in `test_ddgda_market.py`, on markets as long as it needs, and in `test_ddgda_streams.py`.

Measured after breaks, IC less that of rolling retrain on markets 0 … 4, and t over them:

gf_exp               .0140 | −.0016 | .0031 | .0057 | .0029     1.9
forgetting_mixture   .0109 | .0001 | .0027 | .0041 | .0053      2.6
no_retrain           −.0286 | −.0126 | −.0146 | −.0036 | −.0046   −2.9
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from harness import run_experiment

pytest.importorskip("river", reason="the extra driftbench[river] is not installed")

MARKET = ["data=synthetic", "model=linear", "evaluation.significance=null"]
CHEAP = ("no_retrain", "incremental", "gf_lin", "gf_exp", "forgetting_mixture", "triggered")
SEEDS = range(5)
T = 2.13  # one-sided 5 % at 4 degrees of freedom


def gains(drift: str, adaptation: str, folder: Path) -> npt.NDArray[np.float64]:
    """Return (seeds,) mean IC of an adaptation less that of rolling retrain, one market a seed."""
    where = [f"output.runs={folder / 'runs'}", f"output.store={folder / 'store'}", f"data.drift={drift}"]

    def ic(seed: int, name: str) -> float:
        swept = [f"data.seed={seed}", f"adaptation={name}"]
        return float(run_experiment([*MARKET, *where, *swept]).snapshot.overall["IC"])

    return np.array([ic(seed, adaptation) - ic(seed, "rolling_retrain") for seed in SEEDS])


def t_value(found: npt.NDArray[np.float64]) -> float:
    return 0.0 if not found.any() else float(found.mean() / found.std(ddof=1) * np.sqrt(found.size))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ladder")


@pytest.mark.nightly
@pytest.mark.parametrize("adaptation", CHEAP)
def test_without_drift_nobody_beats_rolling_retrain(adaptation: str, folder: Path) -> None:
    assert t_value(gains("none", adaptation, folder)) < T


@pytest.mark.nightly
def test_after_breaks_a_memory_that_follows_its_losses_beats_rolling_retrain(folder: Path) -> None:
    found = gains("abrupt", "forgetting_mixture", folder)
    assert (found > 0).all()
    assert t_value(found) > T


@pytest.mark.nightly
def test_whoever_never_refits_loses_after_breaks(folder: Path) -> None:
    assert t_value(gains("abrupt", "no_retrain", folder)) < -T
