from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.adaptation.ddgda.meta_training import WeightNet, initial_weight_model
from baselines.adaptation.ddgda.weight_model import ClipMethod, WeightModel, WeightShape
from harness.errors import ConfigError
from tests.adaptation.configured import configured

METHODS: list[ClipMethod] = ["tanh", "clamp", "sigmoid"]
SHAPES = [*(WeightShape(method, 2.0) for method in METHODS), WeightShape("tanh", None)]


def model(shape: WeightShape, seed: int = 0, steps: int = 4) -> WeightModel:
    return WeightModel(np.random.default_rng(seed).standard_normal(steps), 0.3, 8.0, shape)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 99), blocks=st.integers(1, 12), shape=st.sampled_from(SHAPES))
def test_torch_and_numpy_are_one_function(seed: int, blocks: int, shape: WeightShape) -> None:
    profile = 0.1 * np.random.default_rng(seed).standard_normal((4, blocks))
    values = model(shape, seed)
    found = WeightNet(values)(torch.from_numpy(profile)).detach().numpy()
    np.testing.assert_allclose(found, values.weights(profile), rtol=1e-12)


@pytest.mark.parametrize("method", ["tanh", "clamp"])
def test_weights_stay_within_the_bound_and_its_inverse(method: ClipMethod) -> None:
    profile = 3 * np.random.default_rng(0).standard_normal((4, 200))
    weights = model(WeightShape(method, 2.0)).weights(profile)
    assert 0.5 <= weights.min() < 0.51
    assert 1.99 < weights.max() <= 2.0


def test_sigmoid_weights_average_one() -> None:
    profile = np.random.default_rng(0).standard_normal((4, 50))
    np.testing.assert_allclose(model(WeightShape("sigmoid", 2.0)).weights(profile).mean(), 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_blocks_weigh_one_whatever_the_level_and_the_bias(shape: WeightShape) -> None:
    profile = np.repeat(np.random.default_rng(0).standard_normal((4, 1)), 5, axis=1)
    np.testing.assert_allclose(model(shape).weights(profile), 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_better_score_never_weighs_less(shape: WeightShape) -> None:
    values = WeightModel(np.array([1.0]), 0.0, 8.0, shape)
    weights = values.weights(np.linspace(-1, 1, 41)[None, :])
    assert (np.diff(weights) >= 0).all()


def test_the_initial_state_is_the_published_one_for_a_seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(43)
        layer = torch.nn.Linear(30, 1)
        expected = (1.0 / 30 + layer.weight.data * 0.01).ravel().numpy()
    found = initial_weight_model(30, WeightShape("tanh", 2.0), 43)
    np.testing.assert_array_equal(found.coefficients.astype(np.float32), expected)
    assert (found.bias, found.scale) == (0.0, 8.0)


def test_drawing_the_initial_state_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    initial_weight_model(30, WeightShape("tanh", 2.0), 1)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("bound", [1.0, 0.5, 0.0, -2.0, np.inf, np.nan])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(ConfigError) as caught:
        configured("ddgda", clip_weight=bound)
    assert caught.value.where == "adaptation.clip_weight"
