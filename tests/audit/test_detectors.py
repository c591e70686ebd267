"""Each detector answers its own question: what poison changes, what a frontier finds, what chance allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.audit import Level, audit
from harness.audit.cost import BackwardFilled
from harness.audit.poison import differ, poison, poisoned
from harness.audit.trial import _farthest, association, chance
from harness.config import compose_config
from harness.data.panel import Panel
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Silent
from harness.run.experiment import run
from tests.audit.market import SMALL, small

CUT = 200


@pytest.fixture(scope="module")
def panel() -> Panel:
    return compose_config([*SMALL, "data.suspension_rate=0.02"]).data.load()


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    return run(small(tmp_path_factory.mktemp("run")), Silent()).predictions()


def test_poison_changes_everything_after_the_cut_and_nothing_before(panel: Panel) -> None:
    other = poison(panel, CUT, seed=1)
    for name, values in panel.fields.items():
        np.testing.assert_array_equal(other.fields[name][: CUT + 1], values[: CUT + 1])
        after = other.fields[name][CUT + 1 :]
        assert not (after == values[CUT + 1 :]).any(), name
        assert (np.isnan(after) != np.isnan(values[CUT + 1 :])).any(), f"the gaps of {name} are the same"
    np.testing.assert_array_equal(other.membership[: CUT + 1], panel.membership[: CUT + 1])
    assert (other.membership[CUT + 1 :] != panel.membership[CUT + 1 :]).any()
    rows, real = other.traded & other.membership, panel.traded & panel.membership
    assert (rows[CUT + 1 :] & ~real[CUT + 1 :]).any()
    assert (~rows[CUT + 1 :] & real[CUT + 1 :]).any()
    assert panel.benchmark is not None
    assert other.benchmark is not None
    np.testing.assert_array_equal(other.benchmark.close[: CUT + 1], panel.benchmark.close[: CUT + 1])
    assert not (other.benchmark.close[CUT + 1 :] == panel.benchmark.close[CUT + 1 :]).any()


def test_another_seed_is_another_future(panel: Panel) -> None:
    first, second = (poison(panel, CUT, seed).fields["close"][CUT + 1 :] for seed in (1, 2))
    assert not (first == second).any()


def test_a_source_that_transforms_another_is_poisoned_underneath() -> None:
    source = BackwardFilled(compose_config([*SMALL, "data.suspension_rate=0.05"]).data)
    clean, other = source.load(), poisoned(source, CUT, seed=1).load()
    differs = (clean.fields["close"] != other.fields["close"]) & ~np.isnan(clean.fields["close"])
    assert differs[: CUT + 1].any(), "gaps before the cut were filled from after it"


def test_the_frontier_finds_what_is_learned_and_what_is_wasted(tmp_path: Path) -> None:
    """Validation is 60 times long, its purge 6; leaving it out wastes both, and the static reads agree."""
    used = audit(small(tmp_path, "windows.step=60"), Level.FULL)
    assert [at.waste for at in used.frontiers] == [0, 0]
    assert all(at.perturbed for at in used.frontiers)
    left_out = small(tmp_path, "windows.step=60", "model.include_valid=false")
    moved, read = audit(left_out, Level.FULL), audit(left_out, Level.STATIC)
    assert [at.waste for at in moved.frontiers] == [at.waste for at in read.frontiers] == [60, 60]
    assert [at.newest for at in moved.frontiers] == [at.newest for at in read.frontiers]
    assert "60 periods before the purge were never learned from" in moved.summary


def test_knowledge_of_the_real_future_is_told_from_chance(predictions: Predictions) -> None:
    rng = np.random.default_rng(0)
    z = []
    for _ in range(200):
        scores = np.asarray(rng.standard_normal(predictions.score.size), dtype=np.float32)
        found = association(_scored(predictions, scores), predictions, predictions.start)
        assert found is not None
        z.append(found.z)
    assert abs(np.mean(z)) < 0.3
    # Above 1, as these scores have the very rows of the labels, which a poisoned future does not: five are still far.
    assert 0.8 < np.std(z) < 1.4
    known = np.nan_to_num(predictions.label) + rng.standard_normal(predictions.score.size).astype(np.float32) * 0.1
    found = association(_scored(predictions, known.astype(np.float32)), predictions, predictions.start)
    assert found is not None
    assert found.z > 5


def test_scores_that_know_nothing_lie_within_the_error_of_chance(predictions: Predictions) -> None:
    rng = np.random.default_rng(1)
    draws = [rng.standard_normal(predictions.score.size).astype(np.float32) for _ in range(100)]
    found = [chance(_scored(predictions, draw)) for draw in draws]
    z = [one[0] / one[1] for one in found if one is not None]
    assert len(z) == 100
    assert abs(np.mean(z)) < 0.4
    assert 0.75 < np.std(z) < 1.25


@pytest.mark.parametrize(("inside", "outside"), [(0, 12), (11, -1)])
def test_the_border_is_found_from_either_side_and_from_any_guess(inside: int, outside: int) -> None:
    for border in range(12):
        for guess in range(12):
            step = 1 if outside > inside else -1
            assert _farthest(lambda at, b=border, s=step: s * at <= s * b, inside, outside, guess) == border  # type: ignore[misc]


def test_bits_differ_where_values_or_signs_do_and_every_nan_is_the_same() -> None:
    left = np.array([1.0, 0.0, np.nan, np.nan], dtype=np.float32)
    right = np.array([1.0, -0.0, -np.nan, 1.0], dtype=np.float32)
    assert differ(left, right).tolist() == [False, True, False, True]


def _scored(predictions: Predictions, score: np.ndarray) -> Predictions:
    return replace(predictions, score=score)
