"""Prior knowledge is what stays of a prediction when labels turn, and clean when it is declared or knows nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.audit.differences import first_difference, metrics_that_differ, series_that_differ, within
from harness.audit.prior import Share, kept_share, prior_check, prior_share
from harness.audit.replay import Replay
from harness.audit.trial import Trial
from harness.audit.verdict import Outcome
from harness.audit.world import relabelled
from harness.data.calendar import Calendar
from harness.errors import ConfigError
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.run.pipeline import Pipeline
from tests.audit.market import small
from tests.leakage.odd import ODD

TIMES, WIDTH = 40, 12
FIRST = np.datetime64("2017-01-03")


def predictions(score: Any, label: Any) -> Predictions:
    calendar = Calendar(np.arange("2017-01-01", "2017-02-10", dtype="datetime64[D]"))
    rows = {"score": score.astype(np.float32).ravel(), "label": label.astype(np.float32).ravel()}
    offsets, codes = np.arange(0, TIMES * WIDTH + 1, WIDTH), np.tile(np.arange(WIDTH, dtype=np.int32), TIMES)
    names = tuple(f"S{k:02}" for k in range(WIDTH))
    return Predictions(calendar, names, 0, offsets, codes, **rows, window_starts=np.zeros(1, dtype=np.int64))


def share_of(learned: float, known: float, knows: float = 0.0) -> Share | None:
    """Return the share where scores are so much of what labels teach, and so much of what was there before."""
    rng = np.random.default_rng(1)
    label, taught, before = rng.standard_normal((3, TIMES, WIDTH))
    before = before + knows * label
    real, mirrored = (predictions(sign * learned * taught + known * before, label) for sign in (1, -1))
    return prior_share([real], [mirrored])


@given(st.floats(0.1, 3.0), st.floats(0.0, 3.0))
def test_the_share_is_that_of_the_squares(learned: float, known: float) -> None:
    found = share_of(learned, known)
    assert found is not None
    assert found.low <= found.share <= found.high
    assert found.share == pytest.approx(known**2 / (known**2 + learned**2), abs=0.08)


def test_an_honest_learner_has_none_a_rule_is_nothing_else_and_a_constant_says_nothing() -> None:
    honest, rule = share_of(1.0, 0.0), share_of(0.0, 1.0)
    assert honest is not None
    assert rule is not None
    assert (honest.share, honest.high) == (0.0, 0.0)
    assert (rule.share, rule.low) == (1.0, 1.0)
    assert share_of(0.0, 0.0) is None


def scored(how: str, features: Any, label: Any) -> Any:
    """Return (S, N) scores of a learner of |label|, of one of the label, or of one that adds what it knew before."""
    x, y = features.reshape(-1, features.shape[-1]), label.ravel()
    shown = -(np.abs(y) - np.abs(y).mean()) if how == "size" else y
    theta = np.linalg.lstsq(x, shown, rcond=None)[0] + (how == "knowing") * np.linspace(-0.5, 0.3, x.shape[1])
    return (features @ theta).astype(np.float32)


@pytest.mark.parametrize(
    ("how", "stays", "is_kept"), [("size", True, False), ("label", False, False), ("knowing", True, True)]
)
def test_what_stays_of_a_learner_of_the_size_of_labels_follows_labels_that_are_permuted(
    how: str, stays: bool, is_kept: bool
) -> None:
    """Calm instruments rise here: a learner of |label| is honest, agrees with labels, and stays when they turn."""
    rng = np.random.default_rng(4)
    features = rng.standard_normal((TIMES, WIDTH, 5))
    nervous = features @ np.linspace(0.3, -0.4, 5)
    label = (np.exp(nervous) * rng.standard_normal((TIMES, WIDTH)) - nervous).astype(np.float32)

    def predicted(sign: int, seed: int) -> list[Predictions]:
        shown = relabelled(label.ravel(), sign, seed).reshape(label.shape)
        return [predictions(scored(how, features, shown), label)]

    real, mirrored = predicted(1, 0), predicted(-1, 0)
    share = prior_share(real, mirrored)
    kept = kept_share(real, mirrored, [(predicted(1, seed), predicted(-1, seed)) for seed in range(1, 9)])
    assert share is not None
    assert (share.is_informed, kept.is_informed) == (stays, is_kept)
    check = prior_check({"model": object()}, share, FIRST, kept)
    assert (check.outcome is Outcome.LEAK) is is_kept
    assert "permuted" in check.note


def test_labels_are_permuted_among_the_rows_that_have_one() -> None:
    label = np.array([1.0, np.nan, 2.0, 3.0, np.nan, 4.0], dtype=np.float32)
    permuted = relabelled(label, -1, 3)
    np.testing.assert_array_equal(np.isnan(permuted), np.isnan(label))
    assert sorted(-permuted[~np.isnan(permuted)]) == [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_array_equal(relabelled(label, 1, 0), label)


@dataclass(frozen=True)
class Part:
    prior: Any = None
    prior_ends: str | None = None


@pytest.mark.parametrize(
    ("part", "knows", "outcome", "said"),
    [
        (Part(), 0.0, Outcome.PASSED, "undeclared, and no sign that it knows"),
        (Part(), 2.0, Outcome.LEAK, "does not follow the labels"),
        (Part("random"), 2.0, Outcome.LEAK, "does not follow the labels"),
        (Part("rule"), 2.0, Outcome.PASSED, "model declares: rule"),
        (Part("pretrained", "2016-12-30"), 2.0, Outcome.PASSED, "until 2016-12-30"),
        (Part("pretrained", "2017-06-30"), 0.0, Outcome.LEAK, "may know the test period"),
        (Part("pretrained", "2016"), 2.0, Outcome.PASSED, "until 2016"),
        (Part("pretrained", "2017"), 0.0, Outcome.LEAK, "may know the test period"),
        (Part("pretrained", "9999-12-31"), 0.0, Outcome.LEAK, "may know the test period"),
        (Part("pretrained"), 0.0, Outcome.LEAK, "may know the test period"),
        (Part(0.5), 0.0, Outcome.PASSED, "undeclared"),
    ],
)
def test_knowledge_is_clean_when_it_is_declared_or_knows_nothing(
    part: Part, knows: float, outcome: Outcome, said: str
) -> None:
    check = prior_check({"features": object(), "model": part}, share_of(0.0, 1.0, knows), FIRST)
    assert check.outcome is outcome
    assert said in check.note + "".join(finding.what for finding in check.findings)


def test_a_declaration_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="wrong kind") as raised:
        prior_check({"model": Part("magic")}, share_of(1.0, 0.0), FIRST)
    assert raised.value.where == "model.prior"


def test_an_end_that_is_no_date_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a date") as raised:
        prior_check({"model": Part("pretrained", "lately")}, share_of(1.0, 0.0), FIRST)
    assert (raised.value.where, raised.value.got) == ("model.prior_ends", "'lately'")


def test_runs_are_compared_by_name_and_from_some_time_on_but_for_rounding() -> None:
    rng = np.random.default_rng(2)
    left = predictions(rng.standard_normal((TIMES, WIDTH)), np.zeros((TIMES, WIDTH)))
    later = (left.row_times >= 20).astype(np.float32)
    nudged = replace(left, score=left.score + np.float32(1e-6) * later)
    assert first_difference(left, left, 0, TIMES) is None
    assert first_difference(left, nudged, 0, 20) is None
    assert "from 2017-01-21 on" in str(first_difference(left, nudged, 0, TIMES))
    assert first_difference(left, nudged, 0, TIMES, rounded_from=20) is None
    other = replace(left, score=left.score + np.float32(1e-2) * later)
    assert first_difference(left, other, 0, TIMES, rounded_from=0) is not None
    renamed = replace(left, instruments=("A00", *left.instruments[1:]))
    assert "in one run only" in str(first_difference(left, renamed, 0, TIMES))
    part = within(left, 10, 15)
    assert (part.start, part.stop, part.score.size) == (10, 15, 5 * WIDTH)
    assert first_difference(left, part, 10, 15) is None


def test_series_are_compared_as_far_as_they_are_known() -> None:
    times = np.arange("2017-01-01", "2017-01-11", dtype="datetime64[D]").astype("datetime64[ns]")
    values = np.arange(10.0)
    moved = np.where(np.arange(10) >= 6, 99.0, values)
    real = DailySeries(times, {"IC": values, "portfolio_return": values})
    found = list(series_that_differ(real, {"IC": moved, "portfolio_return": moved}, 8, look_ahead=3))
    assert [finding.where[:10] for finding in found] == ["2017-01-07"], "the IC is known at 5 only"
    assert "portfolio_return" in found[0].what


def test_metrics_of_windows_that_have_ended_are_compared() -> None:
    record = [{"window": at, "stop": f"2017-0{at + 1}-01", "IC": 0.1 * at} for at in range(3)]
    other = [{**one, "IC": 0.5} for one in record]
    assert list(metrics_that_differ(record, record, "2017-09-01")) == []
    assert len(list(metrics_that_differ(record, other, "2017-02-01"))) == 2


def test_only_what_is_relative_to_the_test_range_may_move_with_what_comes_later() -> None:
    left, right = (dict.fromkeys(("NMAE", "NRMSE", "NMAE_own", "normalised_bias"), value) for value in (1.0, 2.0))
    window = {"window": 0, "stop": "2017-01-01"}
    found = list(metrics_that_differ([window | left], [window | right], "2018-01-01"))
    assert [finding.what.split("`")[1] for finding in found] == ["NMAE_own", "normalised_bias"]


@pytest.mark.nightly
@pytest.mark.parametrize(("how", "outcome"), [("the size of labels", Outcome.PASSED), ("momentum", Outcome.LEAK)])
def test_permuted_labels_are_asked_where_what_stays_knows_the_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, outcome: Outcome
) -> None:
    """The market is too short to prove knowledge, so every agreement counts as one here."""
    monkeypatch.setattr("harness.audit.prior._DEVIATIONS", -np.inf)
    config = ODD[how][1](small(tmp_path))
    trial = Trial(Replay(run(config, Silent()), Pipeline(config), Silent()), tmp_path / "worlds")
    trial.folder.mkdir()
    with trial._process("poisoned") as process:
        check = trial._mirrored(process, 2)
    assert "with permuted labels" in check.note
    assert check.outcome is outcome
