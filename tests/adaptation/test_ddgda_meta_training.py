from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.adaptation.ddgda.meta_task import Phase
from baselines.adaptation.ddgda.meta_training import Adam, initial_weight_model, train
from baselines.adaptation.ddgda.weight_model import MetaScore, MetaTraining, WeightModel
from harness.execution.progress import Silent
from tests.adaptation.meta_case import HISTORY, Case, case

SETTING = MetaTraining(
    clip_method="tanh",
    clip_weight=2.0,
    alpha=0.01,
    criterion="ic_loss",
    lr=0.01,
    max_epoch=4,
)


@pytest.fixture(scope="module")
def small() -> Case:
    return case()


def run(
    small: Case, setting: MetaTraining = SETTING, *, judged: bool = True
) -> tuple[WeightModel, tuple[MetaScore, ...]]:
    phases = {str(Phase.META_TRAIN): small.problems.by_phase[Phase.META_TRAIN]}
    if judged:
        phases[str(Phase.META_TEST)] = small.problems.by_phase[Phase.META_TEST]
    return train(phases, initial_weight_model(HISTORY, setting.shape, 43), setting, Silent())


def by_rows(small: Case, epochs: int) -> tuple[WeightModel, list[float]]:
    """The same training from rows, with central differences instead of gradients and Adam written out."""
    start = initial_weight_model(HISTORY, SETTING.shape, 43)
    state = np.append(start.coefficients, start.scale)
    mean, square, losses = np.zeros(state.size), np.zeros(state.size), []
    step = 0

    def loss(at: np.ndarray, problem: object) -> float:
        model = WeightModel(at[:-1], 0.0, float(at[-1]), SETTING.shape)
        theta = small.theta(problem, model.weights(problem.meta), SETTING.alpha)  # type: ignore[attr-defined, arg-type]
        return -float(np.mean(small.correlations(problem.task, theta)))  # type: ignore[attr-defined]

    for _ in range(epochs):
        every = []
        for problem in small.problems.by_phase[Phase.META_TRAIN]:
            every.append(loss(state, problem))
            shifts = 1e-5 * np.eye(state.size)
            gradient = np.array([loss(state + s, problem) - loss(state - s, problem) for s in shifts]) / 2e-5
            step += 1
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            scaled = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
            state = state - SETTING.lr * scaled
        losses.append(float(np.mean(every)))
    return WeightModel(state[:-1], 0.0, float(state[-1]), SETTING.shape), losses


def test_training_is_adam_on_the_loss_of_the_rows(small: Case) -> None:
    model, history = run(small, dataclasses.replace(SETTING, max_epoch=1))
    expected, losses = by_rows(small, 1)
    np.testing.assert_allclose(model.coefficients, expected.coefficients, atol=1e-6)
    np.testing.assert_allclose(model.scale, expected.scale, atol=1e-6)
    trained = [s.loss for s in history if s.stage == "trained" and s.phase == Phase.META_TRAIN]
    np.testing.assert_allclose(trained, losses, atol=1e-7)


@pytest.mark.nightly
def test_steps_have_the_bits_of_the_library_s_optimiser() -> None:
    def moved(steps: Callable[[nn.Module, Callable[[], Tensor]], None]) -> list[Tensor]:
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(7, 3), nn.Tanh(), nn.Linear(3, 1)).double()
        rows = torch.randn(20, 7, dtype=torch.float64)
        steps(net, lambda: (net(rows) ** 2).sum())
        return [parameter.detach() for parameter in net.parameters()]

    def ours(net: nn.Module, loss: Callable[[], Tensor]) -> None:
        optimiser = Adam(net, 0.02)
        for _ in range(25):
            optimiser.step(loss())

    def theirs(net: nn.Module, loss: Callable[[], Tensor]) -> None:
        optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(25):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()

    assert all(torch.equal(one, other) for one, other in zip(moved(ours), moved(theirs), strict=True))


def test_training_imports_no_compiler() -> None:
    """PyTorch's would take longer than the training."""
    code = (
        "import sys, torch; from torch import nn; from baselines.adaptation.ddgda.meta_training import Adam; "
        "net = nn.Linear(2, 1); Adam(net, 0.1).step(net(torch.ones(2)).sum()); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_training_lowers_the_loss_where_drift_is_predictable(small: Case) -> None:
    _, history = run(small, dataclasses.replace(SETTING, max_epoch=10))
    losses = [s.loss for s in history if s.phase == Phase.META_TRAIN]
    assert losses[-1] < losses[1]


def test_the_history_holds_both_references_and_every_epoch_of_both_phases(small: Case) -> None:
    _, history = run(small)
    assert [(s.stage, s.epoch, s.phase) for s in history] == [
        ("unweighted", 0, "meta-train"),
        ("initial", 0, "meta-train"),
        ("unweighted", 0, "meta-test"),
        ("initial", 0, "meta-test"),
        *(("trained", epoch, phase) for epoch in range(1, 5) for phase in ("meta-train", "meta-test")),
    ]
    singly = [
        -np.mean(small.correlations(p.task, small.theta(p, np.ones(p.moment.shape[0]), SETTING.alpha)))
        for p in small.problems.by_phase[Phase.META_TRAIN]
    ]
    np.testing.assert_allclose(history[0].loss, np.mean(singly), atol=1e-9)


def test_judging_on_meta_test_does_not_change_what_is_learned(small: Case) -> None:
    with_test, without = run(small)[0], run(small, judged=False)[0]
    np.testing.assert_array_equal(with_test.coefficients, without.coefficients)


def test_training_gives_the_same_bits_again_and_restores_the_settings_of_torch(small: Case) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    first = run(small)
    torch.set_num_threads(2)
    second = run(small)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(first[0].coefficients, second[0].coefficients)
    assert first[1] == second[1]
    assert torch.is_grad_enabled()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_epoch_leaves_the_initial_state(small: Case) -> None:
    model, history = run(small, dataclasses.replace(SETTING, max_epoch=0))
    np.testing.assert_array_equal(model.coefficients, initial_weight_model(HISTORY, SETTING.shape, 43).coefficients)
    assert len(history) == 4


def test_the_squared_error_can_be_minimised_too(small: Case) -> None:
    _, history = run(small, dataclasses.replace(SETTING, criterion="mse", max_epoch=10))
    losses = [s.loss for s in history if s.phase == Phase.META_TRAIN]
    assert losses[-1] < losses[1]
    assert losses[0] > 0
