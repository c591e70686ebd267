"""Paired tests, confidence set, deflation and stability over the cells of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import ConfigError, closest
from harness.evaluation.metrics import MetricRecord, metrics_of
from harness.evaluation.significance import hac, selection
from harness.evaluation.significance.bootstrap import (
    PAIRED,
    Bootstrap,
    PairedDifference,
    Question,
    bootstrap_intervals,
)
from harness.evaluation.significance.selection import ModelConfidenceSet, model_confidence_set
from harness.execution.progress import Observer, Silent
from harness.run.finished import SERIES, Doubles, FinishedRun, Times
from harness.run.sweep import Cell
from harness.run.sweep_columns import LEVEL, SIZE, Difference, RowStatistics, SweepStatistics, finite
from harness.snapshots.evidence import Evidence, overlap_of
from harness.store.artifacts import ArtifactStore, canonical_json

Regimes = tuple[Times, npt.NDArray[np.str_]]


def candidates_of(results: Sequence[Cell], *, with_regimes: bool = True) -> tuple[FinishedRun, ...]:
    """Return the cells that have run, with their series and, where the panel is in the store, its regimes."""

    @cache
    def regimes_of(fingerprint: str, store: str) -> Regimes | None:
        panel = Evidence(ArtifactStore(Path(store))).panel(fingerprint) if with_regimes else None
        return None if panel is None else market_regimes(panel)

    found = []
    for ended in results:
        if ended.result is not None and (ended.result.folder / SERIES).is_file():
            run = FinishedRun(ended.name, ended.result.snapshot, ended.result.folder)
            fingerprint = str(run.snapshot.identity.get("data", {}).get("fingerprint", ""))
            regimes = regimes_of(fingerprint, ended.result.config.output.store)
            found.append(replace(run, given=run.series, regimes=regimes_at(regimes, run.series.times)))
    return tuple(found)


def market_regimes(panel: Panel) -> Regimes:
    """Return the times of a panel and the volatility regime of its market at each, from what is known by then.

    The market is the panel's benchmark, or, where it has none, the mean return of the members.
    """
    benchmark = panel.benchmark
    price = np.asarray(panel.fields[panel.price_field] if benchmark is None else benchmark.close, dtype=np.float64)
    changes = price[1:] / price[:-1] - 1.0
    if benchmark is None:
        counted = np.asarray(panel.membership[1:]) & np.isfinite(changes)
        total, count = np.where(counted, changes, 0.0).sum(axis=1), counted.sum(axis=1)
        changes = np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)
    return panel.calendar.times, hac.volatility_regimes(np.concatenate([[np.nan], changes]))


def regimes_at(regimes: Regimes | None, times: Times) -> npt.NDArray[np.str_] | None:
    """Return (S,) the regime at each of the `times`; None when one of them is not on the market's calendar."""
    if regimes is None or not np.isin(times, regimes[0]).all():
        return None
    return regimes[1][np.searchsorted(regimes[0], times)]


def common_times(candidates: Sequence[FinishedRun]) -> Times:
    """Return (T,) the times that the series of all candidates have, in order."""
    return reduce(np.intersect1d, [one.series.times for one in candidates])


RULE = "the first cell with adaptation=rolling_retrain, or else the first"
_PLAIN = "RollingRetrain"


def scenarios(candidates: Sequence[FinishedRun], asked: Sequence[str] = ()) -> dict[FinishedRun, list[FinishedRun]]:
    """Return the reference of each scenario → its cells, those asked for first, then in the order of the cells.

    Only cells of one scenario can be compared: their numbers answer the same question about the same times. `asked`:
    names of cells that shall be references, the most wanted first.
    """
    groups: dict[str, list[FinishedRun]] = {}
    for candidate in candidates:
        groups.setdefault(canonical_json(candidate.scenario), []).append(candidate)
    found = [(_reference_of(members, asked), members) for members in groups.values()]
    rank = {name: at for at, name in reversed(list(enumerate(asked)))}
    return dict(sorted(found, key=lambda pair: rank.get(pair[0].name, len(asked))))


def _reference_of(members: Sequence[FinishedRun], asked: Sequence[str]) -> FinishedRun:
    named = {member.name: member for member in reversed(members)}
    wanted = [named[name] for name in asked if name in named]
    adaptations = [(one, one.snapshot.identity.get("config", {}).get("adaptation") or {}) for one in members]
    plain = [one for one, it in adaptations if str(it.get("_target_", "")).rpartition(".")[2] == _PLAIN]
    return (wanted or plain or list(members))[0]


