"""What is measured: models and adaptations, named by configuration and unknown to the harness."""

from __future__ import annotations

from collections.abc import Mapping

# Where the classes are that configurations and snapshots name.
PUBLIC_NAMES: Mapping[str, str] = {
    "baselines.adaptation.DDGDA": "baselines.adaptation.ddgda.adaptation",
    "baselines.adaptation.GbdtParameters": "baselines.adaptation.ddgda.gbdt",
    "baselines.adaptation.GradualForgetting": "baselines.adaptation.gradual_forgetting",
    "baselines.adaptation.RollingRetrain": "baselines.adaptation.rolling_retrain",
    "baselines.models.CatBoost": "baselines.models.catboost",
    "baselines.models.LightGBM": "baselines.models.lightgbm",
    "baselines.models.Linear": "baselines.models.linear",
    "baselines.models.MLP": "baselines.models.mlp",
    "baselines.models.XGBoost": "baselines.models.xgboost",
}
# What earlier versions recorded as the module of such a class → its public module.
FORMER_MODULES: Mapping[str, str] = {
    "baselines.adaptation.ddgda": "baselines.adaptation",
    **{module: name.rpartition(".")[0] for name, module in PUBLIC_NAMES.items()},
}
