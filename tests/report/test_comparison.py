"""A scorecard of many cells, and two side by side: runs, or blessed versions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.cli import main
from harness.report.cells import Report, compare, read_cells
from harness.report.comparison import scorecard, side_by_side
from harness.report.figures.sweep import difference_to_reference, parallel_coordinates
from harness.report.page import render
from harness.report.table import Table


def column(table: Table, heading: str) -> int:
    return [column.heading for column in table.columns].index(heading)


def test_a_scorecard_is_shaded_by_the_difference_in_widths_of_its_interval(report: Report) -> None:
    statistics = compare(report)
    assert statistics is not None
    card = scorecard(report, statistics)
    assert card is not None
    at = column(card, "rank IC")
    for row in card.rows:
        known = statistics.row(row[0].text)
        found = None if known is None else known.differences.get("rank_IC")
        if found is None or found.low is None or found.high is None:
            assert row[at].shade is None
        else:
            assert row[at].shade == pytest.approx(np.clip(found.difference / (found.high - found.low), -1, 1))
    assert any(row[at].shade is not None for row in card.rows)
    assert all(row[column(card, heading)].shade is None for row in card.rows for heading in ("turnover", "MDD"))


def test_the_page_has_the_shades_and_no_scorecard_of_two_cells(report: Report) -> None:
    assert re.search(r'data-shade="(better|worse)" style="--shade:\d+%"', render(report))
    assert scorecard(Report(report.cells[:2], ()), compare(report)) is None


def two(report: Report) -> Report:
    """Return two cells of one scenario."""
    base = report.reference
    return Report((base, next(c for c in report.cells if c is not base and c.scenario == base.scenario)), ())


def test_two_runs_stand_side_by_side_with_paired_differences_in_the_unit_of_the_metric(report: Report) -> None:
    pair = two(report)
    found = side_by_side(pair, compare(pair))
    assert found is not None
    metrics, settings = found
    rows = {row[0].text: row for row in metrics.rows}
    for heading, name in (("rank IC", "rank_IC"), ("excess return", "excess_return"), ("IR", "information_ratio")):
        a, b = (cell.overall[name] for cell in pair.cells)
        assert rows[heading][1].value == a
        assert rows[heading][3].value == pytest.approx(b - a, abs=1e-9)
        assert rows[heading][3].best == (a != b)
        assert rows[heading][3].detail
    assert rows["rows"][3].text == "="
    assert "config.adaptation._target_" in [row[0].text for row in settings.rows]
    assert not {row[0].text for row in settings.rows} & {"config.label.horizon", "data.fingerprint"}


def test_a_run_beside_itself_differs_in_nothing(report: Report) -> None:
    pair = Report((report.reference, replace(report.reference, name="again")), ())
    found = side_by_side(pair, compare(pair))
    assert found is not None
    assert {row[3].text for row in found[0].rows} <= {"=", "–"}
    assert found[1].rows == ()


def test_more_or_fewer_than_two_are_not_side_by_side(report: Report) -> None:
    assert side_by_side(report, compare(report)) is None
    assert side_by_side(Report((report.reference,), ()), None) is None


def test_of_two_runs_the_first_is_the_reference(report: Report) -> None:
    folders = [cell.folder for cell in reversed(two(report).cells)]
    assert read_cells(folders).reference.folder == folders[0]


def test_a_summed_difference_ends_at_that_of_the_two_series(report: Report) -> None:
    pair = two(report)
    variant = next(difference_to_reference(pair))
    a, b = (cell.series["rank_IC"] for cell in pair.cells)
    band, line, end = variant.traces
    assert end["y"] == [pytest.approx(np.nansum(b - a))]
    assert band["band"] is True
    assert line["cell"] == band["cell"] == end["cell"] == 1
    assert list(difference_to_reference(Report((report.reference,), ()))) == []


def test_parallel_coordinates_place_better_values_higher(report: Report) -> None:
    (variant,) = parallel_coordinates(report)
    names = variant.layout["xaxis"]["ticktext"]
    assert {"adaptation", "horizon", "rank IC", "MDD"} <= set(names)
    heights = [trace["y"][names.index("rank IC")] for trace in variant.traces]
    values = [cell.overall["rank_IC"] for cell in report.cells]
    np.testing.assert_array_equal(np.argsort(heights), np.argsort(values))
    assert (min(heights), max(heights)) == (0, 1)
    horizons = [trace["y"][names.index("horizon")] for trace in variant.traces]
    assert [horizon == 1 for horizon in horizons] == [cell.horizon == 10 for cell in report.cells]
    assert [trace["shade"] for trace in variant.traces] == heights
    assert list(parallel_coordinates(two(report))) == []


def test_a_blessed_version_stands_beside_a_run_with_what_the_store_holds_of_it(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, results, out = report.reference.folder, str(tmp_path / "results"), str(tmp_path / "report.html")
    store = str(run.parent.parent / "store")
    assert main(["bless", str(run), "--as", "mine/linear", "--reason", "a test", "--results", results]) == 0
    other = str(two(report).cells[1].folder)
    assert main(["report", "mine/linear@v1", other, "--results", results, "--store", store, "--out", out]) == 0
    page = Path(out).read_text(encoding="utf-8")
    assert "A: mine/linear@v1; B: " in page
    assert 'id="section-difference"' in page
    capsys.readouterr()
    bare = ["--results", results, "--store", str(tmp_path / "empty"), "--out", out]
    assert main(["report", "mine/linear@v1", other, *bare]) == 0
    assert "its series are not in the store" in capsys.readouterr().err
    assert "A: mine/linear@v1; B: " in Path(out).read_text(encoding="utf-8")
    assert main(["report", "mine/linear@v1", "mine/linear", *bare]) == 0
    assert main(["report", "mine/linear@v2", other, *bare]) == 2
    assert "There is no such version." in capsys.readouterr().err
