"""Test times and windows that say nothing are counted in a note, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.evaluation.evaluate import evaluate, signal_notes
from harness.evaluation.predictions import Predictions
from harness.store.artifacts import canonical_json
from tests.evaluation.test_evaluation import NAMES, START, TIMES, Both, market, signal

SIZE = TIMES - START  # 50 test periods of 20 instruments, three windows


def predicted(score: Any = None, label: Any = None) -> Predictions:
    plain = signal(market())
    changes = {"score": score, "label": label}
    return replace(plain, **{k: v.astype(np.float32).reshape(-1) for k, v in changes.items() if v is not None})


def tables() -> tuple[Any, Any]:
    plain = signal(market())
    return plain.score.reshape(SIZE, NAMES).copy(), plain.label.reshape(SIZE, NAMES).copy()


def test_what_can_be_judged_everywhere_needs_no_note() -> None:
    assert list(signal_notes(signal(market()), 3)) == []


def test_labels_that_are_not_known_yet_need_no_note_and_others_do() -> None:
    _, label = tables()
    label[-3:] = np.nan
    assert list(signal_notes(predicted(label=label), 3)) == []
    label[10] = np.nan
    (note,) = signal_notes(predicted(label=label), 3)
    assert note.startswith("IC and rank IC are undefined at 1 of 47 test periods (no label is known at 1)")


def test_one_forecast_for_everything_is_named_with_its_windows_and_what_to_change() -> None:
    score, _ = tables()
    score[20:40] = 0.5
    first, second = signal_notes(predicted(score), 3)
    assert "undefined at 20 of 50 test periods (all instruments have the same score at 20)" in first
    assert second.startswith("the model forecasts one number in 1 of 3 windows (first: window 1, from 2019-12-15)")
    assert "lambda_l1" in second


def test_a_score_that_differs_in_time_alone_is_no_forecast_of_one_number() -> None:
    score, _ = tables()
    score[:] = np.arange(SIZE)[:, None]
    (note,) = signal_notes(predicted(score), 3)
    assert "undefined at 50 of 50 test periods (all instruments have the same score at 50)" in note


def test_each_reason_is_counted() -> None:
    score, label = tables()
    score[0], label[1], score[2, 1:] = 1.0, 0.0, np.nan
    score[3, 4] = np.inf
    notes = list(signal_notes(predicted(score, label), 3))
    assert f"{NAMES - 1} of 1,000 predictions are missing (NaN)" in notes[0]
    for reason in ("the same score at 1", "the same label at 1", "fewer than two instruments", "infinite at 1"):
        assert reason in notes[1]
    assert "at 4 of 50 test periods" in notes[1]


def test_times_without_rows_are_counted() -> None:
    plain = signal(market())
    keep = plain.row_times < TIMES - 5
    offsets = np.minimum(plain.offsets, int(keep.sum()))
    cut = replace(plain, offsets=offsets, codes=plain.codes[keep], score=plain.score[keep], label=plain.label[keep])
    (note,) = signal_notes(cut, 3)
    assert note.startswith("5 of 50 test periods have no row, first 2020-01-09; the last row is of 2020-01-08")


@pytest.mark.parametrize("constant", [True, False])
def test_notes_stand_in_the_evaluation_in_a_fixed_order(constant: bool) -> None:
    score, _ = tables()
    if constant:
        score[:] = 1.0
    panel = market()
    found = [evaluate(predicted(score), panel, Both(), horizon=5, look_ahead=6).notes for _ in range(2)]
    assert found[0] == found[1]
    assert len(found[0]) == (2 if constant else 0)
    canonical_json(list(found[0]))
