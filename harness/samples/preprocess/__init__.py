"""Processors of features and label: fitted on an as-of view, once or in every window, applied anywhere."""

from harness.samples.preprocess.pipeline import FittedPipeline, Pipeline, Processor, apply
from harness.samples.preprocess.processors import (
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    DropCol,
    DropnaLabel,
    Fillna,
    FilterCol,
    MinMaxNorm,
    ProcessInf,
    RobustZScoreNorm,
    TanhProcess,
    ZScoreNorm,
)

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
