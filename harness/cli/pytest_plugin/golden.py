"""Golden metrics of a test session: the fixture's object, and the ledger of what was used, blessed and moved."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.config.tolerances import Tolerances
    from harness.snapshots.snapshot import Snapshot
    from harness.snapshots.suite import Result
    from harness.snapshots.verdicts import CaseVerdict, Direction

# Where experiments leave their series unless they are told otherwise, relative to the working directory.
STORE = Path(".bench") / "store"

_PREFIX = "pytest"
_LONGEST = 120
_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_ESCAPED = re.compile("=([0-9A-F]+)_")


@dataclass
class Ledger:
    """What happened to the snapshots of a session.

    Attributes:
        root: The folder of the baselines.
        bless_all, bless_new: What may be written.
        reason: Why.
        collected, passed: Node ids of the tests that exist, and of those that passed.
        used: (suite, case) of every snapshot that was asked for.
        blessed, moved, unused: Lines for the terminal.
    """

    root: Path
    bless_all: bool
    bless_new: bool
    reason: str
    collected: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    used: set[tuple[str, str]] = field(default_factory=set)
    blessed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, config: pytest.Config) -> Ledger:
        """Return the empty ledger of a session."""
        given = config.getoption("--bench-results")
        root = config.invocation_params.dir / given if given else config.rootpath / config.getini("bench_results")
        bless_all, bless_new = config.getoption("--bench-bless"), config.getoption("--bench-bless-new")
        return cls(root, bless_all, bless_new, config.getoption("--bench-reason"))

    def settle(self, verdict: CaseVerdict, snapshot: Snapshot | None) -> None:
        """Bless the snapshot if that was asked for; otherwise fail the running test if the verdict is bad."""
        from harness.report.check_output import summary
        from harness.snapshots.verdicts import ExitCode, Problem, Verdict

        self.used.add((verdict.suite, verdict.case))
        is_new = verdict.problem is Problem.NO_BASELINE
        wanted = is_new if self.bless_new and not self.bless_all else self.bless_all
        blessable = is_new or (verdict.problem is None and verdict.verdict is not Verdict.SAME)
        if snapshot is not None and wanted and blessable:
            self._bless(verdict, snapshot)
        elif verdict.exit_code is not ExitCode.FINE:
            hint = "\n  pytest --bench-bless accepts it" if is_new or verdict.problem is None else ""
            pytest.fail(summary(verdict) + hint, pytrace=False)
        elif verdict.findings:
            self.moved.append(summary(verdict))

    def find_unused(self, config: pytest.Config) -> None:
        """Note every baseline of a test that exists no more, or that passed without asking for it.

        Only where this session can know: not in the workers of a distributed run, not when single tests were named.
        """
        partial = any("::" in str(argument) for argument in config.args) or config.getoption("lf", False)
        if partial or config.option.collectonly or hasattr(config, "workerinput") or not self.root.is_dir():
            return
        from harness.snapshots.baseline import Baselines

        store = Baselines(self.root)
        for suite in store.suites():
            if suite.startswith(f"{_PREFIX}."):
                gone = [case for case in store.cases(suite) if self._is_unused(suite, case, config.rootpath)]
                self.unused += [f"no test asks for it, delete it: {self.root / suite / case}" for case in gone]

    def _is_unused(self, suite: str, case: str, rootpath: Path) -> bool:
        if (suite, case) in self.used:
            return False
        names = {node: names_of(node) for node in self.collected}
        if suite not in {s for s, _ in names.values()}:
            return not (rootpath / _module_of(suite)).is_file()
        owners = [n for n, (s, c) in names.items() if s == suite and (case == c or case.startswith(f"{c}+"))]
        return all(owner in self.passed for owner in owners)

    def _bless(self, verdict: CaseVerdict, snapshot: Snapshot) -> None:
        from harness.report.check_output import summary
        from harness.snapshots.baseline import Baselines
        from harness.snapshots.comparison import metric_leaves

        version = Baselines(self.root).bless(snapshot, self.reason)
        is_first = f"{snapshot.suite}/{snapshot.case}: new, {len(metric_leaves(snapshot.metrics))} metrics"
        self.blessed.append(f"v{version.number} of {is_first if verdict.problem else summary(verdict)}")


LEDGER = pytest.StashKey[Ledger]()


class MetricSnapshot:
    """Holds the numbers of one test to their blessed baseline."""

    def __init__(self, ledger: Ledger, node: str) -> None:
        self._ledger = ledger
        self._suite, self._case = names_of(node)
        self._cases: set[str] = set()
        self.checked = False

    def check(
        self,
        result: Result | Snapshot | Mapping[str, Any],
        *,
        name: str | None = None,
        identity: Mapping[str, Any] | None = None,
        tolerances: Tolerances | Mapping[str, Any] | Path | str = "default",
        directions: Mapping[str, Direction] | None = None,
    ) -> CaseVerdict:
        """Fail the test when a number is not what was blessed; return the verdict otherwise.

        Args:
            result: What `run_experiment` returned, a snapshot, or a mapping of names to numbers; NaN is undefined.
            name: Tells several checks in one test apart; each has a name of its own, one may have none.
            identity: Beside a mapping: what the numbers depend on. Where it changes they are not compared but blessed
                anew.
            tolerances: Name of a file in ``conf/regression``, a path, the content of such a file, or `Tolerances`.
            directions: Which way a metric of one's own is better: ``{"my_loss": "lower"}``.
        """
        __tracebackhide__ = True
        from harness.errors import HarnessError
        from harness.snapshots.suite import standard_of

        self.checked = True
        case = self._case if name is None else f"{self._case}+{_escape(name)}"
        if case in self._cases:
            told = "" if name is None else f" by the name {name!r}"
            pytest.fail(
                f"{self._suite}/{case} is checked twice{told}: one baseline cannot hold two results.\n"
                '  metric_snapshot.check(…, name="second") tells them apart',
                pytrace=False,
            )
        self._cases.add(case)
        try:
            snapshot = _snapshot_of(result, self._suite, case, identity)
            standard = standard_of(self._ledger.root, tolerances, directions=directions, store=STORE)
            verdict = standard.judge(snapshot)
            self._ledger.settle(verdict, snapshot)
        except HarnessError as error:
            pytest.fail(str(error), pytrace=False)
        return verdict


def names_of(node: str) -> tuple[str, str]:
    """Return the suite and the case of a test: ``tests/test_a.py::test_b[x]`` is ``pytest.tests.test_a``, ``test_b.x``.

    Whatever a file name should not hold is written as ``=HEX_``, and a name that is too long for one ends in a hash.
    """
    module, _, test = node.partition("::")
    suite = ".".join([_PREFIX, *(_escape(part) for part in module.removesuffix(".py").split("/"))])
    function, bracket, parameters = test.partition("[")
    case = ".".join(_escape(part) for part in function.split("::"))
    if bracket:
        case += "." + ".".join(_escape(part) for part in parameters.removesuffix("]").split("."))
    if len(case) > _LONGEST:
        case = f"{case[:_LONGEST]}-{hashlib.sha256(case.encode()).hexdigest()[:8]}"
    return suite, case


def _module_of(suite: str) -> str:
    parts = suite.split(".")[1:]
    return "/".join(_ESCAPED.sub(lambda m: chr(int(m[1], 16)), part) for part in parts) + ".py"


def _escape(text: str) -> str:
    return "".join(c if _PLAIN.fullmatch(c) else f"={ord(c):X}_" for c in text)


def _snapshot_of(
    result: Result | Snapshot | Mapping[str, Any], suite: str, case: str, identity: Mapping[str, Any] | None
) -> Snapshot:
    from harness.errors import SnapshotError
    from harness.snapshots.snapshot import Snapshot

    if isinstance(result, Mapping):
        created = {"created": datetime.now(UTC).isoformat(timespec="seconds")}
        return Snapshot(suite, case, dict(identity or {}), {"overall": _plain(result)}, created)
    if identity is not None:
        raise SnapshotError("An experiment has an identity of its own.", where="metric_snapshot.check(identity=…)")
    snapshot = result if isinstance(result, Snapshot) else result.snapshot
    return replace(snapshot, suite=suite, case=case)


def _plain(value: Any) -> Any:
    """Return numbers of any library as plain ones, and what is not finite as undefined."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if not isinstance(value, bool | int | float | str | None) and callable(getattr(value, "item", None)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
