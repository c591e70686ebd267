"""Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

>>> from harness import run_experiment
>>> result = run_experiment(["data=synthetic", "windows.step=20"])  # doctest: +SKIP

What this module exports is the public interface; modules below it may change in any version.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # isort: off
    from harness.config.records import EvaluationConfig as EvaluationConfig, OutputConfig as OutputConfig
    from harness.config.records import SamplesConfig as SamplesConfig, WindowsConfig as WindowsConfig
    from harness.data.calendar import Calendar as Calendar
    from harness.data.panel import Benchmark as Benchmark, Panel as Panel
    from harness.data.source import Source as Source, existing_file as existing_file
    from harness.data.sources.download import DownloadSource as DownloadSource
    from harness.data.sources.qlib_bin import QlibBinSource as QlibBinSource
    from harness.data.sources.synthetic import SyntheticMarket as SyntheticMarket
    from harness.data.sources.tabular import TabularSource as TabularSource
    from harness.errors import ConfigError as ConfigError, DataError as DataError, HarnessError as HarnessError
    from harness.errors import LookAheadError as LookAheadError, UnsupportedWeightsError as UnsupportedWeightsError
    from harness.evaluation.metrics import Metric as Metric, SignalEvaluation as SignalEvaluation
    from harness.evaluation.portfolio.topk_dropout import TopkDropout as TopkDropout
    from harness.evaluation.predictions import Predictions as Predictions
    from harness.evaluation.significance.bootstrap import Bootstrap as Bootstrap
    from harness.evaluation.significance.bootstrap import bootstrap_interval as bootstrap_interval
    from harness.evaluation.significance.bootstrap import paired_difference as paired_difference
    from harness.evaluation.significance.confidence_set import model_confidence_set as model_confidence_set
    from harness.execution.dask import Dask as Dask
    from harness.execution.local import Local as Local
    from harness.execution.plain_progress import PlainObserver as PlainObserver
    from harness.execution.task import Serial as Serial
    from harness.features.feature_set import Alpha158 as Alpha158, Alpha360 as Alpha360, Expressions as Expressions
    from harness.features.label import ForwardReturn as ForwardReturn
    from harness.integrations.tracking.sink import Mlflow as Mlflow, NoTracking as NoTracking
    from harness.report.page import write_report as write_report
    from harness.run.experiment import ExperimentResult as ExperimentResult, run_experiment as run_experiment
    from harness.samples.interfaces import Adaptation as Adaptation, FittedAdaptation as FittedAdaptation
    from harness.samples.interfaces import FittedModel as FittedModel, FittedPreprocess as FittedPreprocess
    from harness.samples.interfaces import History as History, LearnSet as LearnSet, Model as Model
    from harness.samples.interfaces import Preprocess as Preprocess, TimeWeights as TimeWeights
    from harness.samples.preprocess import Pipeline as Pipeline, Processor as Processor
    from harness.samples.preprocess import CSRankNorm as CSRankNorm, CSZFillna as CSZFillna
    from harness.samples.preprocess import CSZScoreNorm as CSZScoreNorm, DropCol as DropCol
    from harness.samples.preprocess import DropnaLabel as DropnaLabel, Fillna as Fillna
    from harness.samples.preprocess import FilterCol as FilterCol, MinMaxNorm as MinMaxNorm
    from harness.samples.preprocess import ProcessInf as ProcessInf, RobustZScoreNorm as RobustZScoreNorm
    from harness.samples.preprocess import TanhProcess as TanhProcess, ZScoreNorm as ZScoreNorm
    from harness.samples.table import AsOfView as AsOfView, SampleTable as SampleTable
    from harness.samples.windows import Segment as Segment, Window as Window
    from harness.store.fingerprint import fingerprint_file as fingerprint_file

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
        "harness.samples.preprocess": (
            "CSRankNorm CSZScoreNorm CSZFillna ProcessInf Fillna TanhProcess DropnaLabel DropCol FilterCol"
            " RobustZScoreNorm ZScoreNorm MinMaxNorm Pipeline"
        ),
    },
    "harness.evaluation": {"harness.evaluation.metrics": "SignalEvaluation"},
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
# What else is public: module → names.
_EXPORTS: Mapping[str, str] = {
    "harness.run.experiment": "ExperimentResult run_experiment",
    "harness.execution.plain_progress": "PlainObserver",
    "harness.samples.interfaces": (
        "Adaptation FittedAdaptation FittedModel FittedPreprocess History LearnSet Model Preprocess TimeWeights"
    ),
    "harness.samples.table": "AsOfView SampleTable",
    "harness.samples.windows": "Segment Window",
    "harness.store.fingerprint": "fingerprint_file",
    "harness.samples.preprocess": "Processor",
    "harness.evaluation.predictions": "Predictions",
    "harness.evaluation.metrics": "Metric",
    "harness.evaluation.significance.bootstrap": "bootstrap_interval paired_difference",
    "harness.evaluation.significance.confidence_set": "model_confidence_set",
    "harness.data.calendar": "Calendar",
    "harness.data.panel": "Benchmark Panel",
    "harness.data.source": "Source existing_file",
    "harness.errors": "ConfigError DataError HarnessError LookAheadError UnsupportedWeightsError",
    "harness.report.page": "write_report",
}
PLACES: Mapping[str, str] = {
    **{name.rpartition(".")[2]: module for name, module in PUBLIC_NAMES.items()},
    **{name: module for module, names in _EXPORTS.items() for name in names.split()},
}
__all__ = sorted(PLACES)


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that a lower floor can be imported alone and fast."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *globals()]
