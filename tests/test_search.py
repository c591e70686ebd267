"""A search sees the validation period and nothing later, and the same seed gives the same trials."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.job
from harness.artifacts import ArtifactStore
from harness.audit.poison import poison
from harness.cli import main
from harness.config import WindowsConfig, compose_config
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.data.synthetic import SyntheticMarket
from harness.data.truncated import truncate
from harness.errors import ConfigError
from harness.evaluation import evaluate
from harness.experiment import run, run_experiment
from harness.interfaces import Silent
from harness.predictions import Predictions
from harness.provenance import Stopwatch
from harness.search import SearchRequest, SearchResult, search
from harness.search.period import validation_period
from harness.search.space import read_space
from harness.stages import Stages
from harness.windows import Kind

pytest.importorskip("optuna", reason="the extra `optuna` is not installed")

# 480 days by shares .5/.2/.3: valid is [240, 336), the final test range begins at 336.
SMALL = ["data.instruments=24", "data.days=480", "data.members=16", "windows.step=40", "label.horizon=5"]
FEW = [*SMALL, "features=expressions"]
ALPHA = "model.alpha=tag(log,interval(0.001,1000))"
VALID, DECISION, LOOK_AHEAD = 240, 336, 6


@dataclass(frozen=True)
class PoisonedMarket(SyntheticMarket):
    """A market with another future after `cut`."""

    cut: int = 0

    def load(self) -> Panel:
        return poison(super().load(), self.cut, 1)


POISONED = [*FEW, "data._target_=tests.test_search.PoisonedMarket", f"+data.cut={DECISION}"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def find(*overrides: str, base: list[str] = FEW, **asked: Any) -> SearchResult:
    return search(SearchRequest((*base, *overrides), **{"trials": 3, **asked}))


def facts(result: SearchResult) -> list[tuple[dict[str, str], float | None]]:
    return [(trial.chosen, trial.value) for trial in result.trials]


def test_another_future_after_the_first_test_decision_moves_no_bit_of_a_search() -> None:
    space = [ALPHA, "windows.step=choice(20,40)"]
    clean, poisoned = find(*space), find(*space, base=POISONED)
    assert facts(clean) == facts(poisoned)
    assert all(trial.value is not None for trial in clean.trials)
    # The poison does reach an ordinary run.
    assert run_experiment(FEW).metrics["rank_IC"] != run_experiment(POISONED).metrics["rank_IC"]


def test_no_prediction_metric_or_price_of_the_test_range_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []

    def spy(predictions: Predictions, panel: Panel, *rest: Any, **more: Any) -> Any:
        seen.append((predictions.start, predictions.stop, len(panel.calendar)))
        return evaluate(predictions, panel, *rest, **more)

    monkeypatch.setattr(harness.job, "evaluate", spy)
    result = find(ALPHA, trials=2)
    assert set(seen) == {(VALID, DECISION - LOOK_AHEAD, DECISION)}
    for trial in result.trials:
        snapshot = json.loads((Path(str(trial.folder)) / "snapshot.json").read_text())
        assert snapshot["metrics"]["overall"]["rank_IC"] == trial.value
        assert snapshot["identity"]["windows"][-1]["test"][1] < result.period.decision


def test_the_same_seed_gives_the_same_trials_in_memory_resumed_or_not(tmp_path: Path) -> None:
    whole = find(ALPHA, trials=11, seed=5)
    kept = tmp_path / "kept" / "search.db"
    assert facts(find(ALPHA, trials=10, seed=5, storage=kept)) == facts(whole)[:10]
    resumed = find(ALPHA, trials=11, seed=5, storage=kept)
    assert resumed.to_json() == whole.to_json()
    assert facts(find(ALPHA, trials=1, seed=6)) != facts(whole)[:1]


def test_ctrl_c_keeps_the_finished_trials(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["search", *FEW, ALPHA, "--trials", "3", "--storage", "s.db", "--json"]
    runs: list[object] = []

    def interrupted(*given: Any, **more: Any) -> Any:
        runs.append(given)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return run(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr("harness.search.trials.run", interrupted)
        assert main(command) == 130
    shown = capsys.readouterr()
    assert "run the same command to resume" in shown.err
    assert len(json.loads(shown.out)["trials"]) == 2
    assert main(command) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert resumed == json.loads(find(ALPHA).to_json())


def test_the_best_trial_is_printed_as_a_command_that_runs_it_on_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", *FEW, "model.alpha=choice(0.1,-1)", "--trials", "4"]) == 0
    shown = capsys.readouterr()
    assert "refused" in shown.out
    command = shlex.split(shown.out.split("test it ", 1)[1].splitlines()[0])
    assert command == ["bench", "run", *FEW, "model.alpha=0.1"]
    assert list(Path("runs").glob("*/snapshot.json")) == []  # the search itself has not run it
    assert main(command[1:]) == 0


def test_a_key_is_searched_only_where_it_exists() -> None:
    space = read_space(
        ["model=choice(linear,lightgbm)", "model.estimator=choice(ols,ridge)", "model.num_leaves=range(3,9)"]
    )
    assert space.applies == {
        ("linear",): ("model", "model.estimator"),
        ("lightgbm",): ("model", "model.num_leaves"),
    }


@pytest.mark.parametrize(
    ("overrides", "asked", "words"),
    [
        (["model.alpha=1"], {}, "nothing to search"),
        (["model.alpah=interval(0,1)"], {}, "did you mean `model.alpha`"),
        (["model.alpha=interval(1,0)"], {}, "interval is empty"),
        (["model.alpha=tag(log,interval(0,1))"], {}, "LOW > 0"),
        (["model.alpha=tag(lin,interval(0,1))"], {}, "`lin` has no meaning"),
        ([ALPHA], {"trials": 0}, "≥ 1"),
        ([ALPHA], {"metric": "rank_ic"}, "did you mean `rank_IC`"),
        ([ALPHA], {"metric": "turnover"}, "minimize or maximize"),
        ([ALPHA], {"metric": "information_ratio", "trials": 1}, "evaluation=portfolio"),
        ([ALPHA, "windows.split=[0.5,0,0.5]"], {}, "there is none"),
        ([ALPHA, "windows.split=[0.6,0.0125,0.3]"], {}, "too short"),
    ],
)
def test_a_search_that_cannot_be_made_says_what_would_be_accepted(
    overrides: list[str], asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        find(*overrides, **asked)
    assert words in str(refused.value)


def test_a_storage_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("no database " * 100)
    with pytest.raises(ConfigError, match="storage cannot be opened"):
        find(ALPHA, storage=path)


def test_trials_that_are_judged_on_something_else_are_refused() -> None:
    result = find("label.horizon=choice(5,6)", base=[o for o in FEW if "horizon" not in o], trials=4)
    refused = [trial for trial in result.trials if trial.outcome == "refused"]
    assert {trial.chosen["label.horizon"] for trial in refused} == {"6"}
    assert all("cannot be compared" in str(trial.reason) for trial in refused)


def test_configured_dates_are_moved_back_by_one_segment() -> None:
    times = np.arange("2020-01-01", "2021-01-01", dtype="datetime64[D]")
    calendar = Calendar(times.astype("datetime64[ns]"))
    dates = [("2020-01-01", "2020-06-08"), ("2020-06-09", "2020-07-18"), ("2020-07-19", "2020-12-31")]
    config = WindowsConfig(Kind.SLIDING, 10, *dates, split=(0.5, 0.2, 0.3), embargo=2, purge_valid=True)
    period = validation_period(config, calendar, look_ahead=6)
    assert period.windows.train == ("2020-01-01", "2020-05-07")  # 128 of 160 days
    assert period.windows.valid == ("2020-05-08", "2020-06-08")  # 32: the same fifth of the learning times
    assert period.judged == ("2020-06-09", "2020-07-12")  # the label of the 12th is known on the 18th
    assert period.decision == "2020-07-19"
    assert period.last.startswith("2020-07-18")


def test_a_truncated_panel_holds_nothing_later(tmp_path: Path) -> None:
    stages = Stages(compose_config(FEW), ArtifactStore(tmp_path), Stopwatch(), Silent())
    panel, stop = stages.panel(), 100
    cut = truncate(panel, stop)
    assert len(cut.calendar) == stop
    assert cut.truth is None
    late = set(panel.instruments) - set(cut.instruments)
    for name in late:
        column = panel.instruments.index(name)
        assert not panel.traded[:stop, column].any()
    assert truncate(poison(panel, stop - 1, 3), stop).fingerprint == cut.fingerprint
