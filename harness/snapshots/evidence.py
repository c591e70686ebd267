"""What the artifact store still holds of snapshots: the series for a paired test, the panels to name what differs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel, load_panel
from harness.evaluation.evaluate import read_series
from harness.evaluation.metrics import MetricRecord, metrics_of
from harness.evaluation.significance.paired import calendar_years, paired_difference
from harness.snapshots.comparison import DifferenceTest
from harness.snapshots.data_difference import explain_data_difference
from harness.snapshots.snapshot import Snapshot
from harness.store.artifacts import ArtifactStore, is_intact

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DailySeries:
    """The series behind a run's metrics.

    Attributes:
        times: (S,) ``datetime64[ns]``.
        values: Name → (S,) float64, NaN where undefined.
    """

    times: npt.NDArray[np.datetime64]
    values: Mapping[str, Doubles]

    @classmethod
    def read(cls, path: Path) -> DailySeries:
        """Read a run's ``series.parquet``; raises `DataError` when it is missing or no such file."""
        return cls(*read_series(path))

    def __getitem__(self, name: str) -> Doubles:
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values


@dataclass(frozen=True)
class Evidence:
    """Looks up what snapshots were made of.

    Attributes:
        store: The artifact store.
    """

    store: ArtifactStore

    def series(self, snapshot: Snapshot) -> DailySeries | None:
        """Return the daily series behind a snapshot's metrics, or None when the store does not hold them any more.

        They are found by the digest of the predictions and the overall metrics, whatever code made them.
        """
        digest, overall = snapshot.metrics.get("predictions"), snapshot.metrics.get("overall")
        if not isinstance(digest, str):
            return None
        for folder in self.store.results("result"):
            path = folder / "metrics.json"
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            if digest in text and is_intact(folder) and json.loads(text).get("overall") == overall:
                return DailySeries.read(folder / "series.parquet")
        return None

    def panel(self, fingerprint: str) -> Panel | None:
        """Return the panel with a fingerprint, or None when the store does not hold it."""
        for folder in self.store.results("panel"):
            path = folder / "record.json"
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            if fingerprint in text and is_intact(folder):
                return load_panel(folder)
        return None

    def difference_test(self, baseline: Snapshot, candidate: Snapshot) -> DifferenceTest:
        """Return path of a metric → p-value of the paired HAC test of no difference between two runs.

        Overall metrics are tested over the whole test range, those of a year in that year. None where a metric follows
        from no series, a series is too short for its overlap, or the store lacks one of them.
        """
        return _PairedTest(self, baseline, candidate).p_value

    def data_difference(self, baseline: Snapshot, candidate: Snapshot) -> tuple[str, ...]:
        """Return in which instruments, dates and values the panels of two snapshots differ; empty when they do not."""
        prints = [_fingerprint(snapshot) for snapshot in (baseline, candidate)]
        if prints[0] == prints[1] or None in prints:
            return ()
        panels = [self.panel(str(fingerprint)) for fingerprint in prints]
        lacking = [side for side, panel in zip(("baseline", "candidate"), panels, strict=True) if panel is None]
        if lacking:
            return (f"what differs is not known: the panel of the {' and the '.join(lacking)} is not in the store",)
        old, new = (panel for panel in panels if panel is not None)
        return explain_data_difference(old, new).lines()


@dataclass(eq=False)
class _PairedTest:
    """A test that looks for its series when it is asked for the first time."""

    evidence: Evidence
    baseline: Snapshot
    candidate: Snapshot
    found: tuple[DailySeries, DailySeries] | None = None
    searched: bool = False

    def p_value(self, path: str) -> float | None:
        section, _, rest = path.partition(".")
        name = rest.rpartition(".")[2]
        metric = metrics_of(self.candidate.identity).get(name)
        if section not in ("overall", "per_year") or metric is None or metric.statistic not in ("mean", "ir"):
            return None
        pair = self._pair()
        if pair is None or any(metric.series not in side.values for side in pair):
            return None
        old, new = pair
        _, left, right = np.intersect1d(old.times, new.times, return_indices=True)
        if section == "per_year":
            wanted = calendar_years(old.times[left]) == int(rest.partition(".")[0])
            left, right = left[wanted], right[wanted]
        tested = paired_difference(
            new.values[metric.series][right],
            old.values[metric.series][left],
            metric.statistic,
            look_ahead=overlap_of(self.candidate.identity, metric),
        )
        return tested.hac.p_value if math.isfinite(tested.hac.p_value) else None

    def _pair(self) -> tuple[DailySeries, DailySeries] | None:
        if not self.searched:
            self.searched = True
            old, new = self.evidence.series(self.baseline), self.evidence.series(self.candidate)
            self.found = None if old is None or new is None else (old, new)
        return self.found


def overlap_of(identity: Mapping[str, Any], metric: MetricRecord) -> int:
    """Return `MetricRecord.overlap_at` for the label and the lag of a snapshot's identity."""
    lag = identity.get("config", {}).get("evaluation", {}).get("signal", {}).get("lag", 1)
    return metric.overlap_at(int(identity.get("look_ahead", 1)), int(lag))


def _fingerprint(snapshot: Snapshot) -> str | None:
    data = snapshot.identity.get("data")
    return str(data["fingerprint"]) if isinstance(data, Mapping) and "fingerprint" in data else None