_STAGE = "statistics"
_RETURNS = "excess_return"
_BLOCKS = 16
_MOST = 200  # cells of a confidence set: its memory grows with their square


def sweep_statistics(
    candidates: Sequence[FinishedRun],
    *,
    metric: str,
    asked: Sequence[str] = (),
    bootstrap: Bootstrap | None = None,
    observer: Observer | None = None,
) -> SweepStatistics | None:
    """Return the statistics of a sweep, or None when fewer than two cells have run.

    Two seeds of the same cell are told apart in 5 % of all sweeps; of many cells some differ by chance, which is what
    the confidence set allows for and the marks do not.

    Args:
        metric: The metric that orders the table.
        asked: Names of cells that those of their scenarios are held against, the most wanted first; those of no cell
            are left out. Every scenario without one has `harness.run.sweep_statistics.RULE`.
        bootstrap: How to resample; the default has seed 0.
        observer: Told of the stage ``statistics``: the confidence set, then every cell.
    """
    if len(candidates) < 2:
        return None
    bootstrap, observer = bootstrap or Bootstrap(), observer or Silent()
    observer.start(_STAGE, 1 + len(candidates))
    groups, deflated = scenarios(candidates, asked), _deflated(candidates)
    first = next(iter(groups))
    record = metrics_of(*(c.snapshot.identity for c in candidates))[metric]
    notes: list[str] = []
    observer.advance(_STAGE)
    found: dict[str, RowStatistics] = {}
    overfitting = None
    for base, members in groups.items():
        alone = len(members) == 1 and base is not first
        confidence = None if alone else _confidence_set(members, record, bootstrap, notes)
        p_values = dict(zip(confidence.names, confidence.p_values, strict=True)) if confidence else {}
        if base is first:
            overfitting = _overfitting(members, notes)
        for c in members:
            found[c.name] = RowStatistics(
                name=c.name,
                reference=base.name,
                why_not_comparable=c.why_not_comparable(first) if alone else None,
                differences={} if c is base else differences_to(base, c, bootstrap),
                confidence_p=p_values.get(c.name),
                in_confidence_set=c.name in confidence.included if confidence and c.name in p_values else None,
                deflated_sharpe=deflated.get(c.name),
                years=_stability(c, record, hac.calendar_years(c.series.times)),
                regimes=() if c.regimes is None else _stability(c, record, c.regimes),
            )
            observer.advance(_STAGE)
    observer.finish(_STAGE)
    rows = tuple(found[c.name] for c in candidates)
    names = tuple(base.name for base in groups)
    return SweepStatistics(record, names, rows, len(deflated), overfitting, tuple(notes))


def statistics_of(
    results: Sequence[Cell], metric: str, reference: str | None = None, observer: Observer | None = None
) -> SweepStatistics | None:
    """Return the statistics of the cells that have run; None also without any (``evaluation.significance: null``)."""
    done = [ended.result for ended in results if ended.result is not None]
    if len(done) < 2 or done[0].config.evaluation.significance is None:
        return None
    asked, bootstrap = () if reference is None else (reference,), done[0].config.evaluation.significance
    found = sweep_statistics(candidates_of(results), metric=metric, asked=asked, bootstrap=bootstrap, observer=observer)
    if found is None or reference is None or found.row(reference) is not None:
        return found
    return replace(found, notes=(f"{reference} did not run: {found.reference} stands in for it", *found.notes))


def differences_to(
    reference: FinishedRun, candidate: FinishedRun, bootstrap: Bootstrap | None = None
) -> dict[str, Difference]:
    """Return metric → paired difference, for every metric that is a mean or a ratio of a series that both have."""
    times = common_times([reference, candidate])
    identity = candidate.snapshot.identity
    metrics, questions = metrics_of(identity), {}
    for name, metric in metrics.items():
        series = metric.series
        if metric.statistic not in PAIRED or any(series not in c.series.values for c in (reference, candidate)):
            continue
        ours, base, overlap = candidate.at(series, times), reference.at(series, times), overlap_of(identity, metric)
        over = None if metric.base is None else candidate.at(metric.base, times)
        questions[name] = Question(ours, metric.statistic, overlap, base, over)
    answers = bootstrap_intervals(tuple(questions.values()), bootstrap or Bootstrap())
    found = {}
    for name, interval in zip(questions, answers, strict=True):
        p_hac, p_bootstrap = finite(PairedDifference(interval).hac.p_value), finite(interval.p_value)
        verdict = _verdict(metrics[name].direction, interval.estimate, p_hac, p_bootstrap)
        bounds = finite(interval.low), finite(interval.high)
        found[name] = Difference(interval.estimate, *bounds, p_hac, p_bootstrap, verdict, int(times.size))
    return found


