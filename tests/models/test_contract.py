"""The contract itself: broken models fail it, and the window loop refuses weights for a model that cannot use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from harness.errors import UnsupportedWeightsError
from harness.run.rolling import Recipe, WalkForward
from harness.samples.interfaces import LearnSet, Model, TimeWeights
from harness.samples.preprocess import Pipeline
from harness.samples.windows import Window
from tests.models.contract import (
    LOOK_AHEAD,
    TEST,
    TRAIN,
    VALID,
    CannotWeigh,
    FittedMean,
    ModelContract,
    make_table,
    two_blocks,
)


@dataclass(frozen=True)
class Weighted:
    """An adaptation that has learned the same weights for every window, or none."""

    weights: TimeWeights | None

    def time_weights(self, window: Window) -> TimeWeights | None:
        return self.weights

    def save(self, folder: Path) -> None:
        """Nothing to save."""


def recipe(model: Model, weights: TimeWeights | None) -> Recipe:
    nothing = Pipeline(features=(), label=(), refit="once")
    return Recipe(preprocess=nothing, adaptation=Weighted(weights), model=model, step=len(TEST))


def test_weights_for_a_model_that_cannot_use_them_are_refused() -> None:
    windows = (Window(index=0, train=TRAIN, valid=VALID, test=TEST),)
    assert WalkForward(make_table(), windows, recipe(CannotWeigh(), None)).run().fitted == 1
    with pytest.raises(UnsupportedWeightsError, match="CannotWeigh cannot use sample weights"):
        WalkForward(make_table(), windows, recipe(CannotWeigh(), two_blocks(1, 2))).run()


@dataclass(frozen=True)
class Noisy(CannotWeigh):
    """Draws from the generator that everybody shares."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedMean:
        return FittedMean(float(np.random.random()))  # noqa: NPY002 — the mistake that the contract must find


@dataclass(frozen=True)
class Greedy(CannotWeigh):
    """Reads the newest label it can, beyond its segment."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedMean:
        return FittedMean(float(train.view.label(0, TEST.start - LOOK_AHEAD + 1).mean()))


@dataclass(frozen=True)
class FittedCrowd(FittedMean):
    """Centres its predictions over the rows it is given."""

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray(features[:, 0] - features[:, 0].mean(), dtype=np.float64)


@dataclass(frozen=True)
class Crowd(CannotWeigh):
    """A row's prediction depends on the rows beside it."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedCrowd:
        return FittedCrowd(0.0)


def contract_of(broken: Model) -> ModelContract:
    class Suite(ModelContract):
        model: ClassVar[Model] = broken
        steady: ClassVar[Model] = broken

    return Suite()


def test_a_model_that_ignores_weights_fails_the_contract() -> None:
    with pytest.raises(AssertionError):
        contract_of(CannotWeigh()).test_weights_matter()
    with pytest.raises(AssertionError):
        contract_of(CannotWeigh()).test_weight_zero_is_leaving_out()


def test_a_model_with_shared_randomness_fails_the_contract() -> None:
    with pytest.raises(AssertionError):
        contract_of(Noisy()).test_the_same_fit_twice_gives_the_same_bits()


def test_a_model_that_reads_beyond_its_segment_fails_the_contract() -> None:
    with pytest.raises(AssertionError):
        contract_of(Greedy()).test_it_reads_its_learning_periods_and_nothing_newer()


def test_a_model_that_looks_at_its_neighbours_fails_the_contract() -> None:
    with pytest.raises(AssertionError):
        contract_of(Crowd()).test_a_prediction_does_not_depend_on_later_rows()
