"""The pytest plugin through its whole life: missing, blessed, equal, moved, accepted, unused; and suites as tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from harness.cli.pytest_plugin import names_of
from harness.snapshots.baseline import Baselines

pytest_plugins = ["pytester"]

ONE = """
def test_one(metric_snapshot):
    metric_snapshot.check({"IC": IC, "rank_IC": 0.2})
"""
STORED = "results/pytest.test_a/test_one/v0001.json"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of its own, in which no other plugin is at work."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def run(project: pytest.Pytester, *arguments: str, ic: float | str = 0.1, source: str = ONE) -> pytest.RunResult:
    (project.path / "test_a.py").write_text(f"IC = {ic}\n{source}", encoding="utf-8")
    # Of the same length and in the same second, the next test would be the compiled one before.
    shutil.rmtree(project.path / "__pycache__", ignore_errors=True)
    return project.runpytest_inprocess("-p", "harness.cli.pytest_plugin", "-p", "no:cacheprovider", *arguments)


def test_a_missing_baseline_fails_and_nothing_is_written(project: pytest.Pytester) -> None:
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_one: new (no baseline)*", "*pytest --bench-bless accepts it*"])
    assert not (project.path / "results").exists()


def test_what_was_blessed_passes_and_what_moved_fails_and_is_named(project: pytest.Pytester) -> None:
    blessed = run(project, "--bench-bless", "--bench-reason", "a first look")
    blessed.assert_outcomes(passed=1)
    blessed.stdout.fnmatch_lines(["*blessed metric snapshots*", "v1 of pytest.test_a/test_one: new*"])
    (version,) = Baselines(project.path / "results").history("pytest.test_a", "test_one")
    assert (version.reason, version.path) == ("a first look", project.path / STORED)
    run(project).assert_outcomes(passed=1)
    moved = run(project, ic=-0.5)
    moved.assert_outcomes(failed=1)
    moved.stdout.fnmatch_lines(["*test_one: worsened*", "*overall.IC 0.1 -0.5 -0.6 * worsened *"])
    moved.stdout.no_fnmatch_line("*rank_IC 0.2*")


@pytest.mark.parametrize("name", ["", ", name='n'"])
def test_a_second_check_of_one_name_is_refused_and_not_blessed(project: pytest.Pytester, name: str) -> None:
    source = f"def test_one(metric_snapshot):\n    for v in (1.0, 2.0): metric_snapshot.check({{'v': v}}{name})\n"
    result = run(project, "--bench-bless", source=source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*is checked twice*", "*name=*tells them apart*"])
    assert len(list((project.path / "results").rglob("v0*.json"))) == 1


def test_the_same_check_in_two_tests_or_parameters_is_none_twice(project: pytest.Pytester) -> None:
    source = """
import pytest
@pytest.mark.parametrize("x", [1.0, 2.0])
def test_p(x, metric_snapshot):
    metric_snapshot.check({"v": x})
    metric_snapshot.check({"v": x}, name="again")
"""
    run(project, "--bench-bless", source=source).assert_outcomes(passed=2)
    run(project, source=source).assert_outcomes(passed=2)


def test_blessing_again_writes_a_version_only_where_something_moved(project: pytest.Pytester) -> None:
    run(project, "--bench-bless")
    run(project, "--bench-bless")
    assert len(list((project.path / "results").rglob("v0*.json"))) == 1
    result = run(project, "--bench-bless", ic=-0.5)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["v2 of *worsened*", "*overall.IC 0.1 -0.5*"])
    run(project, ic=-0.5).assert_outcomes(passed=1)


def test_new_only_blessing_does_not_accept_what_moved(project: pytest.Pytester) -> None:
    run(project, "--bench-bless-new").assert_outcomes(passed=1)
    run(project, "--bench-bless-new", ic=-0.5).assert_outcomes(failed=1)
    assert len(list((project.path / "results").rglob("v0*.json"))) == 1


def test_a_metric_that_becomes_nan_or_is_dropped_fails(project: pytest.Pytester) -> None:
    run(project, "--bench-bless")
    for ic in ("float('nan')", "None"):
        result = run(project, ic=ic)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*overall.IC 0.1 undefined * missing undefined any more*"])
    dropped = run(project, source="def test_one(metric_snapshot):\n    metric_snapshot.check({'rank_IC': 0.2})\n")
    dropped.stdout.fnmatch_lines(["*overall.IC 0.1 (absent) * missing not there any more*"])


def test_an_improvement_passes_and_is_shown(project: pytest.Pytester) -> None:
    run(project, "--bench-bless")
    result = run(project, ic=0.9)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*metric snapshots that moved*", "*overall.IC 0.1 0.9 *improved*"])


def test_tolerances_directions_and_identity_can_be_given(project: pytest.Pytester) -> None:
    source = """
def test_one(metric_snapshot):
    metric_snapshot.check({"loss": IC}, tolerances={"default": {"absolute": 0.05}}, directions={"loss": "lower"},
                          identity={"alpha": ALPHA})
