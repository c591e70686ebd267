"""Compare two snapshots: symmetric, with a closed set of verdicts; learn tolerances from what the seed alone moves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.config.tolerances import Exact, Learned, Tolerance, Tolerances
from harness.errors import SnapshotError
from harness.snapshots.growth import Growth, growth_of, window_leaves
from harness.snapshots.snapshot import Snapshot, sha256
from harness.snapshots.verdicts import (
    ABSENT,
    Basis,
    CaseVerdict,
    Direction,
    IdentityDifference,
    MetricVerdict,
    Scalar,
    Verdict,
    is_number,
)
from harness.store.records import with_public_names

DifferenceTest = Callable[[str], float | None]
PREDICTIONS = "predictions"
_ORACLE, _INTERVALS = "oracle.", "intervals."
_KEYS = ("window", "year", "name")
_SHOWN, _NAMED = 5, 3
FALSE_ALARM = 0.01
_REPEATED = ("per_window", "per_year")


def metric_leaves(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return path → value of every leaf of a snapshot's metrics.

    A record in a list is addressed by its ``window``, ``year`` or ``name`` where these tell all of them apart, so that
    one window more does not shift the others; by its position otherwise. That key itself is no leaf. Notes are text for
    people, about numbers that are leaves themselves.
    """
    return dict(_walk({name: value for name, value in metrics.items() if name != "notes"}, ""))


def differences(a: object, b: object, path: str = "") -> Iterator[IdentityDifference]:
    """Yield every key in which two plain records differ, as dotted paths, in order.

    Lists of equal length are compared entry by entry. Of two lists of scalars only what the other lacks is kept; of
    other lists of different length the lengths.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(a.keys() | b.keys(), key=str):
            yield from differences(a.get(key, ABSENT), b.get(key, ABSENT), _join(path, str(key)))
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) == len(b):
            for index, (x, y) in enumerate(zip(a, b, strict=True)):
                yield from differences(x, y, _join(path, str(index)))
        elif any(isinstance(x, Mapping | list | tuple) for x in (*a, *b)):
            yield IdentityDifference(path, f"{len(a)} entries", f"{len(b)} entries")
        else:
            yield IdentityDifference(path, _only(a, b), _only(b, a))
    elif type(a) is not type(b) or a != b:
        yield IdentityDifference(path, a, b)


def environment(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a provenance decides the bits of a result: code, Python, libraries, machine.

    How many processors there are is left out: no number may depend on them. A part that is not recorded is absent, and
    so is a platform whose processor is unknown, so that a provenance without any of them is like no other.
    """
    found = {name: provenance[name] for name in ("python", "packages") if name in provenance}
    code, machine = provenance.get("code"), provenance.get("platform")
    if isinstance(code, Mapping) and code.get("digest") is not None:
        found["code"] = {"digest": code["digest"]}
    if isinstance(machine, Mapping) and machine.get("processor") is not None:
        found["platform"] = {k: v for k, v in machine.items() if k != "cpus"}
    return found


