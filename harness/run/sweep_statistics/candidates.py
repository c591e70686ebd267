"""The cells of a sweep as series, and the volatility regimes of their market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.evaluation.significance import volatility_regimes
from harness.run.sweep import CellResult
from harness.snapshots.evidence import DailySeries, Evidence
from harness.snapshots.snapshot import Snapshot
from harness.store.artifacts import ArtifactStore

Doubles = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
_SERIES = "series.parquet"
_RANGE = "test range"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One cell that has run.

    Attributes
    ----------
    name
        The swept values.
    snapshot
        Its record.
    series
        Its daily series.
    regimes
        (S,) volatility regime of the market at each time of the series; None when the market is not at hand.
    """

    name: str
    snapshot: Snapshot
    series: DailySeries
    regimes: npt.NDArray[np.str_] | None = None

    def at(self, name: str, times: Times) -> Doubles:
        """Return (T,) a series at some of its times."""
        rows = np.searchsorted(self.series.times, times)
        return self.series.values[name][rows]

    def why_not_comparable(self, other: Candidate) -> str | None:
        """Return why a metric of this cell cannot be held against that of another, or None."""
        if not np.intersect1d(self.series.times, other.series.times).size:
            differs = [what for what in self.scenario if what != _RANGE and self.scenario[what] != other.scenario[what]]
            return f"another {' and another '.join(differs)}" if differs else "no test time in common"
        differs = [what for what in self.scenario if self.scenario[what] != other.scenario[what]]
        return f"another {' and another '.join(differs)}" if differs else None

    @property
    def scenario(self) -> dict[str, object]:
        """What two cells have in common whose metrics answer the same question about the same times."""
        times = self.series.times
        ends = [str(times[at]) for at in (0, -1)] if times.size else []
        return {**_question(self.snapshot.identity), _RANGE: ends}


def candidates_of(results: Sequence[CellResult], *, with_regimes: bool = True) -> tuple[Candidate, ...]:
    """Return the cells that have run, with their series and, where the panel is in the store, its regimes."""
    regimes: dict[str, tuple[Times, npt.NDArray[np.str_]] | None] = {}
    found = []
    for ended in results:
        if ended.result is None:
            continue
        snapshot = ended.result.snapshot
        path = ended.result.folder / _SERIES
        if not path.is_file():
            continue
        fingerprint = str(snapshot.identity.get("data", {}).get("fingerprint", ""))
        if not with_regimes:
            regimes[fingerprint] = None
        if fingerprint not in regimes:
            panel = Evidence(ArtifactStore(Path(ended.result.config.output.store))).panel(fingerprint)
            regimes[fingerprint] = None if panel is None else market_regimes(panel)
        series = DailySeries.read(path)
        found.append(Candidate(ended.cell.name, snapshot, series, regimes_at(regimes[fingerprint], series.times)))
    return tuple(found)


def market_regimes(panel: Panel) -> tuple[Times, npt.NDArray[np.str_]]:
    """Return the times of a panel and the volatility regime of its market at each, from what is known by then.

    The market is the panel's benchmark, or, where it has none, the mean return of the members.
    """
    price = np.asarray(panel.fields[panel.price_field], dtype=np.float64)
    if panel.benchmark is not None:
        close = np.asarray(panel.benchmark.close, dtype=np.float64)
        returns = np.full(close.size, np.nan)
        returns[1:] = close[1:] / close[:-1] - 1.0
    else:
        changes = price[1:] / price[:-1] - 1.0
        counted = np.asarray(panel.membership[1:]) & np.isfinite(changes)
        total, count = np.where(counted, changes, 0.0).sum(axis=1), counted.sum(axis=1)
        returns = np.full(price.shape[0], np.nan)
        returns[1:] = np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)
    return panel.calendar.times, volatility_regimes(returns)


def regimes_at(regimes: tuple[Times, npt.NDArray[np.str_]] | None, times: Times) -> npt.NDArray[np.str_] | None:
    """Return (S,) the regime at each of the `times`; None when one of them is not on the market's calendar."""
    if regimes is None or not np.isin(times, regimes[0]).all():
        return None
    return regimes[1][np.searchsorted(regimes[0], times)]


def common_times(candidates: Sequence[Candidate]) -> Times:
    """Return (T,) the times that the series of all candidates have, in order."""
    times = candidates[0].series.times
    for other in candidates[1:]:
        times = np.intersect1d(times, other.series.times)
    return times


def _question(identity: Mapping[str, Any]) -> dict[str, object]:
    """Return what makes the metrics of two cells answers to the same question."""
    config = identity.get("config", {})
    return {
        "data set": identity.get("data", {}).get("fingerprint"),
        "label": (identity.get("look_ahead"), config.get("label")),
        "definition of the metrics": config.get("evaluation", {}).get("signal"),
    }
