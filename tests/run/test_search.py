"""A search sees the validation period and nothing later, and the same seed gives the same trials."""

from __future__ import annotations

import gc
import importlib
import json
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.run.pipeline
from harness.audit.poison import poison
from harness.cli import main
from harness.config import WindowsConfig, compose_config
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.data.source import truncate
from harness.data.sources.synthetic import SyntheticMarket
from harness.errors import ConfigError, DataError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.predictions import Predictions
from harness.execution.local import Local
from harness.execution.progress import Silent
from harness.run.experiment import run, run_experiment
from harness.run.pipeline import Pipeline
from harness.run.search.study import SeededStudy, open_study, read_space
from harness.run.search.trials import SearchRequest, SearchResult, TrialResult, search, validation_period
from harness.run.stages import Cache
from harness.samples.windows import Kind
from harness.store import code_digest
from harness.store.artifacts import ArtifactStore

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


EDITION = {"number": 0}


class EditedMarket(SyntheticMarket):
    """A market whose content is edited between one look and the next."""

    def load(self) -> Panel:
        return poison(super().load(), 100 + EDITION["number"], 1)

    def inputs(self) -> dict[str, str]:
        return {"market": str(EDITION["number"])}


EDITED = [*FEW, "data._target_=tests.run.test_search.EditedMarket"]
POISONED = [*FEW, "data._target_=tests.run.test_search.PoisonedMarket", f"+data.cut={DECISION}"]


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

    monkeypatch.setattr(harness.run.pipeline, "evaluate", spy)
    result = find(ALPHA, trials=2)
    assert set(seen) == {(VALID, DECISION - LOOK_AHEAD, DECISION)}
    for trial in result.trials:
        snapshot = json.loads((Path(str(trial.folder)) / "snapshot.json").read_text())
        assert snapshot["metrics"]["overall"]["rank_IC"] == trial.value
        assert snapshot["identity"]["windows"][-1]["test"][1] < result.period.decision


def test_the_same_seed_gives_the_same_trials_in_memory_resumed_or_not(tmp_path: Path) -> None:
    whole = find(ALPHA, trials=4, seed=5)
    kept = tmp_path / "kept" / "search.db"
    assert facts(find(ALPHA, trials=3, seed=5, storage=kept)) == facts(whole)[:3]
    resumed = find(ALPHA, trials=4, seed=5, storage=kept)
    assert resumed.to_json() == whole.to_json()
    assert facts(find(ALPHA, trials=1, seed=6)) != facts(whole)[:1]


def draw(study: SeededStudy, trials: int, stop: int | None = None) -> list[tuple[float, ...]]:
    """Search for a minimum of a function with a study, to its end or until trial `stop`, and return the trials."""

    def suggest(trial: Any) -> tuple[float, ...]:
        return tuple(trial.suggest_float(name, -1.0, 1.0) for name in "xy")

    while len(study.finished()) < trials:
        for asked in study.ask(suggest, trials):
            if asked.number == stop:
                return []
            study.tell(asked, sum(value**2 for value in asked.value), {})
    return [tuple(trial.params.values()) for trial in study.finished()]


def test_trials_of_a_batch_are_not_told_how_the_others_end_and_those_after_it_are() -> None:
    with (
        open_study("a", {}, "minimize", 1, 1, None) as (alone, _),
        open_study("b", {}, "minimize", 1, 7, None) as (by_7, _),
    ):
        one, together = draw(alone, 20), draw(by_7, 20)
    assert together[:10] == one[:10], "the first ten are drawn at random"
    assert together[10:14] != one[10:14]
    assert len(set(together)) == 20
    with open_study("c", {}, "minimize", 1, 7, None) as (shorter, _):
        assert draw(shorter, 17) == together[:17]


@pytest.mark.parametrize("stop", [1, 7, 16, 18])
def test_a_study_that_stops_in_the_middle_of_a_batch_goes_on_to_the_same_trials(stop: int, tmp_path: Path) -> None:
    with open_study("a", {}, "minimize", 1, 7, None) as (whole, _):
        expected = draw(whole, 20)
    for until in (stop, None):
        with open_study("b", {}, "minimize", 1, 7, tmp_path / "s.db") as (study, _):
            drawn = draw(study, 20, until)
    assert drawn == expected


