"""The closed set of verdicts, the records that carry them, and the exit codes that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Literal, TypeGuard

ABSENT = "(absent)"

Direction = Literal["higher", "lower", "none"]
Scalar = float | int | str | bool | None


class Verdict(Enum):
    """What became of a metric, or of a case: the worst of its metrics. In order from harmless to bad.

    Only a case is skipped, never a metric: it was not run, and says why.
    """

    SAME = "same"
    WITHIN_TOLERANCE = "within tolerance"
    IMPROVED = "improved"
    SKIPPED = "skipped"
    NEW = "new"
    INCONCLUSIVE = "inconclusive"
    WORSENED = "worsened"
    MISSING = "missing"
    INCOMPARABLE = "incomparable"

    @property
    def is_finding(self) -> bool:
        """True for everything that a person should look at."""
        return self not in (Verdict.SAME, Verdict.WITHIN_TOLERANCE)


class Basis(Enum):
    """Which rule was applied to the numbers."""

    EXACT = "exact"
    TOLERANCE = "tolerance"
    NONE = "none"


class Problem(Enum):
    """Why a case could not be compared at all."""

    NO_BASELINE = "no baseline"
    ORPHANED = "orphaned baseline"
    DAMAGED = "damaged baseline"
    FAILED = "failed"
    CRASHED = "crashed"
    LEAK = "leak"
    SKIPPED = "skipped"


class ExitCode(IntEnum):
    """What a command returns."""

    FINE = 0
    REGRESSION = 1
    USER_ERROR = 2
    NOT_COMPARABLE = 3


_ORPHANED = "no case of the suite has this name: restore it, or delete its folder"
# Verdict, exit code, and what to do.
_OF_PROBLEM: Mapping[Problem, tuple[Verdict, ExitCode, str]] = {
    Problem.NO_BASELINE: (Verdict.NEW, ExitCode.REGRESSION, "it was never blessed: bench bless SUITE --reason …"),
    Problem.ORPHANED: (Verdict.MISSING, ExitCode.REGRESSION, _ORPHANED),
    Problem.DAMAGED: (Verdict.MISSING, ExitCode.USER_ERROR, ""),
    Problem.FAILED: (Verdict.MISSING, ExitCode.USER_ERROR, ""),
    Problem.CRASHED: (Verdict.MISSING, ExitCode.REGRESSION, ""),
    Problem.LEAK: (Verdict.INCOMPARABLE, ExitCode.REGRESSION, ""),
    Problem.SKIPPED: (Verdict.SKIPPED, ExitCode.FINE, ""),
}


@dataclass(frozen=True)
class MetricVerdict:
    """The verdict on one number, or one text, of the metrics."""

    path: str  # where it stands: ``overall.IC``, ``per_year.2017.IC``, ``per_window.3.rank_IC``, ``predictions``
    verdict: Verdict
    # baseline, candidate: the two values; None is undefined, `ABSENT` is not there at all
    baseline: Scalar
    candidate: Scalar
    # tolerance, reason: the rule that was applied, and what came of it, in words
    tolerance: str
    reason: str
    p_value: float | None = None  # of the paired test of the difference, when there was one

    @property
    def difference(self) -> float | None:
        """Candidate minus baseline; None unless both are numbers."""
        if not is_number(self.baseline) or not is_number(self.candidate):
            return None
        return float(self.candidate) - float(self.baseline)


@dataclass(frozen=True)
class IdentityDifference:
    """A dotted key in which two identities, or two environments, differ; `ABSENT` where one side lacks it."""

    path: str
    baseline: object
    candidate: object

    def __str__(self) -> str:
        sides = (side if isinstance(side, str) else repr(side) for side in (self.baseline, self.candidate))
        return f"{self.path}: {' → '.join(sides)}"


@dataclass(frozen=True)
class CaseVerdict:
    """The verdict on one case."""

    suite: str
    case: str
    # baseline, candidate: the two sides in words: a version, a file, a run
    baseline: str | None
    candidate: str | None
    # basis, basis_reason: which rule was applied, and why: what is equal, or what differs
    basis: Basis
    basis_reason: str
    metrics: tuple[MetricVerdict, ...] = ()  # one verdict per number, in the order of the paths
    identity: tuple[IdentityDifference, ...] = ()  # the keys in which the identities differ; empty unless incomparable
    # which instruments, dates and values differ, where the data do and both panels are at hand; or how they have grown
    data: tuple[str, ...] = ()
    has_grown: bool = False  # one side goes on where the data of the other end: what only one has is no finding
    # problem, detail: why there was nothing to compare, if so
    problem: Problem | None = None
    detail: str = ""
    seconds: float = 0.0  # wall time of the candidate's run

    @classmethod
    def without(cls, suite: str, case: str, problem: Problem, detail: str = "") -> CaseVerdict:
        """Return the verdict on a case that was compared with nothing, and why: never a silent pass."""
        detail = detail or _OF_PROBLEM[problem][2]
        return cls(suite, case, None, None, Basis.NONE, problem.value, problem=problem, detail=detail)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all."""
        if self.problem is not None:
            return _OF_PROBLEM[self.problem][0]
        if self.identity:
            return Verdict.INCOMPARABLE
        return max((m.verdict for m in self.metrics), key=list(Verdict).index, default=Verdict.SAME)

    @property
    def outcome(self) -> str:
        """What became of the case in words: its problem, or its verdict."""
        return self.verdict.value if self.problem is None else self.problem.value

    @property
    def findings(self) -> tuple[MetricVerdict, ...]:
        """The metrics that a person should look at, worst first; what is new because the data have grown is none."""
        expected = Verdict.NEW if self.has_grown else None
        found = [m for m in self.metrics if m.verdict.is_finding and m.verdict is not expected]
        return tuple(sorted(found, key=lambda m: -list(Verdict).index(m.verdict)))

    @property
    def exit_code(self) -> ExitCode:
        """0 fine, 1 regression, 2 a user's mistake, 3 not comparable.

        The same code in the same environment must give the same bits: there even an improvement is a regression,
        because it came from nowhere.
        """
        if self.problem is not None:
            return _OF_PROBLEM[self.problem][1]
        if self.verdict is Verdict.INCOMPARABLE:
            return ExitCode.NOT_COMPARABLE
        quiet = {Verdict.SAME, Verdict.NEW} if self.has_grown else {Verdict.SAME}
        moved = self.basis is Basis.EXACT and not {m.verdict for m in self.metrics} <= quiet
        is_worse = moved or self.verdict in (Verdict.WORSENED, Verdict.MISSING)
        return ExitCode.REGRESSION if is_worse else ExitCode.FINE


def worst_exit_code(verdicts: Iterable[CaseVerdict]) -> ExitCode:
    """Return the highest exit code of several cases; 0 for none, 3 when all were skipped: nothing was compared."""
    found = tuple(verdicts)
    if found and all(v.problem is Problem.SKIPPED for v in found):
        return ExitCode.NOT_COMPARABLE
    return max((v.exit_code for v in found), default=ExitCode.FINE)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a metric's value is a number; truth values are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
