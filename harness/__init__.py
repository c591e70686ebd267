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
    from harness.data.sources.packaged import PackagedSource as PackagedSource
    from harness.data.sources.public_series import PublicSeries as PublicSeries
    from harness.data.sources.qlib_bin import QlibBinSource as QlibBinSource
    from harness.data.sources.synthetic import SyntheticMarket as SyntheticMarket
    from harness.data.sources.tabular import TabularSource as TabularSource
    from harness.errors import ConfigError as ConfigError, DataError as DataError, HarnessError as HarnessError
    from harness.errors import LookAheadError as LookAheadError, UnsupportedWeightsError as UnsupportedWeightsError
    from harness.evaluation.collection import average as average, merge_windows as merge_windows
    from harness.evaluation.metrics import Metric as Metric, SignalEvaluation as SignalEvaluation
    from harness.evaluation.portfolio.costs import CostModel as CostModel, FixedCost as FixedCost
    from harness.evaluation.portfolio.costs import PricedOrder as PricedOrder, ProportionalCost as ProportionalCost
    from harness.evaluation.portfolio.costs import SquareRootImpact as SquareRootImpact
    from harness.evaluation.portfolio.strategy import Decision as Decision, Orders as Orders
    from harness.evaluation.portfolio.strategy import Strategy as Strategy, Trading as Trading
    from harness.evaluation.portfolio.target_weights import LongShort as LongShort, ScoreWeighted as ScoreWeighted
    from harness.evaluation.portfolio.topk_dropout import TopkDropout as TopkDropout
    from harness.evaluation.predictions import Predictions as Predictions
    from harness.evaluation.significance.bootstrap import Bootstrap as Bootstrap
    from harness.evaluation.significance.bootstrap import bootstrap_interval as bootstrap_interval
    from harness.evaluation.significance.bootstrap import paired_difference as paired_difference
    from harness.evaluation.significance.selection import model_confidence_set as model_confidence_set
    from harness.execution.dask import Dask as Dask
    from harness.execution.local import Local as Local
    from harness.execution.progress import PlainObserver as PlainObserver
    from harness.execution.task import Serial as Serial
    from harness.features.feature_set import Alpha158 as Alpha158, Alpha360 as Alpha360
    from harness.features.feature_set import Expressions as Expressions, ForwardReturn as ForwardReturn
    from harness.integrations.tracking import Mlflow as Mlflow, NoTracking as NoTracking
    from harness.report.page import write_report as write_report
    from harness.run.experiment import ExperimentResult as ExperimentResult, run_experiment as run_experiment
    from harness.samples.interfaces import Adaptation as Adaptation, FittedAdaptation as FittedAdaptation
    from harness.samples.interfaces import FittedModel as FittedModel, FittedPreprocess as FittedPreprocess
    from harness.samples.interfaces import History as History, LearnSet as LearnSet, Model as Model
    from harness.samples.interfaces import ContinuingModel as ContinuingModel, Preprocess as Preprocess
    from harness.samples.interfaces import SampleWeights as SampleWeights, TimeWeights as TimeWeights
    from harness.samples.interfaces import WindowPlanner as WindowPlanner
    from harness.samples.plan import Batch as Batch, Feedback as Feedback, Known as Known
    from harness.samples.plan import Transform as Transform, WindowPlan as WindowPlan
    from harness.samples.preprocess import Pipeline as Pipeline, Processor as Processor
    from harness.samples.processors import CSRankNorm as CSRankNorm, CSZFillna as CSZFillna, DropCol as DropCol
    from harness.samples.processors import CSZScoreNorm as CSZScoreNorm, DropnaLabel as DropnaLabel, Fillna as Fillna
    from harness.samples.processors import FilterCol as FilterCol, MinMaxNorm as MinMaxNorm, ProcessInf as ProcessInf
    from harness.samples.processors import RobustZScoreNorm as RobustZScoreNorm, SeriesScale as SeriesScale
    from harness.samples.processors import TanhProcess as TanhProcess, ZScoreNorm as ZScoreNorm
    from harness.samples.table import AsOfView as AsOfView, SampleTable as SampleTable
    from harness.samples.windows import Segment as Segment, Window as Window
    from harness.store.fingerprint import fingerprint_file as fingerprint_file

