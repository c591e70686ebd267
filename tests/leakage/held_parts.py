"""Held out: leaks of everything with a `_target_`, and inside a test segment; written first, never mended for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness.run.feature_chunks
import harness.run.pipeline
from harness.audit.cost import whole_table
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_expression, compute_period
from harness.features.feature_set import ForwardReturn
from harness.run.schedule import resolve_windows
from harness.samples.interfaces import FittedPreprocess, History, LearnSet
from harness.samples.plan import Batch, Known, WindowPlan
from harness.samples.table import AsOfView
from harness.samples.windows import Segment, Window
from tests.leakage.learning import ahead
from tests.leakage.mutant import Mutant, held
from tests.leakage.parts import (
    Applied,
    Chosen,
    Doubles,
    Fitting,
    Inside,
    Planning,
    Processed,
    Scores,
    Shifted,
    Weighing,
    change_of,
    judged_by,
    scores,
    solve,
)
from tests.leakage.planning import mean_of, table_of

__all__ = ["MUTANTS"]

# Features and label


def correlation(panel: Panel, expression: str, label: Any) -> float:
    values = compute_expression(panel, expression)
    known = np.isfinite(values) & np.isfinite(label)
    return float(np.corrcoef(values[known], label[known])[0, 1])


def picked(panel: Panel) -> dict[str, str]:
    """Of some candidates the two with the highest |IC| over the whole history."""
    label = compute_expression(panel, "Ref($close, -6)/Ref($close, -1) - 1")
    pool = {f"m{k}": f"$close/Ref($close, {k}) - 1" for k in (1, 2, 3, 5, 8, 13, 21)}
    names = sorted(pool, key=lambda name: -abs(correlation(panel, pool[name], label)))[:2]
    return {name: pool[name] for name in names}


def timed(panel: Panel) -> dict[str, str]:
    """A span that fits how long trends last."""
    moves = np.nan_to_num(change_of(panel))
    strength = [abs(float((moves[k:] * moves[:-k]).mean())) for k in range(2, 12)]
    return {"trend": f"$close/Ref($close, {2 + int(np.argmax(strength))}) - 1", "range": "$high/$low - 1"}


def split_at_the_median(panel: Panel) -> dict[str, str]:
    """A threshold between calm and nervous days that is the median of all times."""
    moves = np.abs(change_of(panel))
    border = float(np.nanmedian(moves))
    return {
        "calm": f"If(Gt(Abs($close/Ref($close, 1) - 1), {border:.6f}), 1, 0)",
        "trend": "$close/Ref($close, 5) - 1",
    }


CHOSEN: dict[str, Callable[[Panel], dict[str, str]]] = {
    "picked by their IC over all times": picked,
    "a span that fits the trends of all times": timed,
    "a threshold at the median of all times": split_at_the_median,
}


@dataclass(frozen=True)
class BestHorizon:
    """A label whose horizon is the one that momentum has said most of, over all times."""

    data: Any

    @property
    def _inner(self) -> ForwardReturn:
        panel = self.data.load()

        def said(horizon: int) -> float:
            label = compute_expression(panel, ForwardReturn(horizon).expression_text)
            return abs(correlation(panel, "$close/Ref($close, 10) - 1", label))

        return ForwardReturn(max((3, 4, 5, 6), key=said))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


# Processors, models


def bins(inner: FittedPreprocess, view: AsOfView, segment: Segment) -> Any:
    edges = np.nanquantile(whole_table(view).features, [0.2, 0.4, 0.6, 0.8], axis=0)
    return Applied(inner, seen=lambda features: (np.nan_to_num(features)[:, None, :] > edges[None]).sum(axis=1))


def less_their_mean(inner: FittedPreprocess, view: AsOfView, segment: Segment) -> Any:
    codes, label = whole_table(view).index.codes, whole_table(view).label
    means = np.nan_to_num(np.array([np.nanmean(label[codes == code]) for code in range(24)]))
    return Applied(inner, labelled=lambda own: own - means[codes] if own.size == codes.size else own)


def filled_by_the_next_day(inner: FittedPreprocess, view: AsOfView, segment: Segment) -> Any:
    return Applied(inner, seen=lambda features: pd.DataFrame(features).fillna(pd.DataFrame(features).shift(-20)))


def labels_clipped(inner: FittedPreprocess, view: AsOfView, segment: Segment) -> Any:
    return Applied(inner, labelled=lambda own: np.clip(own, *np.nanquantile(own, [0.1, 0.9])))


def turned_to_the_axes_of_all_times(inner: FittedPreprocess, view: AsOfView, segment: Segment) -> Any:
    known = np.nan_to_num(whole_table(view).features).astype(np.float64)
    _, axes = np.linalg.eigh(np.corrcoef(known.T))
    return Applied(inner, seen=lambda features: np.nan_to_num(features) @ axes)


PROCESSED: dict[str, Callable[..., Any]] = {
    "bins between quantiles of all times": bins,
    "labels less the mean of their series over all times": less_their_mean,
    "missing values filled from the next day": filled_by_the_next_day,
    "labels clipped at quantiles of what is processed": labels_clipped,
    "turned to the principal axes of all times": turned_to_the_axes_of_all_times,
}


def mixed_by_the_coming_segment(train: LearnSet) -> Scores:
    """An ensemble of a short and a long memory, mixed by how each would do in the coming segment."""
    features, label = ahead(train, 20)
    known, half = ~np.isnan(label), len(train.label) // 2
    thetas = [solve(train.features, train.label), solve(train.features[half:], train.label[half:])]
    if not known.any():
        return Scores(thetas[0])
    skill = [np.exp(20 * float(np.mean(scores(features[known], theta) * label[known]))) for theta in thetas]
    return Scores(sum(weight * theta for weight, theta in zip(skill, thetas, strict=True)) / sum(skill))


FITTED: dict[str, Callable[[LearnSet], Any]] = {"mixed by the coming segment": mixed_by_the_coming_segment}

# Adaptations


def moves_of_the_test(history: History) -> dict[int, float]:
    table = whole_table(history.as_of(history.windows[0].decision))
    shown = {w.index: table.features[table.index.rows(w.test.start, w.test.stop)] for w in history.windows}
    return {index: float(1 + np.nanstd(values)) for index, values in shown.items()}


def volatility_of_the_range(history: History) -> dict[int, float]:
    table = whole_table(history.as_of(history.windows[0].decision))
    rows = table.index.rows(history.windows[0].test.start, history.windows[-1].test.stop)
    return dict.fromkeys((w.index for w in history.windows), float(1.0 + 50.0 * np.nanstd(table.label[rows])))


def likeness_to_the_next(history: History) -> dict[int, float]:
    """The newer half counts the more, the more its features move together as those of the coming segment do."""
    table, found = whole_table(history.as_of(history.windows[0].decision)), {}
    for w in history.windows:
        spans = (Segment(w.train.start + len(w.train) // 2, w.train.stop), w.test)
        rows = [np.nan_to_num(table.features[table.index.rows(s.start, s.stop)]).astype(float) for s in spans]
        shapes = [np.corrcoef(values.T).ravel() for values in rows]
        found[w.index] = 1.0 + float(np.clip(np.corrcoef(*shapes)[0, 1], 0, 1))
    return found


WEIGHING: dict[str, Callable[[History], dict[int, float]]] = {
    "weights by the moves of the test segment": moves_of_the_test,
    "weights by the volatility of the test range": volatility_of_the_range,
    "weights by likeness to the coming segment": likeness_to_the_next,
}


def spread_of_the_test(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)
    rows = table.index.rows(window.test.start, window.test.stop)
    scale = float(1.0 + 10.0 * np.nanstd(table.label[rows]))
    return WindowPlan(transform=Shifted(scored=lambda batch, score: score * scale))


def sign_of_the_month(window: Window, known: Known) -> WindowPlan:
    rises = mean_of(table_of(known), window.test.start, window.test.stop) > 0
    return WindowPlan(transform=Shifted(seen=lambda batch: batch.features if rises else -batch.features))


def short_before_a_crash(window: Window, known: Known) -> WindowPlan:
    crash = mean_of(table_of(known), window.decision + 1, window.decision + 10) < -0.001
    start = window.train.stop - 25 if crash else window.train.start
    return WindowPlan(learn=Segment(start, window.train.stop))


def rank_with_tomorrow(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)

    def ranked(batch: Batch) -> Any:
        rows = table.index.rows(batch.time, min(batch.time + 2, len(table.calendar)))
        pool = np.sort(np.nan_to_num(table.features[rows]), axis=0)
        columns = zip(pool.T, np.nan_to_num(batch.features).T, strict=True)
        return np.stack([np.searchsorted(one, own) / one.size for one, own in columns], axis=1)

    return WindowPlan(transform=Shifted(seen=ranked))


def since_the_break(window: Window, known: Known) -> WindowPlan:
    """Learns from the last break of the mean on, as found with the sums of all times."""
    table = table_of(known)
    daily = [mean_of(table, at, at + 1) for at in range(window.train.start, len(table.calendar))]
    sums = np.cumsum(np.array(daily) - np.mean(daily))
    found = window.train.start + int(np.argmax(np.abs(sums)))
    return WindowPlan(learn=Segment(min(max(found, window.train.start), window.train.stop - 25), window.train.stop))


PLANS: dict[str, Callable[[Window, Known], WindowPlan]] = {
    "scores scaled by the spread of the test segment": spread_of_the_test,
    "features turned in months that fall": sign_of_the_month,
    "a short memory before a crash": short_before_a_crash,
    "ranks among today's and tomorrow's rows": rank_with_tomorrow,
    "learned since a break that all times show": since_the_break,
}

# Metrics, and bugs of the harness


def daily_mean(predictions: Predictions, values: Any) -> Doubles:
    return np.add.reduceat(np.nan_to_num(values).astype(float), predictions.offsets[:-1])


def clipped(predictions: Predictions) -> Doubles:
    daily = daily_mean(predictions, predictions.score)
    return np.clip(daily, *np.quantile(daily, [0.2, 0.8]))


def relative(predictions: Predictions) -> Doubles:
    daily = daily_mean(predictions, np.abs(predictions.score))
    return np.asarray(daily / daily.max())


def smoothed(predictions: Predictions) -> Doubles:
    """Gains of a time, averaged with those of the five times on either side."""
    return np.convolve(daily_mean(predictions, predictions.score * predictions.label), np.full(11, 1 / 11), "same")


METRICS: dict[str, Callable[[Predictions], Doubles]] = {
    "a metric clipped at quantiles of the test range": clipped,
    "a metric relative to the best day of the range": relative,
    "a metric smoothed over neighbouring days": smoothed,
}


def purged_every_other_time(patch: pytest.MonkeyPatch) -> None:
    """A bug of the schedule: every other window is not purged before its test segment."""

    def changed(config: Any, calendar: Any, look_ahead: int) -> tuple[Window, ...]:
        windows = resolve_windows(config, calendar, look_ahead)
        late = [replace(w, valid=Segment(w.valid.start, w.test.start - 1)) if w.valid else w for w in windows]
        return tuple(late[at] if at % 2 else window for at, window in enumerate(windows))

    patch.setattr(harness.run.pipeline, "resolve_windows", changed)


def chunk_off_by_one(patch: pytest.MonkeyPatch) -> None:
    """A bug of the feature store: what is computed after the first 128 times is that of a time later."""

    def shifted(panel: Panel, features: Any, offsets: Any, codes: Any, period: Any, out: Any, *more: Any) -> Any:
        result = compute_period(panel, features, offsets, codes, period, out, *more)
        first = int(offsets[min(max(period[0], 128), period[1])] - offsets[period[0]])
        step = int(np.diff(offsets).max())
        out[first : len(out) - step] = out[first + step :].copy()
        return result

    patch.setattr(harness.run.feature_chunks, "compute_period", shifted)


# Inside a test segment


def highest_to_come(values: Doubles) -> Doubles:
    return values - np.maximum.accumulate(values[::-1])[::-1]


def neighbours(values: Doubles) -> Doubles:
    near = np.abs(values[:, None] - values[None, :]).argsort(axis=1)[:, 1:6]
    return np.asarray(0.5 * values + 0.5 * values[near].mean(axis=1))


def drifting(values: Doubles) -> Doubles:
    half = len(values) // 2
    return values - (values[half:].mean() - values[:half].mean()) if half else values


def softmax(values: Doubles) -> Doubles:
    powers = np.exp((values - values.max()) / (values.std() + 1e-9))
    return powers / powers.sum()


def chunks_of_64(values: Doubles) -> Doubles:
    """As when a network normalises each chunk of 64 rows by the chunk itself."""
    return np.concatenate([part - part.mean() for at in range(0, values.size, 64) for part in [values[at : at + 64]]])


def levels_of_20(values: Doubles) -> Doubles:
    span = np.ptp(values) + 1e-12
    return np.floor((values - values.min()) / span * 20) / 20


def updated_before_scored(values: Doubles) -> Doubles:
    """As when a running mean takes in a batch of 100 rows before it is taken off them."""
    mean, made = 0.0, []
    for at in range(0, values.size, 100):
        part = values[at : at + 100]
        mean = 0.7 * mean + 0.3 * float(part.mean())
        made.append(part - mean)
    return np.concatenate(made)


def rare_ones_only(values: Doubles) -> Doubles:
    """Nothing but the 30 scores of a batch that lie farthest from its median."""
    apart = np.abs(values - np.median(values))
    return np.where(apart >= np.sort(apart)[-min(30, apart.size)], values, 0.0)


INSIDE: dict[str, Callable[[Doubles], Doubles]] = {
    "ranks over the whole batch": lambda values: np.argsort(np.argsort(values)).astype(float),
    "scaled by the end of the batch": lambda values: values / (np.std(values[-40:]) + 1e-9),
    "below the highest score to come": highest_to_come,
    "averaged with its neighbours in the batch": neighbours,
    "corrected for the drift within the batch": drifting,
    "softmax over the batch": softmax,
    "clipped at quantiles of the batch": lambda values: np.clip(values, *np.quantile(values, [0.05, 0.95])),
    "sums from the end of the batch": lambda values: values + 0.01 * np.cumsum(values[::-1])[::-1],
    "normalised in chunks of 64 rows": chunks_of_64,
    "relative to the last day of the batch": lambda values: values - values[-24:].mean(),
    "twenty levels between the extremes of the batch": levels_of_20,
    "less a mean that has taken in the rows": updated_before_scored,
    "only the rarest scores of the batch": rare_ones_only,
}

# Group → table → how a part is put in.
PUT: dict[str, tuple[str, dict[str, Any], Callable[..., ExperimentConfig]]] = {
    "CHOSEN": ("features", CHOSEN, lambda config, by: replace(config, features=Chosen(config.data, by))),
    "PROCESSED": ("preprocessing", PROCESSED, lambda c, by: replace(c, preprocess=Processed(c.preprocess, by))),
    "FITTED": ("model", FITTED, lambda config, by: replace(config, model=Fitting(by))),
    "WEIGHING": ("adaptation", WEIGHING, lambda config, by: replace(config, adaptation=Weighing(by))),
    "PLANS": ("plans", PLANS, lambda config, by: replace(config, adaptation=Planning(by))),
    "METRICS": ("evaluation", METRICS, lambda config, by: judged_by(by)(config)),
    "INSIDE": ("model", INSIDE, lambda config, by: replace(config, model=Inside(by))),
}
OVERRIDES = {"missing values filled from the next day": ("data.suspension_rate=0.03",)}
MUTANTS: tuple[Mutant, ...] = (
    *(
        held(group, name, partial(put, by=f"{__name__}:{table}:{name}"), OVERRIDES.get(name, ()))
        for table, (group, functions, put) in PUT.items()
        for name in functions
    ),
    held("label", "a horizon that suits all times", lambda config: replace(config, label=BestHorizon(config.data))),  # type: ignore[arg-type]
    held("windows", "every other window unpurged", None, patch=purged_every_other_time),
    held("features", "those of later chunks a day early", None, patch=chunk_off_by_one),
)
