"""Tolerances learned from what the seed alone moves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from harness.config.tolerances import Learned, Tolerances
from harness.errors import SnapshotError
from harness.snapshots.comparison import differences, metric_leaves
from harness.snapshots.snapshot import Snapshot, sha256
from harness.snapshots.verdicts import is_number

FALSE_ALARM = 0.01
_REPEATED = ("per_window", "per_year")


def learn(snapshots: Sequence[Snapshot], *, factor: float | None = None) -> Tolerances:
    """Return a tolerance per metric from the standard deviation over runs that differ in nothing but their seeds.

    Windows share one tolerance per metric, that of the most variable window, and so do years; the cases of a suite
    share that of the most variable case. A metric that is undefined in every run gets none, and neither does what is
    not a number; the default is exact.

    Args:
        snapshots: k ≥ 2 runs of each case, one per seed, that differ in nothing else, each metric defined in all of
            them or in none; raises `SnapshotError` otherwise.
        factor: How many standard deviations are allowed. None: so many that two runs that differ in their seeds only
            are told apart with probability `FALSE_ALARM` per metric, if normal: t(1 − FALSE_ALARM / 2; k − 1) · √2.
    """
    cases: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        cases[f"{snapshot.suite}/{snapshot.case}"].append(snapshot)
    spread: dict[str, float] = defaultdict(float)
    for name, runs in (cases or {"learn": []}).items():
        _check_runs(runs, name)
        for path, values in _by_path(runs).items():
            section, _, rest = path.partition(".")
            pattern = f"{section}.*.{rest.partition('.')[2]}" if section in _REPEATED else path
            # Equal values have no spread at all, whatever their mean rounds to.
            deviation = float(np.std(values, ddof=1)) if len(set(values)) > 1 else 0.0
            spread[pattern] = max(spread[pattern], deviation)
    if factor is None:
        from scipy.stats import t

        fewest = min(map(len, cases.values()))
        factor = float(t.ppf(1.0 - FALSE_ALARM / 2.0, fewest - 1)) * math.sqrt(2.0)
    return Tolerances("exact", {p: Learned(s, factor) for p, s in sorted(spread.items())})


def _check_runs(runs: Sequence[Snapshot], case: str) -> None:
    if len(runs) < 2:
        raise SnapshotError("A spread needs at least two runs.", where=case, got=len(runs), expected="≥ 2")
    found = [d for other in runs[1:] for d in differences(runs[0].identity, other.identity)]
    wrong = [str(d) for d in found if not d.path.rpartition(".")[2].endswith("seed")]
    if wrong:
        what = "The runs differ in more than their seeds, so their spread says nothing about chance."
        expected = "the same identity but for keys that end in `seed`"
        raise SnapshotError(what, where=case, got="; ".join(wrong[:3]), expected=expected)
    if len({sha256(run.identity) for run in runs}) < len(runs):
        raise SnapshotError("The same seed was run twice.", where=case, expected="one run per seed")


def _by_path(runs: Sequence[Snapshot]) -> dict[str, list[float]]:
    leaves = [metric_leaves(run.metrics) for run in runs]
    found = {}
    for path in leaves[0]:
        values = [leaf.get(path) for leaf in leaves]
        numbers = [v for v in values if is_number(v)]
        if len(numbers) == len(values):
            found[path] = numbers
        elif numbers:
            what, got = "A metric is undefined in some of the runs.", f"{len(numbers)} of {len(values)} runs"
            raise SnapshotError(what, where=path, got=got, hint="choose a longer test range, or leave the metric out")
    return found
