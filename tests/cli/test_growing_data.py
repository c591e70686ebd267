"""What a team does every evening: one file that grows, the same commands, and a baseline that stays comparable."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.cli import main
from harness.config import compose_config
from harness.data.convert import write_long
from harness.data.panel import Panel
from harness.data.source import truncate
from harness.data.sources.synthetic import SyntheticMarket
from harness.data.sources.tabular import TabularSource

BENCH = (sys.executable, "-c", "from harness.cli import command; command()")
COMMAND = [
    *("data=tabular", "data.root=market", "data.path=panel.parquet", "+data.columns.vwap=vwap"),
    *("data.membership=all.txt", "data.calendar=calendar.txt", "data.benchmark=benchmark.parquet"),
    *("data.benchmark_instrument=SIMINDEX", "features=expressions", "label.horizon=5", "windows.step=20"),
    *("evaluation=portfolio", "evaluation.portfolio.topk=6", "evaluation.portfolio.n_drop=2"),
    *("evaluation.portfolio.trade_unit=null", "executor=serial"),
]


@pytest.fixture(scope="module")
def market() -> Panel:
    found = compose_config(["data.instruments=30", "data.days=340", "data.members=24", "data.late_listings=0.4"]).data
    assert isinstance(found, SyntheticMarket)
    return replace(found.load(), truth=None)


class Evening:
    """A project of which the market's files are written anew every evening."""

    def __init__(self, market: Panel, folder: Path, output: pytest.CaptureFixture[str]) -> None:
        self.market, self.folder, self.output = market, folder, output
        day = market.calendar.format
        self.command = [*COMMAND, f"windows.train=[{day(40)},{day(219)}]", f"windows.test=[{day(220)},null]"]

    def comes(self, stop: int, **changes: Any) -> None:

        shutil.rmtree(self.folder / "market", ignore_errors=True)
        write_long(truncate(replace(self.market, **changes), stop), self.folder / "market", universe="all")

    def says(self, *arguments: str) -> tuple[int, str]:
        self.output.readouterr()
        code = main(list(arguments))
        said = self.output.readouterr()
        assert code != 2, said.err
        return code, said.out


