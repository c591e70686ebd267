"""What the artifact store still holds of snapshots: the series for a paired test, the panels to name what differs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.panel import FINGERPRINT_FILE, Panel, load_panel
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.metrics import MetricRecord, metrics_of
from harness.evaluation.significance.bootstrap import paired_difference
from harness.evaluation.significance.hac import calendar_years
from harness.snapshots.comparison import DifferenceTest
from harness.snapshots.snapshot import Snapshot
from harness.store.artifacts import ArtifactStore, is_intact

_SHOWN = 5


@dataclass(frozen=True)
class Evidence:
    """Looks up what snapshots were made of."""

    store: ArtifactStore

    def series(self, snapshot: Snapshot) -> DailySeries | None:
        """Return the daily series behind a snapshot's metrics, or None when the store does not hold them any more.

        They are found by the digest of the predictions and the overall metrics, whatever code made them.
        """
        folder = self.result(snapshot)
        return None if folder is None else DailySeries.read(folder / "series.parquet")

    def result(self, snapshot: Snapshot) -> Path | None:
        """Return the folder of the result that a snapshot is of, or None when the store does not hold it any more."""
        digest, overall = snapshot.metrics.get("predictions"), snapshot.metrics.get("overall")
        held = self._holding(digest, "result", "metrics.json")
        return next((folder for folder, text in held if json.loads(text).get("overall") == overall), None)

    def panel(self, fingerprint: object) -> Panel | None:
        """Return the panel with a fingerprint, or None when the store does not hold it."""
        held = self._holding(fingerprint, "panel", FINGERPRINT_FILE)
        return next((load_panel(folder) for folder, _ in held), None)

    def _holding(self, digest: object, stage: str, file: str) -> Iterator[tuple[Path, str]]:
        """Yield the intact results of a stage whose file holds a digest, and that file's text."""
        for folder in self.store.results(stage) if isinstance(digest, str) else ():
            path = folder / file
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            if str(digest) in text and is_intact(folder):
                yield folder, text

    def difference_test(self, baseline: Snapshot, candidate: Snapshot) -> DifferenceTest:
        """Return path of a metric → p-value of the paired HAC test of no difference between two runs.

        Overall metrics are tested over the whole test range, those of a year in that year. None where a metric follows
        from no series, a series is too short for its overlap, or the store lacks one of them.
        """
        known = metrics_of(candidate.identity)

        @cache
        def pair() -> tuple[DailySeries, DailySeries] | None:
            old, new = self.series(baseline), self.series(candidate)
            return None if old is None or new is None else (old, new)

        def p_value(path: str) -> float | None:
            section, _, rest = path.partition(".")
            metric = known.get(rest.rpartition(".")[2])
            if section not in ("overall", "per_year") or metric is None or metric.statistic not in ("mean", "ir"):
                return None
            if (found := pair()) is None or any(metric.series not in side for side in found):
                return None
            old, new = found
            _, left, right = np.intersect1d(old.times, new.times, return_indices=True)
            if section == "per_year":
                wanted = calendar_years(old.times[left]) == int(rest.partition(".")[0])
                left, right = left[wanted], right[wanted]
            series, look_ahead = metric.series, overlap_of(candidate.identity, metric)
            tested = paired_difference(new[series][right], old[series][left], metric.statistic, look_ahead=look_ahead)
            return tested.hac.p_value if math.isfinite(tested.hac.p_value) else None

        return p_value

    def data_difference(self, baseline: Snapshot, candidate: Snapshot) -> tuple[str, ...]:
        """Return in which instruments, dates and values the panels of two snapshots differ; empty when they do not."""
        data = [snapshot.identity.get("data") for snapshot in (baseline, candidate)]
        prints = [of.get("fingerprint") if isinstance(of, Mapping) else None for of in data]
        if prints[0] == prints[1] or None in prints:
            return ()
        old, new = map(self.panel, prints)
        if old is None or new is None:
            lacking = " and the ".join(s for s, panel in (("baseline", old), ("candidate", new)) if panel is None)
            return (f"what differs is not known: the panel of the {lacking} is not in the store",)
        return explain_data_difference(old, new)


def overlap_of(identity: Mapping[str, Any], metric: MetricRecord) -> int:
    """Return `MetricRecord.overlap_at` for the label and the lag of a snapshot's identity."""
    signal = identity.get("config", {}).get("evaluation", {}).get("signal") or {}
    return metric.overlap_at(int(identity.get("look_ahead", 1)), int(signal.get("lag", 1)))


def explain_data_difference(a: Panel, b: Panel) -> tuple[str, ...]:
    """Return which instruments, times, fields and values differ between two panels: counts and the first few of each.

    Values are compared where both panels have the time and the instrument; empty when nothing differs.
    """
    times = [[panel.calendar.format(t) for t in range(len(panel.calendar))] for panel in (a, b)]
    found, named = [], {"times": times, "instruments": (a.instruments, b.instruments), "fields": (a.fields, b.fields)}
    for what, sides in named.items():
        for side, own, other in zip(("baseline", "candidate"), sides, reversed(sides), strict=True):
            if names := sorted(set(own) - set(other)):
                few = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
                found.append(f"{len(names)} {what} only in the {side}: {few}")
    _, rows_a, rows_b = np.intersect1d(a.calendar.times, b.calendar.times, return_indices=True)
    shared, columns_a, columns_b = np.intersect1d(a.instruments, b.instruments, return_indices=True)
    arrays: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    arrays = {name: (a.fields[name], b.fields[name]) for name in sorted(set(a.fields) & set(b.fields))}
    arrays["membership"] = (a.membership, b.membership)
    if a.benchmark is not None and b.benchmark is not None:
        arrays["benchmark"] = (a.benchmark.close, b.benchmark.close)
    for name, (left, right) in arrays.items():
        of_times = left.ndim == 1  # else (T, N)
        x = left[rows_a, None] if of_times else left[np.ix_(rows_a, columns_a)]
        y = right[rows_b, None] if of_times else right[np.ix_(rows_b, columns_b)]
        at = np.argwhere((x != y) & ~((x != x) & (y != y)))  # only NaN differs from itself
        first = (
            f"{times[0][rows_a[t]]} {'' if of_times else f'{shared[n]} '}{x[t, n]!s} → {y[t, n]!s}"
            for t, n in at[:_SHOWN]
        )
        found += [f"{name}: {len(at)} values differ: {'; '.join(first)}"] if len(at) else []
    benchmarks = [None if panel.benchmark is None else panel.benchmark.name for panel in (a, b)]
    for key, old, new in (("benchmark", *benchmarks), ("price field", a.price_field, b.price_field)):
        found += [f"{key}: {old} → {new}"] if old != new else []
    truths = [None if of.truth is None else [v.tobytes() for v in vars(of.truth).values()] for of in (a, b)]
    return (*found, *(["the simulator's truth differs"] if truths[0] != truths[1] else []))