"""
    run(project, "--bench-bless", source="ALPHA = 1\n" + source)
    for ic, outcome in ((0.14, "passed"), (0.2, "failed"), (0.0, "passed")):
        run(project, ic=ic, source="ALPHA = 1\n" + source).assert_outcomes(**{outcome: 1})
    other = run(project, source="ALPHA = 2\n" + source)
    other.assert_outcomes(failed=1)
    other.stdout.fnmatch_lines(["*incomparable*", "*alpha: 1 → 2*"])


def test_a_result_or_a_snapshot_is_taken_as_it_is(project: pytest.Pytester) -> None:
    source = """
from types import SimpleNamespace
from harness.snapshots.snapshot import Snapshot
SNAPSHOT = Snapshot("s", "c", {"seed": 43}, {"overall": {"IC": IC}, "predictions": "aa"}, {})
def test_one(metric_snapshot):
    metric_snapshot.check(SNAPSHOT, name="first")
    metric_snapshot.check(SimpleNamespace(snapshot=SNAPSHOT), name="second")
"""
    run(project, "--bench-bless", source=source).assert_outcomes(passed=1)
    store = Baselines(project.path / "results")
    assert store.cases("pytest.test_a") == ("test_one+first", "test_one+second")
    latest = store.baseline("pytest.test_a", "test_one+first")
    assert latest is not None
    assert latest.snapshot.identity == {"seed": 43}


def test_numbers_of_numpy_are_numbers(project: pytest.Pytester) -> None:
    source = "import numpy as np\n" + ONE.replace("IC,", "np.float32(IC), 'n': np.int64(3), 'x': [np.float64('nan')],")
    run(project, "--bench-bless", source=source, ic=0.5).assert_outcomes(passed=1)
    latest = Baselines(project.path / "results").baseline("pytest.test_a", "test_one")
    assert latest is not None
    assert latest.snapshot.metrics["overall"] == {"IC": 0.5, "n": 3, "x": [None], "rank_IC": 0.2}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("metric_snapshot.check({'IC': object()})", "JSON"),
        ("metric_snapshot.check({'IC': 1.0}, tolerances='exakt')", "did you mean `exact`"),
        ("pass", "never calls metric_snapshot.check"),
    ],
)
def test_a_mistake_is_explained_without_a_traceback(project: pytest.Pytester, call: str, message: str) -> None:
    result = run(project, "--bench-bless", source=f"def test_one(metric_snapshot):\n    {call}\n")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*{message}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_edited_baseline_fails(project: pytest.Pytester) -> None:
    run(project, "--bench-bless")
    path = project.path / STORED
    path.write_text(path.read_text().replace("0.1", "0.3"), encoding="utf-8")
    result = run(project, ic=0.3)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*changed after it was written*"])


class TestUnused:
    def test_a_baseline_whose_test_is_gone_fails_the_session(self, project: pytest.Pytester) -> None:
        run(project, "--bench-bless", source=ONE + ONE.replace("test_one", "test_two"))
        result = run(project)
        result.assert_outcomes(passed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*unused metric snapshots*", "*no test asks for it*test_two"])

    def test_a_check_that_is_gone_from_a_passing_test_is_noticed(self, project: pytest.Pytester) -> None:
        named = ONE.replace("0.2}", "0.2}, name='n'")
        run(project, "--bench-bless", source=named)
        result = run(project, "--bench-bless")
        result.stdout.fnmatch_lines(["*no test asks for it*test_one+n"])

    def test_a_test_file_that_is_gone_is_noticed(self, project: pytest.Pytester) -> None:
        project.mkpydir("deep.er")
        (project.path / "deep.er" / "test_b.py").write_text("IC = 1.0\n" + ONE, encoding="utf-8")
        run(project, "--bench-bless").assert_outcomes(passed=2)
        assert run(project, "test_a.py").ret == pytest.ExitCode.OK
        (project.path / "deep.er" / "test_b.py").unlink()
        result = run(project, "test_a.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*no test asks for it*deep=2E_er.test_b*"])

    @pytest.mark.parametrize(
        ("arguments", "change"),
        [
            (("-k", "one"), ""),
            (("test_a.py::test_one",), ""),
            (("--collect-only",), ""),
            ((), "import pytest\n@pytest.mark.skip\n"),
        ],
        ids=["deselected", "not named", "not run", "skipped"],
    )
    def test_a_baseline_that_this_session_cannot_know_to_be_unused_is_left_alone(
        self, project: pytest.Pytester, arguments: tuple[str, ...], change: str
    ) -> None:
        two = ONE.replace("test_one", "test_two").lstrip()
        run(project, "--bench-bless", source=ONE + two)
        assert run(project, *arguments, source=ONE + change + two).ret == pytest.ExitCode.OK


class TestNames:
    def test_a_name_tells_where_the_test_is(self) -> None:
        assert names_of("tests/a/test_b.py::test_c") == ("pytest.tests.a.test_b", "test_c")
        assert names_of("test_b.py::TestC::test_d[0.5-x y]") == ("pytest.test_b", "TestC.test_d.0.5-x=20_y")

    def test_names_of_different_tests_differ_and_fit_a_file_system(self) -> None:
        nodes = [f"t.py::test_x[{p}]" for p in ("a", "A", "a/b", "a=2F_b", "a b", "é", "x" * 300, "x" * 299 + "y", "")]
        cases = [names_of(node)[1] for node in nodes]
        assert len(set(cases)) == len(nodes)
        assert max(map(len, cases)) < 200


RUNNER = """
from types import SimpleNamespace
from harness.errors import ConfigError
from harness.snapshots.snapshot import Snapshot
def pytest_bench_run(config, overrides):
    given = dict(o.replace("'", "").split("=") for o in overrides)
    if given["x"] == "none":
        raise ConfigError("There is no such model.")
    metrics = {"overall": {"IC": float(given["x"])}}
    return SimpleNamespace(snapshot=Snapshot(given["suite"], given["case"], {}, metrics, {}))
