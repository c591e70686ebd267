"""What our wrapper costs around LightGBM: the same rows, the same parameters, with and without it, in one run.

The budget is 10 % of the run: compare the two rows of the group ``lightgbm``, or, on a busy machine, read
``share_outside_lightgbm`` in the extra information of the second. Where ``BENCH_PEER_PYTHON`` names a Python that has
pyqlib, its windows are fitted beside ours (group ``rolling lightgbm``).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from baselines.models.lightgbm import LightGBM
from harness.data.calendar import Calendar
from harness.samples.interfaces import LearnSet, TimeWeights
from harness.samples.table import AsOfView, RowIndex, SampleTable
from harness.samples.windows import Segment
from tests.models.contract import from_yaml

pytestmark = pytest.mark.nightly

TIMES, INSTRUMENTS, FEATURES, LOOK_AHEAD = 500, 200, 158, 21
TRAIN, VALID, TEST = Segment(0, 350), Segment(370, 449), Segment(470, 490)
ROUNDS = 10


@pytest.fixture(scope="module")
def view() -> AsOfView:
    rng = np.random.default_rng(0)
    n = TIMES * INSTRUMENTS
    features = rng.standard_normal((n, FEATURES), dtype=np.float32)
    label = features[:, :8].sum(axis=1) * 0.1 + rng.standard_normal(n, dtype=np.float32)
    label[rng.random(n) < 0.01] = np.nan
    table = SampleTable(
        calendar=Calendar(np.datetime64("2015-01-01") + np.arange(TIMES)),
        instruments=tuple(f"I{i:03d}" for i in range(INSTRUMENTS)),
        index=RowIndex(
            np.arange(0, n + 1, INSTRUMENTS, dtype=np.int64), np.tile(np.arange(INSTRUMENTS, dtype=np.int32), TIMES)
        ),
        features=features,
        feature_names=tuple(f"f{i}" for i in range(FEATURES)),
        label=label,
        look_ahead=LOOK_AHEAD,
    )
    _ = table.labelled
    return table.as_of(TEST.start)


@pytest.fixture(scope="module")
def model() -> LightGBM:
    found = from_yaml("lightgbm", num_boost_round=ROUNDS)
    assert isinstance(found, LightGBM)
    return found


@pytest.fixture(scope="module")
def weights() -> TimeWeights:
    starts = np.arange(0, TIMES, 20, dtype=np.int64)
    return TimeWeights(starts, np.linspace(0.5, 2, starts.size))


@pytest.mark.benchmark(group="lightgbm")
def test_bare_lightgbm(benchmark: BenchmarkFixture, view: AsOfView, model: LightGBM, weights: TimeWeights) -> None:
    train, valid = LearnSet(view, TRAIN, weights), LearnSet(view, VALID, weights)
    arrays = [(s.features, s.label, s.weights) for s in (train, valid)]
    test = view.features(TEST.start, TEST.start + 1)
    stopping = model.early_stopping_rounds
    assert stopping is not None

    def run() -> np.ndarray:
        data = lgb.Dataset(arrays[0][0], label=arrays[0][1], weight=arrays[0][2])
        stop = lgb.Dataset(arrays[1][0], label=arrays[1][1], weight=arrays[1][2], reference=data)
        booster = lgb.train(
            model.parameters,
            data,
            num_boost_round=model.num_boost_round,
            valid_sets=[stop],
            callbacks=[lgb.early_stopping(stopping, verbose=False)],
        )
        return np.asarray(booster.predict(test, num_threads=model.threads))

    assert benchmark.pedantic(run, rounds=3, warmup_rounds=1).size == INSTRUMENTS


@pytest.mark.benchmark(group="lightgbm")
def test_our_lightgbm(
    benchmark: BenchmarkFixture,
    view: AsOfView,
    model: LightGBM,
    weights: TimeWeights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = view.features(TEST.start, TEST.start + 1)
    inside, whole = [], []
    train = lgb.train

    def timed_train(*arguments: Any, **named: Any) -> lgb.Booster:
        start = time.perf_counter()
        booster = train(*arguments, **named)
        inside.append(time.perf_counter() - start)
        return booster

    def run() -> np.ndarray:
        start = time.perf_counter()
        score = model.fit(LearnSet(view, TRAIN, weights), LearnSet(view, VALID, weights)).predict(test)
        whole.append(time.perf_counter() - start)
        return score

    monkeypatch.setattr(lgb, "train", timed_train)
    assert benchmark.pedantic(run, rounds=3, warmup_rounds=1).size == INSTRUMENTS
    # Both sides of the ratio come from the same runs, so that it means something on a busy machine too.
    benchmark.extra_info["share_outside_lightgbm"] = 1 - sum(inside) / sum(whole)


WINDOWS = tuple((Segment(0, 310 + 20 * i), Segment(331 + 20 * i, 411 + 20 * i), 431 + 20 * i) for i in range(3))


@pytest.mark.benchmark(group="rolling lightgbm")
def test_three_windows_of_rolling_lightgbm(benchmark: BenchmarkFixture, view: AsOfView, model: LightGBM) -> None:
    table = vars(view)["_table"]

    def run() -> int:
        predicted = 0
        for train, valid, test in WINDOWS:
            at = table.as_of(test + LOOK_AHEAD)
            fitted = model.fit(LearnSet(at, train), LearnSet(at, valid))
            predicted += fitted.predict(at.features(test, test + 20)).size
        return predicted

    assert benchmark.pedantic(run, rounds=3, warmup_rounds=1) == 60 * INSTRUMENTS


@pytest.mark.benchmark(group="rolling lightgbm")
def test_three_windows_of_rolling_lightgbm_by_the_peer(
    benchmark: BenchmarkFixture, view: AsOfView, model: LightGBM, tmp_path: Path
) -> None:
    """The extra information holds the seconds of fitting and predicting alone; the row includes imports and set-up."""
    peer = os.environ.get("BENCH_PEER_PYTHON")
    if peer is None:
        pytest.skip("BENCH_PEER_PYTHON does not name a Python that has pyqlib")
    table = vars(view)["_table"]
    days = table.calendar.times.astype("datetime64[D]")
    segments = [(train, valid, Segment(test, test + 20)) for train, valid, test in WINDOWS]
    np.savez(
        tmp_path / "rows.npz",
        features=table.features,
        label=table.label,
        times=np.repeat(table.calendar.times, INSTRUMENTS),
        instruments=np.array(table.instruments)[table.index.codes],
        windows=np.array([[(days[s.start], days[s.last]) for s in window] for window in segments]),
    )
    parameters = {"loss": model.parameters["objective"], **model.parameters}
    given = {"model": parameters, "rounds": model.num_boost_round, "stopping": model.early_stopping_rounds}
    (tmp_path / "parameters.json").write_text(json.dumps(given))
    script = Path(__file__).with_name("peer_lightgbm.py")
    command = [peer, str(script), str(tmp_path / "rows.npz"), str(tmp_path / "parameters.json")]
    done = benchmark.pedantic(subprocess.run, args=(command,), kwargs={"capture_output": True, "text": True}, rounds=1)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    benchmark.extra_info.update(result)
    assert result["predictions"] == 20 * INSTRUMENTS
