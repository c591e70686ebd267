"""DDG-DA says of everything that it fits which data are behind it, so that the audit can hold it against a decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.adaptation.ddgda.fitted import FittedDDGDA
from baselines.adaptation.ddgda.preparation import KnownSimilarity
from harness.samples.table import FitRecord, SampleTable
from harness.samples.windows import Window
from tests.adaptation.configured import ddgda
from tests.adaptation.streams import Stream, history_of, schedule

STEP = 10
TREES = {
    "rounds": 3,
    "learning_rate": 0.2,
    "colsample_bytree": 0.9,
    "subsample": 0.9,
    "lambda_l1": 0.0,
    "lambda_l2": 1.0,
    "max_depth": 3,
    "num_leaves": 6,
    "min_leaf_share": 0.02,
}
CHOOSING: dict[str, Any] = {"hist_step_n": 6, "max_epoch": 1, "fea_imp_n": 3, "choice_gbdt": TREES}
KINDS = ("feature choice", "proxy processors", "similarity of", "proxy of block", "inner problem", "weight model")


@pytest.fixture(scope="module")
def table() -> SampleTable:
    return Stream("gradual", times=360, instruments=20, features=5, period=200).table(0)


@pytest.fixture(scope="module")
def windows(table: SampleTable) -> tuple[Window, ...]:
    return schedule(table, train=260, step=STEP)


@pytest.fixture(scope="module")
def fitted(table: SampleTable, windows: tuple[Window, ...]) -> FittedDDGDA:
    return ddgda(**CHOOSING).fit(history_of(table, windows, STEP))


def late(fitted: FittedDDGDA) -> list[FitRecord]:
    return [a for a in fitted.fit_records if max(a.reads.feature, a.reads.label_known) > a.decision]


def test_every_step_is_recorded_and_read_nothing_beyond_its_decision(fitted: FittedDDGDA) -> None:
    for kind in KINDS:
        assert any(record.name.startswith(kind) for record in fitted.fit_records), kind
    assert late(fitted) == []


def test_the_newest_known_label_is_what_was_read(fitted: FittedDDGDA, windows: tuple[Window, ...]) -> None:
    by_name = {record.name: record for record in fitted.fit_records}
    choice = by_name["feature choice"]
    assert choice.reads.label_known == choice.reads.feature == choice.decision
    for window in windows:
        assert by_name[f"similarity of window {window.index}"].reads.label_known == window.decision


def test_the_published_profile_shows_its_late_choice_and_its_late_training(
    table: SampleTable, windows: tuple[Window, ...]
) -> None:
    changes = {**CHOOSING, "segments": 0.9, "meta_1st_train_end": None}
    leaky = ddgda("ddgda_qlib", **changes).fit(history_of(table, windows, STEP))
    assert {"feature choice", "weight model"} <= {record.name for record in late(leaky)}


def test_a_proxy_that_is_judged_on_its_own_labels_is_seen(fitted: FittedDDGDA, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = property(lambda known: np.zeros(known.values.shape, dtype=bool))
    monkeypatch.setattr(KnownSimilarity, "overlap", nothing)
    assert any(record.name.startswith("proxy of block") for record in late(fitted))
