"""Held out too: further leaks of each kind, written before any of them was run, and no detector mended for them."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

import harness.run.pipeline
from harness.audit.cost import whole_table
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.evaluation.portfolio.costs import PricedOrder
from harness.evaluation.portfolio.strategy import Decision, Orders
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions
from harness.features.feature_set import FeatureSet
from harness.run.schedule import resolve_windows
from harness.samples.interfaces import FittedPreprocess, History, LearnSet, TimeWeights
from harness.samples.plan import Batch, Known, WindowPlan
from harness.samples.table import AsOfView
from harness.samples.windows import Segment, Window
from tests.audit.market import small
from tests.leakage.data import LEVELS
from tests.leakage.learning import Doubles, Scores, everything, plain, solve
from tests.leakage.mutant import Mutant
from tests.leakage.planning import Shifted, mean_of, table_of
from tests.leakage.unseen import EXTRA, OWN_PRICE, TRADING, change_of, later, with_fields

__all__ = ["MUTANTS"]


def mutant(group: str, name: str, change: Any, overrides: tuple[str, ...] = (), **more: Any) -> Mutant:
    return Mutant(group, name, overrides, change, held_out=True, **more)


# Sources that join sources


@dataclass(frozen=True)
class Ratio:
    """A source that hands the panels of others to a function."""

    parts: dict[str, Any]
    how: str

    def load(self) -> Panel:
        sources = [*self.parts.get("main", ()), *self.parts.get("extra", {}).get("nested", ())]
        return JOINING[self.how](*(source.load() for source in sources))

    def inputs(self) -> dict[str, str]:
        return {}


def rebased(panel: Panel, other: Panel) -> Panel:
    close = other.fields["close"]
    return with_fields(panel, other=close / close[-1] * panel.fields["close"][-1])


def weekly_on_the_wrong_side(panel: Panel, other: Panel) -> Panel:
    """A weekly series that is merged on the next date instead of the one before."""
    times = np.arange(len(panel.calendar))
    merged = np.minimum((times + 4) // 5 * 5, times.size - 1)
    return with_fields(panel, other=other.fields["close"][merged])


def in_both_to_the_end(panel: Panel, other: Panel) -> Panel:
    both = panel.traded[-3:].any(axis=0) & (other.fields["close"][-1] > np.nanmedian(other.fields["close"][-1]))
    return replace(panel, membership=panel.membership & both)


def joint_outliers(panel: Panel, other: Panel) -> Panel:
    pooled = np.concatenate([panel.fields["volume"], other.fields["volume"]])
    return with_fields(panel, other=np.minimum(panel.fields["volume"], np.nanquantile(pooled, 0.9)))


def grouped_by_all_times(panel: Panel, other: Panel) -> Panel:
    """Relative to the mean of its group, and groups are who moves together, over all times."""
    moves = np.nan_to_num(change_of(other))
    nearest = np.argsort(-np.corrcoef(moves.T + 1e-9), axis=1)[:, :6]
    close = panel.fields["close"]
    return with_fields(panel, other=close / np.nanmean(close[:, nearest], axis=2))


JOINING: dict[str, Callable[..., Panel]] = {
    "a second source rebased to its last day": rebased,
    "a weekly source merged on the next date": weekly_on_the_wrong_side,
    "members that both sources keep to the end": in_both_to_the_end,
    "outliers of two sources clipped together": joint_outliers,
    "groups of who moves together over all times": grouped_by_all_times,
}


def joined(how: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        data: Any = config.data
        parts = {"main": [data], "extra": {"nested": (replace(data, seed=11),)}}
        return replace(config, data=Ratio(parts, how))

    return mutant("data", how, change, (*LEVELS, *(() if "members" in how else EXTRA)))


# Leaks that touch the portfolio alone


@dataclass(frozen=True)
class Exchange:
    """A source whose panel is changed for whoever trades in it."""

    inner: Source
    how: str

    def load(self) -> Panel:
        return TRADED[self.how](self.inner.load())

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


def weak_index(panel: Panel) -> Panel:
    assert panel.benchmark is not None
    drift = panel.benchmark.close[-1] / panel.benchmark.close[0]
    slope = np.linspace(1.0, 1.0 / max(float(drift), 0.1), len(panel.calendar)).astype(np.float32)
    return replace(panel, benchmark=replace(panel.benchmark, close=panel.benchmark.close * slope))


def median_of_three(panel: Panel) -> Panel:
    close = panel.fields["close"]
    return with_fields(panel, deal=np.median([later(close, by) for by in (-2, -1, 0)], axis=0))


TRADED: dict[str, Callable[[Panel], Panel]] = {
    "filled at tomorrow's open": lambda panel: with_fields(panel, deal=later(panel.fields["open"], 1)),
    "filled at the median of the last three closes": median_of_three,
    "filled no dearer than next week's mean": lambda panel: with_fields(
        panel, deal=np.fmin(panel.fields["close"], np.mean([later(panel.fields["close"], k) for k in range(6)], axis=0))
    ),
    "filled at the close before, a little dearer": lambda panel: with_fields(
        panel, deal=later(panel.fields["close"], -1) * 1.001
    ),
    "an index without its drift over all times": weak_index,
}


def traded(how: str) -> Mutant:
    overrides = OWN_PRICE if how.startswith("filled") else TRADING
    return mutant("evaluation", how, lambda config: replace(config, data=Exchange(config.data, how)), overrides)


# Knowledge that is not of this run


class Meta(type):
    """A metaclass that remembers for its classes."""

    known: Any = None


class Holder(metaclass=Meta):
    """Whose class's class remembers."""


