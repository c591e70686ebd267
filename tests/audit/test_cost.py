"""Leaky variants: those that any configuration has, those that its adaptation offers, and that each is a leak."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.audit.audit import audit
from harness.audit.cost import leak_costs, leaky_variants
from harness.audit.verdict import Level
from harness.config import compose_config
from harness.errors.limits import traits_of
from harness.samples.interfaces import Adaptation, ModelTraits
from tests.audit.market import SMALL, small
from tests.leakage.adaptation import POINT_IN_TIME, QLIB, Oracle

OWN = tuple(compose_config([*SMALL, *POINT_IN_TIME]).adaptation.leaky_variants())  # type: ignore[attr-defined]


def test_every_leak_has_a_cost_in_ic_and_return(tmp_path: Path) -> None:
    costs = leak_costs(small(tmp_path))
    assert len(costs) == 6
    assert all({"IC", "rank_IC", "long_short_return"} <= cost.gained.keys() for cost in costs)
    found = {cost.leak: cost.gained["IC"] for cost in costs}
    assert None not in found.values()
    assert (found["fitted on the test period"] or 0.0) > 0.0, "to have seen the answers is worth something"
    assert not list((tmp_path / "runs").glob("*variant*"))
    assert len(list((tmp_path / "runs").iterdir())) == 1, "a leaky variant leaves no snapshot among the honest ones"


def test_a_leaky_model_says_of_itself_what_the_honest_one_does(tmp_path: Path) -> None:
    config = small(tmp_path, "model.include_valid=false")
    leaky = leaky_variants(config)["fitted on the test period"].model
    honest = ModelTraits(include_valid=False, by_sums=True)
    assert traits_of(leaky, ModelTraits) == traits_of(config.model, ModelTraits) == honest
    assert (leaky.needs_valid, leaky.supports_weights) == (config.model.needs_valid, config.model.supports_weights)


@dataclass(frozen=True)
class Own(Oracle):
    """A user's adaptation that offers a leaky variant."""

    def leaky_variants(self) -> dict[str, Adaptation]:
        return {"mine: looks": Oracle("weights from a view after the test segment")}


def test_a_users_adaptation_may_offer_its_leaks(tmp_path: Path) -> None:
    config = replace(small(tmp_path), adaptation=Own("weights tuned up to the last decision"))
    assert [name for name in leaky_variants(config) if name.startswith("mine")] == ["mine: looks"]


def test_ddgda_offers_its_own_leaks_and_its_published_profile_none() -> None:
    assert len(OWN) == 6
    published = compose_config([*SMALL, *QLIB])
    assert not any(name.startswith("DDG-DA") for name in leaky_variants(published))


def caught(folder: Path, name: str) -> tuple[str, ...]:
    # So that a meta-task ends where the first test begins, and there is something to purge.
    config = small(folder, *POINT_IN_TIME, "adaptation.meta_1st_train_end='2012-04-17'")
    return audit(leaky_variants(config)[name], Level.SAMPLED).caught_by


@pytest.mark.nightly
def test_a_leaky_variant_of_ddgda_is_a_leak(tmp_path: Path) -> None:
    assert "poison" in caught(tmp_path, "DDG-DA: similarity to times not yet known")


@pytest.mark.nightly
@pytest.mark.parametrize("name", OWN)
def test_every_leaky_variant_of_ddgda_is_a_leak(tmp_path: Path, name: str) -> None:
    assert caught(tmp_path, name)


@pytest.mark.nightly
def test_the_leaks_of_ddgda_have_a_cost(tmp_path: Path) -> None:
    costs = {cost.leak: cost for cost in leak_costs(small(tmp_path, *POINT_IN_TIME))}
    assert set(OWN) <= costs.keys()
    refused = [cost.leak for cost in costs.values() if cost.refused is not None]
    assert refused == []
    moved = [name for name in OWN if costs[name].gained["IC"] != 0.0]
    assert len(moved) >= 4, "most leaks change the weights"