def _walk(node: object, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key in sorted(node):
            yield from _walk(node[key], _join(path, str(key)))
    elif isinstance(node, list | tuple):
        # The key that tells the records of the list apart, if there is one.
        records = [entry for entry in node if isinstance(entry, Mapping)]
        names = {key: {str(record[key]) for record in records if key in record} for key in _KEYS}
        key = next((key for key in _KEYS if records and len(names[key]) == len(node)), None)
        for index, entry in enumerate(node):
            rest = entry if key is None else {k: v for k, v in entry.items() if k != key}
            yield from _walk(rest, _join(path, str(index if key is None else entry[key])))
    else:
        yield path, node


def _only(own: Sequence[object], other: Sequence[object]) -> str:
    extra = [str(x) for x in own if x not in other]
    shown = ", ".join(extra[:_SHOWN]) + (f" … ({len(extra)})" if len(extra) > _SHOWN else "")
    return f"{len(own)} entries" + (f", only here: {shown}" if extra else "")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def compare(
    baseline: Snapshot,
    candidate: Snapshot,
    tolerances: Tolerances,
    *,
    directions: Mapping[str, Direction],
    difference_test: DifferenceTest | None = None,
    labels: tuple[str, str] = ("baseline", "candidate"),
) -> CaseVerdict:
    """Return the verdict on `candidate`, metric by metric: overall, per window, per year, oracle, predictions.

    Where one snapshot goes on where the data of the other end, what both have is compared, and the rest is new, or
    missing where the data end earlier, see `Growth`. The same code in the same environment must give the same bits;
    another one is held to the tolerances. The comparison is symmetric: with the sides exchanged, missing becomes new
    and worsened improved, and nothing that was a finding is none.

    Args:
        tolerances: How far each metric may move between environments.
        directions: Metric name → which way it is better. Any move of a metric that is not named, or has no better side,
            beyond its tolerance counts as worsened.
        difference_test: Path of a metric (``overall.IC``) → two-sided p-value of a paired test of no difference, None
            where there is none. A move beyond the tolerance that is not significant is inconclusive.
        labels: The two sides in words.
    """
    identity = tuple(differences(with_public_names(baseline.identity), with_public_names(candidate.identity)))
    growth = growth_of(baseline, candidate) if identity else None
    identity = () if growth is not None else identity
    basis, reason = _basis(baseline, candidate) if not identity else (Basis.NONE, "the identities differ")
    if basis is Basis.TOLERANCE and tolerances.demand_equal_bits:
        basis, reason = Basis.EXACT, "the tolerances demand equal bits"
    rule = _Rule(basis, tolerances, directions, difference_test, growth)
    left, right = (
        {**metric_leaves(one.metrics), **({} if growth is None else window_leaves(one))}
        for one in (baseline, candidate)
    )
    paths = [*left, *(path for path in right if path not in left)]
    seconds = candidate.provenance.get("seconds", {})
    return CaseVerdict(
        *(candidate.suite, candidate.case, *labels, basis, reason),
        metrics=tuple(rule.judge(path, left.get(path, ABSENT), right.get(path, ABSENT)) for path in paths),
        identity=identity,
        data=() if growth is None else growth.lines,
        has_grown=growth is not None,
        seconds=float(sum(seconds.values())) if isinstance(seconds, Mapping) else 0.0,
    )


def _basis(baseline: Snapshot, candidate: Snapshot) -> tuple[Basis, str]:
    left, right = environment(baseline.provenance), environment(candidate.provenance)
    unknown = [name for name in ("code", "packages", "platform") if name not in left or name not in right]
    if unknown:
        return Basis.TOLERANCE, f"not recorded on both sides: {', '.join(unknown)}"
    different = list(differences(left, right))
    if not different:
        return Basis.EXACT, "same code and environment: equal bits are demanded"
    # Digests say nothing to people but that they differ.
    named = "; ".join("the code" if d.path == "code.digest" else str(d) for d in different[:_NAMED])
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return Basis.TOLERANCE, f"another environment: {named}{more}"


@dataclass(frozen=True)
class _Rule:
    basis: Basis
    tolerances: Tolerances
    directions: Mapping[str, Direction]
    difference_test: DifferenceTest | None
    growth: Growth | None = None

    def judge(self, path: str, old: Scalar, new: Scalar) -> MetricVerdict:
        numbers = is_number(old) and is_number(new)
        tolerance = Exact() if self.basis is Basis.EXACT or not numbers else self.tolerances.of(path)
        said, p_value = str(tolerance), None
        is_digest = path.rpartition(".")[2] == PREDICTIONS
        both = ABSENT not in (old, new)
        if self.growth is not None and both and (why := self.growth.why_revised(path)) is not None:
            verdict, said, reason = Verdict.INCOMPARABLE, "none", why
        elif self.growth is not None and both and (why := self.growth.why_not_judged(path)) is not None:
            verdict, said, reason = Verdict.MISSING if self.growth.shrunk else Verdict.NEW, "none", why
        elif self.basis is Basis.NONE:
            verdict, said, reason = Verdict.INCOMPARABLE, "none", "the identities differ"
        elif ABSENT in (old, new) or (None in (old, new) and old != new):
            what, absent = ("not there", ABSENT) if ABSENT in (old, new) else ("undefined", None)
            said = str(Exact() if self.basis is Basis.EXACT else self.tolerances.of(path))
            verdict, when = (Verdict.MISSING, "any more") if new == absent else (Verdict.NEW, "in the baseline")
            reason = f"{what} {when}"
        elif old == new and (numbers or type(old) is type(new)):
            verdict, reason = Verdict.SAME, "undefined on both sides" if old is None else "equal"
        elif is_number(old) and is_number(new):
            verdict, said, reason, p_value = self._moved(path, old, new, tolerance)
        elif is_digest and self.basis is Basis.TOLERANCE:
            # Another environment may round the predictions differently.
            reason = "other bits, as another environment may give; the metrics are held to their tolerances"
            verdict, said = Verdict.WITHIN_TOLERANCE, "bits may differ"
        else:
            verdict = Verdict.WORSENED
            reason = "predictions differ though code and environment are the same" if is_digest else "differs"
        return MetricVerdict(path, verdict, old, new, said, reason, p_value)

    def _moved(self, path: str, old: float, new: float, tolerance: Tolerance) -> tuple[Verdict, str, str, float | None]:
        """Return the verdict on a number that is another one, the tolerance in words, the reason, and the p-value."""
        said, moved = str(tolerance), f"moved by {new - old:+.3g}"
        if path.startswith(_INTERVALS) and self.basis is Basis.TOLERANCE:
            # How sure a metric is follows its series; no bound of an interval is better for being higher.
            reason = f"{moved}; the metric itself is held to its tolerance"
            return Verdict.WITHIN_TOLERANCE, "may differ", reason, None
        if tolerance.allows(old, new):
            return Verdict.WITHIN_TOLERANCE, said, moved, None
        test = None if self.basis is Basis.EXACT else self.difference_test
        p_value = None if test is None else test(path)
        if p_value is not None and p_value >= self.tolerances.significance:
            reason = f"{moved}, which is not significant (p = {p_value:.3g})"
            return Verdict.INCONCLUSIVE, said, reason, p_value
        # The last part of the path that is a metric decides; the optimum and intervals have no better side.
        named = [part for part in path.split(".") if part in self.directions]
        direction = self.directions[named[-1]] if named and not path.startswith((_ORACLE, _INTERVALS)) else "none"
        better = (direction == "higher" and new > old) or (direction == "lower" and new < old)
        side = f"{direction} is better" if direction != "none" else "no side is better"
        return (Verdict.IMPROVED if better else Verdict.WORSENED), said, f"{moved}; {side}", p_value


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
