"""The pytest plugin: metric snapshots for a user's own tests, and a suite of experiments as tests.

Three lines put an experiment, or any mapping of numbers, under snapshot::

    def test_my_factor(metric_snapshot):
        result = run_experiment(["data=synthetic", "model=linear"])
        metric_snapshot.check(result)

``pytest --bench-bless`` writes what is new or has moved and shows by how much; a missing baseline fails, and one that
no test asks for any more fails too. ``pytest --bench-suite smoke`` runs the cases of ``conf/suites/smoke.yaml`` as
tests, alone unless paths are given as well.

Nothing heavy is imported when pytest starts, only when a snapshot is checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.config.tolerances import Tolerances
    from harness.snapshots.snapshot import Snapshot
    from harness.snapshots.suite import CaseRun, Result, Suite
    from harness.snapshots.verdicts import CaseVerdict, Direction

# Where experiments leave their series by default, relative to the working directory.
_STORE = Path(".bench") / "store"
_PREFIX = "pytest"
_LONGEST = 120
_REFUSED = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPED = re.compile("=([0-9A-F]+)_")


class BenchHooks:
    """What a ``conftest.py`` may answer."""

    @pytest.hookspec(firstresult=True)
    def pytest_bench_run(self, config: pytest.Config, overrides: Sequence[str]) -> Result | None:
        """Run the experiment of a suite's case: Hydra overrides in, an object with a ``snapshot`` out.

        The default is `harness.audit.run_audited` on the composed configuration.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(BenchHooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "metric snapshots")
    group.addoption("--bench-bless", action="store_true", help="bless every snapshot that is new or has moved")
    group.addoption("--bench-bless-new", action="store_true", help="bless snapshots that have no baseline, no others")
    group.addoption("--bench-reason", metavar="TEXT", default="pytest --bench-bless", help="why, kept in the snapshot")
    suite = "run a suite: a name, or a YAML file"
    group.addoption("--bench-suite", metavar="NAME", action="append", default=[], help=suite)
    group.addoption("--bench-results", metavar="FOLDER", help="folder of the baselines (default: ini bench_results)")
    parser.addini("bench_results", "folder of the baselines, relative to the rootdir", default="results")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEDGER] = _Ledger(config)
    config.stash[_CONF] = ()
    if config.getoption("--bench-suite"):
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []
        _take_project(config)


def _take_project(config: pytest.Config) -> None:
    """Let suites find what the project of the working directory adds, as under `bench`."""
    from harness.cli.project_file import importable, project_here
    from harness.errors import HarnessError

    try:
        project = project_here()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    if project is not None:
        config.stash[_CONF] = project.conf
        stack = contextlib.ExitStack()
        stack.enter_context(importable(project.modules))
        config.add_cleanup(stack.close)


@pytest.hookimpl(trylast=True)
def pytest_bench_run(config: pytest.Config, overrides: Sequence[str]) -> Result:
    """Run an experiment, and audit it at its own level."""
    from harness.audit.audited import run_audited
    from harness.config import compose_config
    from harness.execution.progress import Silent

    return run_audited(compose_config(overrides, search_path=config.stash[_CONF]), Silent())[0]


