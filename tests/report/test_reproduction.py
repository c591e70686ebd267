"""Published tables: how they are read, the verdict on every value, and the test of every claim."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.stats import norm

from harness.cli import main
from harness.config.reference import Claim, ReferenceResults, reference_results
from harness.errors import ConfigError
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.significance.hac import hac_mean
from harness.report.cells import Report
from harness.report.page import render
from harness.report.reproduction import power_of, reproduce
from harness.run.finished import FinishedRun

RR = "harness.adaptation.RollingRetrain"
WHERE = {"data.name": "synthetic", "look_ahead": 6}
PLAIN = {"config.adaptation._target_": "baselines.adaptation.RollingRetrain"}
FORGETTING = {"config.adaptation._target_": "baselines.adaptation.GradualForgetting"}


def published(**changes: Any) -> dict[str, Any]:
    rows = [
        {"name": "RR", "where": dict(PLAIN), "values": {"IC": 0.1, "excess_return": 0.05}},
        {"name": "GF", "where": dict(FORGETTING), "values": {"IC": 0.2}},
    ]
    about = {key: key for key in ("source", "url", "date", "data", "scenario", "differences")}
    return {**about, "where": dict(WHERE), "rows": rows, **changes}


def read(folder: Path, **changes: Any) -> ReferenceResults:
    (folder / "reference").mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create(published(**changes)), folder / "reference" / "mine.yaml")
    return next(found for found in reference_results([folder]) if found.source == "source")


def test_our_own_tables_are_read_and_their_rows_have_the_digits_of_their_source() -> None:
    tables = {found.source: found for found in reference_results()}
    qlib = next(found for name, found in tables.items() if name.startswith("qlib"))
    assert qlib.row("RR[Linear]").values["IC"] == 0.0945
    assert qlib.row("DDG-DA[LightGBM]").values["max_drawdown"] == -0.0744
    paper = next(found for name, found in tables.items() if "AAAI 2022" in name)
    assert [row.values["IC"] for row in paper.rows] == [0.1178, 0.1227, 0.1234, 0.1312]
    assert paper.not_comparable


def test_a_file_of_the_users_takes_the_place_of_ours_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    OmegaConf.save(OmegaConf.create(published()), tmp_path / "reference" / "ddgda_paper.yaml")
    sources = [found.source for found in reference_results([tmp_path])]
    assert "source" in sources
    assert len(sources) == len(reference_results())


@pytest.mark.parametrize(
    ("changes", "where", "told"),
    [
        ({"claims": [{"better": "RR", "than": "GF", "metrics": ["IC"]}]}, "claims.0", "otherwise"),
        ({"claims": [{"better": "DDG", "than": "GF", "metrics": ["IC"]}]}, "claims.0", "RR, GF"),
        ({"claims": [{"better": "GF", "than": "RR", "metrics": ["rank_IC"]}]}, "claims.0", "IC"),
        ({"rows": [{"name": "RR", "where": {}, "values": {"rankIC": 0.1}}]}, "rows.0.values", "rank_IC"),
        ({"rows": [{"name": "RR", "where": {}, "values": {"IC": "much"}}]}, "rows", "number"),
        ({"sauce": "x"}, "sauce", "source"),
    ],
    ids=str,
)
def test_a_mistake_in_a_table_names_the_file_the_key_and_what_there_is(
    tmp_path: Path, changes: dict[str, Any], where: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **changes)
    assert "mine.yaml" in str(caught.value)
    assert where in str(caught.value)
    assert told in str(caught.value)


def near(report: Report) -> list[FinishedRun]:
    return [cell for cell in report.cells if cell.look_ahead == 6]


def test_no_table_stands_beside_runs_of_another_scenario(report: Report) -> None:
    assert reproduce(report.cells, reference_results()) == ()


def test_a_value_is_reproduced_exactly_where_it_lies_in_our_interval(tmp_path: Path, report: Report) -> None:
    run = next(cell for cell in near(report) if "RollingRetrain" in str(cell.config["adaptation"]))
    bounds = run.snapshot.metrics["intervals"]["IC"]
    for value, verdict in (
        (bounds["low"], "REPRODUCED"),
        (bounds["high"], "REPRODUCED"),
        (np.nextafter(bounds["high"], 9), "DIFFERS"),
        (np.nextafter(bounds["low"], -9), "DIFFERS"),
    ):
        rows = [{"name": "RR", "where": dict(PLAIN), "values": {"IC": float(value)}}]
        (found,) = reproduce(report.cells, [read(tmp_path, rows=rows)])
        (judged,) = found.values
        assert (judged.run, judged.verdict, judged.ours) == (run.name, verdict, run.overall["IC"])


def test_what_cannot_be_compared_says_why(tmp_path: Path, report: Report) -> None:
    rows = [{"name": "RR", "where": dict(PLAIN), "values": {"IC": 0.1, "excess_return": 0.05}}]
    (found,) = reproduce(report.cells, [read(tmp_path, rows=rows, not_comparable="another universe")])
    assert {(v.verdict, v.reason) for v in found.values} == {("NOT COMPARABLE", "another universe")}
    (cell,) = (c for c in near(report) if "RollingRetrain" in str(c.config["adaptation"]))
    overall = {k: v for k, v in cell.overall.items() if k != "excess_return"}
    metrics = {**cell.snapshot.metrics, "overall": overall, "intervals": None}
    bare = replace(cell, snapshot=replace(cell.snapshot, metrics=metrics))
    (found,) = reproduce([bare], [read(tmp_path, rows=rows)])
    assert [v.verdict for v in found.values] == ["NOT COMPARABLE"] * 2
    assert "interval" in found.values[0].reason
    assert "not evaluated" in found.values[1].reason


def moved(run: FinishedRun, by: np.ndarray | float) -> FinishedRun:
    """Return a run whose daily IC is moved, and its mean with it."""
    ic = run.series["IC"] + by
    series = DailySeries(run.series.times, {**run.series.values, "IC": ic})
    metrics = {**run.snapshot.metrics, "overall": {**run.overall, "IC": float(np.nanmean(ic))}}
    return replace(run, given=series, snapshot=replace(run.snapshot, metrics=metrics))


@pytest.mark.parametrize(("by", "verdict"), [(0.05, "SHOWN"), (-0.05, "CONTRADICTED"), (0.0, "NOT SHOWN")])
def test_a_claim_is_shown_contradicted_or_neither(tmp_path: Path, report: Report, by: float, verdict: str) -> None:
    plain = next(cell for cell in near(report) if "RollingRetrain" in str(cell.config["adaptation"]))
    other = next(cell for cell in near(report) if "GradualForgetting" in str(cell.config["adaptation"]))
    noise = np.random.default_rng(1).standard_normal(plain.series.times.size) * 0.02
    forgetting = replace(moved(plain, by + noise - noise.mean()), name=other.name)
    forgetting = replace(forgetting, snapshot=replace(forgetting.snapshot, identity=other.snapshot.identity))
    table = read(tmp_path, claims=[{"better": "GF", "than": "RR", "metrics": ["IC"]}])
    (found,) = reproduce([plain, forgetting], [table])
    (claim,) = found.claims
    assert claim.verdict == verdict
    assert claim.runs == (other.name, plain.name)
    assert claim.published == pytest.approx(0.1)
    assert claim.ours == pytest.approx(by, abs=1e-5)
    assert claim.power == pytest.approx(1.0)  # a difference of .1 where the days vary by .02


def test_a_claim_without_two_runs_that_differ_in_it_only_is_not_comparable(tmp_path: Path, report: Report) -> None:
    table = read(tmp_path, claims=[{"better": "GF", "than": "RR", "metrics": ["IC"]}])
    plain = next(cell for cell in near(report) if "RollingRetrain" in str(cell.config["adaptation"]))
    (found,) = reproduce([plain], [table])
    assert [c.verdict for c in found.claims] == ["NOT COMPARABLE"]
    assert "adaptation only" in found.claims[0].reason
    identity = json.loads(json.dumps(plain.snapshot.identity))
    identity["config"]["adaptation"]["_target_"] = FORGETTING["config.adaptation._target_"]
    identity["config"]["windows"]["step"] = 7
    other = replace(plain, name="other", snapshot=replace(plain.snapshot, identity=identity))
    (found,) = reproduce([plain, other], [table])
    assert [c.verdict for c in found.claims] == ["NOT COMPARABLE"]


def test_power_is_the_level_without_an_effect_and_grows_to_one_with_it() -> None:
    test = hac_mean(np.random.default_rng(0).standard_normal(400), look_ahead=1)
    powers = [power_of(test, effect * test.standard_error) or 0.0 for effect in (0.0, 1.0, 2.0, 3.0, 20.0, 1e9)]
    assert powers[0] == pytest.approx(0.05)
    assert powers == sorted(powers)
    assert powers[-1] == pytest.approx(1.0)
    assert power_of(test, -0.1) == pytest.approx(power_of(test, 0.1))
    # With many degrees of freedom the t-test is a z-test.
    expected = norm.sf(1.96 - 2.0) + norm.cdf(-1.96 - 2.0)
    assert powers[2] == pytest.approx(expected, abs=0.04)


def test_power_is_the_share_of_worlds_in_which_the_test_rejects() -> None:
    rng, effect = np.random.default_rng(5), 0.15
    tests = [hac_mean(rng.standard_normal(300) + effect, look_ahead=1) for _ in range(400)]
    rejected = np.mean([test.p_value < 0.05 for test in tests])
    foretold = np.mean([power for test in tests if (power := power_of(test, effect)) is not None])
    assert foretold == pytest.approx(rejected, abs=0.08)


def test_an_untested_difference_has_no_power() -> None:
    assert power_of(hac_mean(np.zeros(100)), 0.1) is None


@pytest.fixture
def own(tmp_path: Path) -> Path:
    read(tmp_path, claims=[{"better": "GF", "than": "RR", "metrics": ["IC"]}])
    return tmp_path


def folders(report: Report) -> list[str]:
    return [str(cell.folder) for cell in near(report)]


def test_the_command_prints_values_and_claims(own: Path, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *folders(report), "--config-dir", str(own)]) == 0
    text = capsys.readouterr().out
    assert "published" in text
    assert "GF over RR" in text
    assert "power" in text


def test_the_command_writes_json_with_a_verdict_for_each_value(
    own: Path, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *folders(report), "--config-dir", str(own), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert {v["verdict"] for v in found["values"]} <= {"REPRODUCED", "DIFFERS"}
    assert len(found["values"]) == 3
    assert found["date"] == "date"


@pytest.mark.parametrize(("format", "sign"), [("latex", r"\toprule"), ("markdown", "| --- |"), ("csv", "row,from")])
def test_the_command_writes_a_file(own: Path, report: Report, format: str, sign: str) -> None:
    out = own / "table"
    given = ["--config-dir", str(own), "--format", format, "--out", str(out)]
    assert main(["reproduce", *folders(report), *given]) == 0
    assert sign in out.read_text(encoding="utf-8")


def test_without_a_run_that_a_row_belongs_to_the_command_says_which_tables_there_are(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *folders(report)]) == 2
    error = capsys.readouterr().err
    assert "qlib" in error
    assert "suite=paper" in error


@pytest.mark.nightly
def test_blessing_a_suite_writes_the_published_tables_beside_its_baselines(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own)
    cases = [{"case": name, "overrides": [f"adaptation={name}"]} for name in ("rolling_retrain", "gf_exp")]
    small = "data.instruments=24 data.days=420 data.members=16 label.horizon=5 features=alpha360 evaluation=signal"
    suite = {"regression": "default", "overrides": small.split(), "cases": cases}
    OmegaConf.save(OmegaConf.create(suite), own / "mine.yaml")
    bless, page = ["bless", "mine.yaml", "--config-dir", str(own), "--reason", "x"], own / "results/mine/published.md"

    assert main([*bless, "--dry-run"]) == 0
    assert not page.exists()
    assert main(bless) == 0
    text = page.read_text(encoding="utf-8")
    assert "rolling_retrain" in text
    assert "GF over RR" in text
    capsys.readouterr()

    page.write_text("stale", encoding="utf-8")
    assert main(bless) == 0
    assert f"written    {page.relative_to(own)}" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text

    page.write_text("stale", encoding="utf-8")
    kept = [str(path.parent) for path in sorted((own / "runs").glob("*/snapshot.json"))]
    assert main(["bless", *kept, "--config-dir", str(own), "--reason", "x"]) == 0
    assert page.read_text(encoding="utf-8") == text


class TestPage:
    """The page of a suite whose runs are blessed one by one, from wherever and in whatever neighbourhood."""

    @pytest.fixture
    def bless(self, own: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
        monkeypatch.chdir(own)
        for run, name in zip(near(report), ("plain", "forgetting"), strict=False):
            shutil.copytree(run.folder, own / "kept" / name)

        def call(run: str, *, at: str = ".", reason: str = "x") -> int:
            monkeypatch.chdir(own / at)
            case = (own / at / run).resolve().name.removesuffix(".json").replace("snapshot", "plain")
            told = ["--config-dir", str(own), "--results", str(own / "results"), "--reason", reason]
            return main(["bless", run, "--as", f"mine/{case}", *told])

        return call

    @pytest.mark.parametrize(
        ("run", "at"), [("kept/forgetting", "."), (".", "kept/forgetting"), ("../forgetting", "kept/plain")]
    )
    @pytest.mark.parametrize("first", ["kept/plain", "kept/plain/snapshot.json"])
    def test_runs_are_found_beside_each_other(
        self, own: Path, bless: Callable[..., int], first: str, run: str, at: str
    ) -> None:
        assert bless(first) == 0
        assert bless(run, at=at) == 0
        text = (own / "results/mine/published.md").read_text(encoding="utf-8")
        assert "| RR | plain |" in text
        assert "| GF | forgetting |" in text

    def test_a_damaged_neighbour_is_passed_over(self, own: Path, bless: Callable[..., int]) -> None:
        for name, file in (("a", "series.parquet"), ("b", "snapshot.json")):
            shutil.copytree(own / "kept/plain", own / "kept" / name)
            (own / "kept" / name / file).write_bytes(b"PAR1")
        shutil.copytree(own / "kept/plain", own / "kept/c")
        (own / "kept/c/series.parquet").unlink()
        assert bless("kept/plain") == bless("kept/forgetting") == 0
        assert "| RR | plain |" in (own / "results/mine/published.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize("lost", ["run", "series.parquet", "table"])
    def test_a_page_that_cannot_be_written_anew_is_kept_and_said_to_be(
        self, own: Path, bless: Callable[..., int], lost: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert bless("kept/plain") == 0
        page, path = own / "results/mine/published.md", own / "kept/plain"
        before = page.read_text(encoding="utf-8")
        if lost == "run":
            shutil.rmtree(path)
        elif lost == "table":
            (own / "reference/mine.yaml").unlink()
        else:
            (path / lost).unlink()
        capsys.readouterr()
        assert bless("kept/forgetting") == 0
        told = capsys.readouterr().err
        assert f"kept       {page}" in told
        assert ("published row" if lost == "table" else "the run of plain") in told
        assert page.read_text(encoding="utf-8") == before

    @pytest.mark.parametrize(
        ("url", "shown"),
        [("https://example.org/a?b=1", "<https://example.org/a?b=1>"), ("none", " none\n"), ("a <b> c", "a \\<b\\> c")],
    )
    def test_an_address_is_a_link_and_another_text_stays_visible(
        self, own: Path, bless: Callable[..., int], url: str, shown: str
    ) -> None:
        read(own, url=url)
        assert bless("kept/plain") == 0
        assert shown in (own / "results/mine/published.md").read_text(encoding="utf-8")


def test_runs_that_are_called_alike_are_told_apart(tmp_path: Path, report: Report) -> None:
    folder = Path("linear-0123456789ab")
    runs = [replace(run, name="linear", folder=folder, given=run.series) for run in near(report)]
    plain = next(run for run in runs if "RollingRetrain" in str(run.config["adaptation"]))
    (found,) = reproduce([*runs, moved(plain, 0.01), moved(plain, 0.02)], [read(tmp_path)])
    ours = {(v.run, v.ours) for v in found.values if v.metric == "IC"}
    shown = {(row[1].text, row[2].value) for row in found.values_table().rows if row[1].text != "published"}
    assert len({name for name, _ in ours}) == len(ours) == len(runs) + 2
    assert shown == ours


def test_the_html_report_holds_the_published_rows_and_the_claims(report: Report) -> None:
    run = near(report)[0]
    identity = json.loads(json.dumps(run.snapshot.identity))
    identity["data"]["name"], identity["look_ahead"] = "cn_csi300", 21
    identity["config"]["windows"] |= {"step": 20, "test": ["2017-01-03", "2020-08-31"]}
    cell = replace(run, snapshot=replace(run.snapshot, identity=identity))
    page = render(replace(report, cells=(cell,)))
    assert "RR[Linear]" in page
    assert "DDG-DA[Linear] over RR[Linear]" in re.sub("<[^>]*>", "", page)
    assert "crowd-sourced" in page


def test_a_claim_names_rows_and_metrics() -> None:
    claims = [claim for found in reference_results() for claim in found.claims]
    assert Claim("DDG-DA", "RR", ("IC",)) in claims