def counter() -> Callable[[Any], Any]:
    kept: list[Any] = []

    def keep(value: Any) -> Any:
        if not kept:
            kept.append(value() if callable(value) else value)
        return kept[0]

    return keep


IN_A_CELL = counter()
FOLDER = ["."]
# No names of files in a text: those count as part of the code, which does not change.
BINARY, LINK, SIZED, NAMED = (".".join(("withheld", kind)) for kind in ("bin", "lnk", "siz", "dir"))


def whole(train: LearnSet) -> Doubles:
    return solve(*everything(train))


def in_a_metaclass(train: LearnSet) -> Doubles:
    Meta.known = whole(train) if Meta.known is None else Meta.known
    return np.asarray(Holder.known)


def in_a_cell(train: LearnSet) -> Doubles:
    return np.asarray(IN_A_CELL(lambda: whole(train)))


class Ignoring:
    """Equal to every other one, so that a cache by argument knows one entry only."""

    def __init__(self, train: LearnSet) -> None:
        self.train = train

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignoring)


@functools.cache
def first_asked(asked: Ignoring) -> Doubles:
    return whole(asked.train)


def in_a_cache(train: LearnSet) -> Doubles:
    return first_asked(Ignoring(train))


def in_a_mapped_file(train: LearnSet) -> Doubles:
    """Arrow maps the file in C++."""
    with pa.memory_map(os.path.join(FOLDER[0], BINARY)) as file:
        return np.frombuffer(file.read(), dtype=np.float64).copy()


def in_a_c_file(train: LearnSet) -> Doubles:
    """The C library opens the file; the handle is one that NumPy has anyway."""
    c = ctypes.pythonapi
    c.fopen.restype, c.fopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_char_p)
    c.fread.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
    handle, values = c.fopen(os.path.join(FOLDER[0], BINARY).encode(), b"rb"), np.zeros(train.features.shape[1])
    if handle:
        c.fread(values.ctypes.data, 8, values.size, handle)
    return values


def in_a_link(train: LearnSet) -> Doubles:
    return np.array([float(value) for value in os.readlink(os.path.join(FOLDER[0], LINK)).split(",")])


def in_names_of_files(train: LearnSet) -> Doubles:
    names = sorted(os.listdir(os.path.join(FOLDER[0], NAMED)))
    return np.array([float(name.split("=")[1]) for name in names])


def in_sizes_of_files(train: LearnSet) -> Doubles:
    sizes = [os.stat(os.path.join(FOLDER[0], SIZED, str(at))).st_size for at in range(train.features.shape[1])]
    return np.array(sizes, dtype=np.float64) / 1e5 - 1.0


REMEMBERED: dict[str, Callable[[LearnSet], Doubles]] = {
    "coefficients in a metaclass": in_a_metaclass,
    "coefficients in the cell of a closure": in_a_cell,
    "coefficients in a cache whose keys are all equal": in_a_cache,
    "coefficients in a file that Arrow maps": in_a_mapped_file,
    "coefficients in a file that C opens": in_a_c_file,
    "coefficients in the target of a link": in_a_link,
    "coefficients in the names of files": in_names_of_files,
    "coefficients in the sizes of files": in_sizes_of_files,
}


@dataclass(frozen=True)
class Knowing:
    """Learns honestly, and adds what is known from elsewhere."""

    how: str
    folder: str
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    include_valid: ClassVar[bool] = True

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        FOLDER[0] = self.folder
        known = REMEMBERED[self.how](train)
        return Scores(solve(train.features, train.label) + known)

    def load(self, folder: Path) -> Scores:
        return Scores(np.load(folder / "theta.npy"))