@pytest.mark.nightly  # a search that is killed in a batch runs on local workers by default
@pytest.mark.filterwarnings("default")  # Dask's own
@pytest.mark.parametrize(
    "executor",
    [["executor=local", "executor.workers=2", "executor.threads=1"], ["executor=dask", "executor.workers=2"]],
    ids=["local", "dask"],
)
def test_workers_run_a_batch_and_no_bit_depends_on_them(
    executor: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = [ALPHA, "windows.step=choice(20,40)"]
    asked: dict[str, Any] = {"trials": 4, "batch": 2}
    ups: list[object] = []
    start = Local.start

    def noting(self: Local, work: Any) -> Any:
        ups.append(self)
        return start(self, work)

    monkeypatch.setattr(Local, "start", noting)
    for name, more in (("one", []), ("several", executor)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        find(*space, *more, **asked)
    one, several = (outcome(tmp_path / name, drop=executor) for name in ("one", "several"))
    assert one == several
    assert len(ups) == (executor[0] == "executor=local"), "the workers do not stay up from one batch to the next"


def outcome(folder: Path, drop: list[str]) -> dict[str, Any]:
    """Return every file of the only search in a folder, without provenance and where it ran."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "runs").glob("search-*/**/*")):
        name = str(path.relative_to(folder))
        if path.name in ("snapshot.json", "search.json"):
            record = json.loads(path.read_text())
            record.pop("provenance", None), record.pop("seal", None)
            for trial in record.get("trials", ()):
                trial["overrides"] = [text for text in trial["overrides"] if text not in drop]
            record.pop("command", None)
            found[name] = record
        elif path.is_file():
            found[name] = path.read_bytes()
    assert sum(name.endswith("snapshot.json") for name in found) >= 3
    return found


KILLED = """
import os, signal, sys
import harness.run.search.trials as judge
from harness.cli import main
left, name = int(sys.argv[1]), sys.argv[2]
made = getattr(judge, name)
def killed(*given, **more):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(*given, **more)
setattr(judge, name, killed)
main(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("where", "executor"),
    [
        ((4, "run"), []),  # the second batch of two: one of its trials has ended
        pytest.param((2, "Dispatched"), ["executor=local", "executor.workers=2"], marks=pytest.mark.nightly),
    ],
)
def test_a_search_that_is_killed_in_the_middle_of_a_batch_goes_on_to_the_same_trials(
    where: tuple[int, str], executor: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "search.db"
    command = ["search", *FEW, ALPHA, *executor, "--trials", "5", "--batch", "2", "--storage", str(kept)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(where[0]), where[1], *command], check=False, capture_output=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("select count(*) from trials").fetchall() == [(3 if where[1] == "run" else 2,)]
    resumed = find(ALPHA, *executor, trials=5, batch=2, storage=kept)
    assert facts(resumed) == facts(find(ALPHA, trials=5, batch=2))


def test_two_searches_at_once_on_one_storage_count_every_trial_once(tmp_path: Path) -> None:
    kept = tmp_path / "search.db"
    told: list[TrialResult] = []

    def overtaken(trial: TrialResult) -> None:
        told.append(trial)
        if len(told) == 1:
            find(ALPHA, trials=3, batch=2, storage=kept)

    found = search(SearchRequest((*FEW, ALPHA), trials=4, batch=2, storage=kept), tell=overtaken)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert facts(found) == facts(find(ALPHA, trials=4, batch=2))


class Notices(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notice(self, message: str) -> None:
        self.told.append(message)


def test_a_study_is_not_continued_on_other_data_code_or_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, group = tmp_path / "my_own_model.py", tmp_path / "conf" / "preprocess"
    model.write_text("from baselines.models.linear import Linear\n\n\nclass Mine(Linear):\n    pass\n")
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text("defaults: [linear]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    given = (*EDITED, "model._target_=my_own_model.Mine", "preprocess=mine", ALPHA)

    def again(trials: int = 1) -> tuple[str, list[str]]:
        notices = Notices()
        request = SearchRequest(given, trials=trials, storage=tmp_path / "s.db", search_path=(group.parent,))
        return search(request, notices).folder.name, notices.told

    first, told = again()
    assert told == []
    assert again(2) == (first, [])
    names = {first}
    monkeypatch.setitem(EDITION, "number", 1)

    def edit_model() -> None:
        model.write_text(model.read_text() + "BETTER = True\n")
        importlib.reload(sys.modules["my_own_model"])  # a process runs and counts what it has loaded, not the file

    for change, words in (
        (lambda: None, "its data changed"),
        (edit_model, "its code or a library changed"),
        (lambda: (group / "mine.yaml").write_text("defaults: [qlib_linear]\n"), "its configuration changed"),
    ):
        change()
        name, told = again()
        assert name not in names
        assert [words in text for text in told] == [True], told
        names.add(name)


def test_a_search_goes_on_with_the_data_that_it_began_with_or_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    request = SearchRequest((*EDITED, ALPHA), trials=3)
    undisturbed = facts(search(request))

    def edited(trial: TrialResult) -> None:
        monkeypatch.setitem(EDITION, "number", 2)

    def edited_and_forgotten(trial: TrialResult) -> None:
        edited(trial)
        shutil.rmtree(".bench/store", ignore_errors=True)

    shutil.rmtree(".bench/store")
    assert facts(search(request, tell=edited)) == undisturbed
    monkeypatch.setitem(EDITION, "number", 0)
    shutil.rmtree(".bench/store", ignore_errors=True)
    with pytest.raises(DataError, match="data have changed since the search began"):
        search(request, tell=edited_and_forgotten)


def test_ctrl_c_keeps_the_finished_trials(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["search", *FEW, ALPHA, "--trials", "3", "--storage", "s.db", "--json"]
    runs: list[object] = []

    def interrupted(*given: Any, **more: Any) -> Any:
        runs.append(given)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return run(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr("harness.run.search.trials.run", interrupted)
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
    assert "mistaken" in shown.out
    command = shlex.split(shown.out.split("test it ", 1)[1].splitlines()[0])
    assert command == ["bench", "run", *FEW, "model.alpha=0.1"]
    assert list(Path("runs").glob("*/snapshot.json")) == []  # the search itself has not run it
    assert main(command[1:]) == 0


def test_a_key_that_is_fixed_after_its_space_is_fixed() -> None:
    space = read_space([ALPHA, "windows.step=choice(20,40)", "model.alpha=1"])
    assert list(space.dimensions) == ["windows.step"]
    assert space.fixed == {"model.alpha": "model.alpha=1"}


def test_a_key_is_searched_only_where_it_exists() -> None:
    space = read_space(
        ["model=choice(linear,lightgbm)", "model.estimator=choice(ols,ridge)", "model.num_leaves=range(3,9)"]
    )
    assert {values: tuple(cell.chosen) for values, cell in space.cells.items()} == {
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
        ([ALPHA, "windows.split=[0.6,0.0125,0.3]"], {}, "validation period is too short"),
        ([ALPHA, "windows.split=[0.1,0.3,0.3]", "windows.embargo=40"], {}, "train segment is too short"),
    ],
)
def test_a_search_that_cannot_be_made_says_what_would_be_accepted(
    overrides: list[str], asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        find(*overrides, **asked)
    assert words in str(refused.value)


def test_its_own_code_identifies_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def listening(*modules: str) -> str:
        asked.extend(modules)
        return ""

    monkeypatch.setattr("harness.run.search.trials.code_digest", listening)
    find(ALPHA, trials=1)
    own, _ = code_digest._closure(tuple(asked))
    assert {"harness.run.search.trials", "harness.run.search.study", "harness.run.rolling"} <= own.keys()


@pytest.mark.filterwarnings("ignore:.*sqlite3.Connection")  # Optuna forgets that it opened the file
def test_a_storage_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("no database " * 100)
    with pytest.raises(ConfigError, match="storage cannot be opened"):
        find(ALPHA, storage=path)
    gc.collect()  # here, not in the next test


def test_trials_that_are_judged_on_something_else_are_refused() -> None:
    result = find("label.horizon=choice(5,6)", base=[o for o in FEW if "horizon" not in o], trials=4)
    refused = [trial for trial in result.trials if trial.outcome == "refused"]
    assert {trial.chosen["label.horizon"] for trial in refused} == {"6"}
    assert all("cannot be compared" in str(trial.reason) for trial in refused)


def test_trials_that_are_judged_on_other_times_are_refused_with_the_times() -> None:
    found = find("windows.split=choice([0.5,0.2,0.3],[0.4,0.2,0.4])", trials=4).trials
    refused = [str(trial.reason) for trial in found if trial.outcome == "refused"]
    assert refused
    assert all("on other times" in reason and reason.count(" … ") == 2 for reason in refused)


def test_configured_dates_are_moved_back_by_one_segment() -> None:
    times = np.arange("2020-01-01", "2021-01-01", dtype="datetime64[D]")
    calendar = Calendar(times.astype("datetime64[ns]"))
    dates = (("2020-01-01", "2020-06-08"), ("2020-06-09", "2020-07-18"), ("2020-07-19", "2020-12-31"))
    config = WindowsConfig(Kind.SLIDING, 10, *dates, split=(0.5, 0.2, 0.3), embargo=2, purge_valid=True)
    period = validation_period(config, calendar, look_ahead=6)
    assert period.windows.train == ("2020-01-01", "2020-05-07")  # 128 of 160 days
    assert period.windows.valid == ("2020-05-08", "2020-06-08")  # 32: the same fifth of the learning times
    assert period.judged == ("2020-06-09", "2020-07-12")  # the label of the 12th is known on the 18th
    assert period.decision == "2020-07-19"
    assert period.last.startswith("2020-07-18")


def test_a_truncated_panel_holds_nothing_later(tmp_path: Path) -> None:
    panel, stop = Pipeline(compose_config(FEW), Cache(ArtifactStore(tmp_path))).panel, 100
    cut = truncate(panel, stop)
    assert len(cut.calendar) == stop
    assert cut.truth is None
    late = set(panel.instruments) - set(cut.instruments)
    for name in late:
        column = panel.instruments.index(name)
        assert not panel.traded[:stop, column].any()
    assert truncate(poison(panel, stop - 1, 3), stop).fingerprint == cut.fingerprint
