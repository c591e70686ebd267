from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from baselines.adaptation.ddgda.meta_task import Phase
from baselines.adaptation.ddgda.meta_training import ic_loss, mse, solve
from harness.errors import ConfigError
from tests.adaptation.meta_case import Case, case


@pytest.fixture(scope="module", params=[False, True], ids=["full", "gaps"])
def small(request: pytest.FixtureRequest) -> Case:
    return case(gaps=request.param)


def random_weights(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2.0, count)).requires_grad_()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.0, 0.01, 10.0]), which=st.integers(0, 5))
def test_the_inner_solution_is_the_direct_weighted_ridge(small: Case, seed: int, alpha: float, which: int) -> None:
    problem = small.problems.by_phase[Phase.META_TRAIN][which]
    weights = random_weights(problem.moment.shape[0], seed)
    found = solve(problem, weights, alpha).detach().numpy()
    expected = small.theta(problem, weights.detach().numpy(), alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_the_ic_loss_is_minus_the_mean_correlation_of_numpy(small: Case, seed: int) -> None:
    problem = small.first
    theta = np.random.default_rng(seed).standard_normal(4)
    found = ic_loss(problem.test, torch.from_numpy(theta), shrink=False).item()
    np.testing.assert_allclose(found, -np.mean(small.correlations(problem.task, theta)), atol=1e-10)


def test_qlibs_correlation_is_too_small_by_one_nth(small: Case) -> None:
    theta = np.ones(4)
    counts = [small.rows(at, at + 1)[1].size for at in range(small.first.task.test.start, small.first.task.test.stop)]
    shrunk = [c * (n - 1) / n for c, n in zip(small.correlations(small.first.task, theta), counts, strict=True)]
    found = ic_loss(small.first.test, torch.from_numpy(theta), shrink=True).item()
    np.testing.assert_allclose(found, -np.mean(shrunk), atol=1e-10)


def test_the_squared_error_is_that_of_all_test_rows(small: Case) -> None:
    theta = np.array([0.3, -0.2, 0.1, 0.5])
    x, y = small.rows(small.first.task.test.start, small.first.task.test.stop)
    found = mse(small.first.test, torch.from_numpy(theta)).item()
    np.testing.assert_allclose(found, np.mean((x @ theta - y) ** 2), rtol=1e-10)


@pytest.mark.parametrize("criterion", ["ic_loss", "mse"])
def test_the_gradient_of_the_loss_flows_through_the_solution(small: Case, criterion: str) -> None:
    def loss(weights: torch.Tensor) -> torch.Tensor:
        theta = solve(small.first, weights, 0.01)
        return (
            ic_loss(small.first.test, theta, shrink=False) if criterion == "ic_loss" else mse(small.first.test, theta)
        )

    assert torch.autograd.gradcheck(loss, (random_weights(small.first.moment.shape[0], 3),))


def test_rows_after_the_last_block_belong_to_it(small: Case) -> None:
    tails = [len(p.task.train) - 10 * p.moment.shape[0] for p in small.problems.by_phase[Phase.META_TRAIN]]
    assert all(0 < tail < 10 for tail in tails)
    assert all(p.tail_gram.any() for p in small.problems.by_phase[Phase.META_TRAIN])


def test_the_reported_rank_ic_is_that_of_the_test_rows(small: Case) -> None:
    theta = np.array([0.3, -0.2, 0.1, 0.5])
    task = small.first.task
    expected = []
    for at in range(task.test.start, task.test.stop):
        x, y = small.rows(at, at + 1)
        expected.append(spearmanr(x @ theta, y)[0])
    np.testing.assert_allclose(small.first.test.rank_ic(theta), expected, atol=1e-12)


def test_times_with_too_few_instruments_are_not_judged() -> None:
    strict = case(gaps=True, skip_below=17)
    counts = [
        strict.rows(at, at + 1)[1].size for at in range(strict.first.task.test.start, strict.first.task.test.stop)
    ]
    assert 0 < strict.first.test.count.size < len(counts)
    np.testing.assert_array_equal(strict.first.test.count, [n for n in counts if n >= 17])


def test_predictions_without_spread_cost_nothing_and_push_nowhere(small: Case) -> None:
    theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    loss = ic_loss(small.first.test, theta, shrink=False)
    loss.backward()
    assert loss.item() == 0.0
    assert theta.grad is not None
    assert not theta.grad.any()


def test_a_threshold_that_nothing_reaches_is_refused_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        case(skip_below=21)
    assert caught.value.where == "adaptation.loss_skip_thresh"


def test_a_task_that_cannot_be_judged_is_kept_with_the_reason() -> None:
    full = case().problems.tasks
    dark = full[1].test
    tasks = case(dark=slice(dark.start, dark.stop)).problems.tasks
    assert [task.phase for task in tasks] == [full[0].phase, Phase.UNJUDGED, *(task.phase for task in full[2:])]


def test_a_singular_problem_without_penalty_is_explained() -> None:
    problem = case().first
    singular = replace(problem, gram=np.zeros_like(problem.gram), tail_gram=np.zeros_like(problem.tail_gram))
    with pytest.raises(ConfigError) as caught:
        solve(singular, torch.ones(problem.moment.shape[0], dtype=torch.float64), 0.0)
    assert caught.value.where == "adaptation.alpha"
