"""Rolling ridge under recorded DDG-DA weights, against a pyqlib 0.9.7 run on 100 instruments (`ddgda_linear_csi100`).

- coefficients of 44 windows × 158 features: 1e-3 (the largest is 3.7). Alpha158 is rank deficient, and the peer solves
  in float32: in the undetermined directions that leaves differences of this size, in the others 1e-5.
- predictions of these windows: 2e-5 (their standard deviation is 0.085), labels exactly
- in window 0 the peer's float32 solve went astray: its coefficients are off by 1.8, its predictions by up to 1.6e-3,
  and its own ridge loss lies above the minimum, by a thousand times more than in any other window; which is asserted
- daily IC and rank IC: 5e-4 and 2e-3 (near-ties of 100 instruments); their means: 1e-5, their ratios: 1e-4

The weights themselves are held against the recording in `test_ddgda_meta.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from baselines.adaptation.ddgda.fitted import FittedDDGDA
from baselines.adaptation.ddgda.preparation import Regime, Similarity
from baselines.adaptation.ddgda.proxy import Choice
from baselines.adaptation.ddgda.rank_correlation import rank_ic, rank_labels
from baselines.adaptation.ddgda.weight_model import WeightRule
from baselines.models.linear import FittedLinear, Linear
from harness.evaluation.predictions import Predictions
from harness.run.rolling import Recipe, WalkForward
from harness.samples.gram import NormalEquations
from harness.samples.interfaces import LearnSet
from tests.parity import ddgda_run, oracle

pytestmark = oracle.requires_oracle

ALPHA = 0.05


@dataclass(frozen=True)
class Recording:
    """A ridge that keeps what it fitted, and from what."""

    fitted: list[FittedLinear] = field(default_factory=list)
    equations: list[NormalEquations] = field(default_factory=list)
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    include_valid: ClassVar[bool] = False

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        model = Linear(estimator="ridge", alpha=ALPHA, fit_intercept=False, include_valid=False)
        self.equations.append(train.normal_equations())
        self.fitted.append(model.fit(train, valid))
        return self.fitted[-1]

    def load(self, folder: Path) -> FittedLinear:
        raise NotImplementedError


@lru_cache(maxsize=1)
def rolled() -> tuple[Predictions, Recording]:
    start = ddgda_run.windows()[0].train.start
    similarity = Similarity(start, oracle.STEP, oracle.LOOK_AHEAD, ddgda_run.recorded_similarity())
    adaptation = FittedDDGDA(
        model=ddgda_run.recorded_weight_model(),
        rule=WeightRule(ddgda_run.HISTORY_STEPS, "max", undefined_is_best=True, plain_tail=True),
        regimes=(Regime(Choice(0, (), 0), similarity),),
        tasks=(),
        history=(),
        windows=ddgda_run.windows(),
        calendar=oracle.oracle_calendar(),
        leaks=(),
    )
    model = Recording()
    recipe = Recipe(ddgda_run.configured("ddgda_qlib").preprocess, adaptation, model, oracle.STEP)
    return WalkForward(ddgda_run.raw_table(), ddgda_run.windows(), recipe).run().predictions, model


def recorded(name: str) -> pd.DataFrame:
    return pd.read_parquet(oracle.ORACLE / ddgda_run.FOLDER / f"{name}.parquet")


def pearson() -> npt.NDArray[np.float64]:
    """Return the daily IC of our predictions."""
    found = rolled()[0]
    daily = []
    for at in range(found.offsets.size - 1):
        rows = slice(int(found.offsets[at]), int(found.offsets[at + 1]))
        known = ~np.isnan(found.label[rows])
        daily.append(np.corrcoef(found.score[rows][known], found.label[rows][known])[0, 1])
    return np.array(daily)


def spearman() -> npt.NDArray[np.float64]:
    """Return the daily rank IC of our predictions."""
    found = rolled()[0]
    known = ~np.isnan(found.label)
    offsets = np.concatenate([[0], np.cumsum(known)])[found.offsets].astype(np.int64)
    return rank_ic(found.score[known], rank_labels(found.label[known], offsets))


def coefficients() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (45, 158) ours and theirs."""
    theirs = np.load(oracle.ORACLE / ddgda_run.FOLDER / "coefs.npz")
    calendar = oracle.oracle_calendar()
    assert [calendar.format(w.test.start) for w in ddgda_run.windows()] == theirs["test_start"].tolist()
    return np.array([model.solution.theta for model in rolled()[1].fitted]), theirs["coef"].astype(np.float64)


def excess_loss() -> npt.NDArray[np.float64]:
    """Return (45,) how far the peer's coefficients lie above the minimum of the weighted ridge loss."""
    difference = np.subtract(*coefficients())
    grams = np.array([equations.gram for equations in rolled()[1].equations])
    quadratic: npt.NDArray[np.float64] = np.einsum("wf,wfg,wg->w", difference, grams, difference)
    penalty: npt.NDArray[np.float64] = ALPHA * (difference**2).sum(axis=1)
    return quadratic + penalty


def test_coefficients_agree() -> None:
    ours, theirs = coefficients()
    np.testing.assert_allclose(ours[1:], theirs[1:], rtol=0, atol=1e-3)


def test_coefficients_agree_closer_in_the_directions_that_data_determine() -> None:
    ours, theirs = coefficients()
    for window in (1, 20, 44):
        values, vectors = np.linalg.eigh(rolled()[1].equations[window].gram)
        difference = vectors.T @ (ours[window] - theirs[window])
        assert np.abs(difference[values > 1e-6 * values[-1]]).max() < 1e-5


def test_the_peers_first_window_is_not_the_minimum_of_its_own_loss() -> None:
    excess = excess_loss()
    assert excess[0] > 1000 * excess[1:].max()


def test_predictions_and_labels_agree() -> None:
    ours, theirs = rolled()[0], recorded("pred")
    times = np.repeat(np.arange(ours.start, ours.start + ours.offsets.size - 1), np.diff(ours.offsets))
    np.testing.assert_array_equal(oracle.calendar_positions(theirs["datetime"]), times)
    np.testing.assert_array_equal(theirs["instrument"], np.array(ours.instruments)[ours.codes])
    np.testing.assert_array_equal(ours.label, recorded("label")["label"])
    first = times < ddgda_run.windows()[0].test.stop
    np.testing.assert_allclose(ours.score[~first], theirs["score"][~first], rtol=0, atol=2e-5)
    np.testing.assert_allclose(ours.score[first], theirs["score"][first], rtol=0, atol=2e-3)


def test_daily_correlations_agree() -> None:
    np.testing.assert_allclose(pearson(), recorded("ic")["ic"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(spearman(), recorded("ric")["ric"], rtol=0, atol=2e-3)


def test_final_metrics_agree() -> None:
    theirs: dict[str, Any] = oracle.read_json(ddgda_run.FOLDER, "metrics.json")
    for name, daily in (("IC", pearson()), ("Rank IC", spearman())):
        np.testing.assert_allclose(daily.mean(), theirs[name], rtol=0, atol=1e-5)
        ratio = daily.mean() / daily.std(ddof=1)
        np.testing.assert_allclose(ratio, theirs[name.replace("IC", "ICIR")], rtol=0, atol=1e-4)