@pytest.fixture
def metric_snapshot(request: pytest.FixtureRequest) -> Iterator[MetricSnapshot]:
    """Hold numbers to their blessed baseline: ``metric_snapshot.check(result)``."""
    ledger, node = request.config.stash[_LEDGER], request.node.nodeid
    yield (snapshot := MetricSnapshot(ledger, node))
    if not snapshot.checked and node in ledger.passed:
        pytest.fail("The test asks for metric_snapshot and never calls metric_snapshot.check(…).", pytrace=False)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.config.stash[_LEDGER].collected.add(item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cases of the suites, before anything is deselected."""
    names: list[str] = config.getoption("--bench-suite")
    if not names:
        return
    from harness.errors import HarnessError
    from harness.snapshots.suite import named_suite

    for name in names:
        try:
            suite = named_suite(name, config.stash[_CONF])
            items += _SuiteCollector.from_parent(session, name=f"bench-suite-{suite.name}", suite=suite).collect()
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash[_LEDGER].passed.add(item.nodeid)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    ledger = session.config.stash[_LEDGER]
    ledger.find_unused()
    if ledger.unused and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash[_LEDGER]
    titles = ("blessed metric snapshots", "metric snapshots that moved", "unused metric snapshots")
    for title, lines in zip(titles, (ledger.blessed, ledger.moved, ledger.unused), strict=True):
        if lines:
            terminalreporter.section(title)
            terminalreporter.write("".join(f"{line}\n" for line in lines))


class _Ledger:
    """What happened to the snapshots of a session: node ids, (suite, case) of those used, lines for the terminal."""

    def __init__(self, config: pytest.Config) -> None:
        given, self._config = config.getoption("--bench-results"), config
        self.root = config.invocation_params.dir / given if given else config.rootpath / config.getini("bench_results")
        self.collected, self.passed, self.used = set[str](), set[str](), set[tuple[str, str]]()
        self.blessed, self.moved, self.unused = list[str](), list[str](), list[str]()

    def settle(self, verdict: CaseVerdict, snapshot: Snapshot | None) -> None:
        """Bless the snapshot if that was asked for; otherwise fail the running test if the verdict is bad."""
        from harness.report.check_output import summary
        from harness.snapshots.baseline import Baselines
        from harness.snapshots.comparison import metric_leaves
        from harness.snapshots.verdicts import ExitCode, Problem, Verdict

        self.used.add((verdict.suite, verdict.case))
        is_new = verdict.problem is Problem.NO_BASELINE
        has_moved = verdict.problem is None and verdict.verdict is not Verdict.SAME
        blesses_all, blesses_new = (self._config.getoption(f"--bench-bless{which}") for which in ("", "-new"))
        if snapshot is not None and ((is_new and blesses_new) or (blesses_all and (is_new or has_moved))):
            version = Baselines(self.root).bless(snapshot, self._config.getoption("--bench-reason"))
            first = f"{snapshot.suite}/{snapshot.case}: new, {len(metric_leaves(snapshot.metrics))} metrics"
            self.blessed.append(f"v{version.number} of {first if verdict.problem else summary(verdict)}")
        elif verdict.exit_code is not ExitCode.FINE:
            hint = "\n  pytest --bench-bless accepts it" if is_new or verdict.problem is None else ""
            pytest.fail(summary(verdict) + hint, pytrace=False)
        elif verdict.findings:
            self.moved.append(summary(verdict))

    def find_unused(self) -> None:
        """Note every baseline of a test that exists no more, or that passed without asking for it.

        Only where this session can know: not in the workers of a distributed run, not when single tests were named.
        """
        config = self._config
        is_partial = any("::" in str(argument) for argument in config.args) or config.getoption("lf", False)
        if is_partial or config.option.collectonly or hasattr(config, "workerinput") or not self.root.is_dir():
            return
        from harness.snapshots.baseline import Baselines

        for suite, case in Baselines(self.root).pairs:
            if suite.startswith(f"{_PREFIX}.") and self._is_unused(suite, case):
                self.unused.append(f"no test asks for it, delete it: {self.root / suite / case}")

    def _is_unused(self, suite: str, case: str) -> bool:
        if (suite, case) in self.used:
            return False
        names = {node: names_of(node) for node in self.collected}
        if suite not in {s for s, _ in names.values()}:
            module = (_ESCAPED.sub(lambda m: chr(int(m[1], 16)), part) for part in suite.split(".")[1:])
            return not (self._config.rootpath / f"{'/'.join(module)}.py").is_file()
        owners = [n for n, (s, c) in names.items() if s == suite and (case == c or case.startswith(f"{c}+"))]
        return all(owner in self.passed for owner in owners)


_LEDGER = pytest.StashKey[_Ledger]()
_CONF = pytest.StashKey[Sequence[str | Path]]()  # the folders of the project


class MetricSnapshot:
    """Holds the numbers of one test to their blessed baseline."""

    def __init__(self, ledger: _Ledger, node: str) -> None:
        self._ledger = ledger
        self._suite, self._case = names_of(node)
        self.checked: set[str] = set()  # cases

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
            name: Tells several checks in one test apart; each has its own, one may have none.
            identity: Beside a mapping: what the numbers depend on. Where it changes they are not compared but blessed
                anew.
            tolerances: Name of a file in ``conf/regression``, a path, the content of such a file, or `Tolerances`.
            directions: Which way a metric of your own is better: ``{"my_loss": "lower"}``.
        """
        __tracebackhide__ = True
        from harness.errors import HarnessError
        from harness.snapshots.suite import standard_of

        case = self._case if name is None else f"{self._case}+{_escape(name)}"
        if case in self.checked:
            by = "" if name is None else f" by the name {name!r}"
            what = f"{self._suite}/{case} is checked twice{by}: one baseline cannot hold two results."
            pytest.fail(f'{what}\n  metric_snapshot.check(…, name="second") tells them apart', pytrace=False)
        self.checked.add(case)
        try:
            snapshot = self._snapshot(result, case, identity)
            standard = standard_of(self._ledger.root, tolerances, directions=directions, store=_STORE)
            self._ledger.settle(verdict := standard.judge(snapshot), snapshot)
        except HarnessError as error:
            pytest.fail(str(error), pytrace=False)
        return verdict

    def _snapshot(self, result: Any, case: str, identity: Mapping[str, Any] | None) -> Snapshot:
        from harness.errors import SnapshotError
        from harness.snapshots.snapshot import Snapshot

        if isinstance(result, Mapping):
            created = {"created": datetime.now(UTC).isoformat(timespec="seconds")}
            return Snapshot(self._suite, case, dict(identity or {}), {"overall": _plain(result)}, created)
        if identity is not None:
            raise SnapshotError("An experiment has its own identity.", where="metric_snapshot.check(identity=…)")
        snapshot: Snapshot = result if isinstance(result, Snapshot) else result.snapshot
        return replace(snapshot, suite=self._suite, case=case)


def names_of(node: str) -> tuple[str, str]:
    """Return the suite and the case of a test: ``tests/test_a.py::test_b[x]`` is ``pytest.tests.test_a``, ``test_b.x``.

    Whatever a file name should not hold is written as ``=HEX_``, and a name that is too long for one ends in a hash.
    """
    module, _, test = node.partition("::")
    suite = ".".join([_PREFIX, *map(_escape, module.removesuffix(".py").split("/"))])
    function, bracket, parameters = test.partition("[")
    parts = [*function.split("::"), *(parameters.removesuffix("]").split(".") if bracket else ())]
    case = ".".join(map(_escape, parts))
    if len(case) > _LONGEST:
        case = f"{case[:_LONGEST]}-{hashlib.sha256(case.encode()).hexdigest()[:8]}"
    return suite, case


def _escape(text: str) -> str:
    return _REFUSED.sub(lambda found: f"={ord(found[0]):X}_", text)


def _plain(value: Any) -> Any:
    """Return numbers of any library as plain ones, and what is not finite as undefined."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if not isinstance(value, bool | int | float | str | None) and callable(getattr(value, "item", None)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _SuiteCollector(pytest.Collector):
    """A suite as tests: one per case, and one that fails per baseline whose case is gone."""

    def __init__(self, *, suite: Suite, **options: Any) -> None:
        super().__init__(**options)
        self.suite = suite

    def collect(self) -> Iterator[_CaseItem]:
        from harness.snapshots.suite import CaseRun, run_case, standard_of
        from harness.snapshots.verdicts import CaseVerdict, Problem

        def run(overrides: tuple[str, ...]) -> Any:
            return self.config.hook.pytest_bench_run(config=self.config, overrides=overrides)

        suite = self.suite
        root, conf = self.config.stash[_LEDGER].root, self.config.stash[_CONF]
        standard = standard_of(root, suite.regression, store=_STORE, search_path=conf)
        runs = {case.case: partial(run_case, suite, case, run, standard) for case in suite.cases}
        for name in standard.baselines.orphans(suite.name, list(runs)):
            runs[name] = partial(CaseRun, CaseVerdict.without(suite.name, name, Problem.ORPHANED))
        for name, ran in runs.items():
            yield _CaseItem.from_parent(self, name=name, run=ran)


class _CaseItem(pytest.Item):
    """Runs one case and holds it to its baseline."""

    def __init__(self, *, run: Callable[[], CaseRun], **options: Any) -> None:
        super().__init__(**options)
        self.run = run

    def runtest(self) -> None:
        __tracebackhide__ = True
        from harness.snapshots.verdicts import Problem

        ran = self.run()
        if ran.verdict.problem is Problem.SKIPPED:
            pytest.skip(ran.verdict.detail)
        self.config.stash[_LEDGER].settle(ran.verdict, ran.snapshot)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.nodeid
