"""The statistics of a sweep as columns of a table, and as marks for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.evaluation.metrics import MetricRecord
from harness.evaluation.significance.hac import SubPeriod

if TYPE_CHECKING:  # it loads Numba, and every command prints tables
    from harness.evaluation.significance.selection import BacktestOverfitting, DeflatedSharpe

LEVEL = 0.05  # of the paired tests
SIZE = 0.10  # of the confidence set


@dataclass(frozen=True)
class Difference:
    """A metric of a cell minus that of the reference."""

    difference: float  # in the unit of the metric's series: per time, not annualised
    # low, high: bounds of the paired bootstrap's interval; None where undefined
    low: float | None
    high: float | None
    # p_hac, p_bootstrap: two-sided p-values of no difference: Diebold–Mariano by the cosine estimator, and paired
    # bootstrap
    p_hac: float | None
    p_bootstrap: float | None
    # ``better`` or ``worse`` when both tests reject at 5 %, ``same`` otherwise; ``differs`` where no side is better
    verdict: str
    times: int  # times that both have


@dataclass(frozen=True)
class RowStatistics:
    """What is known of one cell."""

    name: str
    reference: str  # the cell of its scenario that it is held against; itself where it is one
    # why it is held against nothing; None for the reference and what can be compared with it
    why_not_comparable: str | None
    differences: Mapping[str, Difference]  # metric → difference to the reference; empty for the reference
    # the smallest size at which the confidence set leaves it out; None when it is not compared
    confidence_p: float | None
    in_confidence_set: bool | None  # whether it may be the best, at 10 %
    # of its excess return against the best of all cells by chance; None without a portfolio
    deflated_sharpe: DeflatedSharpe | None
    # years, regimes: mean of the series behind the ordering metric per year and volatility regime, with HAC t-values
    years: tuple[SubPeriod, ...]
    regimes: tuple[SubPeriod, ...]


@dataclass(frozen=True)
class SweepStatistics:
    """What is known of a sweep."""

    metric: MetricRecord  # the metric that orders the table, behind confidence set and stability
    references: tuple[str, ...]  # the cells that the others are held against, one per scenario
    rows: tuple[RowStatistics, ...]
    trials: int  # cells with a portfolio: how many strategies the deflated Sharpe ratio takes to have been tried
    # probability that the best comparable portfolio was picked by luck; None with fewer than two
    overfitting: BacktestOverfitting | None
    notes: tuple[str, ...]  # what could not be computed, and why

    @property
    def reference(self) -> str:
        return self.references[0]

    def row(self, name: str) -> RowStatistics | None:
        return next((row for row in self.rows if row.name == name), None)

    def record(self) -> dict[str, Any]:
        """Return everything as plain data; None where a number is undefined."""
        named = {"reference": self.reference, **asdict(self), "metric": self.metric.name}
        return dict(json.loads(json.dumps(named), parse_constant=lambda _: None))


def finite(value: float) -> float | None:
    """Return a number as it is, and None when it is undefined."""
    return value if math.isfinite(value) else None


MAYBE_BEST = "may be the best"
SIGNS: Mapping[str, str] = MappingProxyType({"better": "▲", "worse": "▼", MAYBE_BEST: "●"})
"""What the statistics say of a cell or of one of its metrics → its sign in every table."""
_PARTS = ("difference", "low", "high", "p_hac", "p_bootstrap", "verdict")
_BOUNDS = ("low", "high", "t", "p")
_NAMED = 3  # cells without a comparison that are named one by one


def csv_columns(
    metrics: Sequence[str],
    intervals: Mapping[str, Mapping[str, Any]],
    row: RowStatistics | None,
    statistics: SweepStatistics | None,
) -> dict[str, object]:
    """Return name of a column → value of one row, None where there is none; the names depend on the `metrics` only.

    Per metric its interval and its difference to the reference, then the rest.
    """
    differences = {} if row is None else row.differences
    deflated = row and row.deflated_sharpe
    return {
        **{f"{metric}_{bound}": intervals.get(metric, {}).get(bound) for metric in metrics for bound in _BOUNDS},
        **{
            f"{metric}_vs_reference_{part}": vars(differences[metric])[part] if metric in differences else None
            for metric in metrics
            for part in _PARTS
        },
        "reference": row and row.reference,
        "confidence_set_p": row and row.confidence_p,
        "in_confidence_set": row and row.in_confidence_set,
        "deflated_sharpe": deflated and deflated.probability,
        "trials": (row and statistics and statistics.trials) or None,
    }


def caption(statistics: SweepStatistics) -> str:
    """Return what the marks mean, what trying many cells is worth, and what could not be computed."""
    # One that has nothing beside it is not among the cells that others are held against.
    used = {row.reference for row in statistics.rows if row.differences}
    names = [name for name in statistics.references if name in used] or [statistics.reference]
    held = names[0] if len(names) == 1 else f"the reference of its data, label and test range ({'; '.join(names)})"
    marks = f"{SIGNS['better']} {SIGNS['worse']} better, worse than {held}"
    lines = [f"{marks}: HAC test and paired bootstrap both reject at {LEVEL:.0%}"]
    if any(row.in_confidence_set is not None for row in statistics.rows):
        what = f"{SIGNS[MAYBE_BEST]} {MAYBE_BEST} by {statistics.metric.heading}"
        lines.append(f"{what}: model confidence set at {1 - SIZE:.0%}")
    deflated = {row.name: row.deflated_sharpe.probability for row in statistics.rows if row.deflated_sharpe is not None}
    if deflated:
        best = max(deflated, key=lambda name: -1.0 if math.isnan(deflated[name]) else deflated[name])
        luck = f"best excess return beats the luckiest of {statistics.trials} worthless ones with probability"
        lines.append(f"{luck} {deflated[best]:.2f} (deflated Sharpe ratio, {best})")
    if statistics.overfitting is not None:
        lines.append(f"probability of backtest overfitting {statistics.overfitting.probability:.2f}")
    if others := _grouped((row.why_not_comparable, row.name) for row in statistics.rows):
        told = (f"{_names(names, f'{len(names)} cells')} ({reason})" for reason, names in others.items())
        lines.append(f"not compared: {'; '.join(told)}")
    return "\n".join([*lines, *statistics.notes])


def _grouped(pairs: Iterable[tuple[str | None, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text, name in pairs:
        if text is not None:
            found.setdefault(text, []).append(name)
    return found


def _names(names: Sequence[str], many: str) -> str:
    return "; ".join(names) if len(names) <= _NAMED else many


def cell_notes(cells: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return every note once, with the cells that it is of, in the order of the cells: name → notes of each."""
    given = list(cells)
    lines = []
    for note, names in _grouped((note, name) for name, notes in given for note in notes).items():
        many = f"{len(names)} of {len(given)} cells, first {names[0]}"
        whose = f"all {len(given)} cells" if len(names) == len(given) > 1 else _names(names, many)
        lines.append(f"{whose}: {note}")
    return lines
