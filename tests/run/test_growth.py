"""Data that grow: a run on the longer panel computes what is new, and gives the bytes of a run from scratch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.models.lightgbm import LightGBM
from baselines.models.linear import Linear
from harness.config import compose_config
from harness.data.panel import Panel
from harness.data.source import truncate
from harness.data.sources.synthetic import SyntheticMarket
from harness.evaluation.predictions import Predictions
from harness.execution.progress import PlainObserver
from harness.features import engine
from harness.run import feature_chunks
from harness.run.pipeline import ADAPTATION, ARTEFACTS, PUBLISHED, Pipeline
from harness.run.stages import Cache
from harness.store.artifacts import ArtifactStore

FIRST, STEP, LOOK_AHEAD = 240, 20, 6
FEATURES = {
    "close_to_mean": "Mean($close, 10)/$close",
    "five": "$close/Ref($close, 5) - 1",
    "spread": "Std($close/Ref($close, 1) - 1, 20)",
    "smooth": "EMA($close, 12)/$close",
    "rank": "Rank($volume, 30)",
}
SMALL = [
    *(f"+features.expressions.{name}='{text}'" for name, text in FEATURES.items()),
    *("features=expressions", "evaluation=signal", f"windows.step={STEP}", "label.horizon=5", "executor=serial"),
]
DDGDA = [
    *("adaptation=ddgda", "adaptation.hist_step_n=4", "adaptation.max_epoch=2", "adaptation.fea_imp_n=3"),
    *("adaptation.choice_gbdt.rounds=3", "adaptation.loss_skip_thresh=5"),
]
TREES = ["model=lightgbm", "model.num_boost_round=4", "model.early_stopping_rounds=4"]
KINDS = {
    "linear": [],
    "per_window": ["preprocess.refit=per_window", "windows=sliding"],
    "short_step": ["windows.step=3", "adaptation=gf_exp"],
    "trees": TREES,
    "chain": ["adaptation=incremental"],
    "kept": ["adaptation=triggered", "adaptation.warm_up=8"],
    "ddgda": DDGDA,
}

BY_DAY = ("linear", "chain", "ddgda")


def at_night(kind: str) -> Any:
    return pytest.param(kind, marks=pytest.mark.nightly)


@pytest.fixture(scope="module")
def market() -> Panel:
    """A market of 400 days in which some instruments begin late, and some end."""
    found = compose_config(["data.instruments=30", "data.days=400", "data.members=24", "data.late_listings=0.4"]).data
    assert isinstance(found, SyntheticMarket)
    return replace(found.load(), truth=None)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_chunks, "LENGTH", 32)


class Team:
    """Runs one configuration on one panel after the other, with one store."""

    def __init__(self, store: Path, *overrides: str) -> None:
        self.store, self.overrides, self.folder = store, overrides, store

    def pipeline(self, panel: Panel) -> Pipeline:
        at, has_valid = panel.calendar.format, any("lightgbm" in text for text in self.overrides)
        dates = [f"windows.train=[{at(20)},{at(FIRST - 60 if has_valid else FIRST - 1)}]"]
        dates.append(f"windows.test=[{at(FIRST)},null]")
        if has_valid:
            dates.append(f"windows.valid=[{at(FIRST - 59)},{at(FIRST - 1)}]")
        config = compose_config([*SMALL, *dates, f"output.store={self.store}", *self.overrides])
        observer = PlainObserver(list[str]().append)
        return Pipeline(config, Cache(ArtifactStore(self.store)), panel=panel, observer=observer)

    def run(self, panel: Panel) -> dict[str, bytes]:
        pipeline = self.pipeline(panel)
        pipeline.check()
        self.folder = pipeline.cache.get(pipeline.result_stage)
        files = [self.folder / name for name in (*PUBLISHED, ARTEFACTS)]
        files += sorted(path for path in (self.folder / ADAPTATION).glob("*"))
        return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One past the last position of each period that a model was fitted on, in order."""
    seen: list[int] = []
    for model in (Linear, LightGBM):
        for name in ("fit", "fit_from"):
            monkeypatch.setattr(model, name, counted(getattr(model, name), seen))
    return seen


def counted(method: Callable[..., Any], seen: list[int]) -> Callable[..., Any]:
    def wrapped(self: Any, *given: Any) -> Any:
        seen.append(given[-2].segment.stop)
        return method(self, *given)

    return wrapped


def revised(panel: Panel, position: int, field: str = "close") -> Panel:
    """Return the panel with another price of one instrument that has one there."""
    values = np.array(panel.fields[field])
    values[position, int(np.flatnonzero(panel.traded[position] & panel.membership[position])[0])] *= 1.01
    return replace(panel, fields={**panel.fields, field: values})


