"""DoubleAdapt, Proceed and the forest: what they compute, from what, where they must win, and the same bits always."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.adaptation.adaptive_random_forest import Trees
from baselines.adaptation.episodes import Episodes
from baselines.models.linear import Linear
from baselines.models.mlp import MLP
from harness.errors import LookAheadError, RefusedError
from harness.run.rolling import Recipe, RollingResult, WalkForward
from harness.run.stages import Cache
from harness.samples.preprocess import Pipeline
from harness.samples.table import SampleTable
from harness.samples.windows import Window
from harness.store.artifacts import ArtifactStore
from tests.adaptation.configured import configured
from tests.adaptation.streams import Stream, history_of, schedule
from tests.run.test_rolling import MeanByFeature

torch = pytest.importorskip("torch", reason="the extra driftbench[torch] is not installed")
pytest.importorskip("river", reason="the extra driftbench[river] is not installed")

NOTHING = Pipeline(features=(), label=(), refit="once")
LINEAR = Linear(estimator="ridge", alpha=0.001, fit_intercept=True)
NETWORK = MLP(
    hidden_sizes=(8,),
    activation="relu",
    dropout=0.0,
    loss="mse",
    optimizer="adam",
    lr=0.01,
    weight_decay=0.0,
    batch_size=500,
    max_epochs=5,
    early_stopping_rounds=None,
    seed=1,
    device="cpu",
    threads=1,
)
QUICK: dict[str, dict[str, Any]] = {
    "double_adapt": {"heads": 2, "max_epochs": 2, "block": 10},
    "proceed": {"concept": 8, "bottleneck": 4, "max_epochs": 2, "block": 10},
    "adaptive_random_forest": {"trees": 2, "rows_per_time": 4},
    "triggered": {"detector": "kswin", "warm_up": 5},
}
CHAINS: list[tuple[str, Any]] = [("double_adapt", LINEAR), ("double_adapt", NETWORK), ("proceed", NETWORK)]
CHAINS += [("adaptive_random_forest", LINEAR), ("triggered", LINEAR)]


def by_default(values: list[Any], *representative: int) -> list[Any]:
    """Return parameters of which all but the representative ones are expensive enough for the nightly run."""
    few = [() if at in representative else pytest.mark.nightly for at in range(len(values))]
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=m) for v, m in zip(values, few, strict=True)]


STEP = 25


@pytest.fixture(scope="module")
def table() -> SampleTable:
    return Stream("abrupt", times=260, instruments=12, features=3, period=80).table(0)


def walk(
    table: SampleTable, windows: tuple[Window, ...], name: str, model: Any, cache: Cache | None = None, **changes: Any
) -> WalkForward:
    step = len(windows[0].test)
    fitted = configured(name, **{**QUICK.get(name, {}), **changes}).fit(history_of(table, windows, step))
    return WalkForward(table, windows, Recipe(NOTHING, fitted, model, step), cache, planner_key=name)


def mean_ic(result: RollingResult, instruments: int) -> float:
    found = result.predictions
    score, label = (v.reshape(-1, instruments).astype(np.float64) for v in (found.score, found.label))
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(score, label, strict=True)]))


@pytest.mark.parametrize(("name", "model"), by_default(CHAINS, 0, 4))
def test_a_killed_run_goes_on_with_the_same_bits(table: SampleTable, tmp_path: Path, name: str, model: Any) -> None:
    windows = schedule(table, train=150, step=STEP)
    undisturbed = walk(table, windows, name, model).run()
    cache = Cache(ArtifactStore(tmp_path))
    walk(table, windows[:2], name, model, cache).run()
    resumed = walk(table, windows, name, model, cache).run()
    assert resumed.fitted == len(windows) - 2
    assert resumed.predictions.digest == undisturbed.predictions.digest
    assert resumed.reads == undisturbed.reads


@pytest.mark.parametrize("name", by_default(["double_adapt", "adaptive_random_forest"], 1))
def test_what_an_adaptation_fits_itself_counts_as_the_windows_fit(table: SampleTable, name: str) -> None:
    windows = schedule(table, train=150, step=STEP)
    reads = walk(table, windows, name, LINEAR).run().reads
    newest = [window.learn_stop - 1 + table.look_ahead for window in windows]
    assert [one.model.label_known for one in reads] == [one.plan.label_known for one in reads] == newest


@pytest.mark.parametrize("name", by_default(["double_adapt", "proceed", "adaptive_random_forest"], 1))
def test_nothing_but_the_seed_is_random(table: SampleTable, name: str) -> None:
    windows = schedule(table, train=150, step=STEP)[:1]
    digests = [walk(table, windows, name, NETWORK, seed=seed).run().predictions.digest for seed in (3, 3, 4)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("name", "model"), by_default(CHAINS[1:4], 1))
def test_the_future_changes_no_earlier_prediction(table: SampleTable, name: str, model: Any) -> None:
    windows, cut = schedule(table, train=150, step=STEP)[:3], 210
    label, features = table.label.copy(), np.array(table.features)
    rng = np.random.default_rng(1)
    for values, first in ((label, cut - table.look_ahead + 1), (features, cut + 1)):
        rows = slice(int(table.index.offsets[first]), None)
        values[rows] = rng.normal(size=values[rows].shape)
    poisoned = table.with_columns(features, table.feature_names, label)
    clean, other = (walk(one, windows, name, model).run().predictions for one in (table, poisoned))
    known = int(clean.offsets[cut + 1 - clean.start])
    np.testing.assert_array_equal(other.score[:known], clean.score[:known])
    assert not np.array_equal(other.score, clean.score)


def test_an_episode_is_judged_where_the_gap_that_labels_leave_ends(table: SampleTable) -> None:
    view = table.as_of(99)
    episodes = Episodes(view, start=0, stop=view.label_stop, block=10)
    assert (episodes.stop, table.look_ahead) == (94, 6)
    assert episodes.matured == 7  # the last is known in 60 … 69 and judged in 75 … 84; the next would be up to 94
    for rows, first in ((episodes.known(6), 60), (episodes.judged(6), 75), (episodes.newest(), 84)):
        np.testing.assert_array_equal(rows.y.numpy(), table.label[table.index.rows(first, first + 10)])
    with pytest.raises(LookAheadError):
        replace(episodes, stop=episodes.stop + 1).newest()


def test_gradients_pass_through_the_forecast_and_not_through_the_steps_to_theta() -> None:
    """First order: moving φ moves the loss as moving θ would, and a head as its part in the forecast."""
    torch.manual_seed(0)
    learner = configured("double_adapt", heads=2, reg=0.0).learner(torch.nn.Linear(3, 1), 3)
    view = Stream("none", times=60, instruments=10, features=3).table(0).as_of(59)
    known, judged = (getattr(Episodes(view, 0, 54, 10), side)(0) for side in ("known", "judged"))
    torch.autograd.backward(learner.loss(known, judged))
    theta = learner.adapted(known)
    error = (2 * (learner.predict(theta, judged.x) - judged.y)[:, None] / len(judged.y)).detach()
    torch.testing.assert_close(learner.network.weight.grad[0], (error * judged.x).sum(0))
    torch.testing.assert_close(learner.weight.grad.sum(0), torch.einsum("mf,mg->fg", error * theta["weight"], judged.x))


def test_heads_begin_as_identity_and_the_score_is_brought_back_to_the_unit_of_the_label() -> None:
    torch.manual_seed(0)
    learner = configured("double_adapt").learner(torch.nn.Linear(3, 1), 3)
    x, y = torch.randn(5, 3), torch.randn(5)
    torch.testing.assert_close(learner.features(x), x)
    torch.testing.assert_close(learner.label(x, y), y)
    with torch.no_grad():
        learner.log_gamma += 0.7
        learner.beta -= 0.3
    assert not torch.allclose(learner.label(x, y), y)
    torch.testing.assert_close(learner.score(x, learner.label(x, y)), y)


def test_proceed_begins_as_the_model_and_looks_at_one_time_only() -> None:
    torch.manual_seed(0)
    network = NETWORK.build(("a", "b", "c"))
    learner = configured("proceed", **QUICK["proceed"]).learner(network, 3)
    x, known, times = torch.randn(6, 3), torch.zeros(8), torch.tensor([0, 0, 0, 1, 1, 1])
    torch.testing.assert_close(learner.predict(known, x, times), network(x).squeeze(1))
    with torch.no_grad():
        for one in learner.up:
            one += 0.5
    other = x.clone()
    other[3:] += 1.0
    before, after = learner.predict(known, x, times), learner.predict(known, other, times)
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])


def test_double_adapt_beats_its_model_alone_after_a_break() -> None:
    stream = Stream("abrupt", times=600, period=120)
    table = stream.table(0)
    windows = schedule(table, train=400, step=20)
    adapted = walk(table, windows, "double_adapt", LINEAR, block=20, inner_lr=0.5).run()
    plain = walk(table, windows, "rolling_retrain", LINEAR).run()
    assert mean_ic(adapted, stream.instruments) > mean_ic(plain, stream.instruments) + 0.03


def planted(table: SampleTable, first: Any, second: Any, level: float = 0.0) -> SampleTable:
    """Return y = `first` x₀ + `second` x₁ + noise, coefficients per time; x₂ has `level` · (`first` − 1) more."""
    counts = np.diff(table.index.offsets)
    a, b = (np.repeat(np.resize(values, counts.size), counts).astype(np.float32) for values in (first, second))
    features = np.array(table.features)
    features[:, 2] += level * (a - 1)
    noise = np.random.default_rng(0).standard_normal(a.size).astype(np.float32)
    label = np.where(np.isnan(table.label), np.nan, a * features[:, 0] + b * features[:, 1] + noise).astype(np.float32)
    return table.with_columns(features, table.feature_names, label)


@pytest.mark.nightly
def test_proceed_follows_a_shift_that_shows_in_the_features_of_the_time_alone() -> None:
    """The level of x₂ over the instruments, which no single row knows, says which of two features matters."""
    first = np.repeat(np.random.default_rng(9).choice([0.0, 2.0], 60), 10)
    table = planted(Stream("none", times=600, instruments=20, features=3).table(0), first, 2 - first, level=1.0)
    windows, model = schedule(table, train=400, step=25), replace(NETWORK, hidden_sizes=())
    settings: dict[str, Any] = {
        "concept": 8,
        "bottleneck": 8,
        "max_epochs": 6,
        "adapter_lr": 0.06,
        "model_lr": 0.0003,
        "patience": 6,
    }
    adapted = walk(table, windows, "proceed", model, **settings).run()
    plain = walk(table, windows, "rolling_retrain", model).run()
    assert mean_ic(adapted, 20) > mean_ic(plain, 20) + 0.1


@pytest.mark.parametrize(
    ("name", "model", "train", "message"),
    [
        ("double_adapt", MeanByFeature(), 150, "by its gradient"),
        ("proceed", LINEAR, 150, "multilayer perceptron"),
        ("double_adapt", LINEAR, 40, "too little past"),
    ],
)
def test_what_cannot_be_done_is_refused(table: SampleTable, name: str, model: Any, train: int, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        walk(table, schedule(table, train=train, step=STEP), name, model).run()


def test_the_forest_as_arrays_forecasts_as_river_does(table: SampleTable) -> None:
    forest = configured("adaptive_random_forest", trees=3, grace_period=20).new_forest(5)
    for row, label in zip(table.features[:1500].tolist(), table.label[:1500].tolist(), strict=True):
        forest.learn_one(dict(enumerate(row)), label)
    trees = Trees.of(forest, table.feature_names)
    assert len(trees.feature) > 5
    expected = [forest.predict_one(dict(enumerate(row))) for row in table.features[:200].tolist()]
    np.testing.assert_allclose(trees.predict(table.features[:200]), expected, rtol=1e-5)


@pytest.mark.nightly
def test_the_forest_follows_a_break_which_the_whole_past_does_not() -> None:
    sign = np.where(np.arange(320) < 150, 1.0, -1.0)
    table = planted(Stream("none", times=320, instruments=10, features=3).table(0), 3 * sign, 0 * sign)
    windows = schedule(table, train=200, step=20)
    forest = walk(table, windows, "adaptive_random_forest", LINEAR, trees=2, rows_per_time=None).run()
    plain = walk(table, windows, "rolling_retrain", LINEAR).run()
    assert mean_ic(forest, 10) > mean_ic(plain, 10) + 1.0
