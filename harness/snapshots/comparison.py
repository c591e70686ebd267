"""Compare two snapshots: symmetric, with a closed set of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.config.tolerances import Exact, Tolerance, Tolerances
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import (
    ABSENT,
    Basis,
    CaseVerdict,
    Direction,
    IdentityDifference,
    MetricVerdict,
    Problem,
    Scalar,
    Verdict,
    is_number,
)
from harness.store.records import with_public_names

_KEYS = ("window", "year", "name")
_SHOWN = 5
_IRRELEVANT = ("cpus",)


def metric_leaves(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return path → value of every leaf of a snapshot's metrics.

    A record in a list is addressed by its ``window``, ``year`` or ``name`` where these tell all of them apart, so that
    one window more does not shift the others; by its position otherwise. That key itself is no leaf. Notes are text for
    people, about numbers that are leaves themselves.
    """
    return dict(_walk({name: value for name, value in metrics.items() if name != "notes"}, ""))


def differences(baseline: object, candidate: object, path: str = "") -> tuple[IdentityDifference, ...]:
    """Return every key in which two pieces of plain data differ, as dotted paths, in order.

    Lists of equal length are compared entry by entry. Of two lists of scalars only what the other lacks is kept; of
    other lists of different length the lengths.
    """
    return tuple(_differences(baseline, candidate, path))