# Module → its public module, if configurations and snapshots name its classes so; what is exported of it.
_EXPORTS: tuple[tuple[str, str | None, str], ...] = (
    ("harness.config.records", "harness.config", "EvaluationConfig OutputConfig SamplesConfig WindowsConfig"),
    ("harness.data.sources.download", "harness.data", "DownloadSource"),
    ("harness.data.sources.packaged", "harness.data", "PackagedSource"),
    ("harness.data.sources.public_series", "harness.data", "PublicSeries"),
    ("harness.data.sources.qlib_bin", "harness.data", "QlibBinSource"),
    ("harness.data.sources.synthetic", "harness.data", "SyntheticMarket"),
    ("harness.data.sources.tabular", "harness.data", "TabularSource"),
    ("harness.data.calendar", None, "Calendar"),
    ("harness.data.panel", None, "Benchmark Panel"),
    ("harness.data.source", None, "Source existing_file"),
    ("harness.errors", None, "ConfigError DataError HarnessError LookAheadError UnsupportedWeightsError"),
    ("harness.evaluation.collection", None, "average merge_windows"),
    ("harness.evaluation.metrics", "harness.evaluation", "SignalEvaluation"),
    ("harness.evaluation.metrics", None, "Metric"),
    ("harness.evaluation.portfolio.costs", None, "CostModel PricedOrder"),
    ("harness.evaluation.portfolio.costs", "harness.portfolio", "FixedCost ProportionalCost SquareRootImpact"),
    ("harness.evaluation.portfolio.strategy", None, "Decision Orders Strategy Trading"),
    ("harness.evaluation.portfolio.target_weights", "harness.portfolio", "LongShort ScoreWeighted"),
    ("harness.evaluation.portfolio.topk_dropout", "harness.portfolio", "TopkDropout"),
    ("harness.evaluation.predictions", None, "Predictions"),
    ("harness.evaluation.significance.bootstrap", "harness.significance", "Bootstrap"),
    ("harness.evaluation.significance.bootstrap", None, "bootstrap_interval paired_difference"),
    ("harness.evaluation.significance.selection", None, "model_confidence_set"),
    ("harness.execution.dask", "harness.execution", "Dask"),
    ("harness.execution.local", "harness.execution", "Local"),
    ("harness.execution.task", "harness.execution", "Serial"),
    ("harness.execution.progress", None, "PlainObserver"),
    ("harness.features.feature_set", "harness.features", "Alpha158 Alpha360 Expressions ForwardReturn"),
    ("harness.integrations.tracking", "harness.tracking", "Mlflow NoTracking"),
    ("harness.report.page", None, "write_report"),
    ("harness.run.experiment", None, "ExperimentResult run_experiment"),
    ("harness.samples.interfaces", None, "Adaptation FittedAdaptation FittedModel FittedPreprocess History LearnSet"),
    ("harness.samples.interfaces", None, "Model Preprocess TimeWeights SampleWeights ContinuingModel WindowPlanner"),
    ("harness.samples.plan", None, "WindowPlan Known Feedback Transform Batch"),
    ("harness.samples.preprocess", "harness.preprocess", "Pipeline"),
    ("harness.samples.preprocess", None, "Processor"),
    ("harness.samples.processors", "harness.preprocess", "CSRankNorm CSZScoreNorm CSZFillna ProcessInf Fillna"),
    ("harness.samples.processors", "harness.preprocess", "TanhProcess DropnaLabel DropCol FilterCol MinMaxNorm"),
    ("harness.samples.processors", "harness.preprocess", "RobustZScoreNorm SeriesScale ZScoreNorm"),
    ("harness.samples.table", None, "AsOfView SampleTable"),
    ("harness.samples.windows", None, "Segment Window"),
    ("harness.store.fingerprint", None, "fingerprint_file"),
)
PLACES: Mapping[str, str] = {name: module for module, _, names in _EXPORTS for name in names.split()}
PUBLIC_NAMES: Mapping[str, str] = {
    f"{public}.{name}": module for module, public, names in _EXPORTS if public for name in names.split()
}
# What earlier versions recorded as the module of such a class → its public module.
FORMER_MODULES: Mapping[str, str] = {
    **{f"{public}.{module.rpartition('.')[2]}": public for module, public, _ in _EXPORTS if public},
    **{f"harness.preprocess.{name}": "harness.preprocess" for name in ("cross_section", "elementwise")},
    **{f"harness.preprocess.{name}": "harness.preprocess" for name in ("fitted_norms", "pipeline")},
    "harness.samples.preprocess": "harness.preprocess",
    **{"harness.evaluation.signal": "harness.evaluation", "harness.execution.serial": "harness.execution"},
}
__all__ = sorted(PLACES)


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that a lower floor can be imported alone and fast."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *globals()]