@pytest.fixture
def evening(
    market: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Evening:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return Evening(market, tmp_path, capsys)


def test_a_suite_over_data_that_grow_holds_the_windows_in_common_to_their_bits(evening: Evening) -> None:
    (evening.folder / "team.yaml").write_text(
        json.dumps({"regression": "default", "cases": [{"case": "ours", "overrides": evening.command}]})
    )
    evening.comes(300)
    assert evening.says("bless", "team.yaml", "--reason", "the first evening")[0] == 0
    for stop in (301, 325):
        evening.comes(stop)
        code, text = evening.says("check", "team.yaml", "--json")
        (case,) = json.loads(text)["cases"]
        verdicts = {metric["path"]: metric["verdict"] for metric in case["metrics"]}
        assert (code, case["verdict"]) == (0, "NEW"), case
        # Windows of 20 days from day 220 on; a label of 5 days is known 6 days later: those of 280 … 299 are not.
        assert {verdicts[f"per_window.{k}.predictions"] for k in range(4)} == {"SAME"}
        assert {v for path, v in verdicts.items() if path[:13] in [f"per_window.{k}." for k in range(3)]} == {"SAME"}
        assert verdicts["per_window.3.IC"] == verdicts["overall.IC"] == verdicts["predictions"] == "NEW"
        assert verdicts["per_window.4.IC"] == "NEW"
        assert "windows 4 → " in case["data"][0]
    code, text = evening.says("check", "team.yaml")
    assert "grown: the test range ends" in text


@pytest.mark.parametrize(
    ("revised", "metrics", "predictions"),
    [
        (270, ["SAME", "SAME", "INCOMPARABLE", "INCOMPARABLE"], ["SAME", "SAME", "INCOMPARABLE", "INCOMPARABLE"]),
        # Labels of window 1, which ends at 259, read prices up to 265.
        (262, ["SAME", "INCOMPARABLE", "INCOMPARABLE", "INCOMPARABLE"], ["SAME", "SAME", *["INCOMPARABLE"] * 2]),
    ],
)
def test_a_revised_price_makes_the_windows_incomparable_that_have_seen_it_or_are_judged_by_it(
    evening: Evening, revised: int, metrics: list[str], predictions: list[str]
) -> None:
    evening.comes(300)
    (evening.folder / "team.yaml").write_text(
        json.dumps({"regression": "default", "cases": [{"case": "ours", "overrides": evening.command}]})
    )
    assert evening.says("bless", "team.yaml", "--reason", "the first evening")[0] == 0
    close = np.array(evening.market.fields["close"])
    close[revised, int(np.flatnonzero(evening.market.traded[revised])[0])] *= 1.05
    evening.comes(303, fields={**evening.market.fields, "close": close})
    code, text = evening.says("check", "team.yaml", "--json")
    (case,) = json.loads(text)["cases"]
    verdicts = {metric["path"]: metric["verdict"] for metric in case["metrics"]}
    assert (code, case["verdict"]) == (3, "INCOMPARABLE")
    assert [verdicts[f"per_window.{k}.IC"] for k in range(4)] == metrics
    assert [verdicts[f"per_window.{k}.predictions"] for k in range(4)] == predictions
    assert not {"WORSENED", "IMPROVED", "MISSING"} & set(verdicts.values())


@pytest.mark.parametrize(
    ("revised", "stop"), [(285, 293), (285, 305), pytest.param(286, 290, marks=pytest.mark.nightly)]
)
def test_a_price_that_is_revised_on_a_day_of_the_open_window_is_told(evening: Evening, revised: int, stop: int) -> None:
    """Blessed with ten days of the window; the price is another one three days later, with the window full, at once."""
    evening.comes(290)
    (evening.folder / "team.yaml").write_text(
        json.dumps({"regression": "default", "cases": [{"case": "ours", "overrides": evening.command}]})
    )
    assert evening.says("bless", "team.yaml", "--reason", "the first evening")[0] == 0
    evening.comes(stop)
    assert evening.says("check", "team.yaml")[0] == 0
    close = np.array(evening.market.fields["close"])
    close[revised, int(np.flatnonzero(evening.market.traded[revised])[0])] *= 1.05
    evening.comes(stop, fields={**evening.market.fields, "close": close})
    code, text = evening.says("check", "team.yaml", "--json")
    (case,) = json.loads(text)["cases"]
    verdicts = {metric["path"]: metric["verdict"] for metric in case["metrics"]}
    assert (code, case["verdict"]) == (3, "INCOMPARABLE")
    assert verdicts["per_window.3.predictions"] == "INCOMPARABLE"
    assert verdicts["per_window.2.predictions"] == "SAME"
    assert verdicts["overall.IC"] == ("INCOMPARABLE" if stop == 290 else "NEW")
    assert ("grown" in case["data"][0]) == (stop > 290)
    assert "1 window of both saw other data: 3; if that is right, bless again" in case["data"][2]


def test_a_calendar_that_goes_on_where_the_data_end(evening: Evening) -> None:
    """Windows that the data have not filled are open, and the orders are those for the day after the newest scores."""

    def comes(stop: int) -> None:
        evening.comes(stop)
        times = map(evening.market.calendar.format, range(330))
        (evening.folder / "market" / "calendar.txt").write_text("".join(f"{time}\n" for time in times))

    (evening.folder / "team.yaml").write_text(
        json.dumps({"regression": "default", "cases": [{"case": "ours", "overrides": evening.command}]})
    )
    evening.comes(290)
    alone = json.loads(evening.says("predict", *evening.command, "--json")[1])
    comes(290)
    assert evening.says("bless", "team.yaml", "--reason", "the first evening")[0] == 0
    ahead = json.loads(evening.says("predict", *evening.command, "--json")[1])
    assert ahead["orders"]
    for name in ("time", "window", "decision", "scores", "orders"):
        assert ahead[name] == alone[name], name
    comes(294)
    code, text = evening.says("check", "team.yaml", "--json")
    (case,) = json.loads(text)["cases"]
    verdicts = {metric["path"]: metric["verdict"] for metric in case["metrics"]}
    assert (code, case["verdict"]) == (0, "NEW"), case["data"]
    assert [verdicts[f"per_window.{k}.IC"] for k in range(4)] == ["SAME", "SAME", "SAME", "NEW"]


def test_prices_without_scores_make_orders_too_late(evening: Evening) -> None:
    evening.comes(300)
    members = evening.folder / "market" / "all.txt"
    last = evening.market.calendar.format(296)
    ended = [
        "\t".join([*line.split("\t")[:2], min(line.split("\t")[2], last)])
        for line in members.read_text().split("\n")
        if line
    ]
    members.write_text("\n".join(ended) + "\n")
    newest = evening.market.calendar.format(299)
    why = f"prices reach {newest}, and nobody has a score after {last}: nobody is a member of the universe by then"
    text = evening.says("predict", *evening.command)[1]
    assert f"no orders: {why}" in " ".join(text.split())
    assert json.loads(evening.says("predict", *evening.command, "--json")[1])["note"] == f"no orders: {why}"
    alone = [*(one for one in evening.command if not one.startswith("evaluation")), "evaluation=signal"]
    assert json.loads(evening.says("predict", *alone, "--json")[1])["note"] == why


def test_files_that_are_written_while_they_are_read_are_refused_and_not_kept(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TabularSource.load

    def interrupted(source: TabularSource) -> Panel:
        evening.comes(301)
        return load(source)

    evening.comes(300)
    with monkeypatch.context() as patched:
        patched.setattr(TabularSource, "load", interrupted)
        assert main(["run", *evening.command]) == 2
    assert "changed while they were read" in evening.output.readouterr().err
    assert not list((evening.folder / ".bench" / "store").glob("panel/[!.]*"))


def test_the_newest_scores_and_the_orders_that_the_next_evening_executes(evening: Evening) -> None:
    """What is planned in one evening stands, sides and instruments, in the orders of the next."""
    evening.comes(300)
    code, text = evening.says("predict", *evening.command, "--json")
    planned = json.loads(text)
    day = evening.market.calendar.format
    assert (code, planned["time"], planned["decision"], planned["window"]) == (0, day(299), day(280), 3)
    scores = [one["score"] for one in planned["scores"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == int((evening.market.traded & evening.market.membership)[299].sum())
    shown = evening.says("predict", *evening.command, "--top", "3")[1]
    assert f"scores at the close of {day(299)}" in shown
    assert f"and {len(scores) - 3} more" in shown
    evening.comes(301)
    run = json.loads(evening.says("run", *evening.command, "--json")[1])
    assert run["newest"]["time"] == day(300)
    executed = pq.read_table(Path(run["folder"]) / "orders.parquet").to_pylist()
    executed = [one for one in executed if str(one["signal"])[:10] == day(299)]
    assert [(one["side"], one["instrument"]) for one in executed] == [
        (one["side"], one["instrument"]) for one in planned["orders"]
    ]
    assert executed
    for done, asked in zip(executed, planned["orders"], strict=True):
        assert done["shares"] == pytest.approx(asked["shares"], rel=0.1)


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.nightly)])
def test_an_evening_that_is_killed_is_finished_with_the_same_bytes(evening: Evening, kills: int) -> None:
    evening.comes(290)
    began = time.perf_counter()
    first = subprocess.run([*BENCH, "run", *evening.command], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    longest = time.perf_counter() - began
    evening.comes(325)
    for moment in np.random.default_rng(kills).uniform(0.4, 1.0, kills) * longest:
        killed = subprocess.Popen(
            [*BENCH, "run", *evening.command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            killed.wait(moment)
        killed.kill()
        killed.wait()
    folders = [
        Path(json.loads(evening.says("run", *evening.command, f"output.store={store}", "--json")[1])["folder"])
        for store in (".bench/store", "scratch")
    ]
    assert folders[0] == folders[1]
    resumed = Path(".bench/store/result")
    names = ("predictions.parquet", "metrics.json", "series.parquet", "orders.parquet", "reads.json")
    for name in names:
        scratch = folders[0] / name
        assert scratch.read_bytes() in [path.read_bytes() for path in resumed.glob(f"*/{name}")], name
