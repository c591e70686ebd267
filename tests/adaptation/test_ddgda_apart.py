"""The table of a gain taken apart (`examples/ddgda_apart.py`), by hand and of runs."""

from __future__ import annotations

import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest

from examples import ddgda_apart
from examples.ddgda_apart import Variant, in_words, table, visible
from harness.cli import main
from harness.evaluation.significance.hac import hac_mean
from harness.report.reproduction import power_of

RUN = [
    *(
        "run",
        "-m",
        "data.instruments=24",
        "data.days=420",
        "data.members=16",
        "windows.step=40",
        "features=expressions",
        "label.horizon=5",
    ),
    *("evaluation.significance=null", "adaptation.hist_step_n=3", "adaptation.max_epoch=1"),
    *("adaptation.fea_imp_n=null", "adaptation.loss_skip_thresh=5", "seed=1,2"),
    "adaptation.switches={},{drop_before_scoring:true}",
]


@pytest.mark.nightly
def test_runs_become_rows_profiles_first_with_the_seeds_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"]
    assert main([*RUN, "adaptation=rolling_retrain,ddgda", *where]) == 0
    capsys.readouterr()
    assert ddgda_apart.main([str(tmp_path / "runs"), "--figure", str(tmp_path / "apart.svg")]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row[1:4] for row in rows[2:]] == [["ddgda", "", "2"], ["ddgda", "`drop_before_scoring=true`", "2"]]
    assert rows[2][-2:] == ["", ""]
    assert float(rows[3][-2]) == pytest.approx(float(rows[3][5]) - float(rows[2][5]), abs=0.11)
    assert len(xml.etree.ElementTree.parse(tmp_path / "apart.svg").getroot()) > 5


def test_without_a_rolling_retrain_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert ddgda_apart.main([str(tmp_path)]) == 1


def test_a_change_is_measured_on_the_seeds_that_both_have() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 200))
    base = Variant("s", "ddgda", "", {1: noise[0], 2: noise[1]}, 0.1, 1)
    other = Variant("s", "ddgda", "alpha=1", {2: noise[1] + 0.5 * noise[2], 3: noise[2]}, 0.1, 1)
    assert other.against(base).estimate == pytest.approx(0.5 * noise[2].mean())
    assert other.by_seed.tolist() == [(noise[1] + 0.5 * noise[2]).mean(), noise[2].mean()]
    assert len(list(table([base, other]))) == 4


def test_what_is_visible_is_seen_in_four_of_five_cases() -> None:
    test = hac_mean(np.random.default_rng(1).standard_normal(400))
    power = power_of(test, visible(test))
    assert power is not None
    assert 0.8 <= power < 0.83


def test_changes_are_named_as_they_are_configured() -> None:
    changed = {"switches.plain_tail": False, "segments": None, "choice_gbdt.lambda_l1": 0.0, "choice_gbdt.rounds": 1}
    assert in_words(changed) == "plain_tail=false segments=null choice_gbdt=…"