def _verdict(direction: str, difference: float, p_hac: float | None, p_bootstrap: float | None) -> str:
    if p_hac is None or p_bootstrap is None or max(p_hac, p_bootstrap) > LEVEL:
        return "same"
    if direction == "none":
        return "differs"
    return "better" if (difference > 0) == (direction == "higher") else "worse"


def check_reference(name: str | None, names: Sequence[str]) -> None:
    """Refuse a reference that is the name of no cell, and name the cells that there are: `ConfigError`."""
    if name is not None and name not in names:
        known, hint = "; ".join(names), closest(name, names)
        raise ConfigError("No cell has this name.", where="--reference", got=name, expected=known, hint=hint)


def _confidence_set(
    compared: Sequence[FinishedRun], metric: MetricRecord, bootstrap: Bootstrap, notes: list[str]
) -> ModelConfidenceSet | None:
    having = [c for c in compared if metric.series in c.series.values]
    reason = None
    if metric.statistic == "count" or metric.direction == "none":
        reason = f"no side of {metric.heading} is better"
    elif not 2 <= len(having) <= _MOST:
        reason = f"{len(having)} comparable cells, where 2 to {_MOST} are needed"
    elif not (times := common_times(having)).size:
        reason = "no test time that all cells have"
    if reason is not None:
        notes.append(f"no confidence set: {reason}")
        return None
    sign = -1.0 if metric.direction == "higher" else 1.0
    losses = np.stack([sign * c.at(metric.series, times) for c in having], axis=1)  # (T, M)
    names = tuple(c.name for c in having)
    overlap = overlap_of(having[0].snapshot.identity, metric)
    found = model_confidence_set(losses, names, SIZE, bootstrap=bootstrap, look_ahead=overlap)
    if all(math.isnan(p) for p in found.p_values):
        notes.append(f"no confidence set, and no marks by {metric.name}: {hac.why_untested(found.count, overlap)}")
        return None
    return found


def _deflated(candidates: Sequence[FinishedRun]) -> dict[str, selection.DeflatedSharpe]:
    returns = {c.name: c.series.values[_RETURNS] for c in candidates if _RETURNS in c.series.values}

    def ratio(returns: Doubles) -> float:
        defined = returns[~np.isnan(returns)]
        if defined.size < 2 or hac.is_constant(defined, float(np.abs(defined).max())):
            return float("nan")
        return float(defined.mean() / defined.std(ddof=1))

    sharpes = np.array([ratio(r) for r in returns.values()])
    if np.isfinite(sharpes).sum() < 2:
        return {}
    return {name: selection.deflated_sharpe_ratio(r, sharpes, max(len(returns), 2)) for name, r in returns.items()}


def _overfitting(compared: Sequence[FinishedRun], notes: list[str]) -> selection.BacktestOverfitting | None:
    having = [c for c in compared if _RETURNS in c.series.values]
    if len(having) < 2:
        return None
    times = common_times(having)
    returns = np.stack([c.at(_RETURNS, times) for c in having], axis=1)
    defined = int((~np.isnan(returns).any(axis=1)).sum())
    if defined < 2 * _BLOCKS:
        notes.append(f"no probability of overfitting: {defined} periods are too few for {_BLOCKS} blocks")
        return None
    return selection.probability_of_backtest_overfitting(returns, _BLOCKS)


def _stability(candidate: FinishedRun, metric: MetricRecord, labels: npt.NDArray[Any]) -> tuple[hac.SubPeriod, ...]:
    if metric.series not in candidate.series.values:
        return ()
    overlap = overlap_of(candidate.snapshot.identity, metric)
    return hac.subperiod_stability(candidate.series.values[metric.series], labels, look_ahead=overlap)
