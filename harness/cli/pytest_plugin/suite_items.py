"""A suite of experiments as tests: one per case, and one that fails per baseline without a case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli.pytest_plugin.golden import LEDGER, STORE
from harness.errors import HarnessError
from harness.snapshots.comparison import orphaned
from harness.snapshots.suite import Case, CaseRun, Result, Standard, Suite, named_suite, run_case, standard_of
from harness.snapshots.verdicts import Problem


def collect_suite(session: pytest.Session, name: str) -> Iterator[pytest.Item]:
    """Return the tests of a suite, by name or by path."""
    try:
        suite = named_suite(name)
        collector = SuiteCollector.from_parent(session, name=f"bench-suite-{suite.name}", suite=suite)
        yield from collector.collect()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


class SuiteCollector(pytest.Collector):
    """Collects the cases of one suite."""

    def __init__(self, *, suite: Suite, **options: Any) -> None:
        super().__init__(**options)
        self.suite = suite
        self.standard = standard_of(self.config.stash[LEDGER].root, suite.regression, store=STORE)

    def collect(self) -> Iterator[CaseItem]:
        """Return one test per case, then one per baseline whose case is gone."""
        names = [case.name for case in self.suite.cases]
        for case in self.suite.cases:
            yield CaseItem.from_parent(self, name=case.name, case=case, suite=self.suite, standard=self.standard)
        for name in self.standard.baselines.orphans(self.suite.name, names):
            yield CaseItem.from_parent(self, name=name, case=None, suite=self.suite, standard=self.standard)


class CaseItem(pytest.Item):
    """Runs one case and holds it to its baseline; without a case there is only the baseline, which fails."""

    def __init__(self, *, case: Case | None, suite: Suite, standard: Standard, **options: Any) -> None:
        super().__init__(**options)
        self.case = case
        self.suite = suite
        self.standard = standard

    def runtest(self) -> None:
        """Run the experiment and judge it."""
        __tracebackhide__ = True
        ran = self._run()
        if ran.verdict.problem is Problem.SKIPPED:
            pytest.skip(ran.verdict.detail)
        self.config.stash[LEDGER].settle(ran.verdict, ran.snapshot)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the name that reports show."""
        return self.path, None, self.nodeid

    def _run(self) -> CaseRun:
        if self.case is None:
            return CaseRun(orphaned(self.suite.name, self.name), None)

        def run(overrides: tuple[str, ...]) -> Result:
            result: Result = self.config.hook.pytest_bench_run(config=self.config, overrides=overrides)
            return result

        return run_case(self.suite, self.case, run, self.standard)
