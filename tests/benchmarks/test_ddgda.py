"""Speed of DDG-DA at the published size: 300 instruments × 3,080 days, blocks of 20 days, 30 features."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numba
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from baselines.adaptation.ddgda.meta_task import QLIB, Span, assign_phases, candidate_tasks
from baselines.adaptation.ddgda.meta_training import MetaProblems, initial_weight_model, meta_problems, train
from baselines.adaptation.ddgda.preparation import (
    ProxyData,
    Regime,
    Similarity,
    gbdt_similarity,
    linear_similarity,
    whole_blocks,
)
from baselines.adaptation.ddgda.proxy import Choice
from baselines.adaptation.ddgda.weight_model import MetaTraining, WeightRule, WeightShape
from harness.execution.progress import Silent
from harness.samples.gram import GramBlocks
from harness.samples.table import SampleTable
from tests.adaptation.configured import configured
from tests.adaptation.streams import Stream

pytestmark = pytest.mark.nightly

STEP, LOOK_AHEAD, HISTORY = 20, 21, 30
LEARNED = WeightRule(hist_step_n=HISTORY, fill_method="max", undefined_is_best=False, plain_tail=False)


@lru_cache(maxsize=1)
def table(times: int = 3080 + LOOK_AHEAD) -> SampleTable:
    return Stream("gradual", times=times, instruments=300, features=30, look_ahead=LOOK_AHEAD).table(0)


def similarity() -> Similarity:
    blocks = GramBlocks(table().features, table().label, table().index.offsets, step=STEP)
    return linear_similarity(table().as_of(len(table().calendar) - 1), 0, blocks, step=STEP, alpha=0.05)


@lru_cache(maxsize=1)
def problems() -> MetaProblems:
    span = Span(0, 730, 2200, 3080, STEP, LOOK_AHEAD, HISTORY * STEP)
    tasks = assign_phases(candidate_tasks(span), 0.62, span, table().calendar, QLIB)
    blocks = GramBlocks(table().features, table().label, table().index.offsets, step=STEP)
    choice = Choice(0, table().feature_names, len(table().feature_names))
    return meta_problems(tasks, [ProxyData(Regime(choice, similarity()), table(), blocks)], LEARNED, 50)


def test_linear_similarity_of_154_blocks_and_924000_rows(benchmark: BenchmarkFixture) -> None:
    similarity()  # compiled
    found = benchmark.pedantic(similarity, rounds=3)
    assert found.values.shape == (3080, 154)


def test_meta_tasks_from_similarity_and_gram_blocks(benchmark: BenchmarkFixture) -> None:
    found = benchmark.pedantic(problems.__wrapped__, rounds=1)
    assert sum(map(len, found.by_phase.values())) >= 115


def test_meta_training_of_30_epochs_over_115_tasks_with_30_features(benchmark: BenchmarkFixture) -> None:
    shape = WeightShape("tanh", 2.0)
    setting = MetaTraining("tanh", 2.0, alpha=0.01, criterion="ic_loss", lr=0.001, max_epoch=30)
    start, by_phase = initial_weight_model(HISTORY, shape, 43), problems().by_phase
    _, history = benchmark.pedantic(train, args=(by_phase, start, setting, Silent()), rounds=1)
    assert history[-1].epoch == 30


@pytest.mark.parametrize("what", ["similarity", "bare LightGBM"])
def test_gbdt_similarity_beside_the_bare_models(benchmark: BenchmarkFixture, what: str) -> None:
    """Four blocks, scored on 80 times each and everywhere else; the ratio of the two lines is what counts."""
    small = Stream("gradual", times=400, instruments=300, features=30, look_ahead=LOOK_AHEAD).table(0)
    parameters = configured("ddgda").gbdt
    view = small.as_of(len(small.calendar) - 1)

    def bare() -> int:
        known = view.labelled(0, view.label_stop)
        features, label = known.features(0, view.label_stop), known.label(0, view.label_stop)
        rows = [slice(300 * b.start, 300 * b.stop) for b in whole_blocks(0, view.label_stop, STEP)]

        def one(block: slice) -> int:
            booster = parameters.grow(features[block], label[block], seed=0, threads=1)
            return int(np.size(booster.predict(features, num_threads=1)))

        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            return sum(pool.map(one, rows))

    def ours() -> int:
        return gbdt_similarity(view, 0, STEP, parameters, seed=0, observer=Silent()).values.size

    assert benchmark.pedantic(ours if what == "similarity" else bare, rounds=1) > 0
