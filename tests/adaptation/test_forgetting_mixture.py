"""Half-lives are judged by what their proxies forecast and by nothing that had not matured.

Mean IC over three streams (`streams.py`), ridge, of RR | GF-Exp | mixture | incremental with keep = 0.8:

none       .309 | .309 | .309 | .308
abrupt     .099 | .196 | .301 | .260
gradual    .022 | .002 | .275 | .246
recurring  .157 | .154 | .246 | .214
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from baselines.adaptation.forgetting_mixture import FittedMixture, ForgettingMixture
from harness.errors import ConfigError
from harness.samples.preprocess import Pipeline
from harness.samples.table import SampleTable
from tests.adaptation.configured import configured
from tests.adaptation.streams import Drift, Stream, history_of, schedule
from tests.adaptation.test_ddgda_streams import mean_ic

Doubles = npt.NDArray[np.float64]
NOTHING = Pipeline(features=(), label=(), refit="once")
TWO: dict[str, Any] = {"half_lives": (10.0, None), "rule": "mix", "memory": 60.0, "block": 10, "alpha": 0.1}


def mixture(**changes: Any) -> ForgettingMixture:
    return ForgettingMixture(preprocess=NOTHING, **{**TWO, **changes})


def fitted(table: SampleTable, train: int = 150, step: int = 25, **changes: Any) -> FittedMixture:
    windows = schedule(table, train=train, step=step)
    return mixture(**changes).fit(history_of(table, windows, step))


def by_hand(table: SampleTable, stop: int, *, block: int = 10, memory: float = 60.0, alpha: float = 0.1) -> Doubles:
    """Return (2,) probabilities from losses before `stop`, straight from the definition."""
    x, y, offsets, ahead = table.features.astype(np.float64), table.label, table.index.offsets, table.look_ahead
    total, count = np.zeros(2), 0.0
    for first in range(0, stop, block):
        known = first - ahead + 1  # times whose labels have matured at `first`
        if known <= 0:
            continue
        bounds = [max(b, 0) for b in range(known % block - block, known + 1, block)]
        age = np.concatenate([np.full(b - a, (known - b) / block) for a, b in itertools.pairwise(bounds)])
        rows = slice(0, int(offsets[known]))
        theta = []
        for half in (10.0, np.inf):
            weights = np.repeat(np.exp2(-age * block / half), np.diff(offsets[: known + 1]))
            gram = (x[rows] * weights[:, None]).T @ x[rows] + alpha * np.eye(x.shape[1])
            theta.append(np.linalg.solve(gram, x[rows].T @ (weights * y[rows])))
        for time in range(first, min(first + block, stop)):
            own, say = slice(int(offsets[time]), int(offsets[time + 1])), 2.0 ** (-(stop - 1 - time) / memory)
            total += say * np.array([np.square(y[own] - x[own] @ one).sum() for one in theta])
            count += say * (own.stop - own.start)
    evidence = total / (2 * total.min() / count * ahead)
    p: Doubles = np.exp(-(evidence - evidence.min()))
    return p / p.sum()


@pytest.mark.parametrize("drift", ["none", "abrupt"])
def test_the_probabilities_are_those_of_the_definition(drift: Drift) -> None:
    table = Stream(drift, times=240, instruments=8, features=3, period=80).table(0)
    windows = schedule(table, train=150, step=25)
    found = mixture().fit(history_of(table, windows, 25)).probabilities
    for window, p in zip(windows, found, strict=True):
        np.testing.assert_allclose(p, by_hand(table, window.learn_stop), rtol=1e-6)


def test_a_long_memory_is_probable_without_drift_and_a_short_one_after_a_break() -> None:
    steady, broken = (
        fitted(Stream(drift, times=500, period=120).table(1), half_lives=(20.0, None)).probabilities[-1]
        for drift in ("none", "abrupt")
    )
    assert steady[1] > 0.5
    assert broken[0] > 0.9


def test_what_has_not_matured_changes_no_earlier_probability() -> None:
    table = Stream("abrupt", times=300, period=100).table(2)
    windows, label = schedule(table, train=150, step=25), table.label.copy()
    unknown = int(table.index.offsets[windows[2].decision - table.look_ahead + 1])
    label[unknown:] = np.random.default_rng(0).normal(size=label.size - unknown)
    clean, other = fitted(table), fitted(replace(table, label=label))
    np.testing.assert_array_equal(clean.probabilities[:3], other.probabilities[:3])
    assert not np.array_equal(clean.probabilities, other.probabilities)


def test_a_decision_judges_alike_however_long_the_step_is() -> None:
    table = Stream("abrupt", times=260, period=100).table(3)
    every, tenth = fitted(table, step=5), fitted(table, step=25)
    np.testing.assert_allclose(every.probabilities[::5][: len(tenth.probabilities)], tenth.probabilities, rtol=1e-9)


def test_weights_are_the_mean_of_the_decays_or_the_most_probable_one() -> None:
    table = Stream("none", times=260).table(4)
    window = schedule(table, train=150, step=25)[1]
    p = fitted(table).probabilities[1]
    mixed, chosen = (fitted(table, rule=rule).time_weights(window) for rule in ("mix", "choose"))
    decay = np.exp2(-np.arange(mixed.starts.size)[::-1] * 10 / 10.0)
    np.testing.assert_allclose(mixed.values, p[0] * decay / decay.mean() + p[1])
    np.testing.assert_allclose(chosen.values, [decay, np.ones_like(decay)][int(p.argmax())])
    assert mixed.starts[0] == window.train.start


def test_what_was_learned_is_read_back_with_the_same_bits(tmp_path: Path) -> None:
    table = Stream("none", times=260).table(4)
    before = fitted(table)
    before.save(tmp_path)
    after = mixture().load(tmp_path)
    for window in schedule(table, train=150, step=25):
        assert after.time_weights(window).values.tobytes() == before.time_weights(window).values.tobytes()


def test_one_half_life_is_no_mixture() -> None:
    with pytest.raises(ConfigError, match="something to mix"):
        mixture(half_lives=(20.0,))


def test_it_beats_rolling_retrain_and_a_fixed_decay_on_a_short_abrupt_stream() -> None:
    table = Stream("abrupt", times=600, period=120).table(0)
    windows = schedule(table, train=450, step=10)
    found = {name: mean_ic(table, windows, name) for name in ("rolling_retrain", "gf_exp", "forgetting_mixture")}
    assert found["forgetting_mixture"] > max(found["rolling_retrain"], found["gf_exp"]) + 0.03


@pytest.mark.nightly
@pytest.mark.parametrize(("drift", "least"), [("none", -0.003), ("abrupt", 0.1), ("gradual", 0.1), ("recurring", 0.05)])
def test_over_five_streams_it_costs_nothing_without_drift_and_gains_with_it(drift: Drift, least: float) -> None:
    gains = []
    for seed in range(5):
        table = Stream(drift).table(seed)
        windows = schedule(table, train=1000, step=10)
        gains.append(mean_ic(table, windows, "forgetting_mixture") - mean_ic(table, windows, "rolling_retrain"))
    assert min(gains) > min(least, 0)
    assert np.mean(gains) > least


def test_its_yaml_is_its_fields() -> None:
    assert isinstance(configured("forgetting_mixture"), ForgettingMixture)
