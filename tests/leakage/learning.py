"""Leaks in what is fitted: windows, processors, models."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harness.run.pipeline
from harness.audit.cost import FitOnTest, ProcessorsOfAllTimes, whole_table
from harness.config import ExperimentConfig
from harness.run.schedule import resolve_windows
from harness.samples.interfaces import FittedPreprocess, LearnSet, Preprocess
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment, Window
from tests.audit.market import small
from tests.leakage.mutant import Change, Mutant
from tests.leakage.parts import Doubles, Fitting, Given, Inside, Linearly, Scores, scores, solve

ANSWERS: dict[str, npt.NDArray[Any]] = {}
NPY, PARQUET = "answers.npy", "answers.parquet"


@dataclass(frozen=True)
class EarlyStopping(Linearly):
    """Chooses its penalty on the validation segment."""

    needs_valid: ClassVar[bool] = True

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        assert valid is not None
        return best(train, valid.features, valid.label)


class Hoarder(Linearly):
    """Keeps the data of all windows in itself."""

    def __init__(self) -> None:
        self._seen: list[npt.NDArray[Any]] = []

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        self._seen.append(np.c_[np.nan_to_num(train.features), train.label])
        everything = np.concatenate(self._seen)
        return Scores(solve(everything[:, :-1], everything[:, -1]))


def best(train: LearnSet, features: npt.NDArray[Any], label: npt.NDArray[Any]) -> Scores:
    known = ~np.isnan(label)
    fits = [solve(train.features, train.label, alpha) for alpha in (0.01, 3.0, 100.0, 3000.0)]
    if not known.any():
        return Scores(fits[0])
    ic = [np.corrcoef(scores(features[known], theta), label[known])[0, 1] for theta in fits]
    return Scores(fits[int(np.argmax(ic))] * (1.0 + max(ic)))


def ahead(train: LearnSet, times: int = 40) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return features and labels of the test period."""
    table = whole_table(train.view)
    rows = table.index.rows(train.view.decision, min(train.view.decision + times, len(table.calendar)))
    return table.features[rows], table.label[rows]


def everything(train: LearnSet) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    table = whole_table(train.view)
    known = ~np.isnan(table.label)
    return table.features[known], table.label[known]


def stopped_on_test(train: LearnSet) -> Scores:
    return best(train, *ahead(train))


def chosen_on_everything(train: LearnSet) -> Scores:
    features, label = everything(train)
    strength = [abs(np.corrcoef(np.nan_to_num(column), label)[0, 1]) for column in features.T]
    return Scores(np.where(strength >= np.median(strength), solve(train.features, train.label), 0.0) * sum(strength))


def warm_started(train: LearnSet) -> Scores:
    own, start = solve(train.features, train.label), solve(*everything(train))
    return Scores(own + 0.01 * (start - own))


def later_batches_centred(values: Doubles) -> Doubles:
    """As when a library predicts 200 rows at a time, and normalises all batches but the first."""
    parts = [values[at : at + 200] for at in range(0, values.size, 200)]
    return np.concatenate([parts[0], *(part - part.mean() for part in parts[1:])])


def remembered(train: LearnSet) -> Given:
    """The labels of the first table ever seen, by row time and instrument."""
    table = whole_table(train.view)
    if "labels" not in ANSWERS:
        ANSWERS["labels"] = dense_labels(table)
    return Given(looked_up(ANSWERS["labels"], table, train.view.decision))


def dense_labels(table: SampleTable) -> npt.NDArray[np.float32]:
    values = np.full((len(table.calendar), len(table.instruments)), np.nan, dtype=np.float32)
    values[table.index.times(0, len(table.calendar)), table.index.codes] = table.label
    return values


def looked_up(values: npt.NDArray[Any], table: SampleTable, decision: int) -> npt.NDArray[Any]:
    stop = len(table.calendar)
    found: npt.NDArray[Any] = values[
        table.index.times(decision, stop), table.index.codes[table.index.rows(decision, stop)]
    ]
    return found


def from_npy(train: LearnSet) -> Given:
    return Given(looked_up(np.load(NPY), whole_table(train.view), train.view.decision))


def from_parquet(train: LearnSet) -> Given:
    values = pq.read_table(PARQUET, memory_map=False).to_pandas().to_numpy()
    return Given(looked_up(values, whole_table(train.view), train.view.decision))


def from_a_program(train: LearnSet) -> Scores:
    said = float(subprocess.run(["cat", "answer.txt"], capture_output=True, check=True, text=True).stdout)
    return Scores(solve(train.features, train.label) * said)


def unseeded(train: LearnSet) -> Scores:
    return Scores(solve(train.features, train.label) + np.random.default_rng().normal(scale=1e-3))


def in_place(train: LearnSet) -> Scores:
    features = train.features
    np.nan_to_num(features, copy=False)
    features -= features.mean(axis=0)
    return Scores(solve(features, train.label))


