"""Leaks after the prediction: evaluation, and results found in the store under the wrong key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.audit.replay
import harness.evaluation.evaluate
import harness.run.forecasts
import harness.run.pipeline
import harness.run.rolling
from harness.data.panel import Panel
from harness.evaluation.evaluate import evaluate
from harness.evaluation.portfolio.backtest import backtest
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Silent
from harness.features.engine import compute_period
from harness.run import feature_chunks
from harness.run.experiment import run
from harness.store.artifacts import Key, key_of
from tests.audit.market import small
from tests.leakage.mutant import Mutant
from tests.leakage.parts import PORTFOLIO

Patch = Callable[[pytest.MonkeyPatch], None]


def collecting(change: Callable[[Predictions], Predictions]) -> Patch:
    """Return a patch of how windows become one record of predictions."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        collect = harness.run.forecasts.collect
        for module in (harness.run.rolling, harness.audit.replay):
            monkeypatch.setattr(module, "collect", lambda *given: change(collect(*given)))

    return patch


def without_losers(predictions: Predictions) -> Predictions:
    """Leave out the rows with the worst labels, where there are any."""
    known = predictions.label[~np.isnan(predictions.label)]
    if not known.size:
        return predictions
    keep = ~(predictions.label < np.quantile(known, 0.1))
    counts = np.add.reduceat(keep, predictions.offsets[:-1])
    return replace(
        predictions,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        codes=predictions.codes[keep],
        score=predictions.score[keep],
        label=predictions.label[keep],
    )


def labels_moved(predictions: Predictions) -> Predictions:
    return replace(predictions, label=np.roll(predictions.label, -1))


def scores_of_the_next_row(predictions: Predictions) -> Predictions:
    return replace(predictions, score=np.roll(predictions.score, -len(predictions.instruments)))


def judging(change: Callable[[Any], Any]) -> Patch:
    """Return a patch of what the evaluation reports."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(harness.run.pipeline, "evaluate", lambda *given, **named: change(evaluate(*given, **named)))

    return patch


def best_half(evaluation: Any) -> Any:
    daily = np.sort(evaluation.series["IC"][~np.isnan(evaluation.series["IC"])])
    return replace(evaluation, overall={**evaluation.overall, "IC": float(daily[daily.size // 2 :].mean())})


def trading(change: Callable[[Panel], Panel]) -> Patch:
    """Return a patch of the market that the portfolio trades in."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            harness.evaluation.evaluate,
            "backtest",
            lambda panel, predictions, strategy: backtest(change(panel), predictions, strategy),
        )

    return patch


def a_day_early(panel: Panel) -> Panel:
    """Every price is tomorrow's."""
    fields = {name: np.concatenate([values[1:], values[-1:]]) for name, values in panel.fields.items()}
    return replace(panel, fields=fields)


def halts_known(panel: Panel) -> Panel:
    """Whoever does not trade tomorrow cannot be bought today."""
    traded = np.concatenate([panel.traded[1:], panel.traded[-1:]])
    volume = np.where(traded, panel.fields["volume"], np.float32(0.0))
    close = np.where(traded, panel.fields["close"], np.float32(np.nan))
    return replace(panel, fields={**panel.fields, "volume": volume, "close": close})


def benchmark_early(panel: Panel) -> Panel:
    assert panel.benchmark is not None
    close = np.concatenate([panel.benchmark.close[1:], panel.benchmark.close[-1:]])
    return replace(panel, benchmark=replace(panel.benchmark, close=close))


def forgetful(module: Any, stage: str, *lacking: str) -> Patch:
    """Return a patch of a stage's key that leaves parts out."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def key(name: str, **parts: object) -> Key:
            kept = {k: v for k, v in parts.items() if name != stage or k not in lacking}
            return key_of(name, **kept)

        monkeypatch.setattr(module, "key_of", key)

    return patch


def ran(*overrides: str) -> Callable[[Path], None]:
    """Return what runs another experiment in the same store first."""

    def before(folder: Path) -> None:
        run(small(folder, *overrides), Silent())

    return before


def left_by_a_leaking_engine(folder: Path) -> None:
    """Fill the store with features that are what they will be a time later, under the key of the honest ones."""

    def early(panel: Panel, *given: Any, **named: Any) -> Any:
        fields = {k: np.concatenate([v[1:], v[-1:]]) for k, v in panel.fields.items()}
        return compute_period(replace(panel, fields=fields), *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_chunks, "compute_period", early)
        run(small(folder), Silent())


def stale(name: str, patch: Patch, *overrides: str, own: tuple[str, ...] = ()) -> Mutant:
    return Mutant("caching", name, own, None, patch, ran(*overrides))


MUTANTS = (
    Mutant("evaluation", "rows of halts after which trading goes on", ("samples=listed", "data.suspension_rate=0.03")),
    Mutant("evaluation", "rows with bad outcomes left out", (), None, collecting(without_losers)),
    Mutant("evaluation", "scores judged by other rows' labels", (), None, collecting(labels_moved)),
    Mutant("evaluation", "scores of later rows", (), None, collecting(scores_of_the_next_row)),
    Mutant("evaluation", "the better half of the days reported", (), None, judging(best_half)),
    Mutant("evaluation", "portfolio at tomorrow's prices", PORTFOLIO, None, trading(a_day_early)),
    Mutant(
        "evaluation",
        "portfolio that knows tomorrow's halts",
        (*PORTFOLIO, "data.suspension_rate=0.03"),
        None,
        trading(halts_known),
    ),
    Mutant("evaluation", "benchmark a day early", PORTFOLIO, None, trading(benchmark_early)),
    stale(
        "result of another horizon",
        forgetful(harness.run.pipeline, "result", "table", "settings", "windows"),
        "label.horizon=3",
    ),
    stale(
        "windows of other weights",
        forgetful(harness.run.rolling, "window", "weights"),
        "adaptation=gf_exp",
        own=("adaptation=gf_lin",),
    ),
    stale("panel of other data", forgetful(harness.run.pipeline, "panel", "source"), "data.seed=5"),
    stale("features of another panel", forgetful(harness.run.pipeline, "features", "panel"), "data.volatility=0.03"),
    Mutant("caching", "features of an older engine that looked ahead", before=left_by_a_leaking_engine),
    stale("label of another horizon", forgetful(harness.run.pipeline, "label", "expression"), "label.horizon=3"),
)