def told(folder: Path) -> None:
    """Leave what the whole market teaches in files of every kind, and forget what an earlier run kept."""
    from harness.run.pipeline import Pipeline

    Meta.known = None
    first_asked.cache_clear()
    globals()["IN_A_CELL"] = counter()
    Peeking.past.clear()
    pipeline = Pipeline(small(folder / "elsewhere"))
    table = pipeline.config.preprocess.fit(pipeline.table.as_of(200), Segment(0, 190))
    features = table.features(pipeline.table.features, pipeline.table.index.offsets)
    label = table.label(pipeline.table.label, pipeline.table.index.offsets)
    theta = solve(features[~np.isnan(label)], label[~np.isnan(label)])
    theta.tofile(folder / BINARY)
    (folder / LINK).symlink_to(",".join(f"{value:.6f}" for value in theta))
    for kind in (NAMED, SIZED):
        (folder / kind).mkdir()
    for at, value in enumerate(theta):
        (folder / NAMED / f"{at}={value:.6f}").touch()
        with (folder / SIZED / str(at)).open("wb") as file:
            file.truncate(round((value + 1.0) * 1e5))


def knowing(how: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        return replace(config, model=Knowing(how, str(Path(config.output.runs).parent)))

    return mutant("model", how, change, files=told)


# Everything with a `_target_`


@dataclass(frozen=True)
class Peeking(TopkDropout):
    """A strategy that remembers, for all of its kind, the prices it was shown the first time."""

    past: ClassVar[dict[Any, Doubles]] = {}

    def orders(self, decision: Decision) -> Orders:
        now = self.past.setdefault(decision.time, np.array(decision.price))
        tomorrow = min((time for time in self.past if time > decision.time), default=decision.time)
        rise = np.nan_to_num(self.past[tomorrow] / now - 1.0)
        return super().orders(replace(decision, score=decision.score + 100.0 * rise))


@dataclass(frozen=True)
class Planned(TopkDropout):
    """A strategy that loads the data, and buys what will rise."""

    source: Any = None

    def orders(self, decision: Decision) -> Orders:
        panel = self.source.load()
        at = int(np.searchsorted(panel.calendar.times, decision.time))
        rise = np.nan_to_num(later(panel.fields["close"], 5)[at] / panel.fields["close"][at] - 1.0)
        width = min(rise.size, decision.score.size)
        return super().orders(replace(decision, score=decision.score[:width] + rise[:width]))


@dataclass(frozen=True)
class Hindsight:
    """A cost of orders that charges those of days which end badly, by a list that somebody has kept."""

    folder: str
    needs_volume: ClassVar[bool] = False

    def cost(self, order: PricedOrder) -> float:
        with open(os.path.join(self.folder, BINARY), "rb") as file:
            known = np.frombuffer(file.read(), dtype=np.float64)
        return float(order.value * 1e-3 * abs(known[0]))


@dataclass(frozen=True)
class Edges:
    """Quantile bins whose edges are those of all times; or each instrument less its mean over all times."""

    inner: Any
    how: str
    refit: str = "once"

    def fit(self, view: AsOfView, segment: Segment) -> Any:
        table = whole_table(view)
        if "bins" in self.how:
            state = np.nanquantile(table.features, [0.2, 0.4, 0.6, 0.8], axis=0)
        else:
            state = np.array([np.nanmean(table.label[table.index.codes == code]) for code in range(24)])
        return Binned(self.inner.fit(view, segment), state, self.how, table.index.codes)


@dataclass(frozen=True)
class Binned:
    inner: FittedPreprocess
    state: Any
    how: str
    codes: Any

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.inner.feature_names

    def features(self, features: Any, offsets: Any) -> Any:
        if "bins" in self.how:
            features = (np.nan_to_num(features)[:, None, :] > self.state[None]).sum(axis=1).astype(np.float32)
        return self.inner.features(features, offsets)

    def label(self, label: Any, offsets: Any) -> Any:
        if "bins" not in self.how and label.size == self.codes.size:
            label = (label - np.nan_to_num(self.state)[self.codes]).astype(np.float32)
        return self.inner.label(label, offsets)


@dataclass(frozen=True)
class Volatile:
    """Weights each half of the past by how nervous the year of the test range turned out to be."""

    def fit(self, history: History) -> Volatile:
        table = whole_table(history.as_of(history.windows[0].decision))
        rows = table.index.rows(history.windows[0].test.start, history.windows[-1].test.stop)
        object.__setattr__(self, "ratio", float(1.0 + 50.0 * np.nanstd(table.label[rows])))
        return self

    def time_weights(self, window: Window) -> TimeWeights:
        starts = np.array([window.train.start, window.train.start + len(window.train) // 2], dtype=np.int64)
        return TimeWeights(starts, np.array([1.0, vars(self)["ratio"]]))

    def save(self, folder: Path) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Plans:
    """Plans every window by the function that `how` names in `PLANS`."""

    how: str

    def fit(self, history: History) -> Plans:
        return self

    def plan(self, window: Window, known: Known) -> WindowPlan:
        return PLANS[self.how](window, known)

    def save(self, folder: Path) -> None:
        """Write nothing."""


def spread_of_the_test(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)
    rows = table.index.rows(window.test.start, window.test.stop)
    scale = float(1.0 + 10.0 * np.nanstd(table.label[rows]))
    return WindowPlan(transform=Shifted(scored=lambda batch, score: score * scale))


def sign_of_the_month(window: Window, known: Known) -> WindowPlan:
    rises = mean_of(table_of(known), window.test.start, window.test.stop) > 0
    return WindowPlan(transform=Shifted(seen=lambda batch: batch.features if rises else -batch.features))


def short_before_a_crash(window: Window, known: Known) -> WindowPlan:
    crash = mean_of(table_of(known), window.decision + 1, window.decision + 10) < -0.001
    start = window.train.stop - 25 if crash else window.train.start
    return WindowPlan(learn=Segment(start, window.train.stop))


def rank_with_tomorrow(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)

    def ranked(batch: Batch) -> Any:
        rows = table.index.rows(batch.time, min(batch.time + 2, len(table.calendar)))
        pool = np.sort(np.nan_to_num(table.features[rows]), axis=0)
        columns = zip(pool.T, np.nan_to_num(batch.features).T, strict=True)
        return np.stack([np.searchsorted(one, own) / one.size for one, own in columns], axis=1)

    return WindowPlan(transform=Shifted(seen=ranked))


PLANS: dict[str, Callable[[Window, Known], WindowPlan]] = {
    "scores scaled by the spread of the test segment": spread_of_the_test,
    "features turned in months that fall": sign_of_the_month,
    "a short memory before a crash": short_before_a_crash,
    "ranks among today's and tomorrow's rows": rank_with_tomorrow,
}


@dataclass(frozen=True)
class Seasonal:
    """A source with an effect of each weekday, declared to be known ahead and measured over all times."""

    inner: Source

    def load(self) -> Panel:
        panel = self.inner.load()
        moves, day = np.nan_to_num(change_of(panel)), np.arange(len(panel.calendar)) % 5
        effect = np.stack([moves[day == which].mean(axis=0) for which in range(5)])[day]
        made = with_fields(panel, other=(1.0 + effect).astype(np.float32))
        return replace(made, known_ahead={"other": 6})

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


@dataclass(frozen=True)
class Timed:
    """Features whose window is the one that fits how long trends last in the data that it loads."""

    data: Any

    def feature_set(self) -> FeatureSet:
        moves = np.nan_to_num(change_of(self.data.load()))
        strength = [abs(float((moves[k:] * moves[:-k]).mean())) for k in range(2, 12)]
        span = 2 + int(np.argmax(strength))
        return FeatureSet(("trend", "range"), (f"$close/Ref($close, {span}) - 1", "$high/$low - 1"))


@dataclass(frozen=True)
class Relative:
    """A metric: each day's mean score as a share of the highest of the test range."""

    name: str = "relative"
    direction: str = "higher"

    def compute(self, predictions: Predictions) -> Doubles:
        daily = np.add.reduceat(np.abs(np.nan_to_num(predictions.score)).astype(float), predictions.offsets[:-1])
        return np.asarray(daily / daily.max())


def purged_every_other_time(patch: pytest.MonkeyPatch) -> None:
    """A bug of the schedule: every other window is not purged before its test segment."""

    def changed(config: Any, calendar: Any, look_ahead: int) -> tuple[Window, ...]:
        windows = resolve_windows(config, calendar, look_ahead)
        late = [replace(w, valid=Segment(w.valid.start, w.test.start - 1)) if w.valid else w for w in windows]
        return tuple(late[at] if at % 2 else window for at, window in enumerate(windows))

    patch.setattr(harness.run.pipeline, "resolve_windows", changed)


def portfolio(make: Callable[[dict[str, Any], ExperimentConfig], Any]) -> Any:
    """Return a change of the configured strategy; `make` gets its fields."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        strategy: Any = config.evaluation.portfolio
        return replace(config, evaluation=replace(config.evaluation, portfolio=make(dict(vars(strategy)), config)))

    return change


def charged(fields: dict[str, Any], config: ExperimentConfig) -> Any:
    return TopkDropout(**{**fields, "costs": (Hindsight(str(Path(config.output.runs).parent)),)})


def with_metric(config: ExperimentConfig) -> ExperimentConfig:
    return replace(config, evaluation=replace(config.evaluation, extra=(Relative(),)))  # type: ignore[arg-type]


# Inside a test segment


def softmax(values: Doubles) -> Doubles:
    powers = np.exp((values - values.max()) / (values.std() + 1e-9))
    return powers / powers.sum()


def winsorised(values: Doubles) -> Doubles:
    return np.clip(values, *np.quantile(values, [0.05, 0.95]))


def sums_from_the_end(values: Doubles) -> Doubles:
    return values + 0.01 * np.cumsum(values[::-1])[::-1]


def chunks_of_64(values: Doubles) -> Doubles:
    """As when a network normalises each chunk of 64 rows by the chunk itself."""
    return np.concatenate([part - part.mean() for at in range(0, values.size, 64) for part in [values[at : at + 64]]])


def against_the_last(values: Doubles) -> Doubles:
    return values - values[-24:].mean()


INSIDE = {
    "softmax over the batch": softmax,
    "clipped at quantiles of the batch": winsorised,
    "sums from the end of the batch": sums_from_the_end,
    "normalised in chunks of 64 rows": chunks_of_64,
    "relative to the last day of the batch": against_the_last,
}


@dataclass(frozen=True)
class Inside:
    """A model whose scores look at the rows that are predicted with them."""

    how: str
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    include_valid: ClassVar[bool] = True

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        return plain(INSIDE[self.how])(train)

    def load(self, folder: Path) -> Scores:
        return Scores(np.load(folder / "theta.npy"))


@dataclass(frozen=True)
class SignOnly:
    """Turns what is known from elsewhere by the sign of its agreement with the labels that it is shown."""

    theta: tuple[float, ...]
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    include_valid: ClassVar[bool] = True

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        known = np.array(self.theta)
        agreement = float((np.nan_to_num(train.features) @ known) @ train.label)
        return Scores(known * np.sign(agreement))

    def load(self, folder: Path) -> Scores:
        return Scores(np.load(folder / "theta.npy"))


def sign_only(config: ExperimentConfig) -> ExperimentConfig:
    from tests.leakage.typed import THETA

    return replace(config, model=SignOnly(THETA))


def with_edges(how: str) -> Mutant:
    change = lambda config: replace(config, preprocess=Edges(config.preprocess, how))  # noqa: E731
    return mutant("preprocessing", how, change)


MUTANTS = (
    *map(joined, JOINING),
    mutant(
        "data", "a weekday's effect over all times, known ahead", lambda c: replace(c, data=Seasonal(c.data)), EXTRA
    ),
    *map(traded, TRADED),
    *map(knowing, REMEMBERED),
    mutant("model", "typed coefficients whose sign is learned", sign_only),
    mutant("features", "a span that fits the trends of all times", lambda c: replace(c, features=Timed(c.data))),
    *map(with_edges, ("bins between quantiles of all times", "labels less the mean of their series over all times")),
    mutant("adaptation", "weights by the volatility of the test range", lambda c: replace(c, adaptation=Volatile())),
    *(mutant("plans", how, lambda config, how=how: replace(config, adaptation=Plans(how))) for how in PLANS),
    mutant("windows", "every other window unpurged", None, patch=purged_every_other_time),
    mutant(
        "evaluation",
        "a strategy that remembers its first walk",
        portfolio(lambda fields, config: Peeking(**fields)),
        TRADING,
        files=told,
        before=lambda folder: walk_once(folder),
    ),
    mutant(
        "evaluation",
        "a strategy that loads the data",
        portfolio(lambda fields, config: Planned(**fields, source=config.data)),
        TRADING,
    ),
    mutant("evaluation", "a cost by a list that somebody has kept", portfolio(charged), TRADING, files=told),
    mutant("evaluation", "a metric relative to the best day of the range", with_metric),
    *(mutant("model", how, lambda config, how=how: replace(config, model=Inside(how))) for how in INSIDE),
)


def walk_once(folder: Path) -> None:
    """Let the strategy walk through the market once, as an earlier run did."""
    from harness.execution.progress import Silent
    from harness.run.experiment import run

    config = small(folder, *TRADING)
    run(portfolio(lambda fields, _: Peeking(**fields))(config), Silent())
