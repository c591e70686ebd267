"""Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

>>> from harness import run_experiment
>>> result = run_experiment(["data=synthetic", "windows.step=20"])  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.execution.plain_progress import PlainObserver as PlainObserver
    from harness.run.experiment import ExperimentResult as ExperimentResult
    from harness.run.experiment import run_experiment as run_experiment

__all__ = ["ExperimentResult", "PlainObserver", "run_experiment"]

# Where the classes are that configurations and snapshots name: public module → module that holds them → their names.
_CLASSES: Mapping[str, Mapping[str, str]] = {
    "harness.config": {"harness.config.records": "EvaluationConfig OutputConfig SamplesConfig WindowsConfig"},
    "harness.data": {
        "harness.data.sources.download": "DownloadSource",
        "harness.data.sources.qlib_bin": "QlibBinSource",
        "harness.data.sources.synthetic": "SyntheticMarket",
        "harness.data.sources.tabular": "TabularSource",
    },
    "harness.features": {
        "harness.features.feature_set": "Alpha158 Alpha360 Expressions",
        "harness.features.label": "ForwardReturn",
    },
    "harness.preprocess": {
        "harness.samples.preprocess.processors": (
            "CSRankNorm CSZScoreNorm CSZFillna ProcessInf Fillna TanhProcess DropnaLabel DropCol FilterCol"
            " RobustZScoreNorm ZScoreNorm MinMaxNorm"
        ),
        "harness.samples.preprocess.pipeline": "Pipeline",
    },
    "harness.evaluation": {"harness.evaluation.signal": "SignalEvaluation"},
    "harness.portfolio": {"harness.evaluation.portfolio.topk_dropout": "TopkDropout"},
    "harness.significance": {"harness.evaluation.significance.bootstrap": "Bootstrap"},
    "harness.execution": {
        "harness.execution.dask": "Dask",
        "harness.execution.local": "Local",
        "harness.execution.task": "Serial",
    },
    "harness.tracking": {"harness.integrations.tracking.sink": "Mlflow NoTracking"},
}
PUBLIC_NAMES: Mapping[str, str] = {
    f"{public}.{name}": module
    for public, held in _CLASSES.items()
    for module, names in held.items()
    for name in names.split()
}
# What earlier versions recorded as the module of such a class → its public module.
FORMER_MODULES: Mapping[str, str] = {
    f"{public}.{module}": public
    for public, modules in {
        "harness.data": "download qlib_bin synthetic tabular",
        "harness.features": "feature_set label",
        "harness.preprocess": "cross_section elementwise fitted_norms pipeline",
        "harness.evaluation": "signal",
        "harness.portfolio": "topk_dropout",
        "harness.significance": "bootstrap",
        "harness.execution": "dask local serial",
        "harness.tracking": "sink",
    }.items()
    for module in modules.split()
}
_MODULES = {"PlainObserver": "harness.execution.plain_progress"}


def __getattr__(name: str) -> Any:
    """Import the pipeline only when it is asked for, so that a lower floor can be imported alone and fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "harness.run.experiment")), name)
