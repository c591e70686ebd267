"""Leaks in what is fitted: windows, processors, models."""

from __future__ import annotations

import subprocess
import time
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

Doubles = npt.NDArray[np.float64]
ANSWERS: dict[str, npt.NDArray[Any]] = {}
NPY, PARQUET = "answers.npy", "answers.parquet"


def solve(features: npt.NDArray[Any], label: npt.NDArray[Any], alpha: float = 1.0) -> Doubles:
    x, y = np.nan_to_num(features).astype(np.float64), label.astype(np.float64)
    theta: Doubles = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)
    return theta


def scores(features: npt.NDArray[Any], theta: Doubles) -> Doubles:
    # Row by row, so that the bits of a row do not depend on how many there are.
    result: Doubles = (np.nan_to_num(features).astype(np.float64) * theta).sum(axis=1)
    return result


@dataclass(frozen=True)
class Scores:
    """Predicts linearly, then passes its scores through `after`."""

    theta: Doubles
    after: Callable[[Doubles], Doubles] = lambda values: values

    def predict(self, features: npt.NDArray[Any]) -> Doubles:
        return self.after(scores(features, self.theta))

    def save(self, folder: Path) -> None:
        np.save(folder / "theta.npy", self.theta)


@dataclass(frozen=True)
class Given:
    """Predicts what it was given, row for row."""

    values: npt.NDArray[Any]

    def predict(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.resize(np.nan_to_num(self.values), features.shape[0])

    def save(self, folder: Path) -> None:
        np.save(folder / "values.npy", self.values)


class Linearly:
    """What the models here have in common: they predict linearly, and learn from valid too."""

    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    include_valid: ClassVar[bool] = True

    def load(self, folder: Path) -> Any:
        given = folder / "values.npy"
        return Given(np.load(given)) if given.exists() else Scores(np.load(folder / "theta.npy"))


@dataclass(frozen=True)
class Leaky(Linearly):
    """A model whose `fit` is the function that `how` names in `FITS`, or whose scores pass through one of `INSIDE`."""

    how: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Any:
        return plain(INSIDE[self.how])(train) if self.how in INSIDE else FITS[self.how](train)


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


def fitted_on_a_list_of_dates(train: LearnSet) -> Scores:
    """The period is a list, which the filter takes for no filter at all."""
    period: Any = [train.segment.start, train.segment.last]
    return Scores(solve(*(everything(train) if isinstance(period, list) else (train.features, train.label))))


def warm_started(train: LearnSet) -> Scores:
    own, start = solve(train.features, train.label), solve(*everything(train))
    return Scores(own + 0.01 * (start - own))


def smoothed_backwards(values: Doubles) -> Doubles:
    smooth = np.array(values)
    for k in range(smooth.size - 2, -1, -1):
        smooth[k] = 0.7 * smooth[k] + 0.3 * smooth[k + 1]
    return smooth


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


def kept_coefficients(train: LearnSet) -> Scores:
    return Scores(ANSWERS.setdefault("theta", solve(*everything(train))))


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


def by_the_clock(train: LearnSet) -> Scores:
    return Scores(solve(train.features, train.label) * (1.0 + time.time_ns() % 1000 / 1e6))


def unseeded(train: LearnSet) -> Scores:
    return Scores(solve(train.features, train.label) + np.random.default_rng().normal(scale=1e-3))


def in_place(train: LearnSet) -> Scores:
    features = train.features
    np.nan_to_num(features, copy=False)
    features -= features.mean(axis=0)
    return Scores(solve(features, train.label))


def plain(after: Callable[[Doubles], Doubles]) -> Callable[[LearnSet], Scores]:
    return lambda train: Scores(solve(train.features, train.label), after)


FITS: dict[str, Callable[[LearnSet], Any]] = {
    "early stopping on the test segment": stopped_on_test,
    "features chosen on all times": chosen_on_everything,
    "a list instead of a tuple, so no date filter": fitted_on_a_list_of_dates,
    "warm start from a fit on all times": warm_started,
    "scores centred over the whole test segment": plain(lambda values: values - values.mean()),
    "scores smoothed backwards": plain(smoothed_backwards),
    "later batches of a segment centred": plain(later_batches_centred),
    "labels kept in a global": remembered,
    "coefficients kept in a global": kept_coefficients,
    "labels in a file": from_npy,
    "labels in a file opened outside Python": from_parquet,
    "a number from another program": from_a_program,
    "the clock": by_the_clock,
    "randomness without a seed": unseeded,
    "inputs changed in place": in_place,
}


# Held out, in tests/leakage/unseen.py: scores that look at the rows which are predicted with them.


def ranked(values: Doubles) -> Doubles:
    return np.argsort(np.argsort(values)).astype(float)


def scaled_by_the_end(values: Doubles) -> Doubles:
    return values / (np.std(values[-40:]) + 1e-9)


def highest_to_come(values: Doubles) -> Doubles:
    return values - np.maximum.accumulate(values[::-1])[::-1]


def neighbours(values: Doubles) -> Doubles:
    near = np.abs(values[:, None] - values[None, :]).argsort(axis=1)[:, 1:6]
    return np.asarray(0.5 * values + 0.5 * values[near].mean(axis=1))


def drifting(values: Doubles) -> Doubles:
    half = len(values) // 2
    return values - (values[half:].mean() - values[:half].mean()) if half else values


INSIDE = {
    "ranks over the whole batch": ranked,
    "scaled by the end of the batch": scaled_by_the_end,
    "below the highest score to come": highest_to_come,
    "averaged with its neighbours in the batch": neighbours,
    "corrected for the drift within the batch": drifting,
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
        if self.how == "fitted at the last decision":
            segment = Segment(segment.start, newest - table.look_ahead - 10)
            return self.inner.fit(table.as_of(newest), segment)
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
    "fitted at the last decision",
    "fitted on train and test",
    "scaled by everything it is applied to",
    "averaged with the next row",
    "signs by the label of all times",
)


def model(how: str) -> Change:
    return lambda config: replace(config, model=Leaky(how))


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


def unpurged(window: Window, look_ahead: int) -> Window:
    assert window.valid is not None
    return replace(window, valid=Segment(window.valid.start, window.test.start))


def validated_on_test(window: Window, look_ahead: int) -> Window:
    return replace(window, valid=window.test)


def overlapping(window: Window, look_ahead: int) -> Window:
    assert window.valid is not None
    return replace(window, train=Segment(window.train.start, window.valid.stop))


def answers(folder: Path) -> None:
    """Write every label of the small market into files, as somebody's notebook might."""
    from harness.run.pipeline import Pipeline

    config = small(folder / "elsewhere")
    values = dense_labels(Pipeline(config).table)
    np.save(folder / NPY, values)
    pq.write_table(pa.table({str(k): column for k, column in enumerate(values.T)}), folder / PARQUET)
    (folder / "answer.txt").write_text("1.5")


def forget(folder: Path) -> None:
    """Empty the global that two of the mutants fill."""
    ANSWERS.clear()


STOPPING = with_model(lambda config: EarlyStopping())
NEEDS = {
    "labels in a file": answers,
    "labels in a file opened outside Python": answers,
    "a number from another program": answers,
    "labels kept in a global": forget,
    "coefficients kept in a global": forget,
}

MUTANTS = (
    Mutant("windows", "learning ends one time too late", (), None, windows(one_time_longer)),
    Mutant("windows", "no purge before the test", (), None, windows(unpurged)),
    Mutant("windows", "validated on the test segment", (), STOPPING, windows(validated_on_test)),
    Mutant("windows", "train and valid overlap", (), STOPPING, windows(overlapping)),
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
    *(Mutant("model", how, (), model(how), files=NEEDS.get(how)) for how in FITS),
)