"""
SUITE = "regression: default\ncases:\n- {{case: a, overrides: [x={a}]}}\n- {{case: b, overrides: [x=2]}}\n"


class TestSuite:
    def run(self, project: pytest.Pytester, *arguments: str, a: str = "1", suite: str = SUITE) -> pytest.RunResult:
        project.makeconftest(RUNNER)
        (project.path / "mine.yaml").write_text(suite.format(a=a), encoding="utf-8")
        return run(project, "-v", "--bench-suite", "mine.yaml", *arguments)

    def test_each_case_is_a_test_and_nothing_else_runs(self, project: pytest.Pytester) -> None:
        result = self.run(project)
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(["*bench-suite-mine::a FAILED*", "*bench-suite-mine::b FAILED*"])
        self.run(project, "--bench-bless").assert_outcomes(passed=2)
        self.run(project).assert_outcomes(passed=2)
        self.run(project, a="0.5").assert_outcomes(passed=1, failed=1)

    def test_paths_run_beside_it_and_k_selects(self, project: pytest.Pytester) -> None:
        self.run(project, "--bench-bless", "test_a.py").assert_outcomes(passed=3)
        self.run(project, "-k", "mine and a").assert_outcomes(passed=1, deselected=1)

    def test_a_mistake_in_a_case_fails_and_is_never_blessed(self, project: pytest.Pytester) -> None:
        result = self.run(project, "--bench-bless", a="none")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*There is no such model.*"])
        assert Baselines(project.path / "results").cases("mine") == ("b",)

    def test_a_baseline_without_a_case_is_a_failing_test(self, project: pytest.Pytester) -> None:
        self.run(project, "--bench-bless")
        only = "regression: default\ncases:\n- {{case: a, overrides: [x={a}]}}\n"
        result = self.run(project, suite=only)
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*mine/b: missing (orphaned baseline)*"])

    def test_a_case_without_its_data_is_a_skipped_test_with_its_reason(self, project: pytest.Pytester) -> None:
        needy = SUITE + "- {{case: c, overrides: [x=3], needs: [prices]}}\n"
        result = self.run(project, "--bench-bless", "-rs", suite=needy)
        result.assert_outcomes(passed=2, skipped=1)
        result.stdout.fnmatch_lines(["*it needs prices, which is not there*"])

    def test_a_damaged_baseline_fails_its_case_and_is_never_overwritten(self, project: pytest.Pytester) -> None:
        self.run(project, "--bench-bless")
        path = project.path / "results" / "mine" / "a" / "v0001.json"
        edited = path.read_text(encoding="utf-8").replace("1.0", "2.0")
        path.write_text(edited, encoding="utf-8")
        for options in ((), ("--bench-bless",)):
            self.run(project, *options).assert_outcomes(passed=1, failed=1)
        assert path.read_text(encoding="utf-8") == edited
        assert len(list(path.parent.glob("v0*"))) == 1

    def test_a_suite_that_is_not_there_is_a_usage_error(self, project: pytest.Pytester) -> None:
        result = run(project, "--bench-suite", "smok")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*did you mean `smoke`*"])


def test_starting_pytest_imports_nothing_heavy() -> None:
    code = "import sys, harness.cli.pytest_plugin; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "hydra", "omegaconf", "pyarrow", "numba", "torch", "yaml"} & set(done.stdout.split())
    ours = "import sys, harness.cli.pytest_plugin; print(*sorted(m for m in sys.modules if m.startswith('harness')))"
    done = subprocess.run([sys.executable, "-c", ours], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["harness", "harness.cli", "harness.cli.pytest_plugin"]


def test_the_installed_package_announces_the_plugin() -> None:
    assert "harness.cli.pytest_plugin" in {entry.value for entry in entry_points(group="pytest11")}
