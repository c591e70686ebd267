"""The leaderboard holds what was blessed, all of it and nothing else, and a stale one is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import SnapshotError
from harness.report.leaderboard import FILE, blessed_rows, leaderboard_markdown, leaderboard_page, refresh
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {
    "data": {"name": "cn_csi300", "fingerprint": "0123abcdef"},
    "look_ahead": 21,
    "windows": [{"test": ["2017-01-03", "2017-02-06"]}, {"test": ["2017-02-07", "2017-03-06"]}],
}
SNAPSHOT = Snapshot(
    "full",
    "linear",
    IDENTITY,
    {
        "overall": {"IC": 0.1, "max_drawdown": -0.2, "ICIR": None, "rows": 7},
        "intervals": {"IC": {"low": 0.05, "high": 0.15}, "max_drawdown": {"low": -0.4, "high": -0.1}},
        "oracle": {"IC": 0.3},
    },
    {},
)


def with_ic(value: float, case: str = "linear", suite: str = "full") -> Snapshot:
    metrics = {**SNAPSHOT.metrics, "overall": {**SNAPSHOT.metrics["overall"], "IC": value}}
    return replace(SNAPSHOT, suite=suite, case=case, metrics=metrics)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store = Baselines(tmp_path / "results")
    store.bless(SNAPSHOT, "first")
    store.bless(with_ic(0.08, "fading"), "second")
    return store.root


def test_the_leaderboard_of_the_repository_is_what_it_has_blessed() -> None:
    text = (ROOT / "results" / FILE).read_text(encoding="utf-8")
    assert text == leaderboard_page(ROOT / "results"), "stale: `bench bless` writes it anew"


def test_a_table_per_market_links_each_number_to_its_snapshot(results: Path) -> None:
    text = leaderboard_markdown(blessed_rows(Baselines(results)))
    assert text.splitlines() == [
        "## full: cn_csi300 0123abcd, 2017-01-03 … 2017-03-06, labels known after 21 periods",
        "",
        "| case | IC | ICIR | MDD |",
        "| --- | ---: | ---: | ---: |",
        "| [fading](full/fading/v0001.json) | 0.0800 (0.0500 … 0.1500) | – | **-0.2000** (-0.4000 … -0.1000) |",
        "| [linear](full/linear/v0001.json) | **0.1000** ± 0.0500 | – | **-0.2000** (-0.4000 … -0.1000) |",
        "| *oracle* | 0.3000 | – | – |",
    ]


def test_other_markets_and_suites_have_tables_of_their_own_and_tests_have_none(results: Path) -> None:
    store = Baselines(results)
    store.bless(replace(with_ic(0.5, "hourly"), identity={"data": {"name": "solar"}}), "x")
    store.bless(with_ic(0.5, suite="smoke"), "x")
    store.bless(with_ic(0.5, suite="pytest.tests.mine"), "x")
    titles = [line for line in leaderboard_markdown(blessed_rows(store)).splitlines() if line.startswith("##")]
    markets = [title.partition(",")[0].removeprefix("## ") for title in titles]
    assert markets == ["full: cn_csi300 0123abcd", "full: solar", "smoke: cn_csi300 0123abcd"]


def test_a_new_blessing_makes_the_page_stale_until_it_is_written_anew(results: Path) -> None:
    page = results / FILE
    assert refresh(results) == page
    assert refresh(results) is None
    Baselines(results).bless(with_ic(0.2), "better")
    assert refresh(results) == page
    assert "linear/v0002.json" in page.read_text(encoding="utf-8")


def test_a_readme_beside_the_baselines_is_left_alone(results: Path) -> None:
    readme = results.parent / "README.md"
    readme.write_text("<!-- leaderboard: begin -->\n<!-- leaderboard: end -->\n", encoding="utf-8")
    refresh(results)
    assert readme.read_text(encoding="utf-8") == "<!-- leaderboard: begin -->\n<!-- leaderboard: end -->\n"


def test_a_damaged_baseline_is_on_no_leaderboard(results: Path) -> None:
    path = results / "full" / "linear" / "v0001.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.1", "0.9"), encoding="utf-8")
    with pytest.raises(SnapshotError, match="changed after it was written"):
        refresh(results)