@pytest.mark.parametrize("kind", [kind if kind in BY_DAY else at_night(kind) for kind in KINDS])
def test_a_store_that_grew_gives_the_bytes_of_a_run_from_scratch(market: Panel, tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    cuts = sorted(rng.choice(np.arange(FIRST + 4, len(market.calendar)), 2, replace=False).tolist())
    grown = Team(tmp_path / "grown", *KINDS[kind])
    grown.run(truncate(market, cuts[0] - 3))
    for cut in cuts:
        panel = truncate(market, cut)
        assert grown.run(panel) == Team(tmp_path / f"scratch{cut}", *KINDS[kind]).run(panel)


@pytest.mark.parametrize(
    "kind",
    [
        ["model.per_instrument=true"],
        pytest.param(["model.per_instrument=true", "adaptation=no_retrain"], marks=pytest.mark.nightly),
        ["label=forward_value", "label.expression='Ref($close, -6)'", "preprocess=series", "evaluation=errors"],
    ],
    ids=["models", "kept_models", "scales"],
)
def test_what_is_kept_of_each_instrument_stays_its_own_when_a_listing_moves_columns(
    market: Panel, tmp_path: Path, kind: list[str]
) -> None:
    listed, first = FIRST + 15, np.arange(len(market.instruments)) == 0
    unlisted = np.outer(np.arange(len(market.calendar)) < listed, first)
    fields = {name: np.where(unlisted, np.float32(np.nan), values) for name, values in market.fields.items()}
    late = replace(market, fields=fields, membership=(market.membership | first) & ~unlisted)
    grown = Team(tmp_path / "grown", *kind)
    grown.run(truncate(late, listed))
    panel = truncate(late, listed + 2)
    assert len(panel.instruments) == len(truncate(late, listed).instruments) + 1
    assert grown.run(panel) == Team(tmp_path / "scratch", *kind).run(panel)


@pytest.mark.parametrize("kind", ["linear", "chain", *(at_night(kind) for kind in ("per_window", "trees"))])
def test_a_day_more_costs_no_fit_and_a_new_window_one(
    market: Panel, tmp_path: Path, fits: list[int], kind: str
) -> None:
    team = Team(tmp_path, *KINDS[kind])
    full = FIRST + 3 * STEP
    team.run(truncate(market, full - 2))
    assert len(fits) == 3
    costs = []
    for stop in (full - 1, full, full + 1, full + 2):
        fits.clear()
        team.run(truncate(market, stop))
        costs.append(len(fits))
    assert costs == [0, 0, 1, 0]


def unfilled(panel: Panel, stop: int) -> Panel:
    """Return the panel without any value from a position on: the calendar goes on, the data do not."""
    fields = {name: np.array(values) for name, values in panel.fields.items()}
    for values in fields.values():
        values[stop:] = np.nan
    assert panel.benchmark is not None
    level = np.array(panel.benchmark.close)
    level[stop:] = np.nan
    return replace(panel, fields=fields, benchmark=replace(panel.benchmark, close=level))


@pytest.mark.parametrize("kind", ["linear", *(at_night(kind) for kind in ("chain", "per_window", "trees", "kept"))])
def test_a_calendar_that_goes_on_costs_no_fit_for_windows_that_the_data_have_not_reached(
    market: Panel, tmp_path: Path, fits: list[int], kind: str
) -> None:
    """All of 8 windows are there from the first evening; each is fitted once, when its first day has come."""
    team = Team(tmp_path / "grown", *KINDS[kind])
    full = FIRST + 3 * STEP
    team.run(unfilled(market, full - 2))
    at_first, costs = len(fits), []
    for stop in (full - 1, full, full + 1, full + 2, full + STEP - 1):
        fits.clear()
        panel = unfilled(market, stop)
        made = team.run(panel)
        costs.append(len(fits))
    if kind == "kept":  # its plan says which windows are fitted
        assert max(costs) <= 1
    else:
        assert (at_first, costs) == (3, [0, 0, 1, 0, 0])
    assert made == Team(tmp_path / "scratch", *KINDS[kind]).run(panel)


@pytest.mark.parametrize(
    ("judged_by", "differs"),
    [
        (["evaluation=signal"], False),
        (["evaluation=portfolio", "evaluation.portfolio.benchmark=universe"], False),
        (["evaluation=portfolio"], True),
    ],
)
def test_an_index_that_nothing_reads_may_come_late(
    market: Panel, tmp_path: Path, judged_by: list[str], differs: bool
) -> None:
    at_hand, traces = truncate(market, FIRST + 10), list[object]()
    assert at_hand.benchmark is not None
    for level in (float("nan"), 0.5):
        close = np.array(at_hand.benchmark.close)
        close[-3 if differs else -1] *= level
        small = [] if judged_by == ["evaluation=signal"] else ["topk=6", "n_drop=2", "trade_unit=null"]
        team = Team(tmp_path, *judged_by, *(f"evaluation.portfolio.{one}" for one in small))
        team.run(replace(at_hand, benchmark=replace(at_hand.benchmark, close=close)))
        (window,) = json.loads((team.folder / "provenance.json").read_text())["windows"]
        traces.append([window["data"], window["days"]])
    assert (traces[0] != traces[1]) == differs


@pytest.mark.parametrize("kind", ["linear", at_night("per_window")])
def test_a_revised_price_computes_exactly_the_windows_that_could_have_seen_it(
    market: Panel, tmp_path: Path, fits: list[int], kind: str
) -> None:
    stop = FIRST + 5 * STEP
    panel = truncate(market, stop)
    team = Team(tmp_path / "store", *KINDS[kind])
    team.run(panel)
    for position in (FIRST + 2 * STEP + 7, FIRST + STEP, 100, stop - 1):
        fits.clear()
        changed = revised(panel, position)
        found = team.run(changed)
        # Window k is fitted at FIRST + k · STEP, and predicts from the features of its own days.
        seen_by = [k for k in range(5) if FIRST + (k + 1) * STEP > position]
        assert [stop - FIRST for stop in fits] == [k * STEP - LOOK_AHEAD + 1 for k in seen_by]
        assert found == Team(tmp_path / f"scratch{position}", *KINDS[kind]).run(changed)
    fits.clear()
    team.run(revised(panel, 100, "vwap"))  # which no feature reads
    assert fits == []


def test_only_the_chunks_that_grow_are_computed(market: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    periods: list[tuple[int, int]] = []
    real = engine.compute_period

    def noted(*given: Any) -> Any:
        periods.append(given[4])
        return real(*given)

    monkeypatch.setattr(feature_chunks, "compute_period", noted)
    team = Team(tmp_path)
    team.run(truncate(market, 330))
    team.run(truncate(market, 331))
    team.run(truncate(market, 361))
    team.run(revised(truncate(market, 361), 200))
    assert periods == [(0, 330), (320, 331), (320, 361), (192, 361)]


def test_what_no_label_is_known_of_yet_is_predicted_and_judged_when_it_matures(market: Panel, tmp_path: Path) -> None:
    team = Team(tmp_path)
    unknown: list[Sequence[int]] = []
    for stop in (FIRST + 30, FIRST + 36):
        team.run(truncate(market, stop))
        found = Predictions.read_parquet(team.folder / "predictions.parquet")
        assert found.stop == stop
        assert not np.isnan(found.score).any()
        labelled = np.add.reduceat(~np.isnan(found.label), found.offsets[:-1])
        unknown.append(np.flatnonzero(labelled == 0).tolist())
    assert unknown == [list(range(30 - LOOK_AHEAD, 30)), list(range(36 - LOOK_AHEAD, 36))]


@pytest.mark.parametrize("stages", [("fit", "processors", "chunk", "known"), ("fit", "chunk")])
def test_what_was_damaged_since_yesterday_is_computed_again(
    market: Panel, tmp_path: Path, fits: list[int], stages: Sequence[str]
) -> None:
    team = Team(tmp_path / "store")
    team.run(truncate(market, FIRST + 50))
    fits.clear()
    for stage in stages:
        for path in (tmp_path / "store" / stage).glob("[!.]*/**/*"):
            if not path.is_file() or path.name == "manifest.json":
                continue
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
    panel = truncate(market, FIRST + 51)
    assert team.run(panel) == Team(tmp_path / "scratch").run(panel)
    assert fits[0] == FIRST + 2 * STEP - LOOK_AHEAD + 1
    assert len(fits) == 1 + 3


def test_one_thread_at_a_time_opens_chunks(market: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.11 raises a SystemError where the heads of two NumPy files are read at the same time."""
    team = Team(tmp_path)
    team.run(market)
    chunks, get = team.pipeline(market).chunks, Cache.get
    rows = chunks.matrix(chunks.computed)
    inside: list[int] = []
    most = 0

    def watched(self: Cache, stage: Any) -> Any:
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        time.sleep(0.01)
        try:
            return get(self, stage)
        finally:
            inside.pop()

    monkeypatch.setattr(Cache, "get", watched)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: np.asarray(rows[0 : len(rows)]), range(4)))
    assert most == 1
    assert all(np.array_equal(one, read[0], equal_nan=True) for one in read)
