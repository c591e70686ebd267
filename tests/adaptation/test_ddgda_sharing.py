"""Which runs of DDG-DA share feature choice, similarity and proxy data: those that these do not tell apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from baselines.adaptation.ddgda.meta_task import Flags
from baselines.adaptation.ddgda.preparation import Preparation
from harness.samples.interfaces import History, Stored, Value
from harness.samples.windows import Segment
from tests.adaptation.configured import PLAIN, ddgda
from tests.adaptation.streams import Stream, history_of, schedule

STEP, PERIOD, LAST = 10, Segment(0, 150), 220
TREES = {"rounds": 3, "lambda_l1": 0.0, "lambda_l2": 1.0, "num_leaves": 6, "learning_rate": 0.2, "max_depth": 3}
TREES |= {"colsample_bytree": 0.5, "subsample": 1.0, "min_leaf_share": 0.02}
SETTING: dict[str, Any] = {"fea_imp_n": 3, "choice_gbdt": TREES, "gbdt": TREES, "sim_preprocess": PLAIN}
BASE = Flags()


class Kept:
    """A cache that counts, by stage, what had to be made."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.made: list[str] = []

    def __call__(self, stage: str, parts: Mapping[str, object], stored: Stored[Value]) -> Value:
        key = json.dumps([stage, parts], sort_keys=True)
        if key not in self.values:
            self.made.append(stage)
            self.values[key] = stored.make()
        found: Value = self.values[key]
        return found


@pytest.fixture(scope="module")
def history() -> History:
    table = Stream("gradual", times=260, instruments=20, features=6, period=120).table(0)
    return history_of(table, schedule(table, train=160, step=STEP), STEP)


def prepared(history: History, cache: Kept, flags: Flags = BASE, **changes: Any) -> tuple[list[str], Any]:
    """Return what had to be made for one setting, and what came of it."""
    done = len(cache.made)
    setting = ddgda(**SETTING | changes)
    given = dataclasses.replace(history, cached=cache)
    data = Preparation(150 + 5, 150 + 5, PERIOD, LAST, setting, flags, given).stashed()
    return cache.made[done:], data


def others() -> Iterator[Any]:
    """Yield flags and settings, and what they make anew beside a first run with linear or LightGBM proxies."""
    for name in ("count_survivors", "judge_in_test", "undefined_is_best", "shrink_correlation", "plain_tail"):
        yield pytest.param(dataclasses.replace(BASE, **{name: not getattr(BASE, name)}), {}, [], id=name)
    late = dataclasses.replace(BASE, drop_before_scoring=True)
    yield pytest.param(late, {}, ["proxy"], id="drop_before_scoring")
    for name, value in {"alpha": 1.0, "lr": 0.1, "hist_step_n": 7, "segments": 0.5, "seed": 8}.items():
        yield pytest.param(BASE, {name: value}, [], id=name)
    yield pytest.param(BASE, {"importance": "gain"}, ["proxy", "feature_choice"], id="importance")
    yield pytest.param(BASE, {"sim_preprocess": None}, ["proxy"], id="sim_preprocess")
    yield pytest.param(BASE, {"sim_alpha": 9.0}, ["proxy", "similarity"], id="sim_alpha")


@pytest.mark.parametrize(("flags", "changes", "anew"), list(others()))
def test_what_a_setting_does_not_reach_is_shared(
    history: History, flags: Flags, changes: dict[str, Any], anew: list[str]
) -> None:
    cache = Kept()
    made, _ = prepared(history, cache, proxy_seed=1)
    assert made == ["proxy", "feature_choice", "similarity"]
    again, data = prepared(history, cache, flags, proxy_seed=1, **changes)
    assert again == anew
    # And what is shared is what would have been made.
    _, alone = prepared(history, Kept(), flags, proxy_seed=1, **changes)
    assert data.regime.choice == alone.regime.choice
    np.testing.assert_array_equal(data.regime.similarity.values, alone.regime.similarity.values)
    np.testing.assert_array_equal(data.table.features, alone.table.features)


def test_a_ridge_reads_no_seed_and_lightgbm_does(history: History) -> None:
    for sim_task_model, anew in (("linear", []), ("gbdt", ["similarity"])):
        cache = Kept()
        prepared(history, cache, sim_task_model=sim_task_model, seed=1)
        again, _ = prepared(history, cache, sim_task_model=sim_task_model, seed=2)
        assert again == ["proxy", "feature_choice", *anew]
