"""What panel and configuration decide is refused by explain, a sweep's plan and a run, before anything is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.cli import main
from harness.config import Composer, ExperimentConfig, compose_config
from harness.errors import HarnessError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.metrics import SignalEvaluation
from harness.execution.progress import Silent
from harness.run.experiment import run_experiment
from harness.run.schedule import check, resolve_windows
from tests.evaluation.test_evaluation import Both, market, signal

NAMES, TIMES = 8, 300
PORTFOLIO = (
    "evaluation=portfolio",
    "evaluation.portfolio.topk=3",
    "evaluation.portfolio.n_drop=1",
    "evaluation.portfolio.benchmark=universe",
    "evaluation.portfolio.trade_unit=null",
)


@dataclass(frozen=True)
class Traded:
    """The mean volume of what is scored; it needs that field."""

    name: str = "traded"
    direction: str = "none"
    needs: tuple[str, ...] = ("volume",)

    def compute(self, predictions: Any, fields: Any) -> Any:
        assert {name: values.shape for name, values in fields.items()} == {"volume": predictions.score.shape}
        starts = predictions.offsets[:-1]
        return np.add.reduceat(fields["volume"], starts) / np.diff(predictions.offsets)


def write(folder: Path, **changes: Any) -> Path:
    """A table of prices: eight instruments on weekdays."""
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2018-01-01", periods=TIMES)
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.01, (TIMES, NAMES)), axis=0))
    frame = pd.DataFrame(close, index=days, columns=[f"S{i}" for i in range(NAMES)]).rename_axis("datetime")
    table = frame.melt(ignore_index=False, var_name="instrument", value_name="close").reset_index()
    table = table.assign(open=table.close, high=table.close, low=table.close, volume=1.0, **changes)
    path = folder / "prices.parquet"
    table.sort_values(["datetime", "instrument"]).to_parquet(path, index=False)
    return path


def data(path: Path) -> list[str]:
    where = [f"output.store={path.parent}/store", f"output.runs={path.parent}/runs"]
    return ["data=tabular", f"data.path={path}", "~data.columns.factor", "label.horizon=5", "windows.step=40", *where]


def refused(path: Path, overrides: Sequence[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what explain, plan and run say, after checking that none of them got to the features."""
    told = []
    for command in (["explain"], ["run", "-m", "--plan"], ["run"]):
        capsys.readouterr()
        code = main([*command, *data(path), *overrides])
        caught = capsys.readouterr()
        assert code == 2, (command, caught.out, caught.err)
        told.append(" ".join((caught.out + caught.err).split()))
        assert not list((path.parent / "store").glob("features*"))
    assert "mistake" in told[1]
    return told


def refuses(config: ExperimentConfig) -> str:
    """Return what the check says that all commands call; see `refused` for the commands themselves."""
    panel = config.data.load()
    with pytest.raises(HarnessError) as caught:
        check(config, panel, resolve_windows(config.windows, panel.calendar, config.label.look_ahead))
    return " ".join(str(caught.value).split())


FAULTS = [
    (["evaluation.portfolio.benchmark=index"], "no benchmark index"),
    (["evaluation.portfolio.trade_unit=100"], "Lots need the adjustment factor"),
    (["evaluation.portfolio.topk=8"], "topk reaches the number of instruments"),
    (["evaluation.portfolio.topk=50", "evaluation.portfolio.n_drop=5"], "topk reaches the number of instruments"),
    (["evaluation.portfolio.deal_price=vwap"], "The panel has no such price"),
    (["label.price=$vwap"], "vwap"),
    (["evaluation.extra=[{_target_: tests.run.test_preflight.Traded, needs: [amount]}]"], "needs the field `amount`"),
]


def test_what_the_panel_cannot_give_is_refused(tmp_path: Path) -> None:
    path, compose = write(tmp_path), Composer()
    for overrides, what in FAULTS:
        assert what in refuses(compose([*data(path), *PORTFOLIO, *overrides]))


def test_the_portfolio_that_a_message_proposes_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path)
    chosen = [*data(path), *PORTFOLIO]
    told = refuses(compose_config([*chosen, "evaluation.portfolio.topk=50", "evaluation.portfolio.n_drop=5"]))
    proposed = re.findall(r"evaluation\.portfolio\.\w+=\d+", told)
    assert len(proposed) == 2
    config = compose_config([*chosen, *proposed])
    panel = config.data.load()
    check(config, panel, resolve_windows(config.windows, panel.calendar, config.label.look_ahead))


