"""No false alarm: every configuration of the repository passes, but those that leak on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit.audit import audit
from harness.audit.verdict import Level
from tests.audit.market import small
from tests.leakage.adaptation import POINT_IN_TIME, QLIB
from tests.leakage.odd import ODD

# Trees and networks small enough for a small market; each of these values is one that a user may set.
FEW_TREES = ("model.num_boost_round=12", "model.early_stopping_rounds=4")
FEW_LEAVES = ("model.num_leaves=7", "model.lambda_l1=0", "model.lambda_l2=1")
SMALL_NETWORK = ("model.hidden_sizes=[8]", "model.max_epochs=4", "model.batch_size=512")

MODELS: dict[str, tuple[str, ...]] = {
    "linear": ("model=linear",),
    "linear that leaves valid out": ("model=linear", "model.include_valid=false"),
    "lightgbm": ("model=lightgbm", *FEW_TREES, *FEW_LEAVES),
    "xgboost": ("model=xgboost", *FEW_TREES, "model.max_depth=3"),
    "catboost": ("model=catboost", *FEW_TREES, "model.num_leaves=7"),
    "mlp": ("model=mlp", *SMALL_NETWORK),
}
ADAPTATIONS: dict[str, tuple[str, ...]] = {
    "gf_lin": ("adaptation=gf_lin",),
    "gf_exp": ("adaptation=gf_exp",),
    "ddgda": POINT_IN_TIME,
    "ddgda refreshed yearly": (*POINT_IN_TIME, "adaptation.refresh_years=1", "data.days=420"),
    "ddgda with lightgbm": (*POINT_IN_TIME, *MODELS["lightgbm"]),
    "ddgda with mlp": (*POINT_IN_TIME, *MODELS["mlp"]),
}
OTHERS: dict[str, tuple[str, ...]] = {
    "preprocess none": (*MODELS["lightgbm"], "preprocess=none"),
    "preprocess qlib_linear": ("preprocess=qlib_linear",),
    "refitted per window": ("preprocess.refit=per_window",),
    "sliding windows": ("windows=sliding", "windows.embargo=3"),
    "no validation": ("windows.split=[0.6,0.0,0.4]",),
    "alpha158": ("features=alpha158",),
    "alpha360": ("features=alpha360", "data.instruments=12", "data.members=8"),
    "portfolio": ("evaluation=portfolio", "evaluation.significance=null", "evaluation.portfolio.topk=5"),
    "abrupt market": ("data.drift=abrupt", "data.suspension_rate=0.03"),
}
CLEAN = {**MODELS, **ADAPTATIONS, **OTHERS, **{name: overrides for name, (overrides, _) in ODD.items()}}


def alarms(folder: Path, name: str, level: Level, seed: int = 0) -> list[str]:
    """Return what a clean configuration is accused of."""
    config = small(folder, *CLEAN[name], f"data.seed={seed}")
    verdict = audit(ODD[name][1](config) if name in ODD else config, level)
    return [f"{check.name}: {finding.what} {finding.got}" for check in verdict.checks for finding in check.findings]


def check(folder: Path, name: str, level: Level) -> None:
    assert alarms(folder, name, level) == []


def test_a_clean_configuration_raises_no_alarm(tmp_path: Path) -> None:
    check(tmp_path, "momentum", Level.SAMPLED)


@pytest.mark.nightly
@pytest.mark.parametrize("name", CLEAN)
def test_no_clean_configuration_raises_an_alarm_in_a_full_audit(tmp_path: Path, name: str) -> None:
    check(tmp_path, name, Level.FULL)


def test_what_is_kept_for_parity_is_named_as_what_it_is(tmp_path: Path) -> None:
    """qlib's rows know at a halt that trading will resume; its windows let train labels reach into valid."""
    verdict = audit(small(tmp_path, "compat=qlib", *MODELS["lightgbm"]), Level.STATIC)
    assert set(verdict.caught_by) == {"rows", "borders"}


@pytest.mark.nightly
def test_the_published_profile_is_named_as_what_it_is(tmp_path: Path) -> None:
    verdict = audit(small(tmp_path, *QLIB), Level.SAMPLED)
    named = next(check for check in verdict.checks if check.name == "reads")
    assert any("final test period" in finding.what for finding in named.findings)
    assert "reads" in verdict.caught_by
