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

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from harness.cli.pytest_plugin.golden import LEDGER, Ledger, MetricSnapshot

if TYPE_CHECKING:
    from harness.snapshots.suite import Result

__all__ = ["MetricSnapshot", "metric_snapshot"]


class BenchHooks:
    """What a ``conftest.py`` may answer."""

    @pytest.hookspec(firstresult=True)
    def pytest_bench_run(self, config: pytest.Config, overrides: Sequence[str]) -> Result | None:
        """Run the experiment of a suite's case: Hydra overrides in, an object with a ``snapshot`` out.

        The default is `harness.audit.run_audited` on the composed configuration.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Announce the hook."""
    pluginmanager.add_hookspecs(BenchHooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("bench", "metric snapshots")
    group.addoption("--bench-bless", action="store_true", help="bless every snapshot that is new or has moved")
    group.addoption("--bench-bless-new", action="store_true", help="bless snapshots that have no baseline, no others")
    group.addoption("--bench-reason", metavar="TEXT", default="pytest --bench-bless", help="why, kept in the snapshot")
    group.addoption(
        "--bench-suite", metavar="NAME", action="append", default=[], help="run a suite: a name, or a YAML file"
    )
    group.addoption("--bench-results", metavar="FOLDER", help="folder of the baselines (default: ini bench_results)")
    parser.addini("bench_results", "folder of the baselines, relative to the rootdir", default="results")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the session's ledger; a suite without paths runs alone."""
    config.stash[LEDGER] = Ledger.of(config)
    if config.getoption("--bench-suite") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(trylast=True)
def pytest_bench_run(config: pytest.Config, overrides: Sequence[str]) -> Result:
    """Run an experiment, and audit it at its own level."""
    from harness.audit import run_audited
    from harness.config import compose_config
    from harness.execution.progress import Silent

    return run_audited(compose_config(overrides), Silent())[0]


@pytest.fixture
def metric_snapshot(request: pytest.FixtureRequest) -> Iterator[MetricSnapshot]:
    """Hold numbers to their blessed baseline: ``metric_snapshot.check(result)``."""
    ledger = request.config.stash[LEDGER]
    snapshot = MetricSnapshot(ledger, request.node.nodeid)
    yield snapshot
    if not snapshot.checked and request.node.nodeid in ledger.passed:
        pytest.fail("The test asks for metric_snapshot and never calls metric_snapshot.check(…).", pytrace=False)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Note which tests there are, selected or not."""
    item.config.stash[LEDGER].collected.add(item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cases of the suites, before anything is deselected."""
    names: list[str] = config.getoption("--bench-suite")
    if not names:
        return
    from harness.cli.pytest_plugin.suite_items import collect_suite

    for name in names:
        items.extend(collect_suite(session, name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which tests passed: what these did not ask for is unused."""
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash[LEDGER].passed.add(item.nodeid)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail when a baseline is unused."""
    ledger = session.config.stash[LEDGER]
    ledger.find_unused(session.config)
    if ledger.unused and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was blessed, what moved without failing, and what is unused."""
    ledger = config.stash[LEDGER]
    for title, lines in (
        ("blessed metric snapshots", ledger.blessed),
        ("metric snapshots that moved", ledger.moved),
        ("unused metric snapshots", ledger.unused),
    ):
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.line(line)
