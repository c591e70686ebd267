"""What rolling ridge costs on a table of 924,000 rows × 158 features and 44 windows; run with `--benchmark-enable`.

The target for the whole, from feature matrix to predictions, is 5 s and 2.5 GB on two cores.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from baselines.adaptation.rolling_retrain import EqualWeights
from baselines.models.linear import Linear
from harness.data.calendar import Calendar
from harness.run.rolling import Recipe, WalkForward
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import LearnSet
from harness.samples.preprocess import Pipeline, apply
from harness.samples.processors import CSRankNorm, Fillna, RobustZScoreNorm
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Schedule, Segment, Window, walk_forward

pytestmark = pytest.mark.nightly

TIMES, INSTRUMENTS, FEATURES, STEP, LOOK_AHEAD = 3080, 300, 158, 20, 21
LINEAR = Pipeline((RobustZScoreNorm(), Fillna()), (CSRankNorm(),), "once")


@pytest.fixture(scope="module")
def windows() -> tuple[Window, ...]:
    schedule = Schedule(Segment(0, 1700), Segment(1700, 2200), Segment(2200, TIMES), STEP, LOOK_AHEAD)
    assert len(walk_forward(schedule)) == 44
    return walk_forward(schedule)


@pytest.fixture(scope="module")
def table() -> SampleTable:
    rng = np.random.default_rng(0)
    n = TIMES * INSTRUMENTS
    features = rng.standard_normal((n, FEATURES), dtype=np.float32)
    features[rng.integers(0, n, n), rng.integers(0, FEATURES, n)] = np.nan
    label = rng.standard_normal(n, dtype=np.float32)
    label[-LOOK_AHEAD * INSTRUMENTS :] = np.nan
    return SampleTable(
        calendar=Calendar(np.datetime64("2008-01-01") + np.arange(TIMES)),
        instruments=tuple(f"I{i:03d}" for i in range(INSTRUMENTS)),
        index=RowIndex(
            np.arange(0, n + 1, INSTRUMENTS, dtype=np.int64), np.tile(np.arange(INSTRUMENTS, dtype=np.int32), TIMES)
        ),
        features=features,
        feature_names=tuple(f"f{i}" for i in range(FEATURES)),
        label=label,
        look_ahead=LOOK_AHEAD,
    )


def test_processors_are_fitted(benchmark: Any, table: SampleTable, windows: tuple[Window, ...]) -> None:
    first = windows[0]
    fitted = benchmark(lambda: LINEAR.fit(table.as_of(first.decision), first.whole_past))
    assert fitted.feature_names == table.feature_names


def test_processors_are_applied(benchmark: Any, table: SampleTable, windows: tuple[Window, ...]) -> None:
    fitted = LINEAR.fit(table.as_of(windows[0].decision), windows[0].whole_past)
    processed = benchmark(lambda: apply(table, fitted))
    assert np.isfinite(processed.features[:1000]).all()


@pytest.fixture(scope="module")
def filled(table: SampleTable) -> SampleTable:
    return table.with_columns(np.nan_to_num(table.features), table.feature_names, np.array(table.label))


def gram_blocks(table: SampleTable) -> GramBlocks:
    blocks = GramBlocks(table.features, table.label, table.index.offsets, step=STEP)
    assert len(blocks.gram) == TIMES // STEP
    return blocks


def test_gram_blocks_are_summed(benchmark: Any, filled: SampleTable) -> None:
    assert benchmark(lambda: gram_blocks(filled)).gram.shape == (TIMES // STEP, FEATURES, FEATURES)


def test_windows_are_fitted_and_predicted(benchmark: Any, filled: SampleTable, windows: tuple[Window, ...]) -> None:
    blocks = gram_blocks(filled)

    def solve() -> int:
        rows = 0
        for window in windows:
            fitted = Linear().fit(LearnSet(filled.as_of(window.decision), window.whole_past, None, blocks), None)
            rows += len(fitted.predict(filled.features[filled.index.rows(window.test.start, window.test.stop)]))
        return rows

    assert benchmark(solve) == (TIMES - windows[0].test.start) * INSTRUMENTS


def test_everything_from_raw_features_to_predictions(
    benchmark: Any, table: SampleTable, windows: tuple[Window, ...]
) -> None:
    resource = pytest.importorskip("resource")
    result = benchmark(lambda: WalkForward(table, windows, Recipe(LINEAR, EqualWeights(), Linear(), STEP)).run())
    assert np.isfinite(result.predictions.score).all()
    unit = 1 if sys.platform == "darwin" else 1024
    benchmark.extra_info["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