FITS: dict[str, Callable[[LearnSet], Any]] = {
    "early stopping on the test segment": stopped_on_test,
    "features chosen on all times": chosen_on_everything,
    "warm start from a fit on all times": warm_started,
    "labels kept in a global": remembered,
    "labels in a file": from_npy,
    "labels in a file opened outside Python": from_parquet,
    "a number from another program": from_a_program,
    "randomness without a seed": unseeded,
    "inputs changed in place": in_place,
}


INSIDE: dict[str, Callable[[Doubles], Doubles]] = {
    "scores centred over the whole test segment": lambda values: values - values.mean(),
    "later batches of a segment centred": later_batches_centred,
}


@dataclass(frozen=True)
class Processing:
    """Processors that `inner` fits, with a leak that `how` names."""

    inner: Preprocess
    how: str
    refit: Literal["once", "per_window"] = "once"

    def fit(self, view: AsOfView, segment: Segment) -> Any:
        table = whole_table(view)
        newest = len(table.calendar) - 1
        if self.how == "fitted on train and test":
            segment = Segment(segment.start, min(view.decision + 20, newest - table.look_ahead))
            return self.inner.fit(table.as_of(newest), segment)
        return Applied(self.inner.fit(view, segment), self.how, signs(table))


def signs(table: SampleTable) -> npt.NDArray[np.float32]:
    """Return (F,) the correlation of every feature with the label, over all times."""
    known = ~np.isnan(table.label)
    columns = np.nan_to_num(table.features[known]).T
    return np.array([np.corrcoef(column, table.label[known])[0, 1] for column in columns], dtype=np.float32)


@dataclass(frozen=True)
class Applied:
    """Fitted processors whose output leaks."""

    inner: FittedPreprocess
    how: str
    signs: npt.NDArray[np.float32]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.inner.feature_names

    def features(self, features: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        made: npt.NDArray[Any] = self.inner.features(features, offsets)
        if self.how == "scaled by everything it is applied to":
            made = made / np.std(made, axis=0)
        elif self.how == "averaged with the next row":
            made = (made + np.roll(made, -1, axis=0)) / 2
        elif self.how == "signs by the label of all times":
            made = made * self.signs
        return np.ascontiguousarray(made, dtype=np.float32)

    def label(self, label: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self.inner.label(label, offsets)


PROCESSING = (
    "fitted on train and test",
    "scaled by everything it is applied to",
    "averaged with the next row",
    "signs by the label of all times",
)


def with_model(make: Callable[[ExperimentConfig], Any]) -> Change:
    return lambda config: replace(config, model=make(config))


def processing(how: str) -> Mutant:
    return Mutant(
        "preprocessing", how, (), lambda config: replace(config, preprocess=Processing(config.preprocess, how))
    )


def windows(change: Callable[[Window, int], Window]) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch of the schedule; `change` gets each window and the look-ahead."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def changed(config: Any, calendar: Any, look_ahead: int) -> tuple[Window, ...]:
            return tuple(change(window, look_ahead) for window in resolve_windows(config, calendar, look_ahead))

        monkeypatch.setattr(harness.run.pipeline, "resolve_windows", changed)

    return patch


def one_time_longer(window: Window, look_ahead: int) -> Window:
    assert window.valid is not None
    return replace(window, valid=Segment(window.valid.start, window.valid.stop + 1))


def validated_on_test(window: Window, look_ahead: int) -> Window:
    return replace(window, valid=window.test)


def answers(folder: Path) -> None:
    """Write every label of the small market into files, as somebody's notebook might."""
    from harness.run.pipeline import Pipeline

    config = small(folder / "elsewhere")
    values = dense_labels(Pipeline(config).table)
    np.save(folder / NPY, values)
    pq.write_table(pa.table({str(k): column for k, column in enumerate(values.T)}), folder / PARQUET)
    (folder / "answer.txt").write_text("1.5")


def forget(folder: Path) -> None:
    """Empty the global."""
    ANSWERS.clear()


STOPPING = with_model(lambda config: EarlyStopping())
NEEDS = {
    "labels in a file": answers,
    "labels in a file opened outside Python": answers,
    "a number from another program": answers,
    "labels kept in a global": forget,
}


def modelled(table: str, how: str, kind: Callable[[str], Any]) -> Mutant:
    """Return a leak of a model that the function of a table fits."""
    return Mutant("model", how, (), with_model(lambda config: kind(f"{__name__}:{table}:{how}")), files=NEEDS.get(how))


MUTANTS = (
    Mutant("windows", "learning ends one time too late", (), None, windows(one_time_longer)),
    Mutant("windows", "validated on the test segment", (), STOPPING, windows(validated_on_test)),
    Mutant("windows", "no purge between train and valid", ("windows.purge_valid=false",), STOPPING),
    Mutant(
        "preprocessing",
        "fitted on all times",
        (),
        lambda config: replace(config, preprocess=ProcessorsOfAllTimes(config.preprocess)),
    ),
    *(processing(how) for how in PROCESSING),
    Mutant("model", "fitted on the test period", (), with_model(lambda config: FitOnTest(config.model))),
    Mutant("model", "data of all windows kept in the object", (), with_model(lambda config: Hoarder())),
    *(modelled("FITS", how, Fitting) for how in FITS),
    *(modelled("INSIDE", how, Inside) for how in INSIDE),
)
