"""Processors of features and label: fitted on an as-of view, once or in every window, applied anywhere."""

from harness.samples.preprocess.cross_section import CSRankNorm, CSZFillna, CSZScoreNorm, ProcessInf
from harness.samples.preprocess.elementwise import DropCol, DropnaLabel, Fillna, FilterCol, TanhProcess
from harness.samples.preprocess.fitted_norms import MinMaxNorm, RobustZScoreNorm, ZScoreNorm
from harness.samples.preprocess.pipeline import FittedPipeline, Pipeline, apply
from harness.samples.preprocess.processor import Processor

__all__ = [
    "CSRankNorm",
    "CSZFillna",
    "CSZScoreNorm",
    "DropCol",
    "DropnaLabel",
    "Fillna",
    "FilterCol",
    "FittedPipeline",
    "MinMaxNorm",
    "Pipeline",
    "ProcessInf",
    "Processor",
    "RobustZScoreNorm",
    "TanhProcess",
    "ZScoreNorm",
    "apply",
]