def environment(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a provenance decides the bits of a result: code, Python, libraries, machine.

    How many processors and threads there are is left out: no number may depend on them. A part that is not recorded is
    absent, and so is a platform whose processor is unknown, so that a provenance without any of them is like no other.
    """
    found: dict[str, Any] = {}
    code = provenance.get("code")
    if isinstance(code, Mapping) and code.get("digest") is not None:
        found["code"] = {"digest": code["digest"]}
    for name in ("python", "packages"):
        if name in provenance:
            found[name] = provenance[name]
    machine = provenance.get("platform")
    if isinstance(machine, Mapping) and machine.get("processor") is not None:
        found["platform"] = {k: v for k, v in machine.items() if k not in _IRRELEVANT}
    return found


def _walk(node: object, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key in sorted(node):
            yield from _walk(node[key], _join(path, str(key)))
    elif isinstance(node, list | tuple):
        key = _own_key(node)
        for index, entry in enumerate(node):
            rest = entry if key is None else {k: v for k, v in entry.items() if k != key}
            yield from _walk(rest, _join(path, str(index if key is None else entry[key])))
    else:
        yield path, node


def _own_key(entries: Sequence[object]) -> str | None:
    """Return the key that tells the records of a list apart, if there is one."""
    records = [entry for entry in entries if isinstance(entry, Mapping)]
    for key in _KEYS:
        names = {str(record[key]) for record in records if key in record}
        if records and len(names) == len(entries):
            return key
    return None


def _differences(a: object, b: object, path: str) -> Iterator[IdentityDifference]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(a.keys() | b.keys(), key=str):
            yield from _differences(a.get(key, ABSENT), b.get(key, ABSENT), _join(path, str(key)))
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        yield from _list_differences(a, b, path)
    elif type(a) is not type(b) or a != b:
        yield IdentityDifference(path, a, b)


def _list_differences(a: Sequence[object], b: Sequence[object], path: str) -> Iterator[IdentityDifference]:
    if len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, _join(path, str(index)))
    elif any(isinstance(x, Mapping | list | tuple) for x in (*a, *b)):
        yield IdentityDifference(path, f"{len(a)} entries", f"{len(b)} entries")
    else:
        yield IdentityDifference(path, _only(a, b), _only(b, a))


def _only(own: Sequence[object], other: Sequence[object]) -> str:
    extra = [str(x) for x in own if x not in other]
    shown = ", ".join(extra[:_SHOWN]) + (f" … ({len(extra)})" if len(extra) > _SHOWN else "")
    return f"{len(own)} entries" + (f", only here: {shown}" if extra else "")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


DifferenceTest = Callable[[str], float | None]

PREDICTIONS = "predictions"
_ORACLE = "oracle."
_INTERVALS = "intervals."
_NAMED = 3


@dataclass(frozen=True)
class _Rule:
    """What two values of a metric are judged by."""

    basis: Basis
    tolerances: Tolerances
    directions: Mapping[str, Direction]
    difference_test: DifferenceTest | None

    def tolerance(self, path: str) -> Tolerance:
        return Exact() if self.basis is Basis.EXACT else self.tolerances.of(path)

    def direction(self, path: str) -> Direction:
        """Let the last part of the path that is a metric decide; the optimum and intervals have no better side."""
        named = [part for part in path.split(".") if part in self.directions]
        return self.directions[named[-1]] if named and not path.startswith((_ORACLE, _INTERVALS)) else "none"

    def p_value(self, path: str) -> float | None:
        return None if self.difference_test is None or self.basis is Basis.EXACT else self.difference_test(path)


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

    The same code in the same environment must give the same bits; another one is held to the tolerances. The
    comparison is symmetric: with the sides exchanged, missing becomes new and worsened improved, and nothing that was
    a finding is none.

    Args:
        baseline, candidate: The two snapshots.
        tolerances: How far each metric may move between environments.
        directions: Metric name → which way it is better. Any move of a metric that is not named, or has no better side,
            beyond its tolerance counts as worsened.
        difference_test: Path of a metric (``overall.IC``) → two-sided p-value of a paired test of no difference, None
            where there is none. A move beyond the tolerance that is not significant is inconclusive.
        labels: The two sides in words.
    """
    identity = differences(with_public_names(baseline.identity), with_public_names(candidate.identity))
    basis, reason = _basis(baseline, candidate) if not identity else (Basis.NONE, "the identities differ")
    rule = _Rule(basis, tolerances, directions, difference_test)
    left, right = metric_leaves(baseline.metrics), metric_leaves(candidate.metrics)
    paths = [*left, *(path for path in right if path not in left)]
    judge = _incomparable if identity else _judge
    seconds = candidate.provenance.get("seconds", {})
    return CaseVerdict(
        suite=candidate.suite,
        case=candidate.case,
        baseline=labels[0],
        candidate=labels[1],
        basis=basis,
        basis_reason=reason,
        metrics=tuple(judge(path, left.get(path, ABSENT), right.get(path, ABSENT), rule) for path in paths),
        identity=identity,
        seconds=float(sum(seconds.values())) if isinstance(seconds, Mapping) else 0.0,
    )


def without_baseline(candidate: Snapshot) -> CaseVerdict:
    """Return the verdict on a case that was never blessed: a missing golden value fails."""
    return _problem(
        candidate.suite, candidate.case, Problem.NO_BASELINE, "it was never blessed: bench bless --reason …"
    )


def orphaned(suite: str, case: str) -> CaseVerdict:
    """Return the verdict on a baseline whose case is gone."""
    return _problem(
        suite, case, Problem.ORPHANED, "no case of the suite has this name: restore it, or delete its folder"
    )


def failed(suite: str, case: str, message: str) -> CaseVerdict:
    """Return the verdict on a case that could not be run because of a user's mistake."""
    return _problem(suite, case, Problem.FAILED, message)


def crashed(suite: str, case: str, message: str) -> CaseVerdict:
    """Return the verdict on a case that crashed: a bug, in the harness or in somebody's own code."""
    return _problem(suite, case, Problem.CRASHED, message)


def damaged(suite: str, case: str, message: str) -> CaseVerdict:
    """Return the verdict on a case whose baseline was edited, renamed or lost a version."""
    return _problem(suite, case, Problem.DAMAGED, message)


def skipped(suite: str, case: str, reason: str) -> CaseVerdict:
    """Return the verdict on a case that was not run, and why; never a silent pass."""
    return _problem(suite, case, Problem.SKIPPED, reason)


def leaking(candidate: Snapshot, compared: CaseVerdict) -> CaseVerdict:
    """Return the verdict on a case whose own audit found a leak: it fails, whatever became of its metrics."""
    return replace(compared, problem=Problem.LEAK, detail=candidate.leak or "")


def _problem(suite: str, case: str, problem: Problem, detail: str) -> CaseVerdict:
    return CaseVerdict(suite, case, None, None, Basis.NONE, problem.value, problem=problem, detail=detail)


def _basis(baseline: Snapshot, candidate: Snapshot) -> tuple[Basis, str]:
    left, right = environment(baseline.provenance), environment(candidate.provenance)
    unknown = [name for name in ("code", "packages", "platform") if name not in left or name not in right]
    if unknown:
        return Basis.TOLERANCE, f"not recorded on both sides: {', '.join(unknown)}"
    different = differences(left, right)
    if not different:
        return Basis.EXACT, "same code and environment: equal bits are demanded"
    return Basis.TOLERANCE, f"another environment: {_named(different)}"


def _named(different: tuple[IdentityDifference, ...]) -> str:
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return "; ".join(_short(d) for d in different[:_NAMED]) + more


def _short(difference: IdentityDifference) -> str:
    """Digests say nothing to people but that they differ."""
    return "the code" if difference.path == "code.digest" else str(difference)


def _incomparable(path: str, old: Scalar, new: Scalar, rule: _Rule) -> MetricVerdict:
    return MetricVerdict(path, Verdict.INCOMPARABLE, old, new, "none", "the identities differ")


def _judge(path: str, old: Scalar, new: Scalar, rule: _Rule) -> MetricVerdict:
    tolerance = rule.tolerance(path)
    said = str(tolerance)
    if old == ABSENT or new == ABSENT:
        return _one_sided(path, old, new, said, "not there", ABSENT)
    if old is None and new is None:
        return MetricVerdict(path, Verdict.SAME, old, new, said, "undefined on both sides")
    if old is None or new is None:
        return _one_sided(path, old, new, said, "undefined", None)
    if is_number(old) and is_number(new):
        return _numbers(path, old, new, tolerance, rule)
    return _texts(path, old, new, rule)


def _one_sided(path: str, old: Scalar, new: Scalar, tolerance: str, what: str, absent: Scalar) -> MetricVerdict:
    if new == absent:
        return MetricVerdict(path, Verdict.MISSING, old, new, tolerance, f"{what} any more")
    return MetricVerdict(path, Verdict.NEW, old, new, tolerance, f"{what} in the baseline")


def _numbers(path: str, old: float, new: float, tolerance: Tolerance, rule: _Rule) -> MetricVerdict:
    said = str(tolerance)
    if old == new:
        return MetricVerdict(path, Verdict.SAME, old, new, said, "equal")
    if path.startswith(_INTERVALS) and rule.basis is Basis.TOLERANCE:
        # How sure a metric is follows its series; no bound of an interval is better for being higher.
        reason = f"moved by {new - old:+.3g}; the metric itself is held to its tolerance"
        return MetricVerdict(path, Verdict.WITHIN_TOLERANCE, old, new, "may differ", reason)
    if tolerance.allows(old, new):
        return MetricVerdict(path, Verdict.WITHIN_TOLERANCE, old, new, said, f"moved by {new - old:+.3g}")
    p_value = rule.p_value(path)
    if p_value is not None and p_value >= rule.tolerances.significance:
        reason = f"moved by {new - old:+.3g}, which is not significant (p = {p_value:.3g})"
        return MetricVerdict(path, Verdict.INCONCLUSIVE, old, new, said, reason, p_value)
    direction = rule.direction(path)
    better = (direction == "higher" and new > old) or (direction == "lower" and new < old)
    side = f"{direction} is better" if direction != "none" else "no side is better"
    verdict = Verdict.IMPROVED if better else Verdict.WORSENED
    return MetricVerdict(path, verdict, old, new, said, f"moved by {new - old:+.3g}; {side}", p_value)


def _texts(path: str, old: Scalar, new: Scalar, rule: _Rule) -> MetricVerdict:
    """Judge a digest or a date: equal or not. Another environment may round the predictions differently."""
    if old == new and type(old) is type(new):
        return MetricVerdict(path, Verdict.SAME, old, new, str(Exact()), "equal")
    if path == PREDICTIONS and rule.basis is Basis.TOLERANCE:
        reason = "other bits, as another environment may give; the metrics are held to their tolerances"
        return MetricVerdict(path, Verdict.WITHIN_TOLERANCE, old, new, "bits may differ", reason)
    reason = "predictions differ though code and environment are the same" if path == PREDICTIONS else "differs"
    return MetricVerdict(path, Verdict.WORSENED, old, new, str(Exact()), reason)
