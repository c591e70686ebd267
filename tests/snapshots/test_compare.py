"""Comparing snapshots: every move is caught and named, from either side, by the rule that fits the environment."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.tolerances import (
    Absolute,
    Exact,
    Learned,
    Relative,
    Rule,
    Tolerances,
    load_tolerances,
    parse_tolerances,
    write_tolerances,
)
from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel
from harness.errors import ConfigError, SnapshotError
from harness.evaluation.metrics import directions_of
from harness.report.check_output import metric_rows, summary, to_json, to_junit_xml
from harness.snapshots.comparison import compare, differences, learn, metric_leaves
from harness.snapshots.evidence import explain_data_difference
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import (
    Basis,
    CaseVerdict,
    Direction,
    ExitCode,
    MetricVerdict,
    Problem,
    Verdict,
    worst_exit_code,
)

CONF = Path(__file__).resolve().parents[2] / "conf" / "regression"
DIRECTIONS: Mapping[str, Direction] = directions_of()
NAMES = sorted(DIRECTIONS)


def record(base: float) -> dict[str, Any]:
    return {name: base + 0.01 * i for i, name in enumerate(NAMES)}


METRICS: dict[str, Any] = {
    "overall": {**record(0.1), "undefined": None},
    "per_window": [
        {"window": 0, "start": "2017-01-03", "stop": "2017-02-06", **record(0.2)},
        {"window": 1, "start": "2017-02-07", "stop": "2017-03-06", **record(0.3)},
    ],
    "per_year": [{"year": 2017, **record(0.4)}, {"year": 2018, **record(0.5)}],
    "oracle": record(0.9),
    "predictions": "aa" * 32,
}
PROVENANCE: dict[str, Any] = {
    "code": {"digest": "cd" * 32, "commit": None, "dirty": True, "version": "0.1.0"},
    "python": "3.11.7",
    "packages": {"numpy": "2.4.6", "lightgbm": "4.7.0"},
    "platform": {"system": "Linux", "machine": "x86_64", "processor": "Xeon (family 6, model 85)", "cpus": 2},
    "threads": {"numba": 2},
    "seconds": {"data": 1.0, "windows": 2.5},
}
BASELINE = Snapshot("smoke", "linear", {"seed": 43, "config": {"model": {"alpha": 0.1}}}, METRICS, PROVENANCE)
ELSEWHERE = {**PROVENANCE, "packages": {"numpy": "2.3.0", "lightgbm": "4.7.0"}}
NUMBERS = sorted(path for path, value in metric_leaves(METRICS).items() if isinstance(value, float))


def changed(path: str, value: object, provenance: Mapping[str, Any] = ELSEWHERE) -> Snapshot:
    """The baseline with one leaf of its metrics set to another value, or removed (``...``)."""
    metrics = copy.deepcopy(METRICS)
    node: Any = metrics
    *way, last = path.split(".")
    for part in way:
        keyed = [r for r in node if str(r.get("window", r.get("year"))) == part] if isinstance(node, list) else None
        node = node[part] if keyed is None else keyed[0]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return replace(BASELINE, metrics=metrics, provenance=provenance)


def check(candidate: Snapshot, tolerances: Tolerances | None = None, **options: Any) -> CaseVerdict:
    rules = tolerances or Tolerances(default=Absolute(0.001))
    return compare(BASELINE, candidate, rules, directions=DIRECTIONS, **options)


def of(verdict: CaseVerdict, path: str) -> MetricVerdict:
    (found,) = [m for m in verdict.metrics if m.path == path]
    return found


class TestVerdicts:
    def test_equal_snapshots_are_the_same_whatever_the_environment(self) -> None:
        for provenance in (PROVENANCE, ELSEWHERE, {}):
            verdict = check(replace(BASELINE, provenance=provenance))
            assert verdict.verdict is Verdict.SAME
            assert verdict.exit_code is ExitCode.FINE
            assert verdict.findings == ()

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(path=st.sampled_from(NUMBERS), size=st.floats(0.0011, 1e6), sign=st.sampled_from([-1, 1]))
    def test_a_planted_move_of_any_metric_is_caught_and_named(self, path: str, size: float, sign: int) -> None:
        old = metric_leaves(METRICS)[path]
        verdict = check(changed(path, old + sign * size))
        direction = "none" if path.startswith("oracle") else DIRECTIONS[path.rpartition(".")[2]]
        improves = (direction == "higher" and sign > 0) or (direction == "lower" and sign < 0)
        (finding,) = verdict.findings
        assert finding.path == path
        assert finding.verdict is (Verdict.IMPROVED if improves else Verdict.WORSENED)
        assert finding.difference == pytest.approx(sign * size)
        assert verdict.exit_code is (ExitCode.FINE if improves else ExitCode.REGRESSION)
        assert path in summary(verdict)

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(path=st.sampled_from(NUMBERS), size=st.floats(1e-12, 0.00099), sign=st.sampled_from([-1, 1]))
    def test_a_move_within_tolerance_is_no_finding(self, path: str, size: float, sign: int) -> None:
        verdict = check(changed(path, metric_leaves(METRICS)[path] + sign * size))
        assert of(verdict, path).verdict in (Verdict.WITHIN_TOLERANCE, Verdict.SAME)
        assert (verdict.findings, verdict.exit_code) == ((), ExitCode.FINE)

    @pytest.mark.parametrize("path", NUMBERS[::7])
    @pytest.mark.parametrize("value", [None, ...], ids=["undefined", "dropped"])
    def test_a_metric_that_is_lost_is_missing(self, path: str, value: object) -> None:
        verdict = check(changed(path, value))
        (finding,) = verdict.findings
        assert (finding.path, finding.verdict) == (path, Verdict.MISSING)
        assert verdict.exit_code is ExitCode.REGRESSION

    def test_an_interval_is_evidence_that_another_environment_may_move_but_not_lose(self) -> None:
        intervals = {"IC": {"low": 0.01, "high": 0.05, "t": 2.5}}
        baseline = replace(BASELINE, metrics={**METRICS, "intervals": intervals})
        wider = replace(baseline, metrics={**METRICS, "intervals": {"IC": {"low": -0.02, "high": 0.08, "t": 1.5}}})
        rules = Tolerances(default=Absolute(0.001))
        elsewhere = compare(baseline, replace(wider, provenance=ELSEWHERE), rules, directions=DIRECTIONS)
        assert elsewhere.findings == ()
        assert of(elsewhere, "intervals.IC.high").verdict is Verdict.WITHIN_TOLERANCE
        here = compare(baseline, wider, rules, directions=DIRECTIONS)
        assert {f.verdict for f in here.findings} == {Verdict.WORSENED}
        lost = compare(baseline, replace(BASELINE, provenance=ELSEWHERE), rules, directions=DIRECTIONS)
        assert {f.verdict for f in lost.findings} == {Verdict.MISSING}

    def test_a_renamed_metric_is_missing_and_new(self) -> None:
        metrics = copy.deepcopy(METRICS)
        metrics["overall"]["information_coefficient"] = metrics["overall"].pop("IC")
        verdict = check(replace(BASELINE, metrics=metrics, provenance=ELSEWHERE))
        assert {(f.path, f.verdict) for f in verdict.findings} == {
            ("overall.IC", Verdict.MISSING),
            ("overall.information_coefficient", Verdict.NEW),
        }

    def test_an_added_or_newly_defined_metric_is_a_finding_but_no_regression(self) -> None:
        for path in ("overall.sharpe", "overall.undefined"):
            verdict = check(changed(path, 1.0))
            assert [(f.path, f.verdict) for f in verdict.findings] == [(path, Verdict.NEW)]
            assert verdict.exit_code is ExitCode.FINE

    def test_a_window_or_a_year_that_is_lost_is_named(self) -> None:
        metrics = copy.deepcopy(METRICS)
        del metrics["per_window"][0], metrics["per_year"][1]
        verdict = check(replace(BASELINE, metrics=metrics, provenance=ELSEWHERE))
        lost = {f.path.rpartition(".")[0] for f in verdict.findings}
        assert lost == {"per_window.0", "per_year.2018"}
        assert {f.verdict for f in verdict.findings} == {Verdict.MISSING}

    def test_a_date_of_a_window_that_shifts_is_a_finding(self) -> None:
        verdict = check(changed("per_window.1.start", "2017-02-08"))
        assert [(f.path, f.verdict) for f in verdict.findings] == [("per_window.1.start", Verdict.WORSENED)]

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(data=st.data())
    def test_the_comparison_is_symmetric(self, data: st.DataObject) -> None:
        value = st.none() | st.floats(-1, 1) | st.just(0.1) | st.just("text")
        side = st.dictionaries(st.sampled_from(["IC", "MSE", "turnover", "own"]), value)
        a, b = (Snapshot("s", "c", {}, {"overall": data.draw(side)}, {}) for _ in range(2))
        kinds: list[Any] = ["exact", Absolute(0.3), Relative(0.3), Learned(0.1, 2)]
        rules = Tolerances(default=data.draw(st.sampled_from(kinds)))
        there = compare(a, b, rules, directions=DIRECTIONS)
        back = {m.path: m.verdict for m in compare(b, a, rules, directions=DIRECTIONS).metrics}
        for metric in there.metrics:
            mirror = {Verdict.MISSING: Verdict.NEW, Verdict.NEW: Verdict.MISSING}
            if DIRECTIONS.get(metric.path.rpartition(".")[2], "none") != "none" and metric.difference is not None:
                mirror |= {Verdict.IMPROVED: Verdict.WORSENED, Verdict.WORSENED: Verdict.IMPROVED}
            assert back.pop(metric.path) is mirror.get(metric.verdict, metric.verdict)
        assert not back


class TestBasis:
    @pytest.mark.parametrize("path", ["predictions", "overall.IC"])
    def test_exact_tolerances_demand_equal_bits_of_any_code_on_any_machine(self, path: str) -> None:
        value = "bb" * 32 if path == "predictions" else METRICS["overall"]["IC"] + 1e-16 + 1e-12
        verdict = check(changed(path, value, ELSEWHERE), load_tolerances(CONF / "exact.yaml"))
        assert (verdict.basis, verdict.exit_code) == (Basis.EXACT, ExitCode.REGRESSION)
        assert verdict.basis_reason == "the tolerances demand equal bits"
        assert [finding.path for finding in verdict.findings] == [path]

    def test_the_same_code_and_environment_is_held_to_equal_bits(self) -> None:
        verdict = check(changed("predictions", "bb" * 32, PROVENANCE))
        assert verdict.basis is Basis.EXACT
        assert "same code and environment" in verdict.basis_reason
        (finding,) = verdict.findings
        assert (finding.path, finding.verdict) == ("predictions", Verdict.WORSENED)
        assert verdict.exit_code is ExitCode.REGRESSION

    def test_there_even_a_small_or_good_move_is_a_regression(self) -> None:
        old = METRICS["overall"]["IC"]
        for new in (old + 1e-15, old - 1e-15, old + 1.0):
            verdict = check(changed("overall.IC", new, PROVENANCE))
            assert of(verdict, "overall.IC").verdict.is_finding
            assert verdict.exit_code is ExitCode.REGRESSION

    @pytest.mark.parametrize(
        "change", [{"platform": {**PROVENANCE["platform"], "cpus": 64}}, {"threads": {"numba": 64, "blas": 1}}]
    )
    def test_more_processors_or_threads_are_the_same_environment(self, change: dict[str, Any]) -> None:
        verdict = check(changed("predictions", "bb" * 32, {**PROVENANCE, **change}))
        assert (verdict.basis, verdict.exit_code) == (Basis.EXACT, ExitCode.REGRESSION)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"packages": {"numpy": "2.3.0", "lightgbm": "4.7.0"}}, "packages.numpy: 2.4.6 → 2.3.0"),
            ({"packages": {"numpy": "2.4.6"}}, "packages.lightgbm: 4.7.0 → (absent)"),
            ({"code": {"digest": "ee" * 32}}, "another environment: the code"),
            ({"python": "3.12.1"}, "python: 3.11.7 → 3.12.1"),
            ({"platform": {**PROVENANCE["platform"], "machine": "aarch64"}}, "platform.machine: x86_64 → aarch64"),
            ({"platform": {**PROVENANCE["platform"], "processor": "EPYC"}}, "Xeon (family 6, model 85) → EPYC"),
            ({"platform": {"system": "Linux", "machine": "x86_64"}}, "not recorded on both sides: platform"),
            ({"code": {}}, "not recorded on both sides: code"),
            ({"packages": ...}, "not recorded on both sides: packages"),
        ],
    )
    def test_another_environment_is_held_to_tolerances_and_says_why(self, change: dict[str, Any], named: str) -> None:
        provenance = {k: v for k, v in {**PROVENANCE, **change}.items() if v is not ...}
        verdict = check(changed("predictions", "bb" * 32, provenance))
        assert verdict.basis is Basis.TOLERANCE
        assert named in verdict.basis_reason
        assert of(verdict, "predictions").verdict is Verdict.WITHIN_TOLERANCE
        assert verdict.exit_code is ExitCode.FINE

    def test_processors_times_and_commits_make_no_other_environment(self) -> None:
        provenance = copy.deepcopy(PROVENANCE)
        provenance["platform"]["cpus"] = 64
        provenance["code"] |= {"commit": "0" * 40, "dirty": False}
        provenance["seconds"] = {}
        assert check(replace(BASELINE, provenance=provenance)).basis is Basis.EXACT


class TestSignificance:
    def test_a_move_beyond_tolerance_that_is_not_significant_is_inconclusive(self) -> None:
        asked: list[str] = []

        def test(path: str) -> float | None:
            asked.append(path)
            return 0.3 if path == "overall.IC" else None

        for value in (9.0, -9.0):
            verdict = check(changed("overall.IC", value), difference_test=test)
            finding = of(verdict, "overall.IC")
            assert (finding.verdict, finding.p_value) == (Verdict.INCONCLUSIVE, 0.3)
            assert verdict.exit_code is ExitCode.FINE
        assert set(asked) == {"overall.IC"}

    def test_a_significant_move_or_one_without_a_test_is_judged_by_its_direction(self) -> None:
        for p_value in (0.049, None):
            verdict = check(changed("overall.IC", -9.0), difference_test=lambda _, p=p_value: p)
            assert of(verdict, "overall.IC").verdict is Verdict.WORSENED
            assert of(verdict, "overall.IC").p_value == p_value

    def test_chance_excuses_nothing_in_the_same_environment(self) -> None:
        verdict = check(changed("overall.IC", -9.0, PROVENANCE), difference_test=lambda _: 1.0)
        assert of(verdict, "overall.IC").verdict is Verdict.WORSENED


class TestIdentity:
    def test_other_identities_are_incomparable_and_every_key_is_named(self) -> None:
        identity = {"seed": 44, "config": {"model": {"alpha": 0.2, "fit": True}}}
        verdict = check(replace(BASELINE, identity=identity))
        assert verdict.verdict is Verdict.INCOMPARABLE
        assert verdict.exit_code is ExitCode.NOT_COMPARABLE
        assert [str(d) for d in verdict.identity] == [
            "config.model.alpha: 0.1 → 0.2",
            "config.model.fit: (absent) → True",
            "seed: 43 → 44",
        ]
        assert {m.verdict for m in verdict.metrics} == {Verdict.INCOMPARABLE}
        assert all(line in summary(verdict) for line in map(str, verdict.identity))

    def test_the_numbers_are_shown_though_they_cannot_be_judged(self) -> None:
        verdict = check(replace(changed("overall.IC", 0.5), identity={}))
        assert of(verdict, "overall.IC").difference == pytest.approx(0.5 - METRICS["overall"]["IC"])

    def test_lists_are_compared_entry_by_entry_or_by_what_the_other_lacks(self) -> None:
        def shown(a: object, b: object) -> list[str]:
            return [str(d) for d in differences({"x": a}, {"x": b})]

        assert shown([1, 2], [1, 3]) == ["x.1: 2 → 3"]
        assert shown([{"test": "a"}], [{"test": "b"}]) == ["x.0.test: a → b"]
        assert shown(["KMID", "ROC5"], ["KMID"]) == ["x: 2 entries, only here: ROC5 → 1 entries"]
        assert shown([{}], [{}, {}]) == ["x: 1 entries → 2 entries"]
        assert shown(1, 1.0) == ["x: 1 → 1.0"]
        assert shown(1, True) == ["x: 1 → True"]
        assert shown([1, (2,)], [1, [2]]) == []


class TestTolerances:
    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        rule=st.sampled_from([Exact(), Absolute(0.0), Absolute(0.1), Relative(0.1), Learned(0.02, 3.0)]),
        a=st.floats(-10, 10),
        b=st.floats(-10, 10),
    )
    def test_a_tolerance_does_not_care_about_the_side(self, rule: Exact, a: float, b: float) -> None:
        assert rule.allows(a, b) == rule.allows(b, a)
        assert rule.allows(a, a)

    def test_a_relative_tolerance_is_a_share_of_the_larger_side(self) -> None:
        assert Relative(0.1).allows(9.0, 10.0)
        assert Relative(0.1).allows(-10.0, -9.0)
        assert not Relative(0.1).allows(8.9, 10.0)

    def test_a_learned_tolerance_lets_rounding_pass_and_no_count(self) -> None:
        rule = Learned(0.0, 6.5)
        assert rule.allows(0.1, 0.1 + 1e-12)
        assert not rule.allows(1_000_000, 1_000_001)

    def test_the_first_pattern_that_matches_the_path_or_a_part_holds(self) -> None:
        rules = parse_tolerances(
            {
                "metrics": {
                    "overall.IC": {"absolute": 1},
                    "per_window.*.IC": {"relative": 0.2},
                    "*IC": {"learned": 0.1, "factor": 2},
                },
                "default": "exact",
            }
        )
        assert rules.of("overall.IC") == Absolute(1.0)
        assert rules.of("per_window.12.IC") == Relative(0.2)
        assert rules.of("per_year.2017.rank_IC") == Learned(0.1, 2.0)
        assert rules.of("overall.IC.low") == Learned(0.1, 2.0)
        assert rules.of("overall.ICIR") == Exact()

    @pytest.mark.parametrize(
        ("node", "message"),
        [
            ([], "mapping"),
            ({"default": "exact", "metrics": []}, "mapping of name"),
            ({"metrics": {}}, "lacks `default`"),
            ({"default": "exact", "metric": {}}, "did you mean `metrics`"),
            ({"default": "exakt"}, "`default` has a value of the wrong kind"),
            ({"default": {"absolut": 1}}, r"wrong kind[\s\S]*exact, or {absolute}"),
            ({"default": {"absolute": 1, "relative": 1}}, "no configuration key `default.relative`"),
            ({"default": {"learned": 1}}, "lacks `default.factor`"),
            ({"default": {"absolute": -1}}, "out of range"),
            ({"default": {"absolute": float("nan")}}, "out of range"),
            ({"default": {"absolute": float("inf")}}, "out of range"),
            ({"default": {"absolute": True}}, "wrong kind"),
            ({"default": {"absolute": "much"}}, "wrong kind"),
            ({"default": {"relative": 1.5}}, "out of range"),
            ({"default": "exact", "significance": 2}, "out of range"),
            ({"default": "exact", "metrics": {"IC": None}}, "`metrics.IC` has a value of the wrong kind"),
        ],
    )
    def test_a_mistake_is_named(self, node: object, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            parse_tolerances(node)

    def test_a_file_that_is_not_there_names_those_that_are(self) -> None:
        with pytest.raises(ConfigError, match=r"default, exact[\s\S]*did you mean `default`"):
            load_tolerances(CONF / "defualt.yaml")

    def test_a_file_that_is_not_yaml_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "t.yaml").write_text("a: [", encoding="utf-8")
        with pytest.raises(ConfigError, match="cannot be read"):
            load_tolerances(tmp_path / "t.yaml")

    @pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
    def test_every_configured_file_is_read_and_every_pattern_matches_a_metric(self, path: Path) -> None:
        tolerances = load_tolerances(path)
        for pattern in tolerances.metrics:
            alone = Tolerances(Absolute(1.0), {pattern: "exact"})
            assert any(alone.of(p) == Exact() for p in NUMBERS), pattern

    def test_counts_are_exact_by_default(self) -> None:
        tolerances = load_tolerances(CONF / "default.yaml")
        for name in ("days", "rows", "labelled_rows", "undefined_days"):
            assert tolerances.of(f"overall.{name}") == tolerances.of(f"per_window.0.{name}") == Exact()

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(size=st.floats(0, 1, exclude_min=True), factor=st.floats(0, 1e6))
    def test_what_is_written_is_read(
        self, size: float, factor: float, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "t.yaml"
        rules: dict[str, Rule] = {"a.*": Absolute(size), "*rows": "exact", "b c": Relative(size)}
        rules["per_window.*.a_metric_of_ones_own_with_a_long_name"] = Learned(size, factor)
        tolerances = Tolerances(Learned(size, 2.0, 0.0), rules, 0.01)
        write_tolerances(tolerances, path, comment="from 5 seeds\n\nof smoke/linear")
        assert load_tolerances(path) == tolerances
        assert len(path.read_text(encoding="utf-8").splitlines()) == 10, "a line each"
        write_tolerances(Tolerances("exact"), path)
        assert load_tolerances(path) == Tolerances("exact")


def seeded(seed: int, **metrics: float | None) -> Snapshot:
    identity = {"config": {"seed": seed, "model": {"alpha": 1.0}}}
    windows = [{"window": w, "IC": (metrics.get("IC") or 0.0) * (w + 1)} for w in range(2)]
    return Snapshot("s", "c", identity, {"overall": metrics, "per_window": windows, "predictions": str(seed)}, {})


class TestLearning:
    def test_the_tolerance_is_a_multiple_of_the_spread_over_seeds(self) -> None:
        values = [0.1, 0.12, 0.11, 0.13, 0.09]
        learned = learn([seeded(i, IC=v, rows=480, ICIR=None) for i, v in enumerate(values)])
        spread, factor = float(np.std(values, ddof=1)), 6.5112
        rule = learned.of("overall.IC")
        assert isinstance(rule, Learned)
        assert rule.learned == pytest.approx(spread)
        assert rule.factor == pytest.approx(factor, rel=1e-4)  # t(0.995; 4) · √2 = 4.6041 · 1.4142
        assert learned.of("overall.rows") == Learned(0.0, rule.factor)
        assert learned.of("no.such") == learned.of("overall.ICIR") == learned.of("predictions") == Exact()

    def test_windows_share_the_tolerance_of_the_most_variable_one(self) -> None:
        learned = learn([seeded(i, IC=v) for i, v in enumerate([0.1, 0.2])], factor=2.0)
        assert learned.of("per_window.0.IC") == learned.of("per_window.7.IC")
        rule = learned.of("per_window.0.IC")
        assert isinstance(rule, Learned)
        assert rule.learned == pytest.approx(2 * float(np.std([0.1, 0.2], ddof=1)))

    def test_cases_share_the_tolerance_of_the_most_variable_one(self) -> None:
        steady = [seeded(i, IC=0.1) for i in range(2)]
        learned = learn([*steady, *(replace(seeded(i, IC=0.1 * i), case="wild") for i in range(3))], factor=2.0)
        rule = learned.of("overall.IC")
        assert isinstance(rule, Learned)
        assert rule.learned == pytest.approx(0.1)

    def test_two_runs_of_other_seeds_are_told_apart_as_rarely_as_promised(self) -> None:
        random = np.random.default_rng(0)
        alarms = 0
        for _ in range(400):
            runs = [seeded(i, IC=float(v)) for i, v in enumerate(random.normal(0.1, 0.01, 7))]
            verdict = compare(runs[5], replace(runs[6], identity=runs[5].identity), learn(runs[:5]), directions={})
            alarms += of(verdict, "overall.IC").verdict.is_finding
        assert alarms / 400 <= 0.03  # 0.01 is promised; 0.03 is four standard errors away

    @pytest.mark.parametrize(
        ("runs", "message"),
        [
            ([], "at least two runs"),
            ([seeded(1, IC=0.1)], "at least two runs"),
            ([seeded(1, IC=0.1), replace(seeded(2, IC=0.2), case="other")], "at least two runs"),
            ([seeded(1, IC=0.1), seeded(1, IC=0.2)], "same seed was run twice"),
            ([seeded(1, IC=0.1), replace(seeded(2, IC=0.1), identity={"config": {}})], "more than their seeds"),
            ([seeded(1, IC=0.1), seeded(2, IC=None)], "undefined in some"),
        ],
    )
    def test_runs_that_teach_nothing_are_refused(self, runs: list[Snapshot], message: str) -> None:
        with pytest.raises(SnapshotError, match=message):
            learn(runs)


class TestSeveralCases:
    def test_the_worst_exit_code_counts(self) -> None:
        fine, worse = check(BASELINE), check(changed("overall.IC", -1.0))
        other = check(replace(BASELINE, identity={}))
        mistake = CaseVerdict.without("smoke", "x", Problem.FAILED, "there is no such model")
        assert worst_exit_code([]) is ExitCode.FINE
        assert worst_exit_code([fine]) is ExitCode.FINE
        assert worst_exit_code([fine, worse]) is ExitCode.REGRESSION
        assert worst_exit_code([worse, mistake]) is ExitCode.USER_ERROR
        assert worst_exit_code([mistake, other, fine]) is ExitCode.NOT_COMPARABLE

    def test_a_missing_or_an_orphaned_baseline_fails(self) -> None:
        for problem, said in ((Problem.NO_BASELINE, "bless"), (Problem.ORPHANED, "delete")):
            verdict = CaseVerdict.without("smoke", "linear", problem)
            assert verdict.exit_code is ExitCode.REGRESSION
            assert said in summary(verdict)


VERDICTS = [
    CaseVerdict.without("other", "panel", Problem.SKIPPED, "it needs prices, which is not there"),
    check(BASELINE),
    check(changed("overall.IC", -1.0)),
    check(changed("per_window.1.MSE", None)),
    check(replace(BASELINE, identity={"seed": [1, "<&>\x00"]})),
    CaseVerdict.without(BASELINE.suite, "n", Problem.NO_BASELINE),
    CaseVerdict.without("other", 'x "quoted"', Problem.FAILED, "bad \x1b[31m & <worse>"),
]


class TestOutput:
    def test_json_holds_everything_and_is_canonical(self) -> None:
        text = to_json(VERDICTS)
        assert text == to_json(VERDICTS)
        found = json.loads(text)
        assert found["exit_code"] == 3
        assert [c["verdict"] for c in found["cases"]] == [v.verdict.name for v in VERDICTS]
        assert [c["exit_code"] for c in found["cases"]] == [0, 0, 1, 1, 3, 1, 2]
        (finding,) = [m for m in found["cases"][2]["metrics"] if m["verdict"] == "WORSENED"]
        assert (finding["path"], finding["candidate"], finding["p_value"]) == ("overall.IC", -1.0, None)

    def test_junit_is_well_formed_and_counts_failures_and_errors(self) -> None:
        root = ElementTree.fromstring(to_junit_xml(VERDICTS))
        assert root.tag == "testsuites"
        assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("7", "3", "2")
        suites = root.findall("testsuite")
        counts = ("name", "tests", "failures", "errors", "skipped")
        assert [tuple(s.get(count) for count in counts) for s in suites] == [
            ("other", "2", "0", "1", "1"),
            ("smoke", "5", "3", "1", "0"),
        ]
        cases = {str(c.get("name")): c for c in root.iter("testcase")}
        assert sorted(cases) == sorted({v.case for v in VERDICTS})
        skip = cases["panel"].find("skipped")
        assert skip is not None
        assert "needs prices" in str(skip.get("message"))
        (same, worse, *_) = list(suites[1])
        assert same.find("failure") is None
        failure = worse.find("failure")
        assert failure is not None
        assert failure.get("type") == "WORSENED"
        assert "overall.IC" in str(failure.text)
        assert same.get("time") == "3.500"

    def test_junit_keeps_to_the_common_schema(self) -> None:
        """Element and attribute names, their order and their kinds, as the schema that CI servers share has them."""
        for element in self._elements(ElementTree.fromstring(to_junit_xml(VERDICTS))):
            allowed, required, children = {
                "testsuites": ({"name", "tests", "failures", "errors", "time"}, set(), ["testsuite"]),
                "testsuite": (
                    {"name", "tests", "failures", "errors", "skipped", "time"},
                    {"name", "tests", "failures", "errors"},
                    ["testcase"],
                ),
                "testcase": (
                    {"name", "classname", "time"},
                    {"name", "classname"},
                    ["skipped", "failure", "error", "system-out"],
                ),
                "failure": ({"message", "type"}, {"type"}, []),
                "error": ({"message", "type"}, {"type"}, []),
                "skipped": ({"message"}, set(), []),
                "system-out": (set(), set(), []),
            }[element.tag]
            assert required <= set(element.keys()) <= allowed
            ranks = [children.index(child.tag) for child in element]
            assert ranks == sorted(ranks)
            for key in {"tests", "failures", "errors", "skipped", "time"} & set(element.keys()):
                assert float(str(element.get(key))) >= 0

    def test_junit_writes_what_xml_cannot_hold_as_text(self) -> None:
        text = to_junit_xml(VERDICTS)
        assert "\x00" not in text
        assert "\\x1b[31m &amp; &lt;worse&gt;" in text

    def test_rows_are_findings_worst_first_or_everything(self) -> None:
        metrics = copy.deepcopy(METRICS)
        metrics["overall"]["IC"] = 1.0
        metrics["overall"] |= {"MSE": 9.0}
        del metrics["overall"]["ICIR"]
        verdict = check(replace(BASELINE, metrics=metrics, provenance=ELSEWHERE))
        assert [row[0] for row in metric_rows(verdict)] == ["overall.ICIR", "overall.MSE", "overall.IC"]
        assert [row[5] for row in metric_rows(verdict)] == ["missing", "worsened", "improved"]
        assert len(metric_rows(verdict, all_metrics=True)) == len(metric_leaves(METRICS))

    @staticmethod
    def _elements(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
        yield root
        for child in root:
            yield from TestOutput._elements(child)


DAYS = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-01-09"))


def panel(days: slice = slice(None), names: tuple[str, ...] = ("A", "B", "C"), **options: Any) -> Panel:
    columns = ["ABCD".index(n) for n in names]
    close = (np.arange(8)[:, None] * 10 + np.arange(4)).astype(np.float32)
    close[2, 1] = np.nan
    fields = {"close": np.ascontiguousarray(close[days][:, columns]), **options.pop("fields", {})}
    calendar = Calendar(DAYS[days].astype("datetime64[ns]"))
    member = np.ones(fields["close"].shape, dtype=bool)
    return Panel(calendar, names, fields, options.pop("membership", member), **options)


class TestDataDifference:
    def test_equal_panels_differ_in_nothing(self) -> None:
        assert explain_data_difference(panel(), panel()) == ()

    def test_times_instruments_and_fields_that_one_side_lacks_are_named(self) -> None:
        volume = {"volume": np.ones((7, 3), dtype=np.float32)}
        other = panel(slice(1, None), ("A", "B", "D"), fields=volume)
        assert explain_data_difference(panel(), other) == (
            "1 times only in the baseline: 2020-01-01",
            "1 instruments only in the baseline: C",
            "1 instruments only in the candidate: D",
            "1 fields only in the candidate: volume",
        )

    def test_values_are_compared_where_both_have_them(self) -> None:
        other = panel(slice(1, None), ("B", "C"))
        close = other.fields["close"].copy()
        close[3, 0], close[1, 0] = 99.0, 5.0  # 2020-01-05 B; 2020-01-03 B, missing in the other
        member = other.membership.copy()
        member[0, 1] = False  # 2020-01-02 C
        found = explain_data_difference(panel(), replace(other, fields={"close": close}, membership=member))
        assert found[-2:] == (
            "close: 2 values differ: 2020-01-03 B nan → 5.0; 2020-01-05 B 41.0 → 99.0",
            "membership: 1 values differ: 2020-01-02 C True → False",
        )

    def test_only_the_first_few_are_shown_and_all_are_counted(self) -> None:
        other = replace(panel(), fields={"close": panel().fields["close"] + np.float32(1)})
        (line,) = explain_data_difference(panel(), other)
        assert line.startswith("close: 23 values differ: ")
        assert line.count("→") == 5

    def test_the_benchmark_is_compared(self) -> None:
        level = np.arange(8, dtype=np.float32)
        moved = np.where(level == 3, np.float32(9), level)
        with_index = panel(benchmark=Benchmark("I", level))
        assert explain_data_difference(panel(), with_index) == ("benchmark: None → I",)
        found = explain_data_difference(with_index, panel(benchmark=Benchmark("I", moved)))
        assert found == ("benchmark: 1 values differ: 2020-01-04 3.0 → 9.0",)

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(time=st.integers(0, 7), column=st.integers(0, 2), value=st.floats(-5, 5, width=32) | st.just(float("nan")))
    def test_it_finds_something_exactly_when_the_fingerprints_differ(
        self, time: int, column: int, value: float
    ) -> None:
        close = panel().fields["close"].copy()
        close[time, column] = value
        other = replace(panel(), fields={"close": close})
        assert bool(explain_data_difference(panel(), other)) == (panel().fingerprint != other.fingerprint)