@pytest.mark.parametrize(
    ("overrides", "what"), [FAULTS[0], *(pytest.param(*fault, marks=pytest.mark.nightly) for fault in FAULTS[1:])]
)
def test_what_the_panel_cannot_give_is_refused_by_each_command(
    overrides: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for told in refused(write(tmp_path), [*PORTFOLIO, *overrides], capsys):
        assert what in told


def test_a_change_in_another_unit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    table = pd.read_parquet(path)
    table["pct"] = 100 * table.groupby("instrument").close.pct_change()
    table["gross"] = 1 + table.pct / 100  # at the upper limit always: nothing could be traded
    table.to_parquet(path, index=False)
    for column in ("pct", "gross"):
        told = refuses(compose_config([*data(path), *PORTFOLIO, f"+data.columns.change={column}"]))
        assert "`change` is not the close over the close before" in told


def test_a_deal_price_in_another_unit_is_refused_and_an_open_price_is_not(tmp_path: Path) -> None:
    path = write(tmp_path)
    table = pd.read_parquet(path)
    table["vwap"] = 100 * table.close
    table["open"] = 0.9 * table.close
    table.to_parquet(path, index=False)
    chosen = [*data(path), *PORTFOLIO, "+data.columns.vwap=vwap"]
    told = refuses(compose_config([*chosen, "evaluation.portfolio.deal_price=vwap"]))
    assert "`vwap` is in another unit" in told
    assert "a median of 100 times `close`" in told
    config = compose_config([*chosen, "evaluation.portfolio.deal_price=open"])
    panel = config.data.load()
    check(config, panel, resolve_windows(config.windows, panel.calendar, config.label.look_ahead))


def test_returns_of_negative_prices_are_refused_and_differences_are_not(tmp_path: Path) -> None:
    path = write(tmp_path)
    table = pd.read_parquet(path)
    table[["open", "high", "low", "close"]] -= 10
    table.to_parquet(path, index=False)
    spreads = [*data(path), "data.negative_prices=true"]
    assert "label got: S" in refuses(compose_config(spreads)).replace("where: ", "")
    differences = [*spreads, "label.expression='Ref($close, -6) - Ref($close, -1)'"]
    config = compose_config(differences)
    panel = config.data.load()
    check(config, panel, resolve_windows(config.windows, panel.calendar, config.label.look_ahead))
    assert "Returns need positive prices" in refuses(compose_config([*differences, *PORTFOLIO]))


def test_an_index_that_ends_before_the_test_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    days = pd.bdate_range("2018-01-01", periods=TIMES - 50)
    index = pd.DataFrame({"datetime": days, "instrument": "IDX", "close": np.linspace(100, 120, days.size)})
    index.to_parquet(tmp_path / "index.parquet", index=False)
    given = [f"data.benchmark={tmp_path}/index.parquet", "data.benchmark_instrument=IDX"]
    told = refuses(compose_config([*data(path), *PORTFOLIO, *given, "evaluation.portfolio.benchmark=index"]))
    assert "does not cover the test range" in told


def test_a_window_without_members_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    table = pd.read_parquet(path)
    days = np.sort(table.datetime.unique())
    holes = np.isin(table.datetime, days[225:290])
    table.loc[holes, ["close", "open", "high", "low", "volume"]] = np.nan
    table.to_parquet(path, index=False)
    told = refuses(compose_config(data(path)))
    assert "windows have no row" in told
    assert "the test segment of window" in told


def test_a_calendar_that_goes_on_after_the_data_is_noted_by_run_and_sweep_and_not_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path)
    days = pd.bdate_range("2018-01-01", periods=TIMES + 20)
    (tmp_path / "days.txt").write_text("\n".join(f"{day:%Y-%m-%d}" for day in days))
    (tmp_path / "my" / "features").mkdir(parents=True)
    target = "_target_: harness.features.Expressions\nexpressions:\n  mom: $close/Ref($close, 5) - 1\n"
    (tmp_path / "my" / "features" / "one.yaml").write_text(target)
    overrides = [*data(path), f"data.calendar={tmp_path}/days.txt", "features=one", "evaluation.significance=null"]
    result = run_experiment([*overrides, *PORTFOLIO], search_path=[tmp_path / "my"], observer=Silent())
    assert any("20 of 96 test periods have no row" in note for note in result.notes)
    assert result.snapshot.identity["year"] == {"periods": 252, "source": "daily, five days a week, by the calendar"}
    again = run_experiment([*overrides, *PORTFOLIO], search_path=[tmp_path / "my"], observer=Silent())
    assert again.reused
    assert again.notes == result.notes
    for command, prefix in ((["run"], "note "), (["run", "-m"], "note the only cell: ")):
        capsys.readouterr()
        assert main([*command, "--config-dir", str(tmp_path / "my"), *overrides, *PORTFOLIO]) == 0
        assert f"{prefix}20 of 96 test periods have no row" in " ".join(capsys.readouterr().out.split())


def test_a_metric_is_given_the_fields_that_it_needs_at_the_rows_of_the_predictions() -> None:
    panel = market()
    volume = np.tile(np.arange(20, dtype=np.float32), (60, 1))
    fields = {**panel.fields, "volume": volume}
    panel = type(panel)(panel.calendar, panel.instruments, fields, panel.membership)
    found = evaluate(signal(panel), panel, Both(SignalEvaluation(), None, (Traded(),)), horizon=5)  # type: ignore[arg-type]
    assert found.overall["traded"] == pytest.approx(9.5)
