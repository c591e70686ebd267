"""Single flags of DDG-DA, turned against their profile."""

from __future__ import annotations

import pytest

from baselines.adaptation.ddgda.adaptation import DDGDA, FLAGS
from baselines.adaptation.ddgda.meta_task import LEAKS, POINT_IN_TIME, Flags, Switches
from harness.config import compose_config
from harness.errors import ConfigError
from harness.store.records import describe

NAMES = tuple(vars(Flags()))


def composed(adaptation: str, *overrides: str) -> DDGDA:
    found = compose_config([f"adaptation={adaptation}", *overrides]).adaptation
    assert isinstance(found, DDGDA)
    return found


def test_there_is_a_switch_for_every_flag() -> None:
    assert tuple(vars(Switches())) == NAMES


@pytest.mark.parametrize("profile", ["ddgda", "ddgda_qlib"])
@pytest.mark.parametrize("name", NAMES)
def test_a_switch_turns_its_own_flag_only(profile: str, name: str) -> None:
    plain = composed(profile)
    before = vars(FLAGS[plain.profile])
    turned = composed(profile, f"adaptation.switches.{name}={str(not before[name]).lower()}")
    assert vars(turned._flags) == {**before, name: not before[name]}
    assert describe(turned) != describe(plain)


@pytest.mark.parametrize("profile", ["ddgda", "ddgda_qlib"])
def test_without_a_switch_a_result_keeps_its_identity(profile: str) -> None:
    described = describe(composed(profile))
    assert isinstance(described, dict)
    assert "switches" not in described


@pytest.mark.parametrize("name", NAMES)
def test_an_adaptation_that_leaks_by_a_switch_claims_no_leak_free_variants(name: str) -> None:
    turned = str(not getattr(POINT_IN_TIME, name)).lower()
    variants = composed("ddgda", f"adaptation.switches.{name}={turned}").leaky_variants()
    assert bool(variants) == (name not in LEAKS)
    assert not composed("ddgda_qlib").leaky_variants()


def test_an_unknown_switch_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        composed("ddgda", "+adaptation.switches.purge=true")
    assert "plain_tail" in str(caught.value)
