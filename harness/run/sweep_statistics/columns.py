"""The statistics of a sweep as columns of a table, and as marks for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.evaluation.metric_records import METRICS
from harness.run.sweep_statistics.records import LEVEL, SIZE, RowStatistics, SweepStatistics

BETTER, WORSE, IN_SET = "▲", "▼", "●"
_MARKS = {"better": BETTER, "worse": WORSE}
_PARTS = ("difference", "low", "high", "p_hac", "p_bootstrap", "verdict")
_BOUNDS, _TEST = ("low", "high"), ("t", "p")
# Cells without a comparison that are named one by one.
_NAMED = 3


def csv_heads(metrics: Sequence[str]) -> list[str]:
    """Return the names of the columns: per metric its interval and its difference to the reference, then the rest."""
    bounds = [f"{metric}_{bound}" for metric in metrics for bound in (*_BOUNDS, *_TEST)]
    parts = [f"{metric}_vs_reference_{part}" for metric in metrics for part in _PARTS]
    return [*bounds, *parts, "reference", "confidence_set_p", "in_confidence_set", "deflated_sharpe", "trials"]


def csv_values(
    metrics: Sequence[str],
    intervals: Mapping[str, Mapping[str, Any]],
    row: RowStatistics | None,
    statistics: SweepStatistics | None,
) -> list[str]:
    """Return the values of one row under `csv_heads`, every number in full precision, empty where there is none."""
    bounds = [intervals.get(metric, {}).get(bound) for metric in metrics for bound in (*_BOUNDS, *_TEST)]
    parts: list[object] = []
    for metric in metrics:
        difference = None if row is None else row.differences.get(metric)
        parts += [None if difference is None else getattr(difference, part) for part in _PARTS]
    if row is None or statistics is None:
        return [_text(value) for value in (*bounds, *parts, *[None] * 5)]
    deflated = None if row.deflated_sharpe is None else row.deflated_sharpe.probability
    rest = (row.reference, row.confidence_p, row.in_confidence_set, deflated, statistics.trials or None)
    return [_text(value) for value in (*bounds, *parts, *rest)]


def mark(statistics: SweepStatistics | None, name: str, metric: str) -> str:
    """Return the sign of a metric that differs from the reference's, or nothing."""
    row = None if statistics is None else statistics.row(name)
    difference = None if row is None else row.differences.get(metric)
    return "" if difference is None else _MARKS.get(difference.verdict, "")


def name_mark(statistics: SweepStatistics | None, name: str) -> str:
    """Return the sign of a cell that may be the best, or nothing."""
    row = None if statistics is None else statistics.row(name)
    return IN_SET if row is not None and row.in_confidence_set else ""


def caption(statistics: SweepStatistics) -> str:
    """Return what the marks mean, what trying many cells is worth, and what could not be computed."""
    lines = [
        f"{BETTER} {WORSE} better, worse than {_references(statistics)}: HAC test and paired bootstrap both reject at "
        f"{LEVEL:.0%}",
    ]
    if any(row.in_confidence_set is not None for row in statistics.rows):
        heading = METRICS[statistics.metric].heading
        lines.append(f"{IN_SET} may be the best by {heading}: model confidence set at {1 - SIZE:.0%}")
    deflated = [row for row in statistics.rows if row.deflated_sharpe is not None]
    if deflated:
        best = max(deflated, key=lambda row: _probability(row))
        lines.append(
            f"best excess return beats the luckiest of {statistics.trials} worthless ones with probability "
            f"{_probability(best):.2f} (deflated Sharpe ratio, {best.name})"
        )
    if statistics.overfitting is not None:
        lines.append(f"probability of backtest overfitting {statistics.overfitting.probability:.2f}")
    others: dict[str, list[str]] = {}
    for row in statistics.rows:
        if row.why_not_comparable is not None:
            others.setdefault(row.why_not_comparable, []).append(row.name)
    if others:
        told = (f"{_names(names)} ({reason})" for reason, names in others.items())
        lines.append(f"not compared: {'; '.join(told)}")
    return "\n".join([*lines, *statistics.notes])


def _references(statistics: SweepStatistics) -> str:
    """Return the cells that others are held against; one that has nothing beside it is not among them."""
    used = {row.reference for row in statistics.rows if row.differences}
    names = [name for name in statistics.references if name in used] or [statistics.reference]
    return names[0] if len(names) == 1 else f"the reference of its data, label and test range ({'; '.join(names)})"


def _names(names: Sequence[str]) -> str:
    return "; ".join(names) if len(names) <= _NAMED else f"{len(names)} cells"


def _probability(row: RowStatistics) -> float:
    found = row.deflated_sharpe
    return -1.0 if found is None or found.probability != found.probability else found.probability


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
