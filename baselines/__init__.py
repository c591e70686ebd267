"""What is measured: models and adaptations, named by configuration and unknown to the harness."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baselines.adaptation.adaptive_random_forest import AdaptiveRandomForest as AdaptiveRandomForest
    from baselines.adaptation.ddgda.adaptation import DDGDA as DDGDA
    from baselines.adaptation.ddgda.meta_task import MetaRanges as MetaRanges
    from baselines.adaptation.ddgda.proxy import GbdtParameters as GbdtParameters
    from baselines.adaptation.double_adapt import DoubleAdapt as DoubleAdapt
    from baselines.adaptation.forgetting_mixture import ForgettingMixture as ForgettingMixture
    from baselines.adaptation.gradual_forgetting import GradualForgetting as GradualForgetting
    from baselines.adaptation.incremental import Incremental as Incremental
    from baselines.adaptation.no_retrain import NoRetrain as NoRetrain
    from baselines.adaptation.proceed import Proceed as Proceed
    from baselines.adaptation.rolling_retrain import RollingRetrain as RollingRetrain
    from baselines.adaptation.triggered import Triggered as Triggered
    from baselines.models.catboost import CatBoost as CatBoost
    from baselines.models.gru import GRU as GRU
    from baselines.models.lightgbm import LightGBM as LightGBM
    from baselines.models.linear import Linear as Linear
    from baselines.models.linear_quantile import LinearQuantile as LinearQuantile
    from baselines.models.mlp import MLP as MLP
    from baselines.models.quantiles import Quantiles as Quantiles
    from baselines.models.xgboost import XGBoost as XGBoost

# Where the classes are that configurations and snapshots name.
PUBLIC_NAMES: Mapping[str, str] = {
    "baselines.adaptation.AdaptiveRandomForest": "baselines.adaptation.adaptive_random_forest",
    "baselines.adaptation.DDGDA": "baselines.adaptation.ddgda.adaptation",
    "baselines.adaptation.DoubleAdapt": "baselines.adaptation.double_adapt",
    "baselines.adaptation.ForgettingMixture": "baselines.adaptation.forgetting_mixture",
    "baselines.adaptation.GbdtParameters": "baselines.adaptation.ddgda.proxy",
    "baselines.adaptation.GradualForgetting": "baselines.adaptation.gradual_forgetting",
    "baselines.adaptation.Incremental": "baselines.adaptation.incremental",
    "baselines.adaptation.MetaRanges": "baselines.adaptation.ddgda.meta_task",
    "baselines.adaptation.NoRetrain": "baselines.adaptation.no_retrain",
    "baselines.adaptation.Proceed": "baselines.adaptation.proceed",
    "baselines.adaptation.RollingRetrain": "baselines.adaptation.rolling_retrain",
    "baselines.adaptation.Triggered": "baselines.adaptation.triggered",
    "baselines.models.CatBoost": "baselines.models.catboost",
    "baselines.models.GRU": "baselines.models.gru",
    "baselines.models.LightGBM": "baselines.models.lightgbm",
    "baselines.models.Linear": "baselines.models.linear",
    "baselines.models.LinearQuantile": "baselines.models.linear_quantile",
    "baselines.models.MLP": "baselines.models.mlp",
    "baselines.models.Quantiles": "baselines.models.quantiles",
    "baselines.models.XGBoost": "baselines.models.xgboost",
}
# What earlier versions recorded as the module of such a class → its public module.
FORMER_MODULES: Mapping[str, str] = {
    "baselines.adaptation.ddgda": "baselines.adaptation",
    "baselines.adaptation.ddgda.gbdt": "baselines.adaptation",
    "baselines.adaptation.ddgda.meta_split": "baselines.adaptation",
    **{module: name.rpartition(".")[0] for name, module in PUBLIC_NAMES.items()},
}
# Fields that earlier versions recorded although they change no number.
FORMER_FIELDS: Mapping[str, tuple[str, ...]] = {"baselines.models.LightGBM": ("threads",)}
PLACES: Mapping[str, str] = {name.rpartition(".")[2]: module for name, module in PUBLIC_NAMES.items()}
__all__ = sorted(PLACES)


def __getattr__(name: str) -> Any:
    """Import a class only when it is asked for: each needs another library."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)
